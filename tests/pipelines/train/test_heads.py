"""Further heads of a training: pictures from tars and from caches of one slot, words as labels, banks of their own."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import codecsieve as cs
from codecsieve.cache.concepts import write_concepts
from codecsieve.cli import main
from codecsieve.encoder import EncoderConfig, OneVisionEncoder
from codecsieve.errors import ConfigError
from codecsieve.pipelines.train.bank import file_labels
from codecsieve.pipelines.train.checkpoint import checkpoints
from codecsieve.pipelines.train.config import HeadConfig, TrainConfig, TrainRun, read_heads, read_toml
from codecsieve.pipelines.train.log import read_log
from codecsieve.pipelines.train.pictures import AREA, ASPECT, augmented, cut, decoded, joined, picture_source
from codecsieve.pipelines.train.run import train
from codecsieve.pipelines.train.tars import samples_of, tar_paths

pytestmark = pytest.mark.usefixtures("one_thread")

PICTURES, CLASSES, SIDE = 10, 30, 28
CONFIG = TrainConfig(steps=6, batch_size=4, save_every=2, seed=1)


def picture(seed: int, width: int = 60, height: int = 44) -> np.ndarray:
    """Smooth colours, so that a JPEG has them, too."""
    small = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))


def write_tar(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def words(path: Path, rows: dict[str, list[int]]) -> Path:
    pq.write_table(pa.table({"id": list(rows), "labels": pa.array(list(rows.values()), pa.list_(pa.int32()))}), path)
    return path


@pytest.fixture(scope="module")
def tars(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Two tars of pictures, with texts beside them."""
    folder = tmp_path_factory.mktemp("tars")
    for number in range(2):
        mine = range(number, PICTURES, 2)
        files = {f"photos/{one:03}.png": png(picture(one)) for one in mine}
        write_tar(folder / f"{number:02}.tar", files | {f"photos/{one:03}.json": b"{}" for one in mine})
    return str(folder / "{00..01}.tar")


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Words of these pictures."""
    path = tmp_path_factory.mktemp("words") / "words.parquet"
    return str(words(path, {f"photos/{one:03}": [one, one + 1, one + 2][: 1 + one % 3] for one in range(PICTURES)}))


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An encoder to begin with."""
    folder = tmp_path_factory.mktemp("encoder")
    torch.manual_seed(0)
    OneVisionEncoder(EncoderConfig(64, 96, 2, 2, image_size=SIDE)).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def clips(make_video: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> TrainRun:
    """Clips with concepts, and a cache of one whole frame of each."""
    folder = tmp_path_factory.mktemp("clips")
    (folder / "videos").mkdir()
    for number in range(4):
        make_video(folder / "videos" / f"{number}.mp4", seed=number)
    options: dict[str, Any] = {"input_size": SIDE, "workers": 0}
    cs.precompute(folder / "videos", folder / "cache", num_frames=8, k_keep=8, **options)
    cs.precompute(folder / "videos", folder / "frames", num_frames=1, k_keep=4, policy="sampling", **options)
    ids = cs.open_cache(folder / "cache").clip_ids
    labels = np.stack([np.random.default_rng(number).permutation(CLASSES)[:10] for number in range(len(ids))])
    write_concepts(folder / "concepts", np.eye(CLASSES, dtype=np.float32), ids, labels, {})
    return TrainRun(folder / "cache", folder / "concepts", folder / "out")


def head(tars: str, named: str, **options: Any) -> HeadConfig:
    told = {"tars": tars, "concepts": named, "classes": CLASSES, "labels": 5, "batch_size": 4, "size": SIDE}
    return HeadConfig("photos", **{**told, **options})


# --- tars


def test_tars_are_named_by_numbers_or_patterns(tars: str) -> None:
    assert [path.name for path in tar_paths(tars)] == ["00.tar", "01.tar"]
    assert tar_paths(tars.replace("{00..01}", "*")) == tar_paths(tars)
    assert tar_paths("one.tar") == [Path("one.tar")]
    for wrong in ("none-*.tar", "{9..1}.tar", "{0..99999999}.tar"):
        with pytest.raises(ConfigError, match=r"names no file|must name from one"):
            tar_paths(wrong)


def test_pictures_of_tars_are_read_each_by_itself(tars: str) -> None:
    samples = samples_of(tar_paths(tars))
    assert [sample.key for sample in samples] == [f"photos/{one:03}" for one in (*range(0, 10, 2), *range(1, 10, 2))]
    np.testing.assert_array_equal(decoded(samples[7]), picture(5))


def test_what_is_no_tar_or_no_picture_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "no.tar").write_bytes(b"no tar" * 200)
    with pytest.raises(ConfigError, match=r"no\.tar cannot be read as a tar that is not compressed"):
        samples_of([tmp_path / "no.tar"])
    with pytest.raises(ConfigError, match=r"gone\.tar cannot be read as a tar .*No such file"):
        samples_of([tmp_path / "gone.tar"])
    one = write_tar(tmp_path / "a.tar", {"a.jpg": b"\xff\xd8no picture"})
    with pytest.raises(ConfigError, match=r"a\.tar: a cannot be shown .*; leave it out of the concepts"):
        decoded(samples_of([one])[0])
    with pytest.raises(ConfigError, match=r"b\.tar has a, which .*a\.tar has, too"):
        samples_of([one, write_tar(tmp_path / "b.tar", {"a.png": b""})])
    cut_off = write_tar(tmp_path / "c.tar", {"c.png": png(picture(0))})
    sample = samples_of([cut_off])[0]
    cut_off.write_bytes(cut_off.read_bytes()[: sample.offset + 10])
    with pytest.raises(ConfigError, match=r"c\.tar ends in the middle of c; copy it anew"):
        decoded(sample)


# --- pictures


@given(st.integers(1, 70), st.integers(1, 70), st.lists(st.floats(0, 1), min_size=5, max_size=5))
def test_a_crop_is_of_the_picture(width: int, height: int, drawn: list[float]) -> None:
    made = augmented(np.full((height, width, 3), (9, 80, 200), np.uint8), SIDE, "crop", drawn)
    assert made.shape == (SIDE, SIDE, 3)
    assert (made == (9, 80, 200)).all()


@pytest.mark.slow
def test_a_crop_has_the_published_area_and_aspect_and_is_mirrored_every_other_time() -> None:
    across = np.tile(np.arange(250, dtype=np.uint8)[None, :, None], (200, 1, 3))
    down = np.tile(np.arange(200, dtype=np.uint8)[:, None, None], (1, 250, 3))
    areas, mirrored = [], []
    for seed in range(300):
        drawn = np.random.default_rng(seed).random(5).tolist()
        wide, tall = ((np.ptp(augmented(ramp, 100, "crop", drawn)[..., 0].astype(int)) + 1) for ramp in (across, down))
        areas.append(wide * tall / (200 * 250))
        row = augmented(across, 100, "crop", drawn)[50, :, 0]
        mirrored.append(row[0] > row[-1])
        assert ASPECT[0] * 0.93 < wide / tall < ASPECT[1] * 1.07
    assert AREA[0] * 0.9 < min(areas) < 0.75
    assert 0.9 < max(areas) <= 1.01
    assert 0.4 < np.mean(mirrored) < 0.6


def test_without_a_crop_it_is_the_middle() -> None:
    wide = picture(3, 48, SIDE)
    made = augmented(wide, SIDE, "none", [0.3] * 5)
    np.testing.assert_array_equal(made, wide[:, 10 : 10 + SIDE])


def test_a_picture_is_cut_into_patches_and_put_together_again() -> None:
    both = np.stack([picture(seed, SIDE, SIDE) for seed in (1, 2)])
    patches, positions = cut(both, 14)
    assert positions[0].tolist() == [[0, 0, 0], [0, 0, 1], [0, 1, 0], [0, 1, 1]]
    np.testing.assert_array_equal(patches[1, 1].permute(1, 2, 0), both[1, :14, 14:])
    order = torch.tensor([2, 0, 3, 1])
    again = joined(patches[0, order], positions[0, order])
    assert again is not None
    np.testing.assert_array_equal(again, both[0])
    assert joined(patches[0, :3], positions[0, :3]) is None
    assert joined(patches[0], torch.zeros_like(positions[0])) is None


def test_what_a_row_of_a_step_gets_is_always_the_same(tars: str, named: str) -> None:
    source, classes = picture_source(head(tars, named), 14, seed=3)
    assert classes == CLASSES
    one, other = (source.groups([4, 2], [0, 1], step=7)[0] for _ in range(2))
    assert torch.equal(one.patches, other.patches)
    assert not torch.equal(source.groups([4, 2], [0, 1], step=8)[0].patches, one.patches)
    assert torch.equal(source.groups([2], [1], step=7)[0].patches[0], one.patches[1])  # whoever else is in the step


def test_a_clip_of_one_slot_is_a_picture_and_any_other_is_refused(clips: TrainRun) -> None:
    assert clips.cache is not None
    of_frames = HeadConfig(
        "photos", str(clips.cache.with_name("frames")), "", str(clips.concepts), size=SIDE, augment="none"
    )
    source, _ = picture_source(of_frames, 14, 0)
    truth = cs.open_cache(of_frames.cache)[source.ids[1]]
    group = source.groups([1], [0], 0)[0]
    order = np.lexsort((truth.positions[:, 2], truth.positions[:, 1]))
    np.testing.assert_array_equal(group.patches[0], truth.patches[order])
    moved = picture_source(replace(of_frames, cache=str(clips.cache)), 14, 0)[0]
    with pytest.raises(ConfigError, match=r"head photos: clip .* must be one whole frame; make it with --num-frames 1"):
        moved.groups([0], [0], 0)


# --- words


def test_words_are_the_first_and_repeated_where_there_are_fewer(tmp_path: Path) -> None:
    found = file_labels(words(tmp_path / "w.parquet", {"a": [7], "b": [1, 2, 3], "c": [4, 5, 6, 7, 8, 9]}), 10, 5)
    assert (found.ids, found.classes) == (["a", "b", "c"], 10)
    assert found.labels.tolist() == [[7] * 5, [1, 2, 3, 1, 2], [4, 5, 6, 7, 8]]


@pytest.mark.parametrize(
    ("rows", "classes", "message"),
    [
        ({"a": [1], "b": []}, 10, "a list of labels in every row"),
        ({"a": [1, 10]}, 10, r"labels \(1..10\) must be in 0..9"),
        ({"a": [-1]}, 10, r"labels \(-1..-1\) must be in 0..9"),
        ({}, 10, "must have ids"),
        ({"a": [0]}, 0, r"classes \(0\) must be >= 2"),
    ],
)
def test_words_that_cannot_be_are_one_line(tmp_path: Path, rows: Any, classes: int, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        file_labels(words(tmp_path / "w.parquet", rows), classes, 5)


def test_a_file_that_is_no_table_of_words_is_one_line(tmp_path: Path) -> None:
    for name, write in (
        ("text", lambda path: path.write_text("id,labels")),
        ("other", lambda path: pq.write_table(pa.table({"id": ["a"], "words": [[1]]}), path)),
        ("texts", lambda path: pq.write_table(pa.table({"id": ["a"], "labels": [["one"]]}), path)),
    ):
        path = tmp_path / f"{name}.parquet"
        write(path)
        with pytest.raises(ConfigError, match="must be a Parquet file of id and labels"):
            file_labels(path, 10, 5)


# --- trainings


@pytest.mark.slow
def test_heads_are_trained_together_each_with_its_bank(
    clips: TrainRun, tars: str, named: str, small: str, tmp_path: Path
) -> None:
    run = replace(clips, out=tmp_path / "whole", init=small, heads=(head(tars, named, weight=2.0),))
    trained = train(run, replace(CONFIG, steps=30, tensorboard=True))
    events = [event for event in read_log(run.out / "log.jsonl") if "loss" in event]
    assert all(set(event["losses"]) == {"clips", "photos"} for event in events)
    assert events[3]["loss"] == pytest.approx(events[3]["losses"]["clips"] + 2 * events[3]["losses"]["photos"])
    for name in ("clips", "photos"):
        losses = [event["losses"][name] for event in events]
        assert np.mean(losses[-5:]) < np.mean(losses[:5])
    assert trained.loss == events[-1]["loss"]
    assert (run.out / "loss.png").read_bytes()[:4] == b"\x89PNG"
    assert list((run.out / "tensorboard").glob("events*"))


@pytest.mark.slow
def test_a_training_of_heads_that_is_cut_off_ends_with_the_same_weights(
    clips: TrainRun, tars: str, named: str, small: str, tmp_path: Path
) -> None:
    whole = replace(clips, out=tmp_path / "whole", init=small, heads=(head(tars, named),))
    cut_off = replace(whole, out=tmp_path / "cut")
    train(whole, CONFIG)

    def stop(at: object) -> None:
        if getattr(at, "step", 0) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(cut_off, CONFIG, progress=stop)
    train(cut_off, CONFIG)
    files = [sorted(checkpoints(out)[6].glob("*.safetensors")) for out in (whole.out, cut_off.out)]
    assert [one.read_bytes() for one in files[0]] == [one.read_bytes() for one in files[1]]
    with pytest.raises(ConfigError, match="is of a training with photos"):
        train(replace(cut_off, heads=(head(tars, named, size=14),)), CONFIG)
    with pytest.raises(ConfigError, match=r"is of a training with photos .* you asked None"):
        train(replace(cut_off, heads=()), CONFIG)


@pytest.mark.slow
def test_pictures_alone_are_trained_on(tars: str, named: str, small: str, tmp_path: Path) -> None:
    trained = train(TrainRun(None, None, tmp_path, heads=(head(tars, named),), init=small), CONFIG)
    assert trained.validated is None
    cs.load_encoder(trained.encoder)


@pytest.mark.slow
def test_the_command_takes_heads_from_a_file_or_flags(
    clips: TrainRun, tars: str, named: str, small: str, tmp_path: Path
) -> None:
    told = f"tars={tars},concepts={named},classes={CLASSES},batch_size=4,size={SIDE},weight=0.5"
    file = tmp_path / "train.toml"
    table = "\n".join(
        f"{key} = {json.dumps(value)}"
        for key, value in {
            "tars": tars,
            "concepts": named,
            "classes": CLASSES,
            "batch_size": 4,
            "size": SIDE,
            "weight": 0.5,
        }.items()
    )
    file.write_text(
        f'cache = "{clips.cache}"\nconcepts = "{clips.concepts}"\nsteps = 2\nbatch_size = 4\n[heads.photos]\n{table}\n'
    )
    assert read_heads([f"photos:{told}"]) == read_toml(file)["heads"]
    result = CliRunner().invoke(main, ["train", str(file), "--out", str(tmp_path / "out"), "--init", small, "--quiet"])
    assert result.exit_code == 0, result.output
    assert "photos" in (tmp_path / "out" / "log.jsonl").read_text()
    dry = CliRunner().invoke(
        main, ["train", "--head", f"photos:{told}", "--out", str(tmp_path / "out"), "--dry-run", "--gpus", "2"]
    )
    assert dry.exit_code == 0, dry.output
    assert "tokens of a step" in dry.output


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("clips:tars=a,concepts=b", "must be a name of letters"),
        ("Photos:tars=a,concepts=b", "must be a name of letters"),
        ("photos:concepts=b", "one of cache and tars"),
        ("photos:tars=a,cache=c,concepts=b", "one of cache and tars"),
        ("photos:tars=a", "must have concepts"),
        ("photos:tars=a,concepts=b,batch_size=many", r"head photos: batch_size \('many'\) must be a number"),
        ("photos:tars=a,concepts=b,weight=0", r"head photos: weight \(0.0\) must be > 0"),
        ("photos:tar=a,concepts=b", "did you mean tars"),
    ],
)
def test_heads_that_cannot_be_are_one_line(text: str, message: str) -> None:
    with pytest.raises((ConfigError, TypeError), match=message):
        read_heads([text])


def test_a_training_of_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="cache and concepts must be given"):
        TrainRun(None, None, Path("out"))
    with pytest.raises(ConfigError, match="concepts must be given"):
        TrainRun(Path("cache"), None, Path("out"))
    one = HeadConfig("photos", tars="a.tar", concepts="b")
    with pytest.raises(ConfigError, match="must have names of their own"):
        TrainRun(None, None, Path("out"), heads=(one, one))
