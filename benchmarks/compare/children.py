"""Processes that do the jobs of `inside`, one tool each: started, watched, ended, and what became of every video.

A tool may refuse a video, give nothing of it, end its process, or never come back; each is an outcome of that video,
and the next one is done in a new process. What a tool does with a video, and what is made of it, is left to others.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from codecsieve.errors import ConfigError
from codecsieve.text import printable, shortened

POLL = 0.02
"""Seconds between looks at a process."""
START = 180.0
"""Seconds that a process has until it begins: some packages take long to import the first time."""


@dataclass(frozen=True)
class Outcome:
    """What became of a video. state: `ok`, `nothing`, `refused`, `crashed` or `hung`; the last four have a reason."""

    state: str
    reason: str = ""
    told: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Run:
    """One job of one process that ended by itself: how many clips, in how long, on how much of a processor."""

    clips: int
    seconds: float
    processor: float
    bytes: int
    peak: int
    """Bytes of memory that the process had at most."""


@dataclass
class Child:
    """A process with a job. It has a group of its own, so that what it starts ends with it."""

    command: Sequence[str]
    environment: Mapping[str, str]
    job: Mapping[str, Any]
    folder: Path

    def __post_init__(self) -> None:
        self.events_file = self.folder / "events.jsonl"
        self.log = self.folder / "log.txt"
        self.status: int | None = None
        written = self.folder / "job.json"
        written.write_text(json.dumps({**self.job, "events": str(self.events_file), "folder": str(self.folder)}))
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*self.command, str(written)],
                env=dict(self.environment), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def events(self) -> list[dict[str, Any]]:
        """What it has told so far; a line that is being written is left for the next time."""
        if not self.events_file.exists():
            return []
        whole, _, _ = self.events_file.read_text().rpartition("\n")
        return [json.loads(line) for line in whole.splitlines()]

    def ended(self) -> bool:
        """Whether it is over; then `status` is its exit code, less than 0 for a signal."""
        if self.status is None:
            self.status = self.process.poll()
        return self.status is not None

    def kill(self) -> None:
        """End it, and all that it started."""
        if self.status is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.status = self.process.wait()

    def last_words(self) -> str:
        """How it ended, and the last line that it put out, to be shown."""
        lines = self.log.read_text(errors="replace").strip().splitlines() or [""]
        how = signal.Signals(-self.status).name if self.status and self.status < 0 else f"exit status {self.status}"
        return shortened(f"{how}: {printable(lines[-1])}".removesuffix(": "))


def each_video(
    command: Sequence[str],
    environment: Mapping[str, str],
    job: Mapping[str, Any],
    videos: Sequence[str],
    folder: Path,
    limit: float,
    progress: Callable[[str, Outcome], None],
) -> dict[str, Outcome]:
    """Do a job on every video, however it ends; limit: seconds for one.

    Raises ConfigError where the tool cannot even be started.
    """
    found: dict[str, Outcome] = {}
    while missing := [video for video in videos if video not in found]:
        own = Path(tempfile.mkdtemp(dir=folder))
        child = Child(command, environment, {**job, "videos": missing}, own)
        before = len(found)
        _watch(child, limit, found, progress)
        if len(found) == before:
            raise ConfigError(f"it could not be started: {child.last_words()}")
    return found


def _watch(child: Child, limit: float, found: dict[str, Outcome], progress: Callable[[str, Outcome], None]) -> None:
    """Follow a process to its end, and put what it tells of videos into `found`."""
    seen, since, allowed = 0, time.monotonic(), START
    current: str | None = None
    try:
        while True:
            over = child.ended()  # before its last events are read
            for event in child.events()[seen:]:
                seen, since, allowed = seen + 1, time.monotonic(), limit
                video, state = event.pop("video"), event.pop("state")
                current = video if state == "begun" else None
                if state != "begun":
                    found[video] = Outcome(state, event.pop("reason", ""), event)
                    progress(video, found[video])
            hung = not over and time.monotonic() - since > allowed
            if hung:
                child.kill()
            if over or hung:
                break
            time.sleep(POLL)
    finally:
        child.kill()
    if current is not None:
        found[current] = Outcome("hung", f"not done in {limit:g} s") if hung else Outcome("crashed", child.last_words())
        progress(current, found[current])


def side_by_side(
    command: Sequence[str],
    environment: Mapping[str, str],
    videos: Sequence[str],
    folder: Path,
    processes: int,
    rounds: int,
    limit: float,
) -> list[Run]:
    """As many processes at once, each doing all videos in an order of its own; counted once all have done each once.

    Raises ConfigError where one of them ends otherwise, or takes longer than `limit` seconds.
    """
    go = Path(tempfile.mkdtemp(dir=folder)) / "go"
    children = []
    for number in range(processes):
        turned = [*videos[number * len(videos) // processes :], *videos[: number * len(videos) // processes]]
        job = {"mode": "speed", "videos": turned, "rounds": rounds, "go": str(go)}
        children.append(Child(command, environment, job, Path(tempfile.mkdtemp(dir=folder))))
    end = time.monotonic() + limit
    try:
        while True:
            over = [child.ended() for child in children]  # all are asked, so that none that failed is passed over
            failed = next((child for child in children if child.status), None)
            if failed is not None:
                raise ConfigError(failed.last_words())
            if all(over):
                break
            if not go.exists() and all(child.events() for child in children):
                go.touch()
            if time.monotonic() > end:
                raise ConfigError(f"not done in {limit:g} s")
            time.sleep(POLL)
    finally:
        for child in children:
            child.kill()
    return [_run_of(child) for child in children]


def _run_of(child: Child) -> Run:
    done = child.events()[-1]
    return Run(**{own.name: done[own.name] for own in dataclasses.fields(Run)})
