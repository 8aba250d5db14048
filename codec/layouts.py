"""How each decoded picture is laid out, in a stream that may change on its way: size, samples, colours, cropping.

Every frame tells this by itself but for one thing: H.264 is decoded uncropped, and what is shown of a picture stands
in the sequence parameter set that was in force when its packet was sent. What changes the packets themselves make,
and what a decoder loses by them, is in `changes`.
"""

from __future__ import annotations

from typing import NamedTuple

import av

from codecsieve.codec.decoder import MOST_HELD_BACK
from codecsieve.codec.facts import check_memory
from codecsieve.codec.nal import (
    SequenceParameters,
    find_sequence_parameters,
    first_sequence_parameters,
    nal_length_size,
    nal_units,
)
from codecsieve.codec.picture import PictureFormat, read_format, shown_window
from codecsieve.codec.source import PacketSource

MACROBLOCK = 16


class _Shown(NamedTuple):
    """What is shown of H.264's pictures, from one decode index on."""

    since: int
    sequence: SequenceParameters | None
    stated: tuple[int, int] | None
    """Width and height that the container states, as long as they are believed."""


class Layouts:
    """The layout of each picture of one pass over a source."""

    def __init__(self, source: PacketSource) -> None:
        facts = source.facts
        self._facts = facts
        self.uncropped = facts.codec == "h264"
        self._length_size = nal_length_size(facts.codec, source.stream.codec_context.extradata)
        self._shown = [_Shown(-1, facts.sequence, (facts.width, facts.height))]
        self._signs: tuple[object, ...] = ()
        self._layout: PictureFormat | None = None

    def sent(self, packet: av.Packet) -> None:
        """Look at a packet on its way to the decoder; its timestamp is its decode index."""
        if not self.uncropped or not packet.is_keyframe:
            return
        sequence = first_sequence_parameters(nal_units(memoryview(packet), self._length_size))
        if sequence is None and packet.has_sidedata("new_extradata"):
            sequence = find_sequence_parameters(bytes(packet.get_sidedata("new_extradata")), None)
        latest = self._shown[-1]
        if sequence is not None and sequence != latest.sequence:
            stated = latest.stated if latest.stated and crops_closer(latest.stated, sequence) else None
            self._shown.append(_Shown(int(packet.pts or 0), sequence, stated))
            del self._shown[:-MOST_HELD_BACK]  # those before are of pictures that were shown

    def of(self, frame: av.VideoFrame, index: int) -> PictureFormat:
        """The layout of a frame by its decode index: the very object of the frame before where nothing changed.

        Raises VideoError where it has changed to what would take too much memory.
        """
        shown = self._in_force(index)
        signs = frame.format.name, frame.width, frame.height, frame.colorspace, frame.color_range, shown
        if self._layout is None or signs != self._signs:
            self._signs = signs
            check_memory(self._facts, frame.format.name, frame.width, frame.height)
            layout = self._read(frame, shown)
            self._layout = self._layout if layout == self._layout else layout
        return self._layout

    def window(self, coded: tuple[int, int], index: int) -> tuple[int, int, int, int]:
        """Where the shown picture lies in a plane of width x height as it is decoded: top, left, height, width."""
        return shown_window(coded, *self._size(coded, self._in_force(index)))

    def _in_force(self, index: int) -> _Shown:
        return next(shown for shown in reversed(self._shown) if shown.since <= index)

    def _read(self, frame: av.VideoFrame, shown: _Shown) -> PictureFormat:
        size, sequence = self._size((frame.width, frame.height), shown)
        return read_format(frame, *size, sequence)

    def _size(self, coded: tuple[int, int], shown: _Shown) -> tuple[tuple[int, int], SequenceParameters | None]:
        """Width and height shown of a picture of a size, and the sequence that says how it is cropped."""
        sequence, stated = shown.sequence, shown.stated
        if not self.uncropped:
            return coded, None
        if sequence is None or (sequence.coded_width, sequence.coded_height) != coded:
            return stated if stated and macroblocks(stated) == macroblocks(coded) else coded, None
        return stated if stated and crops_closer(stated, sequence) else sequence.shown_size, sequence


def crops_closer(stated: tuple[int, int], sequence: SequenceParameters) -> bool:
    """Whether FFmpeg's decoder crops to the size (width, height) that the container states: it is no larger than the
    sequence's and has as many macroblocks. Where once it is not, it is not asked again (h264_slice.c,
    "handle container cropping").
    """
    shown = sequence.shown_size
    if sequence.crop_left or sequence.crop_top or macroblocks(stated) != macroblocks(shown):
        return False
    return stated[0] <= shown[0] and stated[1] <= shown[1]


def macroblocks(size: tuple[int, int]) -> tuple[int, int]:
    """Columns and rows of macroblocks in luma samples of width and height."""
    return -(-size[0] // MACROBLOCK), -(-size[1] // MACROBLOCK)
