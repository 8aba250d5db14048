"""The labelled clips in memory for the selection probe, and the scores of their patches, which all cores make."""

from __future__ import annotations

import dataclasses
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import numpy as np

from benchmarks.evidence.labels import read_labels
from benchmarks.evidence.policies import ONEVISION
from benchmarks.evidence.scores import Scoring, score_clip
from benchmarks.evidence.tokens import FRAME, PATCH, SIZE, clip_tokens
from codecsieve.codec.clip import read_clip
from codecsieve.machine import available_cores

AXES = 256
"""Principal axes of the tokens that the attentive probe sees: 1,280 would take five times as long."""


@dataclass(frozen=True)
class Clips:
    """All that the probe needs of the clips. tokens: float16 [n, T, 49, 1280]. difference: uint8 [n, T, 224, 224]."""

    paths: list[Path]
    labels: np.ndarray
    groups: np.ndarray
    names: list[str]
    tokens: np.ndarray
    difference: np.ndarray
    shapes: np.ndarray
    work: Path

    @cached_property
    def slots(self) -> int:
        return self.tokens.shape[1]

    @classmethod
    def read(cls, videos: Path, work: Path, slots: int) -> Clips:
        """Read the clips, and make what is not in `work` yet."""
        clips, names = read_labels(videos)
        made = list(clip_tokens(clips, slots, work))
        return cls(
            [clip.path for clip in clips],
            np.array([clip.label for clip in clips]),
            np.array([clip.group for clip in clips]),
            names,
            np.stack([clip.tokens for clip in made]),
            np.stack([clip.difference for clip in made]),
            np.stack([clip.shape for clip in made]),
            work,
        )

    def pooled(self, indices: list[np.ndarray]) -> np.ndarray:
        """Mean of the chosen tokens of each clip: float32 [n, 1280]."""
        flat = self.tokens.reshape(len(self.paths), -1, self.tokens.shape[-1])
        return np.stack(
            [clip[chosen].mean(axis=0, dtype=np.float32) for clip, chosen in zip(flat, indices, strict=True)]
        )

    def places(self, indices: list[np.ndarray]) -> np.ndarray:
        """How many of the chosen tokens are in each cell of the grid and each eighth of the clip: float64 [n, 57]."""
        cells = [np.bincount(chosen % FRAME, minlength=FRAME) for chosen in indices]
        times = [np.bincount(chosen // FRAME * 8 // self.slots, minlength=8) for chosen in indices]
        return np.hstack([cells, times]).astype(np.float64)

    def chosen(self, indices: list[np.ndarray]) -> np.ndarray:
        """The chosen tokens themselves, on the axes: float32 [n, K, AXES]."""
        flat = self.tokens.reshape(len(self.paths), -1, self.tokens.shape[-1])
        pairs = zip(flat, indices, strict=True)
        return np.stack([clip[chosen].astype(np.float32) @ self.axes for clip, chosen in pairs])

    @cached_property
    def axes(self) -> np.ndarray:
        """Principal axes of an even sample of all tokens, whatever their labels: float32 [1280, AXES]."""
        sample = self.tokens.reshape(-1, self.tokens.shape[-1])[::37].astype(np.float32)
        return np.linalg.eigh(np.cov(sample.T))[1][:, ::-1][:, :AXES].astype(np.float32)


def all_scores(clips: Clips, scorings: set[Scoring]) -> dict[Scoring, np.ndarray]:
    """Scores [n, T, 7, 7] of each scoring; what was made before is read from the work folder."""
    files = {scoring: clips.work / f"{clips.slots}-{scoring.slug}.npy" for scoring in scorings}
    missing = [scoring for scoring, file in files.items() if not file.exists()]
    if missing:
        with ProcessPoolExecutor(available_cores(), multiprocessing.get_context("spawn")) as pool:
            made = list(pool.map(partial(score_file, scorings=missing), clips.paths, clips.difference))
        for scoring, scores in zip(missing, zip(*made, strict=True), strict=True):
            np.save(files[scoring], np.stack(scores))
    return {scoring: np.load(file, allow_pickle=False) for scoring, file in files.items()}


def score_file(path: Path, difference: np.ndarray, scorings: list[Scoring]) -> list[np.ndarray]:
    """Scores [T, 7, 7] of one video by each scoring; difference: uint8 [T, 224, 224]."""
    signals = {name: read_clip(path, len(difference), name, size=SIZE, patch=PATCH) for name in ONEVISION}
    signals["difference"] = dataclasses.replace(signals["search"], residual=difference)
    return [score_clip(signals[scoring.signals], scoring, SIZE, PATCH) for scoring in scorings]
