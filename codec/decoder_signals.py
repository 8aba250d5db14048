"""`bitstream` and `bits` signals of what the decoder itself knows: every block's true vectors and reference pictures.

Right after a picture is decoded, its motion and its reference pictures lie in the decoder's memory (`fields`): its
residual is made there and then, of nothing that must be guessed, and nothing has to be kept for it. The arithmetic is
in `kernels`. Where the fields cannot be read, `bitstream` makes such signals of what FFmpeg exports.
"""

from __future__ import annotations

from collections.abc import Container
from types import TracebackType
from typing import NamedTuple

import av
import numpy as np

from codecsieve.codec.decoder import MOST_HELD_BACK
from codecsieve.codec.fields.coded import FRAME, CodedBlocks, CodedPicture, Prediction
from codecsieve.codec.fields.memory import FieldsError
from codecsieve.codec.fields.reader import FieldReader
from codecsieve.codec.fields.table import Table
from codecsieve.codec.layouts import Layouts
from codecsieve.codec.picture import Picture
from codecsieve.codec.slots import SlotSignals
from codecsieve.codec.source import PacketSource
from codecsieve.codec.upright import upright_motion, upright_residual, upright_size
from codecsieve.errors import VideoError
from codecsieve.kernels.cpu.compensate import compensated_residual
from codecsieve.kernels.cpu.steps import coded_steps
from codecsieve.kernels.cpu.units import h264_units, hevc_units, list_motion
from codecsieve.kernels.geometry import CELL
from codecsieve.kernels.reference.compensate import UNIT
from codecsieve.kernels.reference.units import H264Motion

Window = tuple[int, int, int, int]
"""Top, left, height and width of the shown picture in the coded one, luma samples."""


class Made(NamedTuple):
    """Motion and residual of one picture as coded: as in SlotSignals, not yet turned."""

    motion: np.ndarray
    residual: np.ndarray


class DecoderSignals:
    """Makes the signals of the wanted pictures of one pass over a source. Use as a context manager.

    `decode_pictures` is given `watch`; for each wanted picture that it puts out, `slot` gives the signals.
    """

    def __init__(self, source: PacketSource, wanted: Container[int], table: Table, spent: bool = False) -> None:
        """wanted: display indices; table: offsets of the libavcodec in use, which has proved itself; spent: make `bits`
        signals, of no motion, and what the encoder spent for residual.
        """
        self._source, self._wanted, self._table, self._spent = source, wanted, table, spent
        self._reader: FieldReader | None = None
        self._made: dict[int, Made] = {}
        sequence = source.facts.sequence
        self._fields = sequence is not None and not sequence.frame_macroblocks_only
        self._latest: int | None = None
        self._read = 0
        self._wrong: FieldsError | None = None

    def __enter__(self) -> DecoderSignals:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._reader is not None:
            self._reader.close()

    def watch(self, decoder: av.VideoCodecContext, index: int, display: int, layouts: Layouts) -> None:
        """Look at what the decoder has of a packet's picture, see `decode.Watch`."""
        wanted = display in self._wanted or not self._source.ordered
        try:
            self._reader = self._reader or FieldReader(decoder, self._table)
            if self._fields and self._latest is not None and self._reader.holds(self._latest):
                index = self._latest  # the packet brought the second field of that picture
            elif not wanted:
                self._latest = None
                return
            self._latest = index
            coded = self._reader.read(index)
            blocks = self._reader.blocks(index) if coded is not None and self._spent else None
        except FieldsError as wrong:
            self._wrong = wrong
            return
        self._read += 1
        if coded is not None:
            window = shown_part(coded, decoder, index, layouts)
            made = make_signals(coded, window)
            self._made[index] = made if blocks is None else spend(made, blocks, window)
            if len(self._made) > MOST_HELD_BACK:  # of a picture that is never shown
                del self._made[next(iter(self._made))]

    def slot(self, picture: Picture) -> SlotSignals:
        """Signals of a picture. One of which the decoder knows nothing that holds together, as of a damaged one, is
        unpredicted.

        Raises VideoError where that is so of all until now.
        """
        made, layout = self._made.pop(picture.decode_index, None), picture.layout
        if self._wrong is not None and not self._read:
            raise VideoError(
                f"{self._source.facts.path}: what its decoder knows cannot be read ({self._wrong}); "
                "use --decoder-fields off"
            )
        if made is None or made.residual.shape != (layout.height, layout.width):
            return SlotSignals.unpredicted(picture, *upright_size(picture))
        motion = upright_motion(made.motion, layout.height, layout.width, layout.orientation)
        return SlotSignals(picture, motion, upright_residual(made.residual, layout.orientation), predicted=True)


def shown_part(coded: CodedPicture, decoder: av.VideoCodecContext, index: int, layouts: Layouts) -> Window:
    """Where the shown picture will lie in the coded one, once the decoder puts it out."""
    if layouts.uncropped:
        return layouts.window((coded.width, coded.height), index)
    top, bottom, left, right = coded.crop
    # FFmpeg cuts no more from the left than keeps all planes aligned to 32 bytes (av_frame_apply_cropping).
    samples = decoder.format
    grey = samples is None or len(samples.components) < 3
    subsampled = 0 if samples is None or grey else (8 // samples.chroma_width(8)).bit_length() - 1
    kept = 5 - (coded.bit_depth > 8) + subsampled
    left = left >> kept << kept
    return top, left, coded.height - top - bottom, coded.width - left - right


def make_signals(coded: CodedPicture, window: Window) -> Made:
    """Motion and residual of the shown part of a coded picture."""
    top, left, height, width = window
    if len(coded.predictions) == 1 and coded.predictions[0].rows == FRAME:
        return _frame_signals(coded, coded.predictions[0], window)
    motion = np.zeros((-(-height // CELL), -(-width // CELL), 2), np.int16)
    residual: np.ndarray | None = None
    for part in reversed(coded.predictions):  # where there are fields, the top one's motion is the one to see
        vectors, entries = units_of(part)
        lines = 1 if part.rows == FRAME else 2
        list_motion(vectors, entries, lines, top, left, motion)
        if part.rows == FRAME:
            own = _residual(coded, part, vectors, entries, window)
            residual = own if residual is None else np.maximum(residual, own)
        else:
            residual = np.zeros((height, width), np.uint8) if residual is None else residual
            # Lines of the other field, above the first that is shown, count half.
            first, last = (top - part.rows + 1) // 2, (top + height - 1 - part.rows) // 2
            own = _residual(coded, part, vectors, entries, (first, left, last + 1 - first, width))
            residual[2 * first + part.rows - top :: 2] = own
    assert residual is not None
    return Made(motion, residual)


def _frame_signals(coded: CodedPicture, part: Prediction, window: Window) -> Made:
    """The same where there are no fields: a frame's units are the cells, and have vectors of 0 where there is none."""
    top, left, height, width = window
    vectors, entries = units_of(part)
    rows = slice(top // UNIT, top // UNIT - (-height // CELL))
    columns = slice(left // UNIT, left // UNIT - (-width // CELL))
    motion = np.ascontiguousarray(vectors.view(np.int32)[rows, columns, 0]).view(np.int16)  # a vector as one number
    return Made(motion, _residual(coded, part, vectors, entries, window))


def units_of(part: Prediction) -> tuple[np.ndarray, np.ndarray]:
    """Vectors and entries of a Prediction's units: what `motion.units()` gives, faster."""
    if isinstance(part.motion, H264Motion):
        return h264_units(*part.motion)
    return hevc_units(*part.motion)


def spend(made: Made, blocks: CodedBlocks, window: Window) -> Made:
    """`bits` signals, out of `bitstream` ones."""
    steps = coded_steps(made.residual, blocks.coefficients, blocks.quantiser, window[0], window[1])
    return Made(np.zeros_like(made.motion), steps)


def _residual(
    coded: CodedPicture, part: Prediction, vectors: np.ndarray, entries: np.ndarray, window: Window
) -> np.ndarray:
    return compensated_residual(
        part.picture, part.references, part.plane_of, vectors, entries, part.weights,
        window, coded.width, coded.filter, coded.bit_depth,
    )  # fmt: skip
