"""What the benchmarks share: the machine's description, real videos to measure on, tables and JSON."""

from __future__ import annotations

import json
import platform
import subprocess
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import av
from rich.console import Console
from rich.table import Table

from codecsieve import __version__
from codecsieve.machine import available_cores
from codecsieve.pipelines.transcode.ffmpeg_program import find_ffmpeg

RESULTS = Path(__file__).parent / "results"


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    model = platform.processor()
    if Path("/proc/cpuinfo").exists():
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    return {
        "processor": model,
        "cores": available_cores(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "libavcodec": ".".join(map(str, av.library_versions["libavcodec"])),
        "codecsieve": __version__,
        "date": date.today().isoformat(),
    }


def loop_video(source: Path, target: Path, seconds: float, scale: str | None = None) -> Path:
    """Repeat a video up to a length: by stream copy, or scaled (such as "640:360") and encoded by x264's defaults."""
    coding = ["-vf", f"scale={scale}", "-c:v", "libx264"] if scale else ["-c", "copy"]
    command = [find_ffmpeg("h264"), "-v", "error", "-y", "-stream_loop", "-1", "-i", str(source), "-t", str(seconds)]
    subprocess.run([*command, "-an", *coding, str(target)], check=True)
    return target


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print a table; numbers are set to the right."""
    table = Table(title=title, title_justify="left")
    for index, name in enumerate(columns):
        table.add_column(name, justify="left" if index == 0 else "right")
    for row in rows:
        table.add_row(*[f"{value:.3g}" if isinstance(value, float) else str(value) for value in row])
    Console().print(table)


def save(name: str, figures: Mapping[str, Any]) -> None:
    """Write figures and machine to `results/<name>.json`."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({"machine": machine(), **figures}, indent=1) + "\n")
    Console().print(f"written to {path}")
