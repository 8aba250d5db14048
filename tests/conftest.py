"""What every test may use: small videos made on the spot, and the shared folder where there is one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import settings
from numpy.typing import NDArray

from codecsieve.machine import available_cores

settings.register_profile("codecsieve", deadline=None, max_examples=25)
settings.register_profile("thorough", deadline=None, max_examples=1000)
settings.load_profile("codecsieve")

ONLY_WHEN_ASKED_FOR = {
    "cluster": "starts a Ray cluster; run `make test-cluster`",
    "benchmark": "runs a whole benchmark; run `make test-benchmarks`",
}
"""Marks of tests that `make test` leaves out, and why a test is skipped then."""

MakeVideo = Callable[..., Path]


def pytest_configure(config: pytest.Config) -> None:
    """Triton's kernels run under its interpreter, on the CPU, unless the tests that need a GPU were asked for.

    Processes of tests have one thread for sums each: there are as many as cores, and threads that spin while they wait
    for each other keep those from running that they wait for.
    """
    if config.option.markexpr != "gpu":
        os.environ["TRITON_INTERPRET"] = "1"
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Three for two cores: tests wait, too, for processes that start, and for what is to take its time."""
    return available_cores() * 3 // 2


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests of `ONLY_WHEN_ASKED_FOR`, or marked `gpu`, are skipped unless asked for; the latter without one, too."""
    for item in items:
        for mark, reason in ONLY_WHEN_ASKED_FOR.items():
            if item.get_closest_marker(mark) and config.option.markexpr != mark:
                item.add_marker(pytest.mark.skip(reason=reason))
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if config.option.markexpr == "gpu" and not _has_gpu() and shutil.which("nvidia-smi"):
        pytest.exit("this machine has an NVIDIA driver, but torch cannot use it; install torch's CUDA build", 1)
    reason = "needs an NVIDIA GPU; run `make test-gpu` on a machine that has one"
    if marked and not (config.option.markexpr == "gpu" and _has_gpu()):
        for item in marked:
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture
def one_thread() -> Iterator[None]:
    """torch on one thread: what is as small as in tests only waits for a second one, the more so beside others."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def draw_frames(frames: int, size: tuple[int, int], moving: str, seed: int = 0) -> list[NDArray[np.uint8]]:
    """Luma pictures uint8 [height, width] of a random texture, fine enough for a block to tell its motion.

    moving: "square" a bright square crosses it at 2 px a frame, "pan" the whole picture moves right by 2 px a
    frame, "none" nothing moves, "noise" every picture is noise of its own.
    """
    width, height = size
    random = np.random.default_rng(seed)
    noise = random.integers(0, 256, (height + 4, width + 2 * frames + 4))
    blurred = sum(noise[y : y - 4 or None, x : x - 4 or None] for y in range(5) for x in range(5)) / 25
    ground = np.clip(4 * (blurred - 127.5) + 127.5, 16, 235).astype(np.uint8)
    pictures = []
    for number in range(frames):
        left = 2 * (frames - number) if moving == "pan" else 0
        picture = ground[:height, left : left + width].copy()
        if moving == "square":
            x = 2 * number % max(1, width - 16)
            picture[height // 4 : height // 4 + 16, x : x + 16] = 250
        if moving == "noise":
            picture = random.integers(0, 256, (height, width), dtype=np.uint8)
        pictures.append(picture)
    return pictures


def write_video(
    path: Path,
    codec: str = "libx264",
    frames: int = 24,
    size: tuple[int, int] = (96, 64),
    options: dict[str, str] | None = None,
    moving: str = "square",
    rate: int = 25,
    pixel_format: str = "yuv420p",
    seed: int = 0,
    pictures: list[NDArray[np.uint8]] | None = None,
    times: list[int] | None = None,
    colour: tuple[int, int] | None = None,
) -> Path:
    """Encode `draw_frames` to `path`, whose suffix says the container; size is (width, height).

    pictures: grey [height, width] or RGB [height, width, 3] instead of drawn ones. times: their milliseconds, for
    a variable frame rate. colour: AVColorSpace and AVColorRange that the samples have and the file states.
    """
    drawn = draw_frames(frames, size, moving, seed) if pictures is None else pictures
    # With B-frames allowed and fewer than 3 pictures, x265 leaves decode times unset and some runs cannot be muxed.
    assert codec != "libx265" or len(drawn) >= 3
    base = Fraction(1, rate) if times is None else Fraction(1, 1000)
    convert: dict[str, Any] = {"format": pixel_format}
    with av.open(str(path), "w") as container:
        quiet = {"x265-params": "log-level=error"} if codec == "libx265" else {}
        stream = container.add_stream(codec, rate=rate, options=quiet | (options or {}))
        stream.height, stream.width = drawn[0].shape[:2]
        stream.pix_fmt = pixel_format
        stream.codec_context.thread_count = 1
        stream.codec_context.time_base = base
        if colour:
            stream.codec_context.colorspace, stream.codec_context.color_range = colour
            convert |= {"dst_colorspace": colour[0], "dst_color_range": colour[1]}
        for number, picture in enumerate(drawn):
            layout = "gray" if picture.ndim == 2 else "rgb24"
            frame = av.VideoFrame.from_ndarray(picture, format=layout).reformat(**convert)
            frame.pts, frame.time_base = number if times is None else times[number], base
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    share_the_processor()
    return path


def share_the_processor() -> None:
    """Take turns with other processes again: SVT-AV1, where it may (as root), has its caller go before all of them, and
    so would this one's tests, and the processes that they start.
    """
    if hasattr(os, "sched_getscheduler") and os.sched_getscheduler(0) != os.SCHED_OTHER:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


@pytest.fixture(autouse=True)
def _shared_processor() -> Iterator[None]:
    """Whoever else encodes in a test."""
    yield
    share_the_processor()


@pytest.fixture(scope="session")
def make_video() -> MakeVideo:
    """`make_video(path, codec=, frames=, size=, options=, moving=, pictures=, ...)`, see `write_video`."""
    return write_video


@pytest.fixture(scope="session")
def cache_content() -> Callable[[Path], dict[str, object]]:
    """`cache_content(path)`: all that a cache is, by file; of its index all but how each clip was made."""

    def read(cache: Path) -> dict[str, object]:
        files = [path for path in cache.rglob("*") if path.is_file() and path.name != ".lock"]
        content: dict[str, object] = {str(path.relative_to(cache)): path.read_bytes() for path in files}
        for path in cache.glob("index/*.parquet"):
            table = pq.read_table(path, partitioning=None).drop_columns(["seconds", "decoder"])
            content[str(path.relative_to(cache))] = table.to_pylist()
        return content

    return read


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real videos and golden cases beside the repository; the test is skipped without it."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent: it holds real videos and golden cases that are not in the repository")
    return folder
