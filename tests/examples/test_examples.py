"""The examples run as a user runs them, on a small video, and print and write what they say."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from served import running

import codecsieve as cs

FOLDER = Path(__file__).resolve().parents[2] / "examples"
TESTED = {
    "sieve_one_clip", "make_a_cache", "compare_selections", "feed_the_encoder", "loop_over_batches", "ask_a_service",
    "read_with_numpy",
}  # fmt: skip


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory, make_video) -> Path:
    path = tmp_path_factory.mktemp("videos") / "square.mp4"
    return make_video(path, frames=48, size=(160, 128))


def run(name: str, folder: Path, *arguments: object) -> str:
    """What an example prints, from a folder of its own."""
    command = [sys.executable, FOLDER / f"{name}.py", *map(str, arguments)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_example_is_tested() -> None:
    assert {path.stem for path in FOLDER.glob("*.py")} == TESTED


@pytest.mark.parametrize("name", sorted(TESTED))
def test_an_example_says_how_it_is_run(name: str) -> None:
    text = (FOLDER / f"{name}.py").read_text()
    assert text.startswith('"""')
    assert f"    python examples/{name}.py [" in text.split('"""')[1]
    assert 'if __name__ == "__main__":' in text


@pytest.mark.slow
def test_sieve_one_clip(video: Path, tmp_path: Path) -> None:
    said = run("sieve_one_clip", tmp_path, video, "--out", "kept.png")
    assert "h264, 160x128, 48 frames; signals: bitstream" in said
    assert "patches   uint8 (1024, 3, 14, 14)" in said
    with Image.open(tmp_path / "kept.png") as picture:
        pixels = np.asarray(picture)
    assert pixels.shape == (224, 6 * 224, 3)
    assert 0 < (pixels != 128).any(axis=2).mean() < 1


@pytest.mark.slow
def test_make_a_cache(video: Path, tmp_path: Path) -> None:
    assert "1 clips made, 0 were there, 0 failed" in run("make_a_cache", tmp_path, video)
    assert "0 clips made, 1 were there, 0 failed" in run("make_a_cache", tmp_path, video)
    cache = cs.open_cache(tmp_path / "cache", verify=True)
    assert cache[0].positions.shape == (512, 3)


@pytest.mark.slow
def test_make_a_cache_tells_what_failed(video: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    said = run("make_a_cache", tmp_path, video, tmp_path / "empty.mp4")
    assert "1 clips made, 0 were there, 1 failed" in said
    assert "empty.mp4: the file is empty" in said


@pytest.mark.slow
def test_compare_selections(video: Path, tmp_path: Path) -> None:
    _, *rows = run("compare_selections", tmp_path, video).splitlines()
    found = {row[:22].strip(): row[22:].split() for row in rows}
    assert found["as published"] == ["bitstream", "512", found["as published"][2], "100%"]
    assert found["half as many"][3] == "100%"  # the highest scores are the highest of more, too
    assert found["block matching"][0] == "search"
    assert found["whole frames"][1:3] == ["512", "2"]
    assert int(found["random"][3].rstrip("%")) < 30


@pytest.mark.slow
def test_feed_the_encoder(video: Path, tmp_path: Path) -> None:
    said = run("feed_the_encoder", tmp_path, video)
    assert "real tokens [256, 128]" in said
    assert "a token for each patch: (2, 256, 64)" in said
    assert "a vector for each clip: (2, 64)" in said
    (gap,) = re.findall(r"differs by (\S+)", said)
    assert float(gap) < 1e-5


@pytest.mark.slow
def test_loop_over_batches(video: Path, tmp_path: Path) -> None:
    said = run("loop_over_batches", tmp_path, video)
    assert "classes ('early', 'late'), 2 steps an epoch" in said
    assert "8 of 8 clips seen" in said
    assert "one process, from step 1 on: 4 clips left" in said


@pytest.mark.slow
def test_read_with_numpy(video: Path, tmp_path: Path) -> None:
    """Without the package. tests/cache/test_earlier.py compares all arrays."""
    cs.precompute(video, tmp_path / "cache", num_frames=8, k_keep=64, workers=0)
    said = run("read_with_numpy", tmp_path, "cache")
    assert "format 1, made with k_keep 64, signals auto" in said
    assert "patches uint8 (64, 3, 14, 14), positions uint16 (64, 3)" in said
    assert said.rstrip().endswith("as it was written")
    assert "codecsieve" not in re.findall(r"^(?:import|from) (\w+)", (FOLDER / "read_with_numpy.py").read_text(), re.M)


@pytest.mark.slow
def test_ask_a_service(video: Path, tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "other.mp4").write_bytes(video.read_bytes())
    with running(tmp_path) as service:
        said = run("ask_a_service", tmp_path, "--url", service.url, "--job", "videos/other.mp4", video)
    assert "h264, 48 frames; signals: bitstream" in said
    assert "done: 1 of 1 clips" in said
    assert said.rstrip().endswith("videos/other.mp4  512 patches")
    with Image.open(tmp_path / "asked.png") as picture:
        assert picture.format == "PNG"
