"""A worker on the processor takes no more memory than a clip may: that clip fails alone, and the worker goes on."""

from __future__ import annotations

import resource
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from codecsieve.codec import facts
from codecsieve.pipelines.config import SieveConfig
from codecsieve.pipelines.inputs.request import ClipRequest
from codecsieve.pipelines.precompute.crew import CpuSieve
from codecsieve.pipelines.precompute.run import precompute

MakeVideo = Callable[..., Path]
SMALL = SieveConfig(num_frames=8, input_size=56, k_keep=16)


@pytest.fixture
def clip(make_video: MakeVideo, tmp_path: Path) -> Path:
    return make_video(tmp_path / "clip.mp4", frames=12)


@pytest.mark.slow
def test_a_clip_that_would_take_too_much_memory_fails_alone(clip: Path, tmp_path: Path, make_video: MakeVideo) -> None:
    large = make_video(tmp_path / "large.mp4", pictures=[np.zeros((4320, 4320), np.uint8)] * 3)
    requests = [ClipRequest(str(path), f"clip-{row}") for row, path in enumerate([large, clip, large])]
    summary = precompute(requests, tmp_path / "cache", SMALL, workers=1, max_memory="300 MB")
    assert [failure.error.partition(" may take ")[0] for failure in summary.failures] == [
        f"{large}: 4320x4320 yuv420p"
    ] * 2
    assert summary.made == 1


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a worker's memory is not limited")
def test_a_worker_that_is_refused_memory_says_so_and_goes_on(
    clip: Path, tmp_path: Path, make_video: MakeVideo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if the header of the large one had lied."""
    large = make_video(
        tmp_path / "large.avi", "mjpeg", pictures=[np.zeros((8000, 8000), np.uint8)] * 2, pixel_format="yuvj444p"
    )
    before = resource.getrlimit(resource.RLIMIT_DATA)
    monkeypatch.setattr(facts, "clip_bytes", lambda *_: 0)
    monkeypatch.setattr(facts, "largest_picture", lambda *_: 1 << 30)
    sieve = CpuSieve(SMALL, pixels=True, max_memory=300 * 10**6)
    try:
        outcomes = [sieve(ClipRequest(str(path), "a")) for path in (clip, large, clip)]
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)
    assert outcomes[1].error == (
        f"{large}: needs more memory than --max-memory 300 MB allows, or than there is; raise that, use fewer "
        "--workers, or scale it down first"
    )
    assert outcomes[0].clip is not None
    assert outcomes[2].clip is not None
