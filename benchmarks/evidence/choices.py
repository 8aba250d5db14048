"""Which patches the sieve keeps of labelled clips, by its own options, from any stream of the same pictures.

The sieve's kernels score and select, on signals that are read once a clip; nothing here sees a label.
"""

from __future__ import annotations

import dataclasses
import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import av
import numpy as np

from benchmarks.evidence.candidates import Options
from codecsieve.codec.clip import ClipSignals, read_clip
from codecsieve.kernels.cpu.select import select_patches
from codecsieve.kernels.dispatch import score_patches
from codecsieve.kernels.rules import Measure, Scoring
from codecsieve.machine import available_cores
from codecsieve.pipelines.config import SieveConfig

SCORED_BY = [own.name for rules in (Scoring, Measure) for own in dataclasses.fields(rules)]
"""Options of the sieve that `score_patches` has, too."""
Chosen = dict[tuple[str, int], np.ndarray]
"""Indices kept, int32 [budget], by candidate and budget."""


@dataclass(frozen=True)
class Sampling:
    """What is sampled of a clip, and seen. slots: frames. size, patch: of the model's square, px."""

    slots: int
    size: int
    patch: int

    @property
    def frame(self) -> int:
        """Patches of a slot."""
        return (self.size // self.patch) ** 2


@dataclass(frozen=True)
class Stream:
    """A file that chooses, and the one whose frames are kept: the same but for clips that were encoded again."""

    path: Path
    source: Path

    def signals(self, kind: str, sampling: Sampling) -> ClipSignals:
        """Signals of this stream at the frames that the source's slots show."""
        if self.path == self.source:
            return _read(self.path, sampling.slots, kind, sampling)
        ids = _read(self.source, sampling.slots, "search", sampling).frame_ids
        frames = shown_frames(self.path)
        return pick(_read(self.path, frames, kind, sampling), np.minimum(ids, frames - 1))


def _read(path: Path, slots: int, kind: str, sampling: Sampling) -> ClipSignals:
    signals, _, exported = kind.partition(", ")
    fields = "off" if exported else "auto"
    return read_clip(path, slots, signals, size=sampling.size, patch=sampling.patch, decoder_fields=fields)


def shown_frames(path: Path) -> int:
    """Frames that a decoder puts out: AVI's empty packets, which show nothing, are not among them."""
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


def pick(every: ClipSignals, ids: np.ndarray) -> ClipSignals:
    """Signals of some frames out of those of all: the sampling of a source with empty packets, which counts them,
    cannot be had from a file encoded from it otherwise.
    """
    parts = {name: getattr(every, name)[ids] for name in ("frame_ids", "keyframe", "motion", "residual")}
    return dataclasses.replace(every, **parts)


def choose_all(
    streams: Sequence[Stream],
    kind: str,
    sampling: Sampling,
    candidates: dict[str, Options],
    budgets: Sequence[int],
) -> dict[tuple[str, int], list[np.ndarray]]:
    """What each candidate keeps of each clip by one kind of signals, on all cores.

    kind: `bitstream`, `search`, `difference`, `bits`, or `bitstream, exported` without what the decoder's fields tell.
    """
    work = partial(choose, kind=kind, sampling=sampling, candidates=candidates, budgets=budgets)
    with ProcessPoolExecutor(available_cores(), multiprocessing.get_context("spawn")) as pool:
        made = list(pool.map(work, streams, chunksize=4))
    return {key: [each[key] for each in made] for key in made[0]}


def choose(
    stream: Stream, kind: str, sampling: Sampling, candidates: dict[str, Options], budgets: Sequence[int]
) -> Chosen:
    """What each candidate keeps of one clip."""
    signals = stream.signals(kind, sampling)
    found: Chosen = {}
    for name, options in candidates.items():
        config = SieveConfig(sampling.slots, sampling.size, sampling.patch, k_keep=budgets[0], **options)
        scores = score(signals, config)
        for budget in budgets:
            # A static clip spends half of what it keeps on whole slots, as the published budget and its 4 slots are.
            whole = max(budget // sampling.frame // 2, 1)
            selection = dataclasses.replace(config, k_keep=budget, static_uniform_frames=whole).selection
            found[name, budget] = select_patches(scores, selection)
    return found


def score(signals: ClipSignals, config: SieveConfig) -> np.ndarray:
    """Scores of every patch of a clip, int64 [T, gh, gw], as the sieve makes them."""
    arrays = signals.motion, signals.residual, signals.keyframe
    how = {name: getattr(config, name) for name in SCORED_BY}
    return np.asarray(score_patches(*arrays, size=config.input_size, patch=config.patch_size, **how))
