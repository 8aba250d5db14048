"""Concepts of a cache end to end: what is planted is found, a run that is killed goes on, others' folders stay."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cache_cases import LAYOUT, fill, flip_a_byte, names
from click.testing import CliRunner, Result
from forked import killed
from torch import Tensor

import codecsieve as cs
from codecsieve.cache import Layout
from codecsieve.cache.concepts import open_concepts
from codecsieve.cli import main
from codecsieve.encoder import EncoderConfig, OneVisionEncoder
from codecsieve.errors import CacheError, ConfigError, OptionError
from codecsieve.pipelines.concepts.config import ConceptsOptions
from codecsieve.pipelines.concepts.make import ConceptsMade, make_concepts, memory_needed
from codecsieve.pipelines.concepts.rows import unit

pytest.importorskip("faiss", reason="faiss is not installed: pip install 'codecsieve[train]'")

CLIPS, PLANTED, WIDTH = 140, 6, 24
OPTIONS: dict[str, Any] = {"centres": PLANTED, "labels": 3, "pictures": 3, "iterations": 4}


class Planted:
    """An encoder that sees one of a few kinds in each clip, by its pixels, and a little besides."""

    name = "planted"
    fingerprint = "0123456789"

    def __init__(self) -> None:
        self.encoded = 0
        self.around = unit(np.random.default_rng(0).normal(size=(PLANTED, WIDTH)))

    def vector(self, pixels: np.ndarray) -> np.ndarray:
        total = int(pixels.sum())
        noise = np.random.default_rng(total).normal(size=WIDTH)
        return self.around[total % PLANTED] + 0.03 * noise

    def __call__(self, patches: Tensor, positions: Tensor) -> Tensor:
        self.encoded += len(patches)
        vectors = np.stack([self.vector(pixels.numpy()) for pixels in patches])
        return torch.from_numpy(vectors).float()[:, None].expand(-1, 5, -1)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    fill(tmp_path / "cache", names(CLIPS), failing=("clip-7",))
    return tmp_path / "cache"


def make(cache: Path, out: Path, encoder: Any = None, **options: Any) -> ConceptsMade:
    return make_concepts(cache, out, encoder=encoder or Planted(), **{**OPTIONS, **options})


def content(out: Path) -> dict[str, bytes]:
    files = [path for path in out.rglob("*") if path.is_file() and path.name != ".lock"]
    return {str(path.relative_to(out)): path.read_bytes() for path in files}


def test_clips_of_one_kind_have_one_concept(cache: Path, tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    made = make(cache, tmp_path / "out", progress=lambda *at: told.append(at))
    opened, bank = cs.open_cache(cache), open_concepts(tmp_path / "out")
    kinds = [int(opened[clip].patches.sum()) % PLANTED for clip in range(len(opened))]
    assert bank.ids == opened.clip_ids
    assert len({*zip(kinds, bank.labels[:, 0].tolist(), strict=True)}) == PLANTED
    assert made.new
    assert made.counts["clips"] == CLIPS - 1
    assert made.counts["empty"] == 0
    assert made.page.read_text().startswith("<!doctype html>")
    assert bank.described["encoder"] == "planted"
    assert bank.described["encoder_sha256"] == Planted.fingerprint
    assert bank.described["options"]["centres"] == PLANTED
    assert len(bank.described["cache_sha256"]) == 64
    assert {what for what, _, _ in told} == {
        "clips encoded", "clips clustered, 4 times each", "clips labelled", "clusters drawn",
    }  # fmt: skip
    assert not (tmp_path / "out/.work").exists()


def test_labels_are_the_nearest_of_the_centres_that_are_written(cache: Path, tmp_path: Path) -> None:
    make(cache, tmp_path / "out", metric="l2")
    bank, encoder = open_concepts(tmp_path / "out"), Planted()
    opened = cs.open_cache(cache)
    vectors = unit(np.stack([encoder.vector(opened[clip].patches) for clip in range(len(opened))]).astype(np.float32))
    cosines = vectors @ unit(bank.centres()).T
    assert np.array_equal(bank.labels, np.argsort(-cosines, axis=1, kind="stable")[:, :3])


@pytest.mark.slow
def test_the_same_seed_makes_the_same_bytes(cache: Path, tmp_path: Path) -> None:
    make(cache, tmp_path / "one")
    make(cache, tmp_path / "two", features_dir=tmp_path / "features")
    made, other = content(tmp_path / "one"), content(tmp_path / "two")
    assert made == other
    make(cache, tmp_path / "three", seed=1)
    assert content(tmp_path / "three")["centres/c.0.0"] != made["centres/c.0.0"]


def test_memory_changes_no_bit(cache: Path, tmp_path: Path) -> None:
    needed = memory_needed(CLIPS - 1, WIDTH, ConceptsOptions(centres=PLANTED, labels=3))
    assert needed < 10**8
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("codecsieve.pipelines.concepts.make._ELSE", 10**8 - needed + 64 * 10**6)
        patch.setattr("codecsieve.pipelines.concepts.rows.CachedRows.held", None)  # nothing is left to hold features
        make(cache, tmp_path / "anew", max_memory="100 MB")
        with pytest.raises(ConfigError, match=r"max_memory \(100 MB\) must be at least 10\d MB for 60 centres of 24"):
            make(cache, tmp_path / "more", max_memory="100 MB", centres=60)
    make(cache, tmp_path / "held")
    assert content(tmp_path / "anew") == content(tmp_path / "held")


@pytest.mark.slow
def test_what_is_there_is_not_made_again(cache: Path, tmp_path: Path) -> None:
    make(cache, tmp_path / "out")
    before, encoder = content(tmp_path / "out"), Planted()
    assert not make(cache, tmp_path / "out", encoder).new
    assert encoder.encoded == 0
    assert content(tmp_path / "out") == before
    make(cache, tmp_path / "out", pictures=0)  # another page
    assert not list((tmp_path / "out/clusters").iterdir())
    make(cache, tmp_path / "more", encoder, centres=20)  # features are there
    assert encoder.encoded == 0


@pytest.mark.slow
def test_a_run_that_is_interrupted_goes_on(cache: Path, tmp_path: Path) -> None:
    make(cache, tmp_path / "whole")

    def stop(what: str, done: int, total: int) -> None:
        if "clustered" in what and done == 2 * (CLIPS - 1):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make(cache, tmp_path / "out", progress=stop)
    assert not (tmp_path / "out/zarr.json").exists()
    told: list[tuple[str, int]] = []
    encoder = Planted()
    make(cache, tmp_path / "out", encoder, progress=lambda what, done, total: told.append((what, done)))
    assert encoder.encoded == 0
    assert next(done for what, done in told if "clustered" in what) >= CLIPS - 1
    assert content(tmp_path / "out") == content(tmp_path / "whole")


@pytest.mark.slow
def test_a_damaged_bank_is_made_again(cache: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    make(cache, tmp_path / "out")
    before = content(tmp_path / "out")
    flip_a_byte(tmp_path / "out/centres/c.0.0", 9)
    assert make(cache, tmp_path / "out").new
    (tmp_path / "out/labels.parquet").write_bytes(b"PAR1")
    assert make(cache, tmp_path / "out").new
    assert "is damaged" in caplog.text
    assert content(tmp_path / "out") == before


class Another(Planted):
    name, fingerprint = "another", "abcdef"


class Blind(Planted):
    fingerprint = "000"

    def vector(self, pixels: np.ndarray) -> np.ndarray:
        return np.zeros(WIDTH)


@pytest.mark.slow
def test_a_bank_of_something_else_stays(cache: Path, tmp_path: Path) -> None:
    make(cache, tmp_path / "out")
    before = content(tmp_path / "out")
    with pytest.raises(CacheError, match=r"out was made with centres=6, you asked 7; use another OUT or delete it"):
        make(cache, tmp_path / "out", centres=7)
    with pytest.raises(CacheError, match=r"concepts by another encoder \(planted\), you asked another"):
        make(cache, tmp_path / "out", Another())
    fill(cache, names(CLIPS + 1))
    with pytest.raises(CacheError, match=r"concepts of other clips \(139 there\)"):
        make(cache, tmp_path / "out")
    fill(tmp_path / "different", names(CLIPS), config={"fuse": "max"})
    with pytest.raises(CacheError, match=r"concepts of a cache with another config"):
        make(tmp_path / "different", tmp_path / "out")
    with pytest.raises(CacheError, match=r"cache is not empty and holds no concepts"):
        make(cache, cache)
    assert content(tmp_path / "out") == before


def test_what_cannot_be_made_is_one_line(cache: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"centres \(1000\) must be <= {CLIPS - 1}, the clips of cache"):
        make(cache, tmp_path / "new", centres=1000)
    with pytest.raises(ConfigError, match=r"feature \(frames\) must be clip: .* keeps single patches"):
        make(cache, tmp_path / "new", feature="frames")
    with pytest.raises(OptionError, match=r"no option centers; did you mean centres\?"):
        make(cache, tmp_path / "new", centers=3)
    with pytest.raises(CacheError, match=r"clip clip-0: its feature is all zeros"):
        make(cache, tmp_path / "new", Blind())
    fill(tmp_path / "indices", names(9), layout=Layout(LAYOUT.num_frames, LAYOUT.k_keep, LAYOUT.patch, "indices"))
    with pytest.raises(ConfigError, match="holds no pixels"):
        make(tmp_path / "indices", tmp_path / "new")
    assert not (tmp_path / "new/zarr.json").exists()


def make_in_steps(cache: Path, out: Path, features: Path, step: Callable[[], None]) -> None:
    """Make concepts; `step` is called before and after each rename, and whenever progress is told."""
    real = os.replace

    def replace(*arguments: str) -> None:
        step()
        real(*arguments)
        step()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "replace", replace)
        make(cache, out, features_dir=features, progress=lambda *_: step())


def make_and_die(cache: Path, out: Path, features: Path, step: int) -> None:
    torch.set_num_threads(1)
    steps = iter(range(step))

    def die() -> None:
        if next(steps, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)

    make_in_steps(cache, out, features, die)


@pytest.mark.slow
def test_killed_at_any_point_it_leaves_no_half_bank_and_goes_on(cache: Path, tmp_path: Path) -> None:
    steps: list[int] = []
    make_in_steps(cache, tmp_path / "whole", tmp_path / "features", lambda: steps.append(0))
    whole = content(tmp_path / "whole")
    for step in range(1, len(steps), max(1, len(steps) // 12)):
        out = tmp_path / f"out{step}"
        assert killed(make_and_die, cache, out, tmp_path / f"features{step}", step)
        if (out / "zarr.json").exists():
            assert np.array_equal(open_concepts(out).centres(), open_concepts(tmp_path / "whole").centres())
        make(cache, out, features_dir=tmp_path / f"features{step}")
        assert content(out) == whole


# --- the command


@pytest.fixture(scope="module")
def real(make_video: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with caches of a few videos, of patches and of whole frames, and a small encoder."""
    folder = tmp_path_factory.mktemp("concepts")
    (folder / "videos").mkdir()
    for number in range(6):
        make_video(folder / "videos" / f"{number}.mp4", seed=number, moving=("square", "pan")[number % 2])
    small: dict[str, Any] = {"num_frames": 8, "input_size": 28, "workers": 0}
    cs.precompute(folder / "videos", folder / "cache", k_keep=8, **small)
    cs.precompute(folder / "videos", folder / "frames", k_keep=32, policy="sampling", **small)
    torch.manual_seed(0)
    OneVisionEncoder(EncoderConfig(64, 96, 2, 2, image_size=28)).save_pretrained(folder / "small")
    return folder


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["concepts", *map(str, arguments)], catch_exceptions=False)


def test_the_command_makes_concepts_and_a_page(real: Path, tmp_path: Path) -> None:
    given = ("--encoder", real / "small", "--centres", 3, "--labels", 2)
    made = run(real / "cache", tmp_path / "out", *given)
    assert made.exit_code == 0, made.output
    table = dict(re.findall(r"^ +(\S.*?\S) {2,}(\S.*?) *$", made.stdout, re.MULTILINE))
    assert (table["clips"], table["centres"], table["numbers of a centre"]) == ("6", "3", "64")
    assert "6 of 6 clips encoded" in made.stderr
    assert open_concepts(tmp_path / "out").labels.shape == (6, 2)
    assert (tmp_path / "out/index.html").is_file()
    again = run(real / "cache", tmp_path / "out", *given, "--quiet")
    assert (again.exit_code, again.output) == (0, "")
    other = run(real / "cache", tmp_path / "out", *given, "--metric", "l2")
    assert other.exit_code == 1
    assert "was made with metric=cosine, you asked l2; use another OUT or delete it" in other.stderr


def test_the_command_takes_the_published_recipe_on_whole_frames(real: Path, tmp_path: Path) -> None:
    given = ("--encoder", real / "small", "--centres", 3, "--labels", 2, "--metric", "l2")
    made = run(real / "frames", tmp_path / "out", *given, "--feature", "frames", "--dims", 32, "--pool", "pooler")
    assert made.exit_code == 0, made.output
    assert open_concepts(tmp_path / "out").width == 8 * 32
    refused = run(real / "cache", tmp_path / "new", *given, "--feature", "frames")
    assert refused.exit_code == 2
    assert len(refused.stderr.splitlines()) == 1
    refused = run(real / "frames", tmp_path / "new", *given, "--dims", 100)
    assert (refused.exit_code, len(refused.stderr.splitlines())) == (2, 1)
    assert "dims (100) must be <= 64, the numbers of small" in refused.stderr


@pytest.mark.slow
def test_what_was_made_is_trained_on(real: Path, tmp_path: Path) -> None:
    from codecsieve.pipelines.train.config import TrainConfig, TrainRun
    from codecsieve.pipelines.train.run import train

    make_concepts(real / "cache", tmp_path / "concepts", encoder=str(real / "small"), centres=4, labels=2)
    run = TrainRun(real / "cache", tmp_path / "concepts", tmp_path / "out", init=str(real / "small"))
    trained = train(run, TrainConfig(steps=2, batch_size=4, drawn=2, concept_rate=1.0))
    assert trained.loss is not None
