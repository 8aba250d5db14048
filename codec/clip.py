"""One clip from file to signals: sample, plan, decode, motion and residual, for each of its slots.

This is where `packets`, `plan`, `decode` and the kinds of signals meet. Scores and patches are made of the
result elsewhere.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from codecsieve.codec.bitstream import bitstream_signals
from codecsieve.codec.decode import Watch, decode_pictures
from codecsieve.codec.decoder_signals import DecoderSignals
from codecsieve.codec.fields import FIELD_CODECS
from codecsieve.codec.fields.proof import usable_table
from codecsieve.codec.fields.table import Table
from codecsieve.codec.packets import open_source
from codecsieve.codec.picture import Picture
from codecsieve.codec.plan import FrameSample, sample_frames
from codecsieve.codec.search import search_pictures, subtract_pictures, with_previous
from codecsieve.codec.signals import choose_signals
from codecsieve.codec.slots import SlotSignals
from codecsieve.codec.source import PacketSource, PacketTableError
from codecsieve.codec.spread import Spread
from codecsieve.errors import VideoError
from codecsieve.kernels.rules import Fit
from codecsieve.machine import MAX_MEMORY

Result = TypeVar("Result")


@dataclass(frozen=True, repr=False)
class ClipSignals:
    """What the codec, or block search, tells about a clip's slots."""

    frame_ids: np.ndarray
    """int64 [T]: display index in the file of the frame in each slot."""
    keyframe: np.ndarray
    """bool [T]: slots without a reference picture (intra pictures; for `search` the file's first frame): their
    motion and residual are 0 and their score is 0."""
    motion: np.ndarray
    """int16 [T, Hc, Wc, 2], quarter-pel, x then y, per 4x4 cell: from the frame to its list-0 reference picture
    (`bitstream`) or to the frame before (`search`). 0 in intra blocks."""
    residual: np.ndarray
    """uint8 [T, H, W]: abs(decoded luma - motion-compensated prediction). `bitstream`: the upright picture in full
    size; `search`: the model's crop, H = W = size. Where pictures change size, those of another than the first slot's
    are sampled at as many places, motion likewise; vectors stay those of their own picture."""
    signals: str
    """`bitstream`, `search`, `difference` or `bits`: what was used."""
    pictures_decoded: int
    """Pictures that the decoder put out for this clip."""
    frames_in_clip: int
    """Frames between start and end."""

    def __repr__(self) -> str:
        return (
            f"ClipSignals of {len(self.frame_ids)} slots, {int(self.keyframe.sum())} of them without a reference, by "
            f"{self.signals}\n"
            f"  motion     {self.motion.dtype} {list(self.motion.shape)}, quarter-pel\n"
            f"  residual   {self.residual.dtype} {list(self.residual.shape)}\n"
            f"  frames     {self.frames_in_clip} in the clip, {self.pictures_decoded} pictures decoded"
        )


class ClipDecoder:
    """One pass over a clip. Use as a context manager; iterate `slots` once, then read the counters."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        num_frames: int,
        signals: str,
        start: float | None = None,
        end: float | None = None,
        believe: bool = True,
        max_memory: int = MAX_MEMORY,
        spread: Spread = Spread(),  # noqa: B008  # it is frozen
        decoder_fields: str = "auto",
    ) -> None:
        """Open a clip and choose its frames; `believe`, `max_memory`: see `packets.open_source`; `decoder_fields`: of
        DECODER_FIELDS.

        Raises:
            ConfigError: the decoder's fields must be read, and cannot be.
            VideoError: the file cannot be used, or has no frame in the range.
            ValueError: an option is out of range.
        """
        self.path = os.fspath(path)
        self.source: PacketSource = open_source(self.path, believe, max_memory)
        self.pictures_decoded = 0
        try:
            facts = self.source.facts
            reads = facts.codec in FIELD_CODECS and signals in ("auto", "bitstream", "bits")
            self.table = usable_table(decoder_fields if reads else "off")
            self.signals = choose_signals(facts, signals, self.table is not None)
            pairs = self.signals in ("search", "difference")
            self.sample: FrameSample = sample_frames(self.source, num_frames, start, end, spread, pairs)
        except BaseException:
            self.source.close()
            raise

    def __enter__(self) -> ClipDecoder:
        return self

    def __exit__(self, *_: object) -> None:
        self.source.close()

    def slots(self, size: int, fit: Fit = "crop") -> Iterator[SlotSignals]:
        """Signals of each distinct frame that some slot shows, as far as it can be decoded, nearly in order.

        size, fit: of the model's square, see `Geometry`, for signals that are made of what it shows.
        """
        wanted = np.unique(self.sample.frame_ids)
        decoded = with_previous(wanted) if self.signals in ("search", "difference") else wanted
        return slot_signals(
            self.source,
            self.signals,
            self.table,
            set(wanted.tolist()),
            lambda motion, watch: self._count(decode_pictures(self.source, decoded, motion, watch)),
            size,
            fit,
        )

    def _count(self, pictures: Iterator[Picture]) -> Iterator[Picture]:
        for picture in pictures:
            self.pictures_decoded += 1
            yield picture

    def nearest_decoded(self, decoded: list[int]) -> np.ndarray:
        """int64 [T]: the frame to show in each slot: its own, or where that was lost the nearest that decoded.

        Raises VideoError where nothing decoded.
        """
        if not decoded:
            raise VideoError(f"{self.path}: no picture could be decoded; the file is damaged or cut short")
        have = np.array(sorted(decoded))
        after = np.minimum(np.searchsorted(have, self.sample.frame_ids), len(have) - 1)
        before = np.maximum(after - 1, 0)
        ids = self.sample.frame_ids
        return np.where(np.abs(have[before] - ids) <= np.abs(have[after] - ids), have[before], have[after])


def slot_signals(
    source: PacketSource,
    signals: str,
    table: Table | None,
    chosen: Container[int],
    decode: Callable[[bool, Watch | None], Iterator[Picture]],
    size: int,
    fit: Fit = "crop",
) -> Iterator[SlotSignals]:
    """Signals of the chosen pictures among those that are decoded, nearly in order.

    Args:
        source: whose pictures they are.
        signals: `bitstream`, `search`, `difference` or `bits`.
        table: where the decoder's own fields are read, how.
        chosen: display indices.
        decode: gives the pictures, with motion vectors if so asked, and has each packet watched.
        size, fit: of the model's square, see `Geometry`, for signals that are made of what it shows.
    """
    if table is not None:
        with DecoderSignals(source, chosen, table, spent=signals == "bits") as made:
            pictures = decode(False, made.watch)
            yield from (made.slot(shown) for shown in pictures if shown.display_index in chosen)
    elif signals == "bitstream":
        references = source.facts.sequence.reference_frames if source.facts.sequence else 1
        yield from bitstream_signals(decode(True, None), chosen, source.facts.codec, references)
    else:
        compare = search_pictures if signals == "search" else subtract_pictures
        yield from compare(decode(False, None), chosen, size, fit)


def read_clip(
    path: str | os.PathLike[str],
    num_frames: int = 64,
    signals: str = "auto",
    start: float | None = None,
    end: float | None = None,
    size: int = 224,
    patch: int = 14,
    decoder_fields: str = "auto",
) -> ClipSignals:
    """Motion and residual of a clip's sampled frames.

    Args:
        path: a video file.
        num_frames: T, slots spread evenly over the clip's frames; repeats where it has fewer.
        signals: `bitstream` (the codec's own motion, exact residual: H.264, HEVC, MPEG-4, MPEG-1/2), `search` (block
            matching at the model's resolution, any codec), `difference` (what changed since the frame before), `bits`
            (what the encoder spent, as residual, and no motion: `kernels.reference.steps`), or `auto`.
        start: seconds from the file's first frame; None: from the beginning.
        end: seconds, exclusive; None: to the end.
        size: side of the model's crop, for `search`.
        patch: side of a patch; `size` must be a multiple of it.
        decoder_fields: whether to read what the decoder keeps in memory (`codec.fields`): `auto`, `on`, `off`.

    Returns:
        ClipSignals.

    Raises:
        VideoError: the file cannot be used: one line that names it and says what to do.
        ValueError: an option is out of range.
    """
    if size <= 0 or patch <= 0 or size % patch:
        raise ValueError(f"size ({size}) must be a positive multiple of patch ({patch})")
    return in_true_order(
        lambda believe: _read_clip(path, num_frames, signals, start, end, size, believe, decoder_fields)
    )


def in_true_order(decode: Callable[[bool], Result]) -> Result:
    """What a pass over a clip gives that believes its packet table; where that turns out wrong, one that does not."""
    try:
        return decode(True)
    except PacketTableError:
        return decode(False)


def _read_clip(
    path: str | os.PathLike[str],
    num_frames: int,
    signals: str,
    start: float | None,
    end: float | None,
    size: int,
    believe: bool,
    decoder_fields: str,
) -> ClipSignals:
    with ClipDecoder(path, num_frames, signals, start, end, believe, decoder_fields=decoder_fields) as clip:
        # The pictures themselves are let go at once: only their signals are wanted.
        signals_of = {s.picture.display_index: (s.motion, s.residual, s.predicted) for s in clip.slots(size)}
        ids = clip.nearest_decoded(list(signals_of))
        motion, residual, predicted = zip(*(signals_of[index] for index in ids.tolist()), strict=True)
        return ClipSignals(
            frame_ids=ids,
            keyframe=~np.array(predicted, bool),
            motion=np.stack([_sampled(part, *motion[0].shape[:2]) for part in motion]),
            residual=np.stack([_sampled(part, *residual[0].shape) for part in residual]),
            signals=clip.signals,
            pictures_decoded=clip.pictures_decoded,
            frames_in_clip=clip.sample.frames,
        )


def _sampled(values: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Values [H, W, ...] at rows x columns places spread over them: as they are where they are as many."""
    if values.shape[:2] == (rows, columns):
        return values
    y, x = np.arange(rows) * values.shape[0] // rows, np.arange(columns) * values.shape[1] // columns
    return values[y[:, None], x]
