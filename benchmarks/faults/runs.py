"""A real `codecsieve precompute` in a process group of its own, watched and signalled through Linux's /proc."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from benchmarks.faults.encodes import CLIP_ENCODES, make_encode
from benchmarks.faults.outcome import Ended, FaultError

CLIPS = 12
CLIP_TIMEOUT = 5.0
LIMIT = 90.0
"""Seconds within which a run must have ended, whatever was done to it: an undisturbed one takes two or three."""
BURIAL_SECONDS = 10.0
"""What the rest of a group may take to end once the run has."""
OPTIONS = ["--num-frames", "8", "--k-keep", "1024", "--clip-timeout", f"{CLIP_TIMEOUT:g}", "--quiet"]
"""A clip is 0.6 MB: more than a pipe holds, so that a worker's answer cannot be sent in one go."""


@dataclass(frozen=True)
class Process:
    """A process of a group: its state as /proc has it, and whether it is a worker."""

    pid: int
    state: str
    worker: bool


class Run:
    """A run that goes on until `end`, or until it is killed; use as a context manager, which leaves nothing behind."""

    def __init__(
        self, videos: Path, cache: Path, logs: Path, *more: str, workers: int = 2, file_bytes: int = 0
    ) -> None:
        """Start it. file_bytes: of the largest file that it may write; 0: no limit."""
        self._videos = videos
        self._out, self._err = logs / f"{cache.name}.out", logs / f"{cache.name}.err"
        command = [sys.executable, "-m", "codecsieve", "precompute", str(videos), "--out", str(cache), *OPTIONS, *more]
        command += ["--workers", str(workers)]

        def limited() -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))

        with self._out.open("wb") as out, self._err.open("wb") as err:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
                preexec_fn=limited if file_bytes else None,
            )
        self.pid = self._process.pid
        self.began = time.monotonic()

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *error: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()

    @property
    def running(self) -> bool:
        """Whether the main process has not ended."""
        return self._process.poll() is None

    def processes(self) -> list[Process]:
        """Those of the group that have not ended."""
        found = []
        for entry in os.scandir("/proc"):
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    stat = Path(entry.path, "stat").read_text()
                    state, _, group = stat.rpartition(")")[2].split()[:3]
                    if int(group) == self.pid and state not in "ZX":
                        command = Path(entry.path, "cmdline").read_bytes()
                        found.append(Process(int(entry.name), state, b"spawn_main" in command))
        return found

    def workers(self) -> list[int]:
        """Worker processes."""
        return [process.pid for process in self.processes() if process.worker]

    def a_worker_reads(self) -> bool:
        """Whether a worker has a video open."""
        return bool(self.reading(self.workers()))

    def reading(self, pids: Sequence[int]) -> dict[int, str]:
        """Which of these processes have a video open, and which."""
        found = {}
        for pid in pids:
            with contextlib.suppress(OSError):
                for entry in os.scandir(f"/proc/{pid}/fd"):
                    target = os.readlink(entry.path)
                    if target.startswith(str(self._videos)):
                        found[pid] = target
        return found

    def wait_for(self, what: Callable[[], Any], seconds: float = LIMIT) -> Any:
        """What is looked for, as soon as it is there; None where the run ends first, or time does."""
        until = time.monotonic() + seconds
        while self.running and time.monotonic() < until:
            found = what()
            if found:
                return found
            time.sleep(0.001)
        return None

    def wait_until_idle(self, pid: int, seconds: float = 10.0) -> None:
        """Wait until a process has used no processor for a third of a second."""
        until, used, since = time.monotonic() + seconds, -1, time.monotonic()
        while time.monotonic() < until and time.monotonic() - since < 0.3:
            try:
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            except OSError:
                return
            now = int(fields[11]) + int(fields[12])
            if now != used:
                used, since = now, time.monotonic()
            time.sleep(0.02)

    def send(self, number: int, pid: int | None = None) -> None:
        """Signal a process, or the whole group."""
        with contextlib.suppress(ProcessLookupError):
            if pid is None:
                os.killpg(self.pid, number)
            else:
                os.kill(pid, number)

    def end(self, limit: float = LIMIT) -> Ended:
        """How it ended. Raises FaultError where it does not, or leaves a process behind."""
        try:
            status = self._process.wait(limit)
        except subprocess.TimeoutExpired:
            states = ", ".join(f"{'worker' if p.worker else 'main'} {p.state}" for p in self.processes())
            raise FaultError("hung", f"not over {limit:g} s later ({states}): {self._err.read_text()}") from None
        until = time.monotonic() + BURIAL_SECONDS
        while (left := self.processes()) and time.monotonic() < until:
            time.sleep(0.02)
        if left:
            raise FaultError("hung", f"left behind: {len(left)} processes, states {[p.state for p in left]}")
        return Ended(status, self._out.read_text(), self._err.read_text())


def make_videos(folder: Path) -> Path:
    """A folder of small clips, each of another content."""
    for number in range(CLIPS):
        clip = folder / f"{number:02d}"
        clip.mkdir(parents=True)
        make_encode(CLIP_ENCODES[number % len(CLIP_ENCODES)], clip, frames=40 + number, size=(320, 192))
    return folder


def content(cache: Path) -> dict[str, Any]:
    """All that a cache is, by file; of its index all but how long each clip took and what decoded it."""
    found: dict[str, Any] = {}
    for path in _files(cache):
        name = str(path.relative_to(cache))
        if path.parent.name == "index":
            found[name] = pq.read_table(path, partitioning=None).drop_columns(["seconds", "decoder"]).to_pylist()
        else:
            found[name] = path.read_bytes()
    return found


def check_content(cache: Path, truth: dict[str, Any]) -> None:
    """Raise FaultError where a cache is not, byte for byte, the one that an undisturbed run makes."""
    found = content(cache)
    for name in sorted(truth.keys() | found.keys()):
        if name not in found:
            raise FaultError("lost", f"{name} is missing")
        if found[name] != truth.get(name):
            raise FaultError("wrong", f"{name} is not what an undisturbed run makes")


def _files(cache: Path) -> Iterator[Path]:
    return (path for path in cache.rglob("*") if path.is_file() and path.name != ".lock")
