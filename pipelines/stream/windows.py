"""A window that slides along pictures: scores and crops of the last T, and at any time what is kept of them.

A picture is scored once, when it comes in. Its crop is held while it is in the window, and a patch is cut out of that
the first time that it is kept: windows that overlap share both. Which patches are kept, `sieve` says.
"""

from __future__ import annotations

import itertools
from collections import deque
from dataclasses import dataclass

import numpy as np

from codecsieve.codec.live import Arrival, LiveDecoder, LiveSource
from codecsieve.codec.memory import HELD_BYTES
from codecsieve.codec.plan import FrameSample
from codecsieve.codec.slots import SlotSignals
from codecsieve.codec.upright import upright_size
from codecsieve.pipelines.config import SieveConfig
from codecsieve.pipelines.sieve.crops import Crop, cut_patches, slot_corners, view_crop
from codecsieve.pipelines.sieve.kept import SievedClip, assemble_clip, select_from
from codecsieve.pipelines.sieve.scores import ClipScores


@dataclass(frozen=True, repr=False)
class StreamWindow:
    """A selection of consecutive frames of a stream."""

    number: int
    """0 for a stream's first window."""
    times: np.ndarray
    """float64 [T]: presentation time of each slot's frame, seconds by the source's own clock; NaN where it has none."""
    selection: SievedClip
    """What `codecsieve.sieve` gives of these frames; `frame_ids` count from the stream's first frame."""
    notes: tuple[str, ...]
    """What was not as it should be, a line each: damage, packets not decoded, changes of size or clock."""

    @property
    def start(self) -> float | None:
        """Presentation time of its first frame; None where there is none."""
        return None if np.isnan(self.times[0]) else float(self.times[0])

    def __repr__(self) -> str:
        at = "no time" if self.start is None else f"{self.start:.3f} s"
        ids = self.selection.frame_ids
        notes = "".join(f"\n  {note}" for note in self.notes)
        return f"StreamWindow {self.number}: frames {ids[0]} to {ids[-1]}, from {at}{notes}\n{self.selection!r}"


class SlidingWindow:
    """The last T slots of a stream."""

    def __init__(self, live: LiveDecoder, config: SieveConfig, pixels: bool) -> None:
        """pixels: whether patches are cut out. Raises VideoError where what is held takes more memory than it may."""
        self._live, self._config, self._pixels = live, config, pixels
        self._scores = ClipScores(self._clip(np.arange(config.num_frames)), config)
        self._slots: deque[_Slot] = deque()

    def add(self, slot: SlotSignals, arrival: Arrival) -> None:
        """Take in a picture, and let the oldest go."""
        if len(self._slots) == self._config.num_frames:
            self._scores.forget(self._slots.popleft().index)
        self._scores.add(slot)
        patches = self._hold(slot) if self._pixels else None
        self._slots.append(_Slot(slot.picture.display_index, upright_size(slot.picture), arrival, patches))

    def select(self, number: int) -> StreamWindow:
        """What is kept of the window, which must be full; number: the window's."""
        slots, config = list(self._slots), self._config
        ids = np.array([slot.index for slot in slots])
        scores = self._scores.of(ids)
        indices = select_from(scores, config)
        selection = assemble_clip(
            self._clip(ids),
            config,
            ids,
            scores,
            indices,
            self._cut(slots, indices),
            slots[0].size,
            "ffmpeg",
        )
        times = np.array([np.nan if slot.arrival.seconds is None else slot.arrival.seconds for slot in slots])
        return StreamWindow(number, times, selection, tuple(_notes(slots, times)))

    def _clip(self, ids: np.ndarray) -> _WindowClip:
        """The clip that frames `ids` are, from the first to the last."""
        sample = FrameSample(ids, int(ids[-1] - ids[0]) + 1, int(ids[0]))
        return _WindowClip(self._live.source, sample, self._live.signals, self._live.pictures_decoded)

    def _hold(self, slot: SlotSignals) -> SlotPatches:
        config = self._config
        crop = view_crop(slot.picture, config.input_size, config.patch_size, config.fitting)
        if crop.nbytes * config.num_frames <= HELD_BYTES:
            return SlotPatches(crop.copied(np.ndarray.copy), config.grid)
        patches = SlotPatches(crop, config.grid)  # a window with more to hold has its slots resized whole as they come
        patches.cut_all()
        return patches

    def _cut(self, slots: list[_Slot], indices: np.ndarray) -> np.ndarray:
        side, a_slot = self._config.patch_size, self._config.grid**2
        patches = np.empty((len(indices) if self._pixels else 0, 3, side, side), np.uint8)
        edges = np.searchsorted(indices, np.arange(len(slots) + 1) * a_slot)
        for number, slot in enumerate(slots):
            here = slice(edges[number], edges[number + 1])
            if slot.patches is not None and here.start < here.stop:
                patches[here] = slot.patches.of(indices[here] % a_slot)
        return patches


@dataclass(frozen=True)
class _WindowClip:
    """A window as `sieve` knows clips."""

    source: LiveSource
    sample: FrameSample
    signals: str
    pictures_decoded: int


@dataclass(frozen=True)
class _Slot:
    index: int
    size: tuple[int, int]
    arrival: Arrival
    patches: SlotPatches | None


class SlotPatches:
    """The patches of one picture, each cut out when it is first asked for."""

    def __init__(self, crop: Crop, grid: int) -> None:
        self._crop: Crop | None = crop
        self._corners = slot_corners(grid, crop.patch)
        self._pixels = np.empty((grid * grid, 3, crop.patch, crop.patch), np.uint8)
        self._is_cut = np.zeros(grid * grid, bool)

    def of(self, places: np.ndarray) -> np.ndarray:
        """uint8 [n, 3, P, P]: those at places row * grid + column."""
        new = places[~self._is_cut[places]]
        if self._crop is not None and len(new):
            self._pixels[new] = cut_patches(self._crop, self._corners[new])
            self._is_cut[new] = True
        return self._pixels[places]

    def cut_all(self) -> None:
        """Cut all of them, and let go of the crop."""
        self.of(np.arange(len(self._is_cut)))
        self._crop = None


def _notes(slots: list[_Slot], times: np.ndarray) -> list[str]:
    notes = []
    damaged = [slot.index for slot in slots if slot.arrival.damaged]
    if damaged:
        notes.append(f"{len(damaged)} frames are damaged, or may be predicted of such, from frame {damaged[0]} on")
    refused = slots[-1].arrival.refused - slots[0].arrival.refused
    if refused:
        notes.append(f"{refused} packets could not be decoded")
    for before, after in itertools.pairwise(slots):
        if before.size != after.size:
            (old_rows, old_columns), (rows, columns) = before.size, after.size
            notes.append(f"size changes from {old_columns}x{old_rows} to {columns}x{rows} at frame {after.index}")
    back = np.flatnonzero(np.diff(times) <= 0)
    if len(back):
        notes.append(f"time goes back at frame {slots[back[0] + 1].index}")
    return notes
