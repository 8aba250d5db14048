"""A training's steps: the same on any number of processes, and after a restart; its rate; what goes into it."""

from __future__ import annotations

import dataclasses
import itertools
import json
import string
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gloo import on_processes
from torch import Tensor

from codecsieve.encoder import EncoderConfig, OneVisionEncoder, concept_head
from codecsieve.errors import CacheError, ConfigError, EncoderError, TrainingError
from codecsieve.pipelines.learn.ranks import Ranks
from codecsieve.pipelines.train.checkpoint import checkpoints, keep_only, read_checkpoint, write_checkpoint
from codecsieve.pipelines.train.config import CO_LABELS, PRESETS, TrainConfig, read_toml
from codecsieve.pipelines.train.inputs import (
    CODEC,
    COLLAGE,
    FRAMES,
    Group,
    choose_frames,
    kind_of,
    make_collage,
    take_frames,
)
from codecsieve.pipelines.train.schedule import rate_at
from codecsieve.pipelines.train.trainer import Bank, Part, Trainer

pytestmark = pytest.mark.usefixtures("one_thread")

GOLDEN = Path(__file__).resolve().parents[4] / "shared" / "golden" / "concept_loss"
CLASSES, CLIPS, LABELS, KEPT, SIDE = 1200, 12, 10, 6, 14
BANKS = [Bank("clips", CLASSES)]
CONFIG = TrainConfig(steps=8, batch_size=CLIPS, rate=1e-3, warm_up=0.25, seed=3)
DOUBLE = dataclasses.replace(CONFIG, precision="float64")


def encoder() -> OneVisionEncoder:
    torch.manual_seed(0)
    return OneVisionEncoder(EncoderConfig(64, 96, 2, 2, image_size=28))


def clips_of(step: int) -> tuple[Tensor, Tensor, Tensor]:
    """Patches, positions and labels, of the first 200 classes, of a step's clips."""
    generator = torch.Generator().manual_seed(step)
    patches = torch.randint(0, 256, (CLIPS, KEPT, 3, SIDE, SIDE), generator=generator, dtype=torch.uint8)
    positions = torch.randint(0, 2, (CLIPS, KEPT, 3), generator=generator)
    return patches, positions, torch.randint(0, 200, (CLIPS, LABELS), generator=generator)


def parts_of(step: int, rank: int, ranks: int, turns: int = 1) -> list[Part]:
    """A process's parts of a step, dealt out in turn."""
    patches, positions, labels = clips_of(step)
    parts = []
    for rows in torch.arange(CLIPS).chunk(turns):
        mine = rows[rank::ranks]
        group = Group(CODEC, patches[mine], positions[mine], torch.arange(len(mine)))
        parts.append(Part("clips", [group], labels[mine], mine, [f"clip-{row}" for row in mine.tolist()]))
    return parts


def steps(
    rank: int,
    ranks: int,
    folder: Path,
    start: int = 0,
    end: int = 8,
    classes: int = CLASSES,
    config: TrainConfig = CONFIG,
) -> dict[str, Tensor]:
    """Losses and weights after some steps, from a checkpoint where there is one, which is left anew at the end."""
    own = Ranks(rank, ranks)
    trainer = Trainer(config, [Bank("clips", classes)], own, encoder())
    if start:
        assert read_checkpoint(trainer, checkpoints(folder)[start])["step"] == start
    losses = [trainer.step(number, parts_of(number, rank, ranks)).loss for number in range(start, end)]
    write_checkpoint(trainer, folder, end, {"why": "a test"}, own)
    weights = {f"encoder.{name}": value for name, value in trainer.model.state_dict().items()}
    return {
        "losses": torch.tensor(losses, dtype=torch.float64),
        "centres": trainer.heads["clips"].weight.detach(),
        **weights,
    }


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one if name != "losses")


@pytest.mark.slow
def test_a_training_that_goes_on_has_the_same_weights_bit_for_bit(tmp_path: Path) -> None:
    whole = steps(0, 1, tmp_path / "whole")
    steps(0, 1, tmp_path / "cut", end=3)
    assert same(steps(0, 1, tmp_path / "cut", start=3), whole)


@pytest.mark.slow
def test_two_processes_take_the_steps_of_one_and_go_on_from_each_others_checkpoints(tmp_path: Path) -> None:
    one = steps(0, 1, tmp_path / "one")
    two = on_processes(2, partial(_steps, tmp_path / "two", 0, 8), tmp_path / "two-out")
    np.testing.assert_allclose(two[0]["losses"], one["losses"], rtol=1e-4)
    centres = torch.cat([part["centres"] for part in two])
    torch.testing.assert_close(centres, one["centres"], rtol=1e-3, atol=1e-5)
    for name, value in one.items():
        if name.startswith("encoder."):
            assert torch.equal(two[0][name], two[1][name])  # all processes have the same encoder
            torch.testing.assert_close(two[0][name], value, rtol=1e-3, atol=1e-4)
    # Three steps on one process, the others on two; and the other way round.
    steps(0, 1, tmp_path / "mixed", end=3)
    mixed = on_processes(2, partial(_steps, tmp_path / "mixed", 3, 8), tmp_path / "mixed-out")
    np.testing.assert_allclose(mixed[0]["losses"], one["losses"][3:], rtol=1e-4)
    on_processes(2, partial(_steps, tmp_path / "back", 0, 3), tmp_path / "back-out")
    np.testing.assert_allclose(steps(0, 1, tmp_path / "back", start=3)["losses"], one["losses"][3:], rtol=1e-4)


def _steps(folder: Path, start: int, end: int, rank: int, ranks: int) -> dict[str, Tensor]:
    return steps(rank, ranks, folder, start, end)


@pytest.mark.slow
def test_where_rounding_is_small_processes_do_not_matter(tmp_path: Path) -> None:
    one = steps(0, 1, tmp_path / "one", config=DOUBLE)
    two = on_processes(2, partial(_steps_in_double, tmp_path / "two", 0, 8), tmp_path / "two-out")
    assert one["centres"].dtype == torch.float64
    np.testing.assert_allclose(two[0]["losses"], one["losses"], rtol=1e-12)
    torch.testing.assert_close(torch.cat([part["centres"] for part in two]), one["centres"], rtol=1e-9, atol=1e-12)
    mixed = on_processes(2, partial(_steps_in_double, tmp_path / "one", 8, 10), tmp_path / "mixed-out")
    np.testing.assert_allclose(
        mixed[0]["losses"], steps(0, 1, tmp_path / "two", 8, 10, config=DOUBLE)["losses"], rtol=1e-12
    )


def _steps_in_double(folder: Path, start: int, end: int, rank: int, ranks: int) -> dict[str, Tensor]:
    return steps(rank, ranks, folder, start, end, config=DOUBLE)


@pytest.mark.slow
def test_a_bank_that_is_too_small_to_be_shared_is_one_processes(tmp_path: Path) -> None:
    one = steps(0, 1, tmp_path / "one", end=3, classes=300)
    two = on_processes(2, partial(_steps_of_few, tmp_path / "two"), tmp_path / "two-out")
    np.testing.assert_allclose(two[0]["losses"], one["losses"], rtol=1e-4)
    assert [len(part["centres"]) for part in two] == [300, 0]
    np.testing.assert_allclose(steps(0, 1, tmp_path / "two", 3, 4, 300)["losses"],
                               steps(0, 1, tmp_path / "one", 3, 4, 300)["losses"], rtol=1e-4)  # fmt: skip


def _steps_of_few(folder: Path, rank: int, ranks: int) -> dict[str, Tensor]:
    return steps(rank, ranks, folder, end=3, classes=300)


def test_steps_taken_in_parts_are_those_taken_whole() -> None:
    losses = {}
    for turns in (1, 3):
        # All concepts are held against: of fewer, each part would have its own.
        config = TrainConfig(steps=8, batch_size=CLIPS, accumulation=turns, concept_rate=1.0)
        trainer = Trainer(config, [Bank("clips", CLASSES, options=config.concepts)], Ranks(), encoder())
        losses[turns] = [trainer.step(number, parts_of(number, 0, 1, turns)).loss for number in range(4)]
    np.testing.assert_allclose(losses[3], losses[1], rtol=1e-4)


def test_a_torn_checkpoint_is_told_and_half_a_one_is_none(tmp_path: Path) -> None:
    steps(0, 1, tmp_path, end=2)
    path = checkpoints(tmp_path)[2]
    (tmp_path / "checkpoints" / "step-00000005.partial").mkdir()
    assert list(checkpoints(tmp_path)) == [2]
    trainer = Trainer(CONFIG, BANKS, Ranks(), encoder())
    for file in ("encoder.safetensors", "centres-00000.safetensors", "state.json"):
        data = (path / file).read_bytes()
        (path / file).write_bytes(data[: len(data) // 2])
        with pytest.raises(CacheError, match=r"checkpoint .* cannot be read .*; remove .*, and the training goes on"):
            read_checkpoint(trainer, path)
        (path / file).write_bytes(data)
    with pytest.raises(CacheError, match="cannot be read"):
        read_checkpoint(Trainer(CONFIG, [Bank("clips", CLASSES + 100)], Ranks(), encoder()), path)


def test_only_the_last_checkpoints_and_the_best_are_kept(tmp_path: Path) -> None:
    trainer = Trainer(CONFIG, BANKS, Ranks(), encoder())
    for step in (1, 2, 3, 4):
        write_checkpoint(trainer, tmp_path, step, {}, Ranks())
    keep_only(tmp_path, 2, best=1)
    assert list(checkpoints(tmp_path)) == [1, 3, 4]


def test_numbers_that_are_none_end_a_training_with_the_clips_named() -> None:
    trainer = Trainer(CONFIG, BANKS, Ranks(), encoder())
    with torch.no_grad():
        trainer.model.embeddings.patch_embedding.weight.fill_(float("nan"))
    with pytest.raises(
        TrainingError, match=r"^step 4: loss \(nan\) and gradients .* clips clip-0, clip-1, .* and 4 more"
    ):
        trainer.step(4, parts_of(4, 0, 1))


def test_the_average_follows_the_weights() -> None:
    config = TrainConfig(steps=8, batch_size=CLIPS, average=0.5)
    trainer = Trainer(config, BANKS, Ranks(), encoder())
    assert trainer.average is not None
    before = trainer.average["layernorm_post.weight"].clone()
    trainer.step(0, parts_of(0, 0, 1))
    now = trainer.model.state_dict()["layernorm_post.weight"]
    torch.testing.assert_close(trainer.average["layernorm_post.weight"], (before + now) / 2)


def test_norms_biases_and_centres_do_not_decay_unless_asked() -> None:
    trainer = Trainer(CONFIG, BANKS, Ranks(), encoder())
    decay, other = trainer.optimiser.param_groups
    assert (decay["weight_decay"], other["weight_decay"]) == (0.05, 0.0)
    assert all(parameter.dim() > 1 for parameter in decay["params"])
    assert any(parameter is trainer.heads["clips"].weight for parameter in other["params"])
    published = Trainer(TrainConfig(decay_all=True), BANKS, Ranks(), encoder())
    assert len(published.optimiser.param_groups[1]["params"]) == 0


@pytest.mark.parametrize("schedule", ["linear", "cosine", "published"])
def test_the_rate_rises_from_0_and_falls_to_0(schedule: str) -> None:
    config = TrainConfig(steps=100, warm_up=0.1, rate=1.0, schedule=schedule)
    rates = [rate_at(step, config) for step in range(100)]
    assert 0 < rates[0] < rates[5] < rates[9] < 1
    assert rates[10] == 1
    assert all(one > other for one, other in itertools.pairwise(rates[10:]))
    assert rates[99] < 0.03


def test_the_published_rate_is_met_after_warming_up() -> None:
    file = GOLDEN / "schedule.npz"
    if not file.exists():
        pytest.skip(f"golden rates are not at {file}")
    curves = dict(np.load(file))
    name = next(name for name in curves if name.startswith("warmup") and not name.endswith("half"))
    warm, total = (int(part.lstrip(string.ascii_letters)) for part in name.split("_")[:2])
    config = TrainConfig(steps=total, warm_up=warm / total, rate=1e-3, schedule="published")
    ours = [rate_at(step, config) for step in range(warm, total)]
    np.testing.assert_allclose(ours[1:], curves[name][warm + 1 : total], rtol=1e-6)


def test_kinds_are_by_row_in_set_shares() -> None:
    config = TrainConfig(batch_size=10, codec_share=0.5, frames_share=0.4)
    assert [kind_of(row, config) for row in range(10)] == [CODEC] * 5 + [FRAMES] * 4 + [COLLAGE]


def test_frames_are_drawn_one_of_each_bin_and_are_whole() -> None:
    slots = list(range(0, 64, 2))
    drawn = [choose_frames(slots, 8, 0, step, 5) for step in range(50)]
    assert all(8 * number <= slot < 8 * number + 8 for one in drawn for number, slot in enumerate(one))
    assert len({tuple(one) for one in drawn}) > 40
    assert choose_frames(slots, 8, 0, 7, 5) == drawn[7]
    positions = torch.cartesian_prod(torch.tensor([0, 3, 9]), torch.arange(2), torch.arange(2))
    patches = torch.arange(12).view(12, 1, 1, 1).expand(12, 3, 2, 2)
    some, places = take_frames(patches, positions, [9, 0])
    assert some[:, 0, 0, 0].tolist() == [8, 9, 10, 11, 0, 1, 2, 3]
    collage = make_collage(places, [9, 0])
    assert collage.tolist() == [[0, row, column] for row in range(4) for column in range(2)]
    with pytest.raises(ConfigError, match=r"slot 0 has 3 of 4 patches; frames_cache must hold whole frames"):
        take_frames(patches[1:], positions[1:], [0])
    with pytest.raises(ConfigError, match=r"frames \(8\) must be at most the 3 slots"):
        choose_frames([0, 3, 9], 8, 0, 0, 0)


def test_options_come_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "train.toml"
    file.write_text('steps = 5\nencoder = "small"\ncache = "here"\n')
    assert read_toml(file) == {"steps": 5, "encoder": "small", "cache": "here"}
    for text, message in (
        ("step = 5", "has no option step; did you mean steps"),
        ("[table]\nsteps = 5", "options stand at the top"),
        ("steps = ", "cannot be read as TOML"),
    ):
        file.write_text(text)
        with pytest.raises((ConfigError, TypeError), match=message):
            read_toml(file)


def test_the_choices_that_the_command_line_lists_are_the_encoders() -> None:
    """They stand in the options, too, which do without torch."""
    for name in PRESETS:
        EncoderConfig.preset(name)
    with pytest.raises(EncoderError, match=f"must be one of {', '.join(PRESETS)}$"):
        EncoderConfig.preset("vast")
    assert CO_LABELS == concept_head.CO_LABELS


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": 0},
        {"codec_share": 0.7, "frames_share": 0.5},
        {"batch_size": 10, "accumulation": 3},
        {"encoder": "vast"},
        {"schedule": "none"},
        {"held_out": 1},
    ],
)
def test_options_that_cannot_be_are_one_line(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="must be"):
        TrainConfig(**wrong)


def test_state_is_plain_json(tmp_path: Path) -> None:
    steps(0, 1, tmp_path, end=1)
    assert json.loads((checkpoints(tmp_path)[1] / "state.json").read_text()) == {"why": "a test", "step": 1}
