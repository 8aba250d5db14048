"""On a GPU, at full size: whole clips and caches are those of the processor, bit for bit."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from codec_cases import HEVC_OPEN_GOP, OPEN_GOP, run_ffmpeg

from codecsieve.cache import open_cache
from codecsieve.codec.nvdec import NvdecSession
from codecsieve.codec.nvdec_support import nvdec_engines
from codecsieve.pipelines.config import SieveConfig
from codecsieve.pipelines.inputs.clips import read_inputs
from codecsieve.pipelines.inputs.request import ClipRequest
from codecsieve.pipelines.precompute import gpu_job
from codecsieve.pipelines.precompute.gpu_job import GpuSieve
from codecsieve.pipelines.precompute.run import precompute
from codecsieve.pipelines.sieve.clip import sieve_clip
from codecsieve.pipelines.sieve.gpu_clip import sieve_clip_on_gpu
from codecsieve.pipelines.sieve.kept import SievedClip

pytestmark = pytest.mark.gpu

MakeVideo = Callable[..., Path]
CONFIG = SieveConfig(signals="search")
DEVICE = torch.device("cuda", 0)
SIZE = 1280, 720
SIZES = ((640, 360), (1920, 1080), (320, 568), (1280, 720), (640, 360))
SAME_CODED = ((1920, 1080), (1920, 1088), (1918, 1082), (1920, 1080))
"""Shown sizes of one coded size, by H.264's macroblocks: 1920x1088."""
FRAMES = 90
PARTS = 20
FASTEST = {"preset": "ultrafast"}
HEVC = HEVC_OPEN_GOP | FASTEST
VP9 = {"g": "24", "lag-in-frames": "16", "auto-alt-ref": "1", "cpu-used": "8", "deadline": "realtime"}
H264 = OPEN_GOP | {"preset": "veryfast"}


@pytest.fixture
def session() -> Iterator[NvdecSession]:
    """A decoder on a stream of its own, on which all else runs, too."""
    stream = torch.cuda.Stream(DEVICE)
    with torch.cuda.stream(stream), NvdecSession(0, stream.cuda_stream, DEVICE) as session:
        yield session


@pytest.fixture(scope="module")
def video(make_video: MakeVideo, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_video(tmp_path_factory.mktemp("gpu") / "a.mp4", options=H264, pictures=colours(SIZE))


def colours(size: tuple[int, int], frames: int | None = None) -> list[np.ndarray]:
    """RGB pictures [rows, columns, 3]: coarse noise that moves otherwise in each colour, and a square."""
    (width, height), frames = size, frames or FRAMES
    random = np.random.default_rng(width + height)
    coarse = random.integers(0, 256, (3, (height + 3 * frames) // 16 + 1, (width + 3 * frames) // 16 + 1), np.uint8)
    ground = coarse.repeat(16, axis=1).repeat(16, axis=2)
    pictures = []
    for number in range(frames):
        steps = (number, 2 * number, 3 * number)
        planes = [plane[step : step + height, step : step + width] for plane, step in zip(ground, steps, strict=True)]
        picture = np.stack(planes, axis=-1)
        picture[height // 4 : height // 2, 5 * number % (width // 2) :][:, : height // 4] = 255 - number
        pictures.append(picture)
    return pictures


def assert_same(session: NvdecSession, path: Path, config: SieveConfig = CONFIG) -> None:
    clip, expected = sieve_clip_on_gpu(session, path, config), sieve_clip(path, config)
    assert (clip.decoder, expected.decoder) == ("nvdec", "ffmpeg")
    for field in dataclasses.fields(SievedClip):
        if field.name not in ("decoder", "pictures_decoded"):
            mine, theirs = getattr(clip, field.name), getattr(expected, field.name)
            np.testing.assert_array_equal(mine, theirs, err_msg=f"{field.name} of {path.name}")
    assert clip.slot_scores.any()


@pytest.mark.parametrize(
    ("name", "codec", "options", "pixel_format"),
    [
        ("b.mp4", "libx264", {"preset": "veryfast", "bf": "3", "g": "30"}, "yuv420p"),
        ("open.mkv", "libx264", H264, "yuv420p"),
        ("eight.mp4", "libx265", HEVC, "yuv420p"),
        ("ten.mkv", "libx265", HEVC, "yuv420p10le"),
        ("nine.webm", "libvpx-vp9", VP9, "yuv420p"),
    ],
)
def test_the_same_clip_as_on_the_processor(
    tmp_path: Path,
    make_video: MakeVideo,
    session: NvdecSession,
    name: str,
    codec: str,
    options: dict[str, str],
    pixel_format: str,
) -> None:
    path = make_video(tmp_path / name, codec, options=options, pixel_format=pixel_format, pictures=colours(SIZE))
    assert_same(session, path)


@pytest.mark.parametrize("mode", ["none", "mean", "similarity", "rigid", "affine"])
def test_every_camera_mode(video: Path, session: NvdecSession, mode: str) -> None:
    assert_same(session, video, dataclasses.replace(CONFIG, mv_compensate=mode, fuse="geomean", anchors=1))


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_rotated_video(tmp_path: Path, video: Path, session: NvdecSession, degrees: int) -> None:
    assert_same(session, run_ffmpeg(tmp_path / "a.mp4", "-display_rotation", str(degrees), "-i", video, "-c", "copy"))


@pytest.mark.parametrize("sizes", [SIZES, SAME_CODED], ids=["several sizes", "one coded size"])
def test_sizes_one_after_another_in_a_session(
    tmp_path: Path, make_video: MakeVideo, session: NvdecSession, sizes: tuple[tuple[int, int], ...]
) -> None:
    for number, size in enumerate(sizes):
        path = make_video(tmp_path / f"{number}.mp4", options=H264, pictures=colours(size, FRAMES // 2))
        assert_same(session, path)


def test_codecs_one_after_another_in_a_session(tmp_path: Path, make_video: MakeVideo, session: NvdecSession) -> None:
    for number, (codec, options) in enumerate([("libx264", H264), ("libx265", HEVC), ("libx264", H264)]):
        path = make_video(tmp_path / f"{number}.mp4", codec, options=options, pictures=colours(SIZE, FRAMES // 3))
        assert_same(session, path)


def test_the_cache_does_not_depend_on_the_device(
    tmp_path: Path, make_video: MakeVideo, video: Path, cache_content: Callable[[Path], dict[str, object]]
) -> None:
    """Clips that NVDEC does not decode among them, and more clips than are decoded at once."""
    inputs = tmp_path / "in"
    inputs.mkdir()
    make_video(inputs / "ten.mkv", "libx265", options=HEVC, pixel_format="yuv420p10le", pictures=colours(SIZE, 20))
    make_video(inputs / "all.mp4", options=FASTEST, pixel_format="yuv444p", pictures=colours(SIZE, 20))
    (inputs / "broken.mp4").write_bytes(b"no video")
    parts = [ClipRequest(str(video), f"part-{number}", start=number / 100) for number in range(PARTS)]
    requests = [*read_inputs([str(inputs)]), *parts]
    for name, device in (("cpu", "cpu"), ("cuda", str(DEVICE))):
        summary = precompute(requests, tmp_path / name, CONFIG, device=device)
        assert len(summary.failures) == 1
    assert cache_content(tmp_path / "cuda") == cache_content(tmp_path / "cpu")
    assert decoders(tmp_path / "cuda") == {
        "ten.mkv": "nvdec", "all.mp4": "ffmpeg", "broken.mp4": None, video.name: "nvdec"
    }  # fmt: skip


def test_a_clip_too_large_for_the_gpu_fails_alone(video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def too_large(*_: object, **__: object) -> None:
        torch.empty(1 << 45, dtype=torch.uint8, device=DEVICE)

    sieve = GpuSieve(0, 1, CONFIG, pixels=True)
    request = ClipRequest(str(video), "a")
    with monkeypatch.context() as patched:
        patched.setattr(gpu_job, "sieve_clip_on_gpu", too_large)
        outcome = sieve(request)
    assert outcome.clip is None
    assert "does not fit the GPU's free memory" in str(outcome.error)
    after = sieve(request).clip
    assert after is not None
    np.testing.assert_array_equal(after.patches, sieve_clip(video, CONFIG).patches)


def test_av1_goes_to_the_processor_where_the_gpu_cannot_decode_it(tmp_path: Path, make_video: MakeVideo) -> None:
    if nvdec_engines(0, "av1", 8):
        pytest.skip("this GPU decodes AV1")
    make_video(tmp_path / "a.mp4", "libsvtav1", options={"preset": "12"}, pictures=colours((640, 360), 20))
    summary = precompute(read_inputs([str(tmp_path / "a.mp4")]), tmp_path / "cache", CONFIG, device=str(DEVICE))
    assert summary.made == 1
    assert decoders(tmp_path / "cache") == {"a.mp4": "ffmpeg"}


def decoders(cache: Path) -> dict[str, str | None]:
    """What decoded each clip of a cache, by the name of its file."""
    rows = open_cache(cache).index.select(["uri", "decoder"]).to_pylist()
    return {Path(row["uri"]).name: row["decoder"] for row in rows}
