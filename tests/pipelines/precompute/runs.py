"""Runs to be killed and cut off: their inputs, their command, and the instant at which there is something to lose."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

from codecsieve.pipelines.config import DEFAULT_PRESET, SieveConfig

SMALL = SieveConfig.preset(DEFAULT_PRESET, num_frames=8, input_size=56, k_keep=16)
SMALL_OPTIONS = ["--num-frames", "8", "--input-size", "56", "--k-keep", "16"]


def write_manifest(clip: Path, rows: int) -> Path:
    """Many parts of one clip, and, the sixth, one file that is not there: a manifest beside the clip."""
    lines = [f"{clip.name},{row},{row / 200},,clip-{row}" for row in range(rows)]
    lines[5] = "gone.mp4,x,,,clip-5"
    path = clip.with_name("list.csv")
    path.write_text("path,label,start,end,id\n" + "\n".join(lines))
    return path


def start(manifest: Path, cache: Path | str, *options: str) -> subprocess.Popen[str]:
    """A run by the command line, in a process group of its own."""
    command = [sys.executable, "-m", "codecsieve", "precompute", str(manifest), "--out", str(cache), *SMALL_OPTIONS]
    return subprocess.Popen(
        [*command, *options],
        start_new_session=True,
        # Tests that run in a shell's background have interrupts ignored, which a process inherits.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_a_shard(cache: Path, seconds: float = 60) -> None:
    """Until a shard is published."""
    patience = time.monotonic() + seconds
    while not list(cache.glob("index/part-*.parquet")):
        assert time.monotonic() < patience
        time.sleep(0.002)
