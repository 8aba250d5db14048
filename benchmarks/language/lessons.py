"""What a tiny model learns from the clips of a cache, from one seed: tokens, lessons, and the questions at the end.

Clips and caches are made before; what accuracies of several seeds and arms say is left to `demo`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import ConcatDataset

from benchmarks.language.clips import Sizes
from benchmarks.language.clock import Clock
from benchmarks.language.crossings import SIDE
from benchmarks.language.mirrors import MirroredSamples, MirroredTokens, mirrors
from benchmarks.language.models import TowerTokens, tiny_models, tiny_tower
from benchmarks.language.questions import judge, learn
from benchmarks.language.thinned import ThinnedSamples
from codecsieve.cache import SparseCache, open_cache
from codecsieve.cache.features import FeatureCache
from codecsieve.pipelines.config import SieveConfig
from codecsieve.pipelines.language.chat import Conversation
from codecsieve.pipelines.language.conversations import Samples, read_conversations
from codecsieve.pipelines.language.training import Stage
from codecsieve.pipelines.learn.frozen import cached_features

_ALIGN = {"projector": 1e-3, "places": 1e-3}
_TUNE = {"projector": 2e-3, "places": 2e-3, "language_model": 2e-3}


@dataclass(frozen=True)
class Lesson:
    """A stage; what is asked in it: `ways`, or `train`, which is everything; the part of tokens that is left out."""

    asked: str
    stage: Stage
    thinned: float = 0.0


@dataclass(frozen=True)
class Recipe:
    """All that is chosen, on the validation split, and alike for both arms.

    drawing: seed of the clips; sieve: but for the policy; batch_size: conversations of a step; measured: clips whose
    tokens say what a channel's mean and deviation are.
    """

    sizes: Sizes = field(default_factory=Sizes)
    drawing: int = 1
    sieve: SieveConfig = field(
        default_factory=lambda: SieveConfig.preset("contrast", num_frames=48, input_size=SIDE, k_keep=108)
    )
    lessons: tuple[Lesson, ...] = (
        Lesson("ways", Stage(50, _ALIGN)),
        Lesson("ways", Stage(600, _TUNE, warm_up=0.1, weight_decay=0.01)),
        Lesson("train", Stage(1000, _TUNE, warm_up=0.1, weight_decay=0.01), thinned=0.2),
    )
    batch_size: int = 16
    measured: int = 256


def learn_seed(out: Path, arm: str, seed: int, recipe: Recipe, judged: str) -> dict[str, Any]:
    """One model, on one thread: whether each question of the split `judged` is answered right, the mean loss of the
    last tenth of each lesson, and seconds.

    out: with the cache `arm` and the conversations that `make_clips` writes; seed: of encoder, language model and
    order, so that what is learned from several caches differs by these alone.
    """
    torch.set_num_threads(1)
    clock = Clock(f"{arm}, seed {seed}, ")
    cache = open_cache(out / arm)
    said = {name: read_conversations(out / f"{name}.jsonl") for name in ("ways", "train", judged)}
    tower = TowerTokens(tiny_tower(seed, recipe.sieve.input_size, recipe.sieve.patch_size), "untrained")
    with clock.part("tokens"):
        lessons, asked, some = _see(out / f"{arm}-{seed}", cache, said, judged, tower, recipe)
    models = tiny_models(seed, some)
    losses = []
    for number, lesson in enumerate(recipe.lessons, start=1):
        with clock.part(f"lesson {number}"):
            samples = ThinnedSamples(lessons[lesson.asked], lesson.thinned, seed)
            (run,) = learn(models, samples, [lesson.stage], recipe.batch_size, seed)
        last = run[-max(1, len(run) // 10) :]
        losses.append(round(sum(last) / len(last), 4))
    with clock.part("questions"):
        right = judge(models, asked, 48)
    return {"right": right, "losses": losses, "seconds": clock.seconds}


def _see(
    folder: Path,
    cache: SparseCache,
    said: dict[str, list[Conversation]],
    judged: str,
    tower: TowerTokens,
    recipe: Recipe,
) -> tuple[dict[str, ConcatDataset[Any]], Samples, torch.Tensor]:
    """Tokens of all clips, of those to learn from in every mirror: samples of each lesson, those to be judged by, and
    tokens of some to learn from.
    """
    learned = [number for own in Samples(cache, said["train"]).numbers for number in own]
    seen = list(enumerate(mirrors(recipe.sieve.grid)))

    def tokens(number: int, clips: Sequence[int]) -> FeatureCache:
        return cached_features(cache, clips, MirroredTokens(tower, seen[number][1]), folder / str(number), 32)

    features = [tokens(number, learned) for number, _ in seen]
    lessons = {
        name: ConcatDataset(
            MirroredSamples(Samples(cache, said[name], features[number]), mirror) for number, mirror in seen
        )
        for name in ("ways", "train")
    }
    some = torch.from_numpy(features[0].read(learned[: recipe.measured]))
    return lessons, Samples(cache, said[judged], tokens(0, range(len(cache)))), some
