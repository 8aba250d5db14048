"""What a training cannot be made of, by the command: one line that names file and cure, and no checkpoint is harmed."""

from __future__ import annotations

import json
import resource
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from click.testing import CliRunner, Result

import codecsieve as cs
from codecsieve.cache.concepts import write_concepts
from codecsieve.cli import main
from codecsieve.encoder import EncoderConfig, OneVisionEncoder
from codecsieve.errors import ConfigError
from codecsieve.pipelines.learn.ranks import Ranks
from codecsieve.pipelines.train.config import TrainConfig, TrainRun
from codecsieve.pipelines.train.run import train

pytestmark = pytest.mark.usefixtures("one_thread")

VIDEOS, CLASSES = 4, 20
SIEVE = {"num_frames": 8, "input_size": 28, "k_keep": 8, "workers": 0}


@dataclass(frozen=True)
class Given:
    """folder: of videos, caches, concepts and small weights; trained: four steps of it, a checkpoint after each."""

    folder: Path
    trained: Path

    def train(self, out: Path, *more: object, steps: int = 4, **other: Path) -> Result:
        """The command. other: folders in place of these, by the options' names."""
        folders = {"cache": "cache", "concepts": "concepts", "frames_cache": "frames", "init": "small"}
        given = {**{name: self.folder / folder for name, folder in folders.items()}, **other}
        flags = [f"--{name.replace('_', '-')}={path}" for name, path in given.items()]
        options = [f"--out={out}", f"--steps={steps}", "--batch-size=4", "--save-every=1", "--quiet"]
        command = ["train", *flags, *options, *map(str, more)]
        return CliRunner().invoke(main, command, catch_exceptions=False)

    def halfway(self, out: Path) -> Path:
        """The same training after three steps, in another folder; its last checkpoint."""
        shutil.copytree(self.trained, out)
        shutil.rmtree(out / "encoder")
        shutil.rmtree(out / "checkpoints" / "step-00000004")
        return out / "checkpoints" / "step-00000003"


@pytest.fixture(scope="module")
def given(make_video: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Given:
    folder = tmp_path_factory.mktemp("train")
    (folder / "videos").mkdir()
    for number in range(VIDEOS):
        make_video(folder / "videos" / f"{number}.mp4", seed=number)
    cs.precompute(folder / "videos", folder / "cache", **SIEVE)  # type: ignore[arg-type]
    cs.precompute(folder / "videos", folder / "frames", **{**SIEVE, "k_keep": 32}, policy="sampling")  # type: ignore[arg-type]
    write_bank(folder / "concepts", cs.open_cache(folder / "cache").clip_ids)
    torch.manual_seed(0)
    OneVisionEncoder(EncoderConfig(64, 96, 2, 2, image_size=28)).save_pretrained(folder / "small")
    given = Given(folder, folder / "trained")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as the tests have: sums in another order are other bits
    assert given.train(given.trained, "--keep=9").exit_code == 0
    torch.set_num_threads(threads)
    return given


def write_bank(folder: Path, ids: list[str]) -> None:
    random = np.random.default_rng(0)
    labels = np.stack([random.permutation(CLASSES)[:10] for _ in ids])
    write_concepts(folder, random.normal(size=(CLASSES, 16)).astype(np.float32), ids, labels, {"encoder": "none"})


def check_refused(result: Result, *words: object, status: int = 1) -> None:
    """One line on standard error that has all these words, an exit status, nothing else."""
    assert result.exit_code == status, result.output
    assert len(result.stderr.splitlines()) == 1, result.stderr
    for word in words:
        assert str(word) in result.stderr
    assert not result.stdout


def same_files(one: Path, other: Path) -> bool:
    """Whether two folders hold the same, byte for byte."""
    files = [
        {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        for folder in (one, other)
    ]
    return files[0] == files[1]


def test_labels_outside_the_bank(given: Given, tmp_path: Path) -> None:
    bank = tmp_path / "bank"
    shutil.copytree(given.folder / "concepts", bank)
    table = pq.read_table(bank / "labels.parquet")
    labels = [[CLASSES, *row[1:]] for row in table["labels"].to_pylist()]
    changed = table.set_column(1, table.schema.field("labels"), pa.array(labels, pa.list_(pa.int32())))
    pq.write_table(changed, bank / "labels.parquet")
    result = given.train(tmp_path / "out", concepts=bank)
    check_refused(result, bank / "labels.parquet", f"0..{CLASSES - 1}", "make it again with `codecsieve concepts`")


@pytest.mark.parametrize("empty", ["no bytes", "no rows"])
def test_an_empty_file_of_clusters(given: Given, tmp_path: Path, empty: str) -> None:
    bank = tmp_path / "bank"
    shutil.copytree(given.folder / "concepts", bank)
    file = bank / "labels.parquet"
    if empty == "no bytes":
        file.write_bytes(b"")
    else:
        pq.write_table(pq.read_table(file).slice(0, 0), file)
    check_refused(given.train(tmp_path / "out", concepts=bank), file, "make it again with `codecsieve concepts`")


def test_concepts_of_another_cache(given: Given, tmp_path: Path) -> None:
    write_bank(tmp_path / "others", ["one", "another"])
    result = given.train(tmp_path / "out", concepts=tmp_path / "others")
    check_refused(result, given.folder / "cache", "the concepts know; make them of this cache", status=2)
    result = given.train(tmp_path / "out", concepts=tmp_path / "nowhere")
    check_refused(result, tmp_path / "nowhere", "make it again with `codecsieve concepts`")


@pytest.mark.parametrize("which", ["cache", "frames_cache"])
def test_a_cache_without_pixels(given: Given, tmp_path: Path, which: str) -> None:
    kept = {"cache": {}, "frames_cache": {"k_keep": 32, "policy": "sampling"}}[which]
    cs.precompute(given.folder / "videos", tmp_path / "places", **{**SIEVE, **kept}, store="indices")  # type: ignore[arg-type]
    result = given.train(tmp_path / "out", "--codec-share=0.5", **{which: tmp_path / "places"})
    check_refused(result, tmp_path / "places", "pixels", status=result.exit_code or -1)


@contextmanager
def largest_file(nbytes: int) -> Iterator[None]:
    """A disk that takes no larger file, as a full one takes no more."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (nbytes, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.slow
@pytest.mark.parametrize("room", [5_000, 100_000])
def test_a_full_disk_leaves_the_last_checkpoint_and_the_training_goes_on(
    given: Given, tmp_path: Path, room: int
) -> None:
    """So much room that the centres do not fit, or the encoder does not."""
    last = given.halfway(tmp_path / "out")
    with largest_file(room):
        result = given.train(tmp_path / "out", "--keep=9")
    check_refused(result, "cannot write", last.with_name("step-00000004.partial"), "make room")
    assert same_files(last, given.trained / "checkpoints" / last.name)
    assert given.train(tmp_path / "out", "--keep=9").exit_code == 0
    for folder in ("encoder", "checkpoints"):
        assert same_files(tmp_path / "out" / folder, given.trained / folder)


@pytest.mark.slow
@pytest.mark.parametrize("part", ["encoder.safetensors", "centres-00000.safetensors", "state.json"])
@pytest.mark.parametrize("damage", ["cut", "missing", "empty"])
def test_a_torn_checkpoint_is_named_and_without_it_the_one_before_goes_on(
    given: Given, tmp_path: Path, part: str, damage: str
) -> None:
    last = given.halfway(tmp_path / "out")
    data = (last / part).read_bytes()
    if damage == "missing":
        (last / part).unlink()
    else:
        (last / part).write_bytes(data[: len(data) // 2 if damage == "cut" else 0])
    check_refused(given.train(tmp_path / "out", "--keep=9"), last, f"remove {last}", "from the one before")
    before = last.with_name("step-00000002")
    assert same_files(before, given.trained / "checkpoints" / before.name)
    shutil.rmtree(last)
    assert given.train(tmp_path / "out", "--keep=9").exit_code == 0
    for folder in ("encoder", "checkpoints"):
        assert same_files(tmp_path / "out" / folder, given.trained / folder)


def test_another_encoder_and_other_options_are_another_training(given: Given, tmp_path: Path) -> None:
    last = given.halfway(tmp_path / "out")
    check_refused(given.train(tmp_path / "out", "--rate=0.5"), last, "rate", "use another --out", status=2)
    OneVisionEncoder(EncoderConfig(32, 48, 1, 1, image_size=28)).save_pretrained(tmp_path / "other")
    result = given.train(tmp_path / "out", init=tmp_path / "other")
    check_refused(result, last, "encoder", "use another --out", status=2)
    write_concepts(
        tmp_path / "bank", np.ones((19, 2), np.float32), cs.open_cache(given.folder / "cache").clip_ids,
        np.arange(VIDEOS)[:, None], {},
    )  # fmt: skip
    check_refused(
        given.train(tmp_path / "out", concepts=tmp_path / "bank"), last, "clips", "use another --out", status=2
    )
    assert same_files(last, given.trained / "checkpoints" / last.name)


def test_fewer_steps_than_it_has_taken(given: Given, tmp_path: Path) -> None:
    last = given.halfway(tmp_path / "out")
    taken = int(last.name.removeprefix("step-"))
    result = given.train(tmp_path / "out", f"--steps={taken - 1}")
    check_refused(result, last, f"steps ({taken - 1}) must be >= that", "--step", status=2)


def test_concepts_that_are_too_few_are_told_of_before_a_training(given: Given, tmp_path: Path) -> None:
    for flags in ([], ["--dry-run"]):
        result = given.train(tmp_path / "out", "--concept-rate=0.01", *flags)
        check_refused(result, "concept_rate (0.01)", "raise it", status=2)


def test_a_number_of_clips_that_processes_cannot_share(given: Given, tmp_path: Path) -> None:
    run = TrainRun(given.folder / "cache", given.folder / "concepts", tmp_path / "out")
    for rank in range(3):  # every process says so by itself, so that none waits for the others
        with pytest.raises(
            ConfigError, match=r"batch_size \(4\) of clips must be a multiple of accumulation \(1\) x processes \(3\)"
        ):
            train(run, TrainConfig(batch_size=4), Ranks(rank, 3))


@pytest.mark.parametrize("size", [{"input_size": 56}, {"patch_size": 7}], ids=str)
def test_caches_of_different_resolutions(given: Given, tmp_path: Path, size: dict[str, int]) -> None:
    grid = (size.get("input_size", 28) // size.get("patch_size", 14)) ** 2
    other = {**SIEVE, "k_keep": 8 * grid, "policy": "sampling", **size}
    cs.precompute(given.folder / "videos", tmp_path / "frames", **other)  # type: ignore[arg-type]
    shares = ("--codec-share=0.5", "--frames-share=0.25", "--frames=2")
    result = given.train(tmp_path / "out", *shares, frames_cache=tmp_path / "frames")
    check_refused(result, tmp_path / "frames", given.folder / "cache", status=2)


def test_a_cache_of_other_patches_than_the_encoders(given: Given, tmp_path: Path) -> None:
    cs.precompute(given.folder / "videos", tmp_path / "cache", **{**SIEVE, "patch_size": 7})  # type: ignore[arg-type]
    result = given.train(tmp_path / "out", cache=tmp_path / "cache")
    check_refused(result, tmp_path / "cache", "--patch-size 14", status=2)


def test_frames_that_are_not_whole(given: Given, tmp_path: Path) -> None:
    result = given.train(tmp_path / "out", "--codec-share=0.5", "--frames=2", frames_cache=given.folder / "cache")
    check_refused(result, given.folder / "cache", "--policy sampling", status=2)


@pytest.mark.parametrize("part", ["encoder.safetensors", "centres-00000.safetensors"])
def test_a_changed_byte_of_a_checkpoint_is_told(given: Given, tmp_path: Path, part: str) -> None:
    last = given.halfway(tmp_path / "out")
    data = bytearray((last / part).read_bytes())
    data[-100] ^= 1
    (last / part).write_bytes(data)
    check_refused(given.train(tmp_path / "out"), last / part, f"remove {last}")


@pytest.mark.parametrize("state", [{"step": 3}, {"step": 3, "identity": 5, "best": None}, [], {"step": "3"}], ids=str)
def test_a_state_that_says_something_else(given: Given, tmp_path: Path, state: object) -> None:
    last = given.halfway(tmp_path / "out")
    (last / "state.json").write_text(json.dumps(state))
    result = given.train(tmp_path / "out")
    check_refused(result, last, status=result.exit_code or -1)
    assert "remove" in result.stderr or "delete it" in result.stderr


def test_a_log_that_has_no_room(given: Given, tmp_path: Path) -> None:
    last = given.halfway(tmp_path / "out")
    log = tmp_path / "out" / "log.jsonl"
    kept = "".join(line + "\n" for line in log.read_text().splitlines()[:3])
    for room in (100, len(kept) + 10):  # for less than it has, and for no whole line more
        with largest_file(room):
            check_refused(given.train(tmp_path / "out"), "cannot write", log, "make room")
        assert same_files(last, given.trained / "checkpoints" / last.name)


def test_what_kills_left_half_written_or_half_removed_is_gone_in_the_end(given: Given, tmp_path: Path) -> None:
    last = given.halfway(tmp_path / "out")
    for name in ("step-00000001.partial", "step-00000004.partial"):
        shutil.copytree(last, last.with_name(name))
    assert given.train(tmp_path / "out", "--keep=9").exit_code == 0
    assert same_files(tmp_path / "out" / "checkpoints", given.trained / "checkpoints")
