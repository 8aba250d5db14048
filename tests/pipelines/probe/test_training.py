"""Training a probe: it learns what there is to learn, and ends the same however it was cut off or shared out."""

from __future__ import annotations

import copy
import dataclasses
import json
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cache_cases import fill, names
from forked import killed_copy
from gloo import on_processes
from torch import Tensor

import codecsieve.files as publishing
from codecsieve.cache import open_cache
from codecsieve.cache.features import FeatureCache
from codecsieve.encoder import EncoderConfig, OneVisionEncoder
from codecsieve.errors import CacheError, ConfigError
from codecsieve.pipelines.learn.checkpoint import read_checkpoint, write_checkpoint
from codecsieve.pipelines.learn.frozen import FrozenEncoder, cached_features
from codecsieve.pipelines.learn.ranks import Ranks
from codecsieve.pipelines.probe.config import ProbeConfig
from codecsieve.pipelines.probe.tokens import LabelledTokens
from codecsieve.pipelines.probe.training import (
    BEST,
    LAST,
    Trained,
    Training,
    evaluate,
    load_probes,
    train_probes,
)

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]

DIM, COUNT = 64, 4
RUN = ProbeConfig(learning_rates=(1e-4, 1e-3), seeds=(0, 1), epochs=4, batch_size=8)


def toy(clips: int, seed: int, shuffled: bool = False) -> LabelledTokens:
    """Clips of 6 tokens, all noise but one, which tells the class."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, COUNT, clips)
    tokens = random.normal(size=(clips, 6, DIM))
    tokens[np.arange(clips), random.integers(0, 6, clips)] += np.random.default_rng(99).normal(
        scale=2.5, size=(COUNT, DIM)
    )[labels]
    if shuffled:
        labels = random.permutation(labels)
    kept = tokens.astype(np.float16)
    return LabelledTokens(lambda numbers: kept[list(numbers)], torch.tensor(labels))


def toy_of_several(clips: int, seed: int) -> LabelledTokens:
    """Clips of 8 tokens, all noise but one for each class that they show."""
    random = np.random.default_rng(seed)
    shown = random.random((clips, COUNT)) < 0.4
    tokens = random.normal(size=(clips, 8, DIM))
    signs = np.random.default_rng(99).normal(scale=3.5, size=(COUNT, DIM))
    tokens[:, :COUNT] += shown[..., None] * signs
    kept = tokens.astype(np.float16)
    return LabelledTokens(lambda numbers: kept[list(numbers)], torch.tensor(shown))


def train(out: Path, config: ProbeConfig = RUN, ranks: Ranks | None = None, **options: Any) -> Trained:
    """45 clips: a last step that is not full."""
    return train_probes(toy(45, 0), toy(31, 1), COUNT, config, out, ranks=ranks, **options)


def weights(path: Path) -> dict[str, Tensor]:
    return read_checkpoint(path)[0]


def assert_same(one: Path, other: Path) -> None:
    """Bit for bit, weights, optimizer, history and choice."""
    for name in (LAST, BEST):
        (mine, state), (expected, expected_state) = read_checkpoint(one / name), read_checkpoint(other / name)
        assert mine.keys() == expected.keys()
        assert all(torch.equal(mine[key], expected[key]) for key in mine)
        assert state == expected_state


# --- learning


def test_separable_classes_are_all_told_apart(tmp_path: Path) -> None:
    config = ProbeConfig(learning_rates=(1e-5, 1e-3), epochs=10)
    trained = train_probes(toy(160, 0), toy(80, 1), COUNT, config, tmp_path)
    assert trained.choice["learning_rate"] == 1e-3
    (scores,) = evaluate(trained.best, toy(80, 2), 16, Ranks()).scores()
    assert scores.top1 == scores.top5 == 1
    assert scores.clips == 80


def test_clips_of_several_classes_are_told_by_each_of_them(tmp_path: Path) -> None:
    config = ProbeConfig(learning_rates=(1e-5, 1e-3), epochs=10)
    trained = train_probes(toy_of_several(160, 0), toy_of_several(80, 1), COUNT, config, tmp_path)
    assert trained.choice["learning_rate"] == 1e-3
    assert trained.choice["mean_ap"] == max(probe["mean_ap"] for look in trained.history for probe in look["probes"])
    counted = evaluate(trained.best, toy_of_several(80, 2), 16, Ranks())
    (scores,) = counted.scores()
    assert scores.mean_ap is not None
    assert scores.mean_ap > 0.9
    assert [one["clips"] for one in counted.per_class()] == toy_of_several(80, 2).labels.sum(0).tolist()
    assert np.mean([one["average_precision"] for one in counted.per_class()]) == pytest.approx(scores.mean_ap)


def test_each_epoch_takes_the_next_view_and_logits_are_averaged_over_all(tmp_path: Path) -> None:
    taken: list[int] = []

    def view(number: int, split: LabelledTokens) -> Callable[[Sequence[int]], np.ndarray]:
        def read(clips: Sequence[int]) -> np.ndarray:
            taken.append(number)
            return split.read(clips)

        return read

    one, two, three = (toy(20, seed) for seed in range(3))
    train_split = LabelledTokens(view(0, one), one.labels, (view(1, two), view(2, three)))
    validation = LabelledTokens(one.read, one.labels, (two.read,))
    config = ProbeConfig((1e-3,), epochs=5, batch_size=20)
    trained = train_probes(train_split, validation, COUNT, config, tmp_path)
    assert taken == [0, 0, 1, 2, 0, 1]  # the first for the shape
    with torch.no_grad():
        logits = [trained.best(torch.from_numpy(split.read(range(20))).float()) for split in (one, two)]
    (scores,) = evaluate(trained.best, validation, 7, Ranks()).scores()
    assert scores.loss == pytest.approx(
        float(torch.nn.functional.cross_entropy((logits[0] + logits[1])[0] / 2, one.labels)), rel=1e-4
    )


def test_probes_learn_in_bfloat16_too(tmp_path: Path) -> None:
    class Halved(Ranks):
        has_bf16 = True

    config = ProbeConfig(learning_rates=(1e-3,), epochs=5)
    trained = train_probes(toy(160, 0), toy(80, 1), COUNT, config, tmp_path, ranks=Halved())
    assert trained.choice["top1"] == 1
    assert all(value.dtype == torch.float32 for value in trained.best.state_dict().values())


def test_shuffled_labels_give_chance(tmp_path: Path) -> None:
    config = ProbeConfig(learning_rates=(1e-3,), seeds=(0, 1, 2), epochs=6)
    trained = train_probes(toy(160, 0, shuffled=True), toy(80, 1, shuffled=True), COUNT, config, tmp_path)
    scores = evaluate(trained.best, toy(200, 2, shuffled=True), 16, Ranks()).scores()
    assert 0.15 < sum(one.top1 for one in scores) / 3 < 0.35


def test_rate_and_epoch_are_those_of_the_best_mean_over_seeds(tmp_path: Path) -> None:
    trained = train(tmp_path, ProbeConfig((1e-6, 1e-3), (0, 1), epochs=5, eval_freq=2))
    assert [look["epoch"] for look in trained.history] == [2, 4, 5]
    means = {}
    for look in trained.history:
        for rate in (1e-6, 1e-3):
            seeds = [probe for probe in look["probes"] if probe["learning_rate"] == rate]
            assert [probe["seed"] for probe in seeds] == [0, 1]
            top1, loss = (sum(probe[name] for probe in seeds) / 2 for name in ("top1", "loss"))
            means[rate, look["epoch"]] = (top1, -loss)
    chosen = (trained.choice["learning_rate"], trained.choice["epoch"])
    assert means[chosen] == max(means.values())
    assert [one.top1 for one in evaluate(trained.best, toy(31, 1), 8, Ranks()).scores()] == [
        probe["top1"]
        for look in trained.history
        for probe in look["probes"]
        if (probe["learning_rate"], look["epoch"]) == chosen
    ]


def test_probes_side_by_side_are_each_trained_as_if_alone(tmp_path: Path) -> None:
    train(tmp_path / "together", ProbeConfig((1e-4, 1e-3), (0, 1), epochs=2, batch_size=8))
    train(tmp_path / "alone", ProbeConfig((1e-3,), (0,), epochs=2, batch_size=8))
    together, alone = weights(tmp_path / "together" / LAST), weights(tmp_path / "alone" / LAST)
    for name, value in alone.items():
        if name.startswith("weights.probes.0."):
            other = together[name.replace("probes.0.", "probes.2.")]
            torch.testing.assert_close(value, other, atol=1e-5, rtol=1e-4)


def test_small_sets_are_trained_on_for_longer() -> None:
    assert ProbeConfig().epochs_for(19_999) == 30
    assert ProbeConfig().epochs_for(20_000) == 10
    assert ProbeConfig(epochs=3).epochs_for(5) == 3


@pytest.mark.parametrize(("options", "last"), [({}, 1e-7), ({"min_rate": 1e-4}, 1e-4), ({"min_rate": 1.0}, 1e-3)])
def test_the_rate_falls_in_a_line_to_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, float], last: float
) -> None:
    rates: list[float] = []
    step = torch.optim.AdamW.step

    def record(self: torch.optim.AdamW, *arguments: Any) -> Any:
        rates.append(self.param_groups[0]["lr"])
        assert self.param_groups[0]["betas"] == (0.9, 0.999)
        return step(self, *arguments)

    monkeypatch.setattr(torch.optim.AdamW, "step", record)
    train(tmp_path, ProbeConfig((1e-3,), epochs=2, batch_size=9, **options))
    np.testing.assert_allclose(rates, np.linspace(1e-3, last, 11)[:10], rtol=1e-6)


@pytest.mark.parametrize("scale", [0.1, 300.0])
def test_a_step_s_gradient_is_of_the_mean_smoothed_loss_clipped_for_each_probe_alone(scale: float) -> None:
    options = {"smoothing": 0.3, "clip_grad": 2.0}
    training = Training(ProbeConfig((1e-4, 1e-3), (3,), epochs=1, **options), DIM, COUNT, 10, Ranks())
    second = training.bank.probes[1]
    with torch.no_grad():
        second.linear.weight.mul_(1e3 * scale)
    split = toy(12, 0)
    tokens = torch.from_numpy(split.read(range(12)))
    gradients = []
    for probe in training.bank.probes:
        loss = torch.nn.functional.cross_entropy(probe(tokens.float()), split.labels, label_smoothing=0.3)
        parameters = list(probe.parameters())
        gradient = torch.autograd.grad(loss, parameters)
        norm = torch.cat([one.flatten() for one in gradient]).norm()
        gradients.append([one * min(1.0, 2 / float(norm)) for one in gradient])
    assert (norm > 2) == (scale > 1)
    # All 12 clips are this process's; of 24, they would be half of the step.
    for clips, part in ((12, 1.0), (24, 0.5)) if scale < 1 else ((12, 1.0),):
        again = copy.deepcopy(training)
        again.step(0, tokens, split.labels, clips)
        for probe, expected in zip(again.bank.probes, gradients, strict=True):
            for parameter, value in zip(probe.parameters(), expected, strict=True):
                torch.testing.assert_close(parameter.grad, part * value, atol=1e-5, rtol=1e-3)


def test_every_clip_counts_once_an_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[tuple[int, int, int]] = []

    def record(self: Training, number: int, tokens: Tensor, labels: Tensor, clips: int) -> None:
        steps.append((len(tokens), len(labels), clips))

    monkeypatch.setattr(Training, "step", record)
    train(tmp_path, ProbeConfig(epochs=2, batch_size=8))
    assert steps == 2 * ([(8, 8, 8)] * 5 + [(5, 5, 5)])


# --- being cut off


def kill_at_step(number: int) -> Callable[[int, int], None]:
    return lambda done, total: os.kill(os.getpid(), signal.SIGKILL) if done == number else None


def kill_at_publication(number: int) -> None:
    """Have this process killed when it has written, but not yet put in place, the n-th file."""
    replace, count = os.replace, 0

    def replacing(source: Path, target: Path) -> None:
        nonlocal count
        count += 1
        if count == number:
            os.kill(os.getpid(), signal.SIGKILL)
        replace(source, target)

    publishing.os.replace = replacing  # type: ignore[attr-defined]  # in a child process that dies


@pytest.mark.skipif(sys.platform == "win32", reason="needs os.fork")
def test_a_killed_training_ends_with_the_same_bits(tmp_path: Path) -> None:
    whole, steps = tmp_path / "whole", 4 * 6  # 45 clips, 8 a step
    train(whole)
    for number in (6, 7, 15, steps):  # the last and the first of an epoch, one amid, the very last
        out = tmp_path / f"step {number}"
        assert killed_copy(lambda: train(out, progress=kill_at_step(number)))  # noqa: B023  # called at once
        train(out)
        assert_same(out, whole)
    for number in (1, 2, 3):
        out = tmp_path / f"file {number}"
        assert killed_copy(lambda: (kill_at_publication(number), train(out)))  # noqa: B023
        train(out)
        assert_same(out, whole)
    out = tmp_path / "often"
    for number in (3, 8, 22):
        assert killed_copy(lambda: train(out, progress=kill_at_step(number)))  # noqa: B023
    train(out)
    assert_same(out, whole)


def test_a_finished_training_is_not_done_again(tmp_path: Path) -> None:
    first = train(tmp_path)

    def refuse(done: int, total: int) -> None:
        raise AssertionError

    again = train(tmp_path, progress=refuse)
    assert (again.choice, again.history) == (first.choice, first.history)


def test_a_training_of_something_else_is_not_gone_on_with(tmp_path: Path) -> None:
    train(tmp_path, identity={"features": "one"})
    with pytest.raises(ConfigError, match=r"features 'one', you asked 'other'; use another --out"):
        train(tmp_path, identity={"features": "other"})
    with pytest.raises(ConfigError, match=r"epochs 4, you asked 5"):
        train(tmp_path, ProbeConfig(RUN.learning_rates, RUN.seeds, 5, RUN.batch_size), identity={"features": "one"})


def test_a_training_from_before_an_option_had_its_default(tmp_path: Path) -> None:
    first = train(tmp_path)
    tensors, state = read_checkpoint(tmp_path / LAST)
    for name in ("min_rate", "clip_grad", "smoothing", "views", "temporal_crops"):
        del state["identity"][name]
    write_checkpoint(tmp_path / LAST, tensors, state)
    assert train(tmp_path).history == first.history
    with pytest.raises(ConfigError, match=r"smoothing 0.1, you asked 0.2"):
        train(tmp_path, dataclasses.replace(RUN, smoothing=0.2))


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    train(tmp_path)
    (tmp_path / LAST).write_bytes((tmp_path / LAST).read_bytes()[:500])
    with pytest.raises(CacheError, match=r"last.safetensors cannot be read .*; delete it and run probe again"):
        train(tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, r"epochs \(0\) must be > 0"),
        ({"batch_size": 0}, r"batch_size \(0\) must be > 0"),
        ({"learning_rates": ()}, r"learning_rates \(\) must be one or more"),
        ({"learning_rates": (1e-3, 1e-3)}, r"must be one or more, each named once"),
        ({"learning_rates": (0.0,)}, r"learning_rates \(0.0\) must be > 0"),
        ({"smoothing": 1.5}, r"smoothing \(1.5\) must be in 0..1"),
        ({"clip_grad": 0.0}, r"clip_grad \(0.0\) must be > 0"),
        ({"min_rate": -1e-9}, r"min_rate \(-1e-09\) must be >= 0"),
        ({"views": 0}, r"views \(0\) must be > 0"),
        ({"temporal_crops": 0}, r"temporal_crops \(0\) must be > 0"),
        ({"learning_rates": (float("nan"),)}, r"learning_rates \(nan\) must be"),
        ({"seeds": (-1,)}, r"seeds \(-1\) must be >= 0"),
        ({"weight_decay": -1.0}, r"weight_decay \(-1.0\) must be >= 0"),
        ({"eval_freq": 0}, r"eval_freq \(0\) must be > 0"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ProbeConfig(**options)


def test_an_empty_split_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"validation clips \(0\) must be > 0"):
        train_probes(toy(9, 0), toy(0, 0), COUNT, RUN, tmp_path)


def test_a_checkpoint_is_safetensors_with_json(tmp_path: Path) -> None:
    trained = train(tmp_path)
    data = (tmp_path / BEST).read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    assert json.loads(header["__metadata__"]["codecsieve_probe"])["choice"] == trained.choice
    tokens = torch.from_numpy(toy(5, 3).read(range(5))).float()
    assert torch.equal(load_probes(tmp_path / BEST)(tokens), trained.best(tokens))


# --- several processes

SHARED = ProbeConfig((1e-4, 1e-3), (0,), epochs=3, batch_size=4)


def features_by(cache: Path, folder: Path, ranks: Ranks) -> FeatureCache:
    torch.manual_seed(0)
    model = OneVisionEncoder(EncoderConfig(64, 96, 1, 2, image_size=8, patch_size=2))
    opened = open_cache(cache)
    return cached_features(opened, range(len(opened)), FrozenEncoder(model, "small"), folder, ranks=ranks)


def one_of(out: Path, rank: int, ranks: int) -> Mapping[str, Any]:
    features_by(out.with_name("cache"), out.with_name("two features"), Ranks(rank, ranks))
    train(out, SHARED, Ranks(rank, ranks))
    return {}


def test_two_processes_train_as_one_does(tmp_path: Path) -> None:
    """45 clips in steps of 8: in the last, of 5, one process has fewer clips than the other."""
    fill(tmp_path / "cache", names(70))
    on_processes(2, partial(one_of, tmp_path / "two"), tmp_path / "meeting")
    clips = range(70)
    one_s, two_s = (features_by(tmp_path / "cache", tmp_path / f"{name} features", Ranks()) for name in ("one", "two"))
    np.testing.assert_allclose(two_s.read(clips), one_s.read(clips), atol=2e-3)
    whole = ProbeConfig(SHARED.learning_rates, SHARED.seeds, SHARED.epochs, batch_size=8)
    train(tmp_path / "one", whole)
    for name in (LAST, BEST):
        two, one = weights(tmp_path / "two" / name), weights(tmp_path / "one" / name)
        assert two.keys() == one.keys()
        for key in one:
            torch.testing.assert_close(two[key], one[key], atol=1e-4, rtol=1e-4)
    two_state, one_state = (read_checkpoint(tmp_path / which / LAST)[1] for which in ("two", "one"))
    assert two_state["identity"] == one_state["identity"]
    assert [[p["top1"] for p in look["probes"]] for look in two_state["history"]] == [
        [p["top1"] for p in look["probes"]] for look in one_state["history"]
    ]


def test_a_process_without_clips_of_a_step_does_no_harm(tmp_path: Path) -> None:
    """As rank 1 of two sees it, alone: the last step's only clip is rank 0's."""

    class Second(Ranks):
        def sum_(self, tensors: Sequence[Tensor]) -> None:
            assert all(tensor.isfinite().all() for tensor in tensors)
            steps.append(len(tensors))

        def wait(self) -> None:
            pass

    steps: list[int] = []
    config = ProbeConfig((1e-3,), (0,), epochs=1, batch_size=8)
    train_probes(toy(17, 0), toy(17, 1), COUNT, config, tmp_path)  # rank 0 would write the best, which is read
    (tmp_path / LAST).unlink()
    train_probes(toy(17, 0), toy(17, 1), COUNT, config, tmp_path, ranks=Second(1, 2))
    parameters = steps[0]
    assert steps == [parameters, parameters, 3]  # two steps, the second without a clip, and one look
