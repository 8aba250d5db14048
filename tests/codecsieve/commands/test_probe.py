"""The command `probe`, from a cache or from videos to a report."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from cache_cases import LAYOUT, fill, names
from click.testing import CliRunner, Result
from safetensors.torch import load_file

from codecsieve.cache import Layout, open_cache
from codecsieve.cli import main
from codecsieve.encoder import EncoderConfig, OneVisionEncoder
from codecsieve.pipelines.config import SieveConfig
from codecsieve.pipelines.probe.views import selection_of

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]

MakeVideo = Callable[..., Path]


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


def option_lines(command: str) -> list[str]:
    return command.replace("\\\n", " ").split()


SAMPLING = """
  --eval_freq 1 --default_lr_list 0.0001 --batch_size 32 --default_weight_decay 0 --dali_py_num_workers 8 \
  --model_family llava_vit_sampling --dataset diving48 --num_frames 8 \
  --model_weight lmms-lab-encoder/onevision-encoder-large --model_name hf_llava_vit_large_ln --embedding_size 1024 \
  --frames_token_num 256
"""

CODEC = """
  --eval_freq 1 --default_lr_list 0.0001 --batch_size 4 --default_weight_decay 0 --dali_py_num_workers 8 \
  --model_family llava_vit_codec --dataset diving48 --num_frames 64 --model_weight lmms-lab/onevision-encoder-large \
  --model_name hf_llava_vit_large_ln --embedding_size 1024 --default_epoch 30 \
  --data_root /path/to/your/data_attentive_probe/ --cache_dir /path/to/your/cache_residuals/ --K_keep 2048 \
  --mv_compensate median
"""
"""The options of the two commands in OneVision-Encoder's README."""

SCRIPT = """
  --eval_freq 1 --default_lr_list 0.0001 --default_epoch 1 --batch_size 4 --default_weight_decay 0 \
  --dali_py_num_workers 8 --model_family ov_encoder_codec --model_name ov_encoder_large \
  --model_weight lmms-lab-encoder/onevision-encoder-large --dataset diving48 --save_report result \
  --frames_token_num 256 --embedding_size 1024 --K_keep 2048 --patch_size 14 --mv_compensate similarity \
  --mv_incon_ksize 3 --center_prior 0.0 --center_sigma 0.35 --static_fallback 1 --static_abs_thresh 2.0 \
  --static_rel_thresh 0.15 --static_uniform_frames 4 --input_size 224 --num_frames 64 --num_classes 0 --seed 1 \
  --num_temporal_crops 1 --num_spatial_crops 1 --smoothing 0.1 --clip_grad 5.0 --default_min_lr 1e-7
"""
"""The options of its script for the codec's road, and some that are at their defaults there."""


def published(command: str, home: Path, **values: object) -> list[str]:
    """The options of a command, with a small model, folders that are there, and such values as are given."""
    words = option_lines(command)
    ours = {
        "--model_weight": home / "onevision-encoder-large",
        "--embedding_size": 64,
        "--data_root": home / "data",
        "--cache_dir": home / "cache_residuals",
        "--dali_py_num_workers": 0,  # each of a worker's processes imports torch
        **{f"--{name}": value for name, value in values.items()},
    }
    return [str(ours.get(words[at - 1], word)) for at, word in enumerate(words)]


@pytest.fixture(scope="module")
def follower(tmp_path_factory: pytest.TempPathFactory, make_video: MakeVideo) -> Path:
    """A dozen clips of diving48 as its followers have them, in two classes, and a model."""
    home = tmp_path_factory.mktemp("follower")
    save_model(home / "onevision-encoder-large", 14)
    for folder in ("diving48", "diving48_hevc"):
        videos = home / "data" / folder / "videos"
        videos.mkdir(parents=True)
        for number in range(12):
            moving = ("noise", "pan")[number % 2]
            make_video(videos / f"{number}.mp4", frames=70, size=(64, 48), seed=number, moving=moving)
        for split, numbers in (("train", range(8)), ("val", range(8, 12))):
            lines = [f"videos/{number}.mp4,{47 * (number % 2)}" for number in numbers]
            (videos.parent / f"diving48_{split}_new.csv").write_text("\n".join(lines) + "\n")
    return home


def invoke(options: list[str]) -> Result:
    result = CliRunner().invoke(main, ["probe", *options])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result


def places(cache: Path) -> set[tuple[int, ...]]:
    """The times that the clips of a cache have tokens of, each clip's as a tuple."""
    opened = open_cache(cache)
    return {tuple(np.unique(opened[number].positions[:, 0]).tolist()) for number in range(len(opened))}


def test_the_published_sampling_command_runs_as_it_is(follower: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(follower / "data")  # without --data_root data sets are looked for here
    result = invoke([*published(SAMPLING, follower), "--default_epoch", "2"])
    (cache,) = [path for path in (follower / "data" / "diving48.caches").iterdir() if "." not in path.name]
    said = " ".join(result.stderr.split())
    assert f"codecsieve: cache {cache}" in said.replace("\n", "")
    assert f"data sets of {follower / 'data'}" in said
    assert "8 of 8 clips put into the cache" in said  # to train on; those to judge by have a cache of their own
    assert "4 of 4 clips put into the cache" in said
    # 70 frames: the middle of 8 segments of 69 / 8, each at round(frame / 69 * 63).
    middle = [69 * (2 * number + 1) // 16 for number in range(8)]
    assert places(cache) == {tuple(round(frame / 69 * 63) for frame in middle)}
    assert len(open_cache(cache)) == 4
    drawn = places(cache.with_name(f"{cache.name}.jitter-0"))
    assert len(drawn) > 1
    # Frames of neighbouring segments may be in the same place of 64: clips have more frames than that.
    assert all(len(times) in (7, 8) and set(times) <= set(range(64)) for times in drawn)
    report = json.loads((follower / "data" / "probe_diving48" / "report.json").read_text())
    assert report["model"] == "hf_llava_vit_large_ln"
    assert report["tokens"] == [8 * 256, 64]
    assert report["splits"] == {"train": {"clips": 8, "failed": 0}, "val": {"clips": 4, "failed": 0}}
    assert report["training"]["seeds"] == [0]
    best = report["best_on_validation"]
    assert len(re.findall(r"^\* Final Acc@1: \d+\.\d \| Final Acc@5: \d+\.\d$", result.stdout, re.MULTILINE)) == 2
    assert (
        f"best_lr: 0.0001 max_acc_top1: {100 * best['top1']:.4f} max_acc_top5: {100 * best['top5']:.4f}"
        in result.stdout
    )
    line = follower / "data" / "probe_diving48" / "report_attentive_probe_onevision-encoder-large.txt"
    assert line.read_text() == f"diving48 {100 * best['top1']:.4f}\n"


def test_the_published_codec_command_runs_as_it_is(follower: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(follower)
    result = invoke([*published(CODEC, follower, default_epoch=1), "--save_report", "reports"])
    cache = open_cache(follower / "cache_residuals")
    assert len(cache) == 12
    assert "diving48_hevc" in cache.index["uri"][0].as_py()
    assert SieveConfig(**selection_of(cache)) == SieveConfig(mv_compensate="median", static_fallback=True)
    assert "best_lr: 0.0001" in result.stdout
    assert (follower / "reports" / "report_attentive_probe_onevision-encoder-large_2048.txt").exists()


def test_a_model_that_the_published_code_saved_is_probed_by_both_commands(
    follower: Path, shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(follower / "data")
    model = {"model_weight": shared / "golden" / "encoder_tiny", "embedding_size": 128, "default_epoch": 1}
    for name, command in (("sampling", SAMPLING), ("codec", CODEC)):
        words = published(command, follower, **model)
        invoke([*words, "--default_epoch", "1", "--out", str(tmp_path / name)])
        report = json.loads((tmp_path / name / "report.json").read_text())
        assert report["tokens"] == [2048, 128]


def test_clips_may_be_sampled_more_than_once(follower: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "sets" / "mine"
    folder.mkdir(parents=True)
    lines = [f"{follower}/data/diving48/videos/{number}.mp4,{'ab'[number % 2]}" for number in range(12)]
    (folder / "train.csv").write_text("\n".join(lines))  # and no val.csv
    options = ["--dataset", "mine", "--data_root", "sets", "--cache_dir", "cache", "--embedding_size", "64"]
    options += ["--model_weight", str(follower / "onevision-encoder-large"), "--default_epoch", "2"]
    invoke([*options, "--model_family", "sampling", "--num_frames", "3", "--views", "2", "--num_temporal_crops", "3"])
    views = json.loads((tmp_path / "probe_mine" / "report.json").read_text())["views"]
    assert {name: [Path(view).name for view in of_split] for name, of_split in views.items()} == {
        "train": ["cache.jitter-0", "cache.jitter-1"],
        "val": ["cache", "cache.jitter-1", "cache.jitter-2"],
    }
    caches = {path.name: open_cache(path) for path in tmp_path.glob("cache*") if path.suffix != ".features"}
    assert {name: cache.config["k_keep"] for name, cache in caches.items() if cache.config["target_frames"] == 64} == (
        dict.fromkeys(["cache", "cache.jitter-0", "cache.jitter-1", "cache.jitter-2"], 3 * 256)
    )
    frames = {name: cache[caches["cache"].clip_ids[0]].frame_ids.tolist() for name, cache in caches.items()}
    assert frames["cache"] == [11, 34, 57]
    assert len({tuple(of_cache) for of_cache in frames.values()}) == 4

    # Left over from a cache of the same name.
    shutil.rmtree(tmp_path / "cache")
    again = [*options, "--model_family", "sampling", "--num_frames", "4", "--out", "again"]
    result = CliRunner().invoke(main, ["probe", *again])
    assert result.exit_code == 2
    assert re.search("cache.jitter-0 was made with .*num_frames=3, you asked 4.*; delete it", result.stderr)

    # The patches that the codec tells of, from frames drawn anew.
    codec = ["--cache_dir", "codec", "--num_frames", "16", "--k_keep", "64", "--views", "2", "--out", "codec_out"]
    invoke([*options, *codec])
    kept = [open_cache(tmp_path / f"codec.jitter-{seed}") for seed in (0, 1)]
    assert all(cache[0].positions[:, 0].max() < 16 for cache in kept)
    assert kept[0][0].frame_ids.tolist() != kept[1][0].frame_ids.tolist()


def test_clips_of_several_classes_are_judged_by_average_precision(
    follower: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "charadesego"
    folder.mkdir()
    videos = follower / "data" / "diving48" / "videos"
    for split, numbers in (("train", range(8)), ("val", range(8, 12))):
        lines = [f"{videos}/{number}.mp4,{'0;156' if number % 2 else '3;17;40'}" for number in numbers]
        (folder / f"{split}_new.csv").write_text("\n".join(lines))
    options = ["--dataset", "charadesego", "--model_weight", str(follower / "onevision-encoder-large")]
    result = invoke([*options, "--model_family", "chunk_wise_sampling", "--num_frames", "2", "--default_epoch", "1"])
    report = json.loads((tmp_path / "probe_charadesego" / "report.json").read_text())
    best = report["best_on_validation"]
    assert report["multi_label"]
    assert f"* Final mAP: {100 * best['mean_ap']:.1f}" in result.stdout
    assert [one["clips"] for one in report["per_class"] if one["average_precision"] is not None] == [2] * 5
    assert not (tmp_path / "probe_charadesego" / "confusion.png").exists()
    (line,) = (tmp_path / "probe_charadesego").glob("report_attentive_probe_*.txt")
    assert line.read_text() == f"charadesego {100 * best['mean_ap']:.4f}\n"


def test_the_published_script_s_options_are_understood(follower: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(follower / "data")
    result = invoke([*published(SCRIPT, follower, save_report=follower / "script"), "--out", "probe_script"])
    report = json.loads((follower / "data" / "probe_script" / "report.json").read_text())
    assert Path(report["cache"]).parent == follower / "data" / "diving48_hevc.caches"
    assert SieveConfig(**selection_of(open_cache(report["cache"]))) == SieveConfig(
        mv_compensate="similarity", center_prior=0, static_fallback=True, static_abs_thresh=2, static_rel_thresh=0.15
    )
    assert "codecsieve: --mv_incon_ksize has no effect here: it is of --mv_use_inconsistency" in result.stderr


def test_the_published_measures_of_motion_and_residual_are_those_of_the_cache(
    follower: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(follower / "data")
    measured = ["--mv_use_inconsistency", "--mv_incon_ksize", "5", "--res_use_grad", "--out", "probe_measured"]
    invoke([*published(SCRIPT, follower, save_report=follower / "measured"), *measured])
    report = json.loads((follower / "data" / "probe_measured" / "report.json").read_text())
    made = SieveConfig(**selection_of(open_cache(report["cache"])))
    assert (made.mv_inconsistency, made.mv_incon_ksize, made.res_use_grad) == ("variance", 5, True)


@pytest.mark.skipif(sys.platform == "win32", reason="torchrun's gloo")
@pytest.mark.parametrize("command", [SAMPLING, CODEC], ids=["sampling", "codec"])
def test_two_processes_of_torchrun_come_to_what_one_does(
    follower: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.chdir(follower / "data")

    def words(name: str, batch_size: int) -> list[str]:
        given = published(command, follower, batch_size=batch_size, cache_dir=tmp_path / "cache", default_epoch=3)
        where = ["--out", str(tmp_path / name), "--features_dir", str(tmp_path / f"{name}-features")]
        return [*given, "--cache_dir", str(tmp_path / "cache"), "--default_epoch", "3", "--device", "cpu", *where]

    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    done = subprocess.run(
        [*torchrun, "-m", "codecsieve", "probe", *words("two", 2)],
        capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("* Final Acc@1:") == 3  # once, not once a process
    invoke(words("one", 4))
    one, two = (load_file(tmp_path / name / "last.safetensors") for name in ("one", "two"))
    assert one.keys() == two.keys()
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, atol=1e-4, rtol=1e-4)
    one_report, two_report = (json.loads((tmp_path / name / "report.json").read_text()) for name in ("one", "two"))
    assert one_report["selected_on_validation"]["top1"] == two_report["selected_on_validation"]["top1"]


def test_a_cache_and_a_model_become_a_report(home: Path, tmp_path: Path) -> None:
    options = ["--default_lr_list", "1e-4 1e-3", "--seeds", "0,1", "--default_epoch", "2", "--batch_size", "8"]
    checks = ["--embedding_size", 64, "--num_frames", LAYOUT.num_frames, "--K_keep", LAYOUT.k_keep]
    result = run(home, *options, *checks, "--model_name", "small one", "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "best.safetensors", "last.safetensors", "report.json", "confusion.png", "report_attentive_probe_model_5.txt",
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
    assert sorted(set(open_cache(tmp_path / "frames")[0].positions[:, 0].tolist())) == [0, 63]
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
        (2, "data set 'k400': no folder .*; known by name are ssv2, .*, k400", {"dataset": "k400"}, []),
        (
            2,
            r"model_family \('llava'\) must be one of codec, sampling, ov_encoder_codec",
            {},
            ["--model_family", "llava"],
        ),
        (2, r"mv_compensate \('mode'\) must be one of none, mean, median", {}, ["--mv_compensate", "mode"]),
        (2, r"num_spatial_crops \(3\) must be 1: tokens are those of the centre", {}, ["--num_spatial_crops", 3]),
        (2, r"tubelet_size \(2\) must be 1: patches are of one frame", {}, ["--tubelet_size", 2]),
        (2, r"mean \(.*\) must be 0.48145466 0.4578275 0.40821073: colours", {}, ["--mean", 0.5, 0.5, 0.5]),
        (2, "was made with res_use_grad=False, you asked True", {}, ["--res_use_grad"]),
        (2, "was made with mv_inconsistency=none, you asked variance", {}, ["--mv_use_inconsistency"]),
        (2, r"resume_checkpoint \('x.pt'\) must be .*last.safetensors", {}, ["--resume_checkpoint", "x.pt"]),
        (2, r"seed \(1\) and seeds say the same", {}, ["--seed", 1, "--seeds", "1,2"]),
        (2, r"num_classes \(9\) must be 51", {"dataset": "hmdb51"}, ["--num_classes", 9]),
        (2, r"other.csv: no such file; it was named", {}, ["--train_data_csv_path", "other.csv"]),
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
