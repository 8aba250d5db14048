"""The command `probe`, from a cache or from videos to a report."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from cache_cases import LAYOUT, fill, names
from click.testing import CliRunner, Result

from codecsieve.cache import Layout, open_cache
from codecsieve.cli import main
from codecsieve.encoder import EncoderConfig, OneVisionEncoder

pytestmark = pytest.mark.slow

MakeVideo = Callable[..., Path]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def save_model(folder: Path, patch_size: int, **changes: int) -> Path:
    torch.manual_seed(0)
    model = OneVisionEncoder(EncoderConfig(64, 96, 1, 2, patch_size=patch_size))
    model.save_pretrained(folder)
    if changes:
        values = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(values | changes))
    return folder


def write_manifest(path: Path, lines: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("path,label\n" + "\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of 40 clips, manifests of its three splits, a model."""
    home = tmp_path_factory.mktemp("home")
    fill(home / "cache", names(40), failing={"clip-30", "clip-31"})
    fill(home / "indices", names(4), layout=Layout(LAYOUT.num_frames, LAYOUT.k_keep, LAYOUT.patch, "indices"))
    save_model(home / "model", LAYOUT.patch)
    save_model(home / "misfit", LAYOUT.patch, intermediate_size=128)
    for split, clips in (("train", range(24)), ("val", range(24, 31)), ("test", range(31, 40))):
        write_manifest(home / f"sets/mine/{split}.csv", [f"/videos/clip-{n}.mp4,{'ab'[n % 2]}" for n in clips])
    write_manifest(home / "sets/hmdb51/train.csv", ["/videos/clip-1.mp4,50", "/videos/clip-2.mp4,51"])
    for split, clip in (("train", 1), ("val", 30)):
        write_manifest(home / f"sets/failed/{split}.csv", [f"/videos/clip-{clip + n}.mp4,{'ab'[n]}" for n in (0, 1)])
    write_manifest(home / "sets/single/train.csv", ["/videos/clip-1.mp4,a", "/videos/clip-2.mp4,b"])
    for split, clips in (("train", (1, 2)), ("val", (3, 4)), ("test", (4, 5))):
        write_manifest(home / f"sets/shared/{split}.csv", [f"/videos/clip-{n}.mp4,{'ab'[n % 2]}" for n in clips])
    return home


def run(home: Path, *options: object, dataset: str = "mine", model: str = "model", cache: str = "cache") -> Result:
    """Run the command; whatever is not one line and an exit status is raised."""
    paths = ["--data-root", home / "sets", "--cache-dir", home / cache, "--model-weight", home / model]
    arguments = ["probe", "--dataset", dataset, *paths, "--device", "cpu", *options]
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_a_cache_and_a_model_become_a_report(home: Path, tmp_path: Path) -> None:
    options = ["--default_lr_list", "1e-4 1e-3", "--seeds", "0,1", "--default_epoch", "2", "--batch_size", "8"]
    checks = ["--embedding_size", 64, "--num_frames", LAYOUT.num_frames, "--K_keep", LAYOUT.k_keep]
    result = run(home, *options, *checks, "--model_name", "small one", "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "best.safetensors", "last.safetensors", "report.json", "confusion.png",
    }  # fmt: skip
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["model"] == "small one"
    assert report["tokens"] == [LAYOUT.k_keep, 64]
    assert report["splits"] == {
        "train": {"clips": 24, "failed": 0}, "val": {"clips": 6, "failed": 1}, "test": {"clips": 8, "failed": 1},
    }  # fmt: skip
    assert [seed["seed"] for seed in report["test"]["seeds"]] == [0, 1]
    assert sum(one["clips"] for one in report["per_class"]) == 2 * 8
    looks = [probe["top1"] for look in report["history"] for probe in look["probes"]]
    assert len(looks) == 2 * 4
    assert report["best_on_validation"]["top1"] == max(looks)
    assert "too high" in report["best_on_validation"]["note"]
    text = re.sub(r"\s+", " ", result.output)
    assert f"test top-1 {report['test']['top1']:.2%}" in text
    assert "val clips 6, 1 more failed" in text
    assert "encoded" in result.stderr

    before = (tmp_path / "out" / "last.safetensors").read_bytes()
    again = run(home, *options, "--model_name", "small one", "--out", tmp_path / "out", "--quiet")
    assert again.exit_code == 0
    assert again.stderr == ""
    known = json.loads((tmp_path / "out" / "report.json").read_text())
    for one in (known, report):
        del one["seconds"]
    assert known == report
    assert (tmp_path / "out" / "last.safetensors").read_bytes() == before

    other = run(home, *options, "--eval-freq", "2", "--out", tmp_path / "out")
    assert other.exit_code == 2
    assert "eval_freq 1, you asked 2" in other.stderr


def test_videos_become_a_cache_first_and_may_move_afterwards(make_video: MakeVideo, tmp_path: Path) -> None:
    save_model(tmp_path / "model", 14)
    folder = tmp_path / "sets" / "mine"
    folder.mkdir(parents=True)
    for number in range(4):
        make_video(folder / f"{number}.mp4", frames=6, seed=number, moving="noise")
    write_manifest(folder / "train.csv", ["0.mp4,a", "1.mp4,b", "2.mp4,a", "3.mp4,b"])
    options = ["--num-frames", 4, "--k-keep", 9, "--default-epoch", 1]
    result = run(tmp_path, *options, "--frames-token-num", 256, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert "clips put into the cache" in result.stderr
    assert "none: there is no test.csv" in result.output
    assert open_cache(tmp_path / "cache").config["k_keep"] == 9
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["splits"] == {"train": {"clips": 2, "failed": 0}, "val": {"clips": 2, "failed": 0}}
    assert report["test"] is None

    whole = ["--num-frames", 4, "--k-keep", 512, "--default-epoch", 1, "--out", tmp_path / "whole"]
    result = run(tmp_path, *whole, "--model-family", "sampling", cache="frames")
    assert result.exit_code == 0, result.output
    assert sorted(set(open_cache(tmp_path / "frames")[0].positions[:, 0].tolist())) == [0, 3]
    result = run(tmp_path, *whole, "--model-family", "codec", cache="frames")
    assert result.exit_code == 2
    assert "was made with policy=sampling, you asked saliency" in result.stderr

    # Other labels of the same clips, and one more: one cache serves them all.
    make_video(folder / "4.mp4", frames=6, seed=4, moving="noise")
    nouns = [f"{tmp_path}/sets/mine/{number}.mp4,{'xy'[number % 2]}" for number in range(5)]
    write_manifest(tmp_path / "sets" / "nouns" / "train.csv", nouns)
    result = run(tmp_path, "--default-epoch", 1, "--out", tmp_path / "nouns", dataset="nouns")
    assert result.exit_code == 0, result.output
    assert len(open_cache(tmp_path / "cache")) == 5

    (tmp_path / "sets").rename(tmp_path / "moved")
    (tmp_path / "sets").symlink_to(tmp_path / "moved")
    folder.rename(tmp_path / "moved" / "renamed")
    again = run(tmp_path, "--default-epoch", 1, "--out", tmp_path / "out", dataset="renamed")
    assert again.exit_code == 2
    assert "dataset 'mine', you asked 'renamed'" in again.stderr
    again = run(tmp_path, "--default-epoch", 1, "--out", tmp_path / "other", dataset="renamed")
    assert again.exit_code == 0, again.output
    assert "put into the cache" not in again.stderr
    assert len(open_cache(tmp_path / "cache").index) == 5


def test_damaged_pixels_do_not_become_tokens(home: Path, tmp_path: Path) -> None:
    shutil.copytree(home / "cache", home / "damaged")
    shard = next(
        path for path in (home / "damaged" / "patches").rglob("*") if path.is_file() and path.name != "zarr.json"
    )
    content = bytearray(shard.read_bytes())
    content[100] ^= 1
    shard.write_bytes(content)
    result = run(home, "--default-epoch", 1, "--out", tmp_path / "out", cache="damaged")
    assert result.exit_code != 0
    assert "checksum" in result.stderr


@pytest.mark.parametrize(
    ("status", "message", "case", "options"),
    [
        (1, "nowhere: no such folder", {"model": "nowhere"}, []),
        (1, "misfit: the weights are not those of its config.json", {"model": "misfit"}, []),
        (2, r"holds no pixels \(store 'indices'\); make one", {"cache": "indices"}, []),
        (2, "was made with k_keep=5, you asked 1024", {}, ["--k-keep", 1024]),
        (2, r"frames_token_num \(196\) must be 256, the patches of a whole frame", {}, ["--frames-token-num", 196]),
        (2, r"embedding_size \(768\) must be 64", {}, ["--embedding-size", 768]),
        (2, r"train.csv line 3: label \('51'\) must be in 0..50", {"dataset": "hmdb51"}, []),
        (2, "split val .0 clips. must not be empty: 2 clips", {"dataset": "failed"}, []),
        (2, "test.csv: 1 clips are in val, too, and must not be", {"dataset": "shared"}, []),
        (2, "must not be empty: each class has one clip; write a val.csv", {"dataset": "single"}, []),
        (2, "train.csv: no such file", {"dataset": "k400"}, []),
        (2, "must be numbers with commas between", {}, ["--default-lr-list", "fast"]),
        (2, r"batch_size \(0\) must be > 0", {}, ["--batch-size", 0]),
        (2, r"device \('tpu'\) must be one of", {}, ["--device", "tpu"]),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    home: Path, tmp_path: Path, status: int, message: str, case: dict[str, str], options: list[object]
) -> None:
    result = run(home, "--out", tmp_path / "out", *options, **case)
    assert result.exit_code == status
    assert re.search(message, result.stderr.splitlines()[-1])
    assert not (tmp_path / "out").exists()
