"""The moving-camera twin of labelled clips: their labels, in windows that move as their cameras' paths say."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from click.testing import CliRunner

from benchmarks.evidence import moving
from benchmarks.evidence.moving import Camera
from codecsieve.codec.clip import read_clip
from codecsieve.kernels.reference.motion import estimate_camera

Complexes = npt.NDArray[np.complex128]

FRAMES, RATE = 24, 25
SIZES = {"waving/one.avi": (224, 160), "lifting/two.avi": (160, 240)}
"""The short side of whose windows is 112, so that search at that size knows pixels as they are."""
SECONDS = np.arange(FRAMES) / RATE


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory, make_video) -> Path:
    """Two clips in which nothing moves."""
    folder = tmp_path_factory.mktemp("videos")
    lines = ["path,label,group,frames,w,h,codec"]
    for number, (path, (width, height)) in enumerate(SIZES.items()):
        (folder / path).parent.mkdir()
        make_video(folder / path, "mpeg4", FRAMES, (width, height), {"qscale": "2"}, "none", RATE, seed=number)
        lines.append(f"{path},{Path(path).parent},{number + 7},{FRAMES},{width},{height},mpeg4")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    return folder


class OneProcess:
    """What a pool of processes does, in this one: others would take longer to start than their clips to film."""

    def __init__(self, *_: object) -> None:
        pass

    def __enter__(self) -> OneProcess:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    map = staticmethod(map)


@pytest.fixture(scope="module", autouse=True)
def one_process() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(moving, "ProcessPoolExecutor", OneProcess)
        yield


def make(videos: Path, out: Path, *options: str) -> list[dict[str, str]]:
    done = CliRunner().invoke(moving.main, ["--videos", str(videos), "--out", str(out), *options])
    assert done.exit_code == 0, done.output
    with (out / "labels.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def twin(tmp_path_factory: pytest.TempPathFactory, videos: Path) -> Path:
    out = tmp_path_factory.mktemp("twin")
    make(videos, out)
    return out


def moved(camera: Camera, at: Complexes) -> Complexes:
    """Where what is at some places of each frame but the first was in the frame before, less these places: complex
    [T - 1, ...], x + iy in pixels.
    """
    x, y, zoom, turn = camera.path(SECONDS).T
    middle, places, turns = complex(*camera.window) / 2, x + 1j * y, zoom * np.exp(1j * turn)
    seen = [place + by * (at - middle) for place, by in zip(places, turns, strict=True)]
    return np.stack([middle + (seen[t] - places[t - 1]) / turns[t - 1] - at for t in range(1, FRAMES)])


@pytest.mark.slow
def test_labels_are_kept_and_windows_are_seven_tenths(videos: Path, twin: Path) -> None:
    rows = make(videos, twin)
    assert [(row["path"], row["label"], row["group"]) for row in rows] == [
        ("waving/one.mp4", "waving", "7"),
        ("lifting/two.mp4", "lifting", "8"),
    ]
    assert [(row["w"], row["h"], row["frames"], row["codec"]) for row in rows] == [
        ("156", "112", "24", "h264"),
        ("112", "168", "24", "h264"),
    ]


@pytest.mark.slow
@pytest.mark.parametrize("name", SIZES)
def test_the_fitted_camera_is_that_of_the_path(twin: Path, name: str) -> None:
    camera = Camera.named(name, *SIZES[name])
    clip = read_clip(twin / Path(name).with_suffix(".mp4"), FRAMES, "search", size=112, patch=14)
    assert clip.frame_ids.tolist() == list(range(FRAMES))
    height, width = clip.motion.shape[1:3]
    y, x = np.mgrid[:height, :width]
    truth = moved(camera, 4 * x + 2 + 1j * (4 * y + 2))
    errors = []
    for t in range(1, FRAMES):
        c = estimate_camera(clip.motion[t], "rigid") / (4096 * 65536)
        half_x, half_y = 2 * x - (width - 1), 2 * y - (height - 1)
        fitted = [row[0] + row[1] * half_x + row[2] * half_y for row in c]
        errors.append(np.abs(fitted[0] + 1j * fitted[1] - truth[t - 1]).mean())
    assert np.abs(truth).mean() > 1  # it moves, and not only as a whole:
    assert np.abs(truth - truth.mean(axis=(1, 2), keepdims=True)).mean() > 0.1
    assert np.mean(errors) < 0.5  # search knows whole pixels


def test_paths_depend_on_the_name_alone_and_stay_in_the_picture() -> None:
    paths = {}
    seconds = np.arange(3000) / 30
    for name, width, height in (("a.avi", 400, 296), ("b.avi", 400, 296), ("c/a.avi", 400, 296), ("a.avi", 1000, 90)):
        camera = Camera.named(name, width, height)
        path = paths[name, width] = camera.path(seconds)
        assert path.tobytes() == Camera.named(name, width, height).path(seconds).tobytes()
        assert np.allclose(camera.path(seconds[77:78])[0], path[77])  # as it is asked frame by frame
        wide, high = camera.window
        for u, v in ((0, 0), (wide, 0), (0, high), (wide, high)):
            corner = path[:, 2] * np.exp(1j * path[:, 3]) * complex(u - wide / 2, v - high / 2)
            assert (np.abs(path[:, 0] + corner.real - width / 2) <= width / 2 + 0.001).all()
            assert (np.abs(path[:, 1] + corner.imag - height / 2) <= height / 2 + 0.001).all()
        assert np.abs(np.diff(path[:, :2], axis=0)).max() < 0.025 * width  # no leaps
    assert len({path.tobytes() for path in paths.values()}) == 4


@pytest.mark.slow
def test_what_is_there_stays_and_what_is_lost_comes_again(videos: Path, twin: Path, tmp_path: Path) -> None:
    out = tmp_path / "again"
    shutil.copytree(twin, out)
    lost, kept = out / "waving" / "one.mp4", out / "lifting" / "two.mp4"
    before, at = lost.read_bytes(), kept.stat().st_mtime_ns
    lost.unlink()
    make(videos, out)
    assert lost.read_bytes() == before
    assert kept.stat().st_mtime_ns == at
    other = CliRunner().invoke(moving.main, ["--videos", str(videos), "--out", str(out), "--codec", "libx265"])
    assert other.exit_code != 0
