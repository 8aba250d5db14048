"""The door to a decoder's fields: find its context, and read the picture that it has just decoded."""

from __future__ import annotations

from types import ModuleType, TracebackType

import av

from codecsieve.codec.fields import h264, hevc
from codecsieve.codec.fields.coded import CodedBlocks, CodedPicture
from codecsieve.codec.fields.memory import FieldsError, Memory
from codecsieve.codec.fields.table import PYAV_CONTEXT, Table

READERS: dict[str, ModuleType] = {"h264": h264, "hevc": hevc}
"""By FFmpeg's name of a codec: modules with a `Decoder`, `read_picture` and `read_blocks` of it."""
_CLASS = b"AVCodecContext\0"


class FieldReader:
    """Reads one decoder, on the thread that decodes with it. Use as a context manager."""

    def __init__(self, decoder: av.VideoCodecContext, table: Table) -> None:
        """Raises FieldsError where the decoder is none that the table knows."""
        self._codec = READERS[decoder.codec.canonical_name]
        self._memory = Memory()
        try:
            self._decoder = self._codec.Decoder(self._memory, table, _decoder_context(self._memory, table, decoder))
        except FieldsError:
            self._memory.close()
            raise

    def __enter__(self) -> FieldReader:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Let go of it; a second time does nothing."""
        self._memory.close()

    def read(self, index: int) -> CodedPicture | None:
        """The picture of the packet just decoded, which was sent with `index` for its timestamp.

        None where it is not predicted. Its arrays are good until the next packet is sent.

        Raises FieldsError where the fields do not hold together, or the decoder holds another picture.
        """
        picture: CodedPicture | None = self._codec.read_picture(self._decoder, index)
        return picture

    def holds(self, index: int) -> bool:
        """Whether the decoder's current picture is, or is still, the one of the packet sent with `index`."""
        try:
            return bool(self._decoder.current_index() == index)
        except FieldsError:
            return False

    def blocks(self, index: int) -> CodedBlocks:
        """What was coded of that picture, once it was read. Raises FieldsError as `read` does."""
        blocks: CodedBlocks = self._codec.read_blocks(self._decoder, index)
        return blocks


def _decoder_context(memory: Memory, table: Table, decoder: av.VideoCodecContext) -> int:
    """Address of a decoder's own context, behind two checks."""
    outer = memory.pointer(id(decoder) + PYAV_CONTEXT)
    if memory.read(memory.pointer(memory.pointer(outer)), len(_CLASS)) != _CLASS:
        raise FieldsError("PyAV's context does not begin as FFmpeg's")
    inner = memory.pointer(outer + table.context.priv_data)
    if memory.pointer(inner + 8) != outer:
        raise FieldsError("the decoder's own context does not point back")
    return inner
