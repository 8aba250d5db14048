"""Scores of a clip's slots as they come: at once, or, where the clip's percentiles count, when it is through.

Only then is anything held, see `codecsieve.kernels.cpu.held`. Which of the scored patches are kept is left to `kept`.
"""

from __future__ import annotations

from collections import Counter

import numpy as np

from codecsieve.codec.facts import check_memory
from codecsieve.codec.memory import further_bytes, signal_bytes
from codecsieve.codec.slots import SlotSignals
from codecsieve.kernels.cpu.energy import held_scores, slot_scores
from codecsieve.kernels.cpu.held import HeldSlot, clip_limits, hold_slot
from codecsieve.kernels.geometry import Geometry, center_table, geometry
from codecsieve.kernels.reference.energy import fuse_weights
from codecsieve.pipelines.config import SieveConfig
from codecsieve.pipelines.sieve.kept import Decoded, without_spare


class ClipScores:
    """Scores of the pictures that a clip's slots show. Each is added once, in any order."""

    def __init__(self, clip: Decoded, config: SieveConfig) -> None:
        """Score a clip by a configuration.

        Raises VideoError where it takes more memory than it may, for what is held until its end.
        """
        self._config, self._sample = config, clip.sample
        self._scores: dict[int, np.ndarray] = {}
        self._held: dict[int, HeldSlot] = {}
        facts, pictures = clip.source.facts, len(np.unique(clip.sample.frame_ids))
        shape = facts.pixel_format, facts.width, facts.height
        held = further_bytes(*shape, pictures, config.input_size, config.fitting)
        held += signal_bytes(*shape[1:], pictures, config.fitting) if config.scale == "clip" else 0
        if held:
            check_memory(facts, *shape, held=held)

    def add(self, slot: SlotSignals) -> None:
        """Take in a picture's signals, which may be let go then."""
        config, index = self._config, slot.picture.display_index
        if config.scale == "clip" and slot.predicted:
            grids = _grids(slot, config)
            self._held[index] = hold_slot(slot.motion, slot.residual, grids, config.mv_compensate, config.measure)
        else:
            self._scores[index] = score_slot(slot, config)

    def forget(self, index: int) -> None:
        """Let go of a picture, which no slot shows any more."""
        self._scores.pop(index, None)
        self._held.pop(index, None)

    @property
    def pictures(self) -> list[int]:
        """Display indices of what was added."""
        return [*self._scores, *self._held]

    def of(self, ids: np.ndarray) -> np.ndarray:
        """Scores of slots that show these pictures, int64 [T, gh, gw]; a clip's percentiles are those of its slots."""
        seen = ids[: len(ids) - self._sample.spare]
        shown = Counter(index for index in seen.tolist() if index in self._held)
        scores = dict(self._scores)
        if shown:
            limits = clip_limits([self._held[index] for index in shown], list(shown.values()))
            for index in shown:
                held = self._held[index]
                scores[index] = held_scores(held, limits, *_fusing(held.geometry, self._config))
        return without_spare(np.stack([scores[index] for index in ids.tolist()]), self._sample)


def score_slot(slot: SlotSignals, config: SieveConfig) -> np.ndarray:
    """Scores of one slot's patches, as if it were the clip: int64 [gh, gw], see `score_patches`; 0 where it has no
    prediction, but for padding.
    """
    grids = _grids(slot, config)
    if not slot.predicted:
        return grids.unscored
    table, fuse, weights = _fusing(grids, config)
    return slot_scores(slot.motion, slot.residual, grids, table, config.mv_compensate, fuse, weights, config.measure)


def _grids(slot: SlotSignals, config: SieveConfig) -> Geometry:
    return geometry(*slot.residual.shape, config.input_size, config.patch_size, config.fitting)


def _fusing(grids: Geometry, config: SieveConfig) -> tuple[np.ndarray, str, tuple[int, int]]:
    table = center_table(grids, config.center_prior, config.center_sigma)
    return table, config.fused, fuse_weights(config.w_mv, config.w_res)
