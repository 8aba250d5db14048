"""A training from a cache: end to end, cut off and gone on with, on its own clips, and what it refuses."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from forked import Process

import codecsieve as cs
from codecsieve.cache.concepts import write_concepts
from codecsieve.cli import main
from codecsieve.encoder import EncoderConfig, OneVisionEncoder
from codecsieve.errors import CacheError, ConfigError
from codecsieve.pipelines.train.checkpoint import checkpoints
from codecsieve.pipelines.train.config import TrainConfig, TrainRun
from codecsieve.pipelines.train.log import LOG
from codecsieve.pipelines.train.run import train

pytestmark = pytest.mark.usefixtures("one_thread")

VIDEOS, CLASSES = 6, 40
SMALL = {"num_frames": 8, "input_size": 28, "k_keep": 8, "workers": 0}
CONFIG = TrainConfig(steps=6, batch_size=4, save_every=2, seed=1)


@pytest.fixture(scope="module")
def data(make_video: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> TrainRun:
    """A cache, one of whole frames of the same clips, and concepts of them."""
    folder = tmp_path_factory.mktemp("train")
    (folder / "videos").mkdir()
    for number in range(VIDEOS):
        make_video(folder / "videos" / f"{number}.mp4", seed=number)
    cs.precompute(folder / "videos", folder / "cache", **SMALL)  # type: ignore[arg-type]
    cs.precompute(folder / "videos", folder / "frames", **{**SMALL, "k_keep": 32}, policy="sampling")  # type: ignore[arg-type]
    ids = cs.open_cache(folder / "cache").clip_ids
    random = np.random.default_rng(0)
    centres = random.normal(size=(CLASSES, 16)).astype(np.float32)
    labels = np.stack([random.permutation(CLASSES)[:10] for _ in ids])
    write_concepts(folder / "concepts", centres, ids, labels, {"encoder": "none"})
    torch.manual_seed(0)
    OneVisionEncoder(EncoderConfig(64, 96, 2, 2, image_size=28)).save_pretrained(folder / "small")
    return TrainRun(
        folder / "cache", folder / "concepts", folder / "out", folder / "frames", init=str(folder / "small")
    )


def weights(out: Path) -> dict[str, torch.Tensor]:
    return cs.load_encoder(out / "encoder").state_dict()


def same(one: Path, other: Path) -> bool:
    first, second = weights(one), weights(other)
    return all(torch.equal(first[name], second[name]) for name in first)


def losses(out: Path) -> list[float]:
    events = [json.loads(line) for line in (out / LOG).read_text().splitlines()]
    return [event["loss"] for event in events if "loss" in event]


@pytest.mark.slow
def test_a_training_leaves_an_encoder_a_log_and_checkpoints(data: TrainRun, tmp_path: Path) -> None:
    told: list[int] = []
    run = replace(data, out=tmp_path)
    trained = train(run, replace(CONFIG, steps=40), progress=lambda at: told.append(at.step))
    assert told == list(range(40))
    assert trained.loss == losses(tmp_path)[-1]
    assert len(losses(tmp_path)) == 40
    assert np.mean(losses(tmp_path)[-5:]) < np.mean(losses(tmp_path)[:5])
    assert list(checkpoints(tmp_path)) == [38, 40]
    assert cs.load_encoder(tmp_path / "encoder").config.hidden_size == 64
    again = train(run, replace(CONFIG, steps=40))  # nothing is left to be done
    assert again.loss is None


@pytest.mark.slow
def test_a_training_that_is_cut_off_ends_with_the_same_weights(data: TrainRun, tmp_path: Path) -> None:
    train(replace(data, out=tmp_path / "whole"), CONFIG)

    def stop(at: object) -> None:
        if getattr(at, "step", 0) == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(replace(data, out=tmp_path / "cut"), CONFIG, progress=stop)
    assert list(checkpoints(tmp_path / "cut")) == [2, 4]
    train(replace(data, out=tmp_path / "cut"), CONFIG)
    assert same(tmp_path / "cut", tmp_path / "whole")
    assert losses(tmp_path / "cut") == losses(tmp_path / "whole")


def train_on_one_thread(run: TrainRun, config: TrainConfig) -> None:
    torch.set_num_threads(1)  # as this process has: sums in another order are other bits
    train(run, config)


@pytest.mark.slow
def test_killed_at_any_moment_it_ends_with_the_same_weights(data: TrainRun, tmp_path: Path) -> None:
    whole, cut = replace(data, out=tmp_path / "whole"), replace(data, out=tmp_path / "cut")
    config = replace(CONFIG, steps=12, save_every=1)
    train(whole, config)
    random = np.random.default_rng(3)
    for _ in range(2):
        process = Process(target=train_on_one_thread, args=(cut, config))
        process.start()
        deadline, before = time.monotonic() + 60, set(checkpoints(cut.out))
        while set(checkpoints(cut.out)) == before and process.is_alive() and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(float(random.uniform(0, 0.2)))
        if process.pid is not None and process.is_alive():
            os.kill(process.pid, signal.SIGKILL)
        process.join()
    train(cut, config)
    assert same(cut.out, whole.out)
    assert losses(cut.out) == losses(whole.out)


@pytest.mark.slow
def test_whole_frames_and_collages_take_their_shares(data: TrainRun, tmp_path: Path) -> None:
    config = replace(CONFIG, steps=2, codec_share=0.5, frames_share=0.25, frames=2)
    assert train(replace(data, out=tmp_path), config).loss is not None
    with pytest.raises(ConfigError, match="frames_cache must be given where codec_share is below 1"):
        train(replace(data, out=tmp_path / "none", frames_cache=None), config)


@pytest.mark.slow
def test_held_out_clips_are_validated_on_and_not_trained_on(data: TrainRun, tmp_path: Path) -> None:
    config = replace(CONFIG, held_out=0.4, validate_every=2)
    seen: list[int] = []
    trained = train(replace(data, out=tmp_path), config, looked=lambda step, _: seen.append(step))
    assert seen == [2, 4, 6]
    assert trained.validated is not None
    assert 0 < trained.validated.clips < VIDEOS
    assert 0 <= trained.validated.recall <= 1


@pytest.mark.slow
def test_another_training_in_its_folder_is_refused(data: TrainRun, tmp_path: Path) -> None:
    run = replace(data, out=tmp_path)
    train(run, replace(CONFIG, steps=1))
    with pytest.raises(ConfigError, match=r"is of a training with rate 0\.001, you asked 0\.01; use another --out"):
        train(run, replace(CONFIG, rate=0.01))
    train(run, replace(CONFIG, steps=2))  # more steps are no other training


def test_what_cannot_be_trained_on_is_one_line(data: TrainRun, tmp_path: Path) -> None:
    with pytest.raises(CacheError, match="holds no concepts"):
        train(replace(data, concepts=data.cache, out=tmp_path), CONFIG)
    write_concepts(tmp_path / "others", np.ones((4, 2), np.float32), ["a", "b"], np.array([[0], [3]]), {})
    with pytest.raises(ConfigError, match="has no clip that the concepts know"):
        train(replace(data, concepts=tmp_path / "others", out=tmp_path / "out"), CONFIG)
    with pytest.raises(ConfigError, match=r"batch_size \(3\) must be a multiple of accumulation \(2\)"):
        train(replace(data, out=tmp_path / "out"), TrainConfig(batch_size=3, accumulation=2))


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["train", *map(str, arguments)], catch_exceptions=False)


@pytest.mark.slow
def test_the_command_trains_by_file_and_flags_and_exports(data: TrainRun, tmp_path: Path) -> None:
    file = tmp_path / "train.toml"
    file.write_text(
        f'cache = "{data.cache}"\nconcepts = "{data.concepts}"\ninit = "{data.init}"\n'
        "steps = 9\nbatch_size = 4\nsave_every = 1\n"
    )
    result = run(file, "--out", tmp_path / "out", "--steps", 3, "--average", 0.5)
    assert result.exit_code == 0, result.output
    assert "Trained" in result.stdout
    exported = run("export", tmp_path / "out", tmp_path / "exported", "--step", 2)
    assert exported.exit_code == 0, exported.output
    cs.load_encoder(tmp_path / "exported")
    told = run(file, "--out", tmp_path / "out", "--dry-run", "--gpus", 8)
    assert "memory of a process" in told.stdout
    here = run(file, "--out", tmp_path / "out", "--dry-run", "--device", "cuda")
    if not torch.cuda.is_available():
        assert "device ('cuda') must be one that is there" in here.output
    assert run(file).exit_code == 2
    assert run("export", tmp_path / "out", tmp_path / "exported", "--step", 7).exit_code == 2
