"""Several encoders in the same probe: names, spread, what is told of those that fail."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from cache_cases import make_record, names
from click.testing import CliRunner, Result
from PIL import Image
from torch import Tensor

from codecsieve.cache import CacheWriter, ClipArrays, Layout
from codecsieve.cli import main
from codecsieve.encoder import EncoderConfig, OneVisionEncoder
from codecsieve.errors import ConfigError, EncoderError
from codecsieve.pipelines.config import SieveConfig
from codecsieve.pipelines.learn.ranks import Ranks
from codecsieve.pipelines.probe.compare import compare, names_of
from codecsieve.pipelines.probe.config import ProbeConfig, ProbeRun

pytest.importorskip("transformers", reason="transformers is not installed")

from foreign_models import PATCH, SIDE, save_foreign  # which needs transformers

pytestmark = pytest.mark.usefixtures("one_thread")

FRAMES = 4
GRID = SIDE // PATCH
LAYOUT = Layout(num_frames=FRAMES, k_keep=FRAMES * GRID**2, patch=PATCH)


def test_encoders_are_named_by_as_much_of_their_weights_as_keeps_them_apart() -> None:
    named = names_of(["runs/1/model", "runs/2/model", "facebook/dinov2-base", "clip", "./other/"])
    assert named == {
        "1-model": "runs/1/model", "2-model": "runs/2/model", "dinov2-base": "facebook/dinov2-base", "clip": "clip",
        "other": "./other/",
    }  # fmt: skip
    with pytest.raises(ConfigError, match=r"compare \(clip, clip\) must name each encoder once"):
        names_of(["clip", "clip"])
    with pytest.raises(ConfigError, match="must name encoders that differ in their folders' names"):
        names_of(["a/model", "./a/model"])


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of 20 clips of whole frames, bright or dark by class, manifests, and models."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    home = tmp_path_factory.mktemp("home")
    places = np.stack(np.unravel_index(np.arange(LAYOUT.k_keep), (FRAMES, GRID, GRID)), axis=1)
    config = SieveConfig(
        policy="sampling", num_frames=FRAMES, k_keep=LAYOUT.k_keep, input_size=SIDE, patch_size=PATCH
    ).to_dict()
    with CacheWriter.open(home / "frames", LAYOUT, config) as writer:
        for work in writer.plan(names(20)):
            clips = {}
            for clip_id in work.ids:
                number = int(clip_id.rpartition("-")[2])
                pixels = np.random.default_rng(number).integers(0, 60, (LAYOUT.k_keep, 3, PATCH, PATCH))
                clips[clip_id] = ClipArrays(
                    (pixels + 180 * (number % 2)).astype(np.uint8),
                    places.astype(np.uint16),
                    np.zeros(LAYOUT.k_keep, np.int32),
                    np.arange(FRAMES, dtype=np.int32),
                )
            writer.write_shard(work.shard, clips, [make_record(clip_id) for clip_id in work.ids])
    for split, numbers in (("train", range(12)), ("val", range(12, 16)), ("test", range(16, 20))):
        lines = [f"/videos/clip-{n}.mp4,{'ab'[n % 2]}" for n in numbers]
        (home / "sets/mine").mkdir(parents=True, exist_ok=True)
        (home / f"sets/mine/{split}.csv").write_text("path,label\n" + "\n".join(lines) + "\n")
    OneVisionEncoder(EncoderConfig(64, 96, 1, 2, patch_size=PATCH)).save_pretrained(home / "ours")
    for kind in ("clip", "siglip2", "dinov3_vit", "videomae", "timesformer"):
        save_foreign(home / kind, kind, image_mean=[0.5] * 3, image_std=[0.5] * 3)
    (home / "empty").mkdir()
    torch.set_num_threads(threads)
    return home


def probe(home: Path, *options: object) -> Result:
    paths = ["--data-root", home / "sets", "--cache-dir", home / "frames", "--dataset", "mine", "--device", "cpu"]
    shared = ["--batch-size", 6, "--default-epoch", 3, "--default-lr-list", "1e-3"]
    result = CliRunner().invoke(main, ["probe", *map(str, [*paths, *shared, *options])])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.mark.slow
def test_encoders_are_compared_in_one_table_and_one_picture(home: Path, tmp_path: Path) -> None:
    compared = [home / name for name in ("ours", "clip", "siglip2", "dinov3_vit")]
    options = ["--seeds", "0", "1", "--out", tmp_path / "out", "--features-dir", tmp_path / "tokens"]
    result = probe(home, "--model-family", "sampling", "--compare", *compared, *options)
    assert result.exit_code == 0, result.output
    comparison = json.loads((tmp_path / "out/compare.json").read_text())
    models = comparison["models"]
    assert [model["model"] for model in models] == ["ours", "clip", "siglip2", "dinov3_vit"]
    assert comparison["failed"] == {}
    for model in models:
        report = json.loads(Path(model["report"]).read_text())
        seeds = [seed["top1"] for seed in report["test"]["seeds"]]
        assert model["top1"] == {"mean": pytest.approx(np.mean(seeds)), "deviation": np.std(seeds, ddof=1)}
        assert report["test"]["top1"] == model["top1"]["mean"]
        assert [model["tokens"], model["channels"]] == report["tokens"] == [LAYOUT.k_keep, 64]
        assert model["split"] == "test"
        assert model["encoding_seconds"] > 0
        assert f"{100 * model['top1']['mean']:.2f} ± " in result.output
        assert (tmp_path / "tokens" / model["model"] / "zarr.json").exists()
        assert (tmp_path / "out" / model["model"] / "best.safetensors").exists()
    assert models[0]["top1"]["mean"] > 0.5  # bright or dark is easily told
    with Image.open(tmp_path / "out/compare.png") as picture:
        assert picture.size[0] > 400

    again = probe(home, "--compare", *compared, *options, "--quiet")
    assert again.exit_code == 0
    known = json.loads((tmp_path / "out/compare.json").read_text())
    assert [model["encoding_seconds"] for model in known["models"]] == [None] * 4
    assert [model["top1"] for model in known["models"]] == [model["top1"] for model in models]
    assert "made before" in again.output


@pytest.mark.slow
def test_one_that_fails_is_told_of_and_the_others_go_on(home: Path, tmp_path: Path) -> None:
    first, *others = [home / name for name in ("empty", "timesformer", "nowhere", "clip")]
    result = probe(home, f"--compare={first}", *others, "--out", tmp_path / "out")
    assert result.exit_code == 1
    comparison = json.loads((tmp_path / "out/compare.json").read_text())
    assert [model["model"] for model in comparison["models"]] == ["timesformer", "clip"]
    assert list(comparison["failed"]) == ["empty", "nowhere"]
    assert "failed: nowhere: " in result.stderr
    assert "no such folder" in comparison["failed"]["nowhere"]
    # Without several seeds there is no spread.
    assert [model["top1"]["deviation"] for model in comparison["models"]] == [None, None]

    none = probe(home, "--compare", home / "empty", home / "nowhere", "--out", tmp_path / "none")
    assert none.exit_code == 1
    assert "empty" in none.stderr.splitlines()[-1]
    assert not (tmp_path / "none").exists()


@pytest.mark.slow
def test_a_baseline_is_probed_by_its_family_s_name(home: Path, tmp_path: Path) -> None:
    options = ["--model-weight", home / "siglip2", "--model_family", "siglip2", "--embedding_size", 64]
    result = probe(home, *options, "--frames_token_num", 16, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert json.loads((tmp_path / "out/report.json").read_text())["tokens"] == [LAYOUT.k_keep, 64]


@pytest.mark.parametrize(
    ("status", "message", "options"),
    [
        (1, "of type 'clip', and so none of family dinov2", ["--model-weight", "clip", "--model-family", "dinov2"]),
        (2, "frames_token_num .196. must be 16, as of", ["--model-family=clip", "--frames-token-num=196"]),
        (2, "embedding_size .768. must be 64", ["--model-family=clip", "--embedding-size=768"]),
        (2, "must be one of codec, sampling, .*clip, siglip, siglip2, dinov2", ["--model-family", "clap"]),
        (2, "Give one of --model-weight and --compare", ["--model-weight", "clip", "--compare", "clip", "siglip2"]),
        (2, "compare .* must name each encoder once", ["--compare", "clip", "clip"]),
        (2, "model_name .'x'. names one encoder, and --compare has several", ["--model-name=x", "--compare", "clip"]),
        (2, "Option '--compare' requires an argument", ["--compare"]),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    home: Path, tmp_path: Path, status: int, message: str, options: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(home)  # where clip is a folder
    if not {"--compare", "--model-weight"} & set(options):
        options = ["--model-weight", "clip", *options]
    result = probe(home, "--out", tmp_path / "out", *options)
    assert result.exit_code == status
    assert re.search(message, result.stderr.splitlines()[-1])
    assert not (tmp_path / "out").exists()


def test_a_cache_of_single_patches_is_refused_before_it_is_made(home: Path, tmp_path: Path) -> None:
    options = ["--cache-dir", tmp_path / "sparse", "--out", tmp_path / "out"]
    result = probe(home, "--model-weight", home / "clip", *options)
    assert result.exit_code == 2
    assert "policy (saliency) must be sampling: a baseline takes whole frames; use --model-family" in result.stderr
    assert not (tmp_path / "sparse").exists()


def test_processes_agree_on_who_takes_part(home: Path, tmp_path: Path) -> None:
    class OtherFails(Ranks):
        def sum_(self, tensors: Sequence[Tensor]) -> None:
            for tensor in tensors:
                tensor += 1

    run = ProbeRun(home / "sets", "mine", home / "frames", "", tmp_path / "out")
    with pytest.raises(EncoderError, match="another process could not load it"):
        compare([str(home / "clip")], run, ProbeConfig(), OtherFails(0, 2))


@pytest.mark.slow
def test_videos_become_frames_of_the_model_s_size(home: Path, tmp_path: Path, make_video: Callable[..., Path]) -> None:
    videos = tmp_path / "sets" / "mine"
    videos.mkdir(parents=True)
    for number in range(6):
        make_video(videos / f"{number}.mp4", frames=12, seed=number, moving="noise" if number % 2 else "pan")
    for split, numbers in (("train", range(4)), ("val", range(4, 6))):
        (videos / f"{split}.csv").write_text("".join(f"{number}.mp4,{'ab'[number % 2]}\n" for number in numbers))
    paths = ["--data-root", tmp_path / "sets", "--cache-dir", tmp_path / "cache", "--out", tmp_path / "out"]
    frames = ["--model-family", "dinov3", "--num-frames", FRAMES, "--frames-token-num", GRID**2]
    result = probe(home, "--model-weight", home / "dinov3_vit", *paths, *frames)
    assert result.exit_code == 0, result.output
    report = json.loads((tmp_path / "out/report.json").read_text())
    assert report["selection"]["k_keep"] == FRAMES * 256  # whole frames of 224, which the model sees with 32
    assert report["tokens"] == [FRAMES * GRID**2, 64]

    compared = ["--compare", home / "dinov3_vit", home / "videomae", "--model-family", "sampling"]
    result = probe(home, *compared, *paths, "--num-frames", FRAMES)
    assert result.exit_code == 0, result.output
    models = json.loads((tmp_path / "out/compare.json").read_text())["models"]
    assert [(model["tokens"], model["split"]) for model in models] == [(64, "val"), (32, "val")]
    wrong = probe(home, *compared, *paths[:2], "--cache-dir", tmp_path / "two", "--num-frames", 2, "--out", tmp_path)
    assert wrong.exit_code == 1
    assert "failed: videomae: num_frames (2) must be 4: videomae takes clips of so many" in wrong.stderr
