"""Other mishaps of a run: a disk that is full, a folder that cannot be written, two runs on one cache."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from click.testing import CliRunner

from benchmarks.faults.outcome import FaultError, Tried, check_ended, judge
from benchmarks.faults.runs import Run, check_content

if TYPE_CHECKING:
    from benchmarks.faults.kills import Scene

KINDS = ("full disk", "read-only folder", "two runs at once")
_CACHE_BYTES = 9_000_000
"""A little more than the cache takes."""


@dataclass(frozen=True)
class Mishap:
    """One run that something befalls."""

    seed: int
    number: int
    kind: str

    @property
    def id(self) -> str:
        """What repeats it."""
        return f"kills/{self.seed}/{self.number}/{self.kind.replace(' ', '-')}"


def mishaps(seed: int, first: int, each: int) -> Iterator[Mishap]:
    """So many of each kind, numbered from `first`."""
    for number in range(each * len(KINDS)):
        yield Mishap(seed, first + number, KINDS[number % len(KINDS)])


def can_mount() -> bool:
    """Whether file systems of a size of their own can be mounted here."""
    with tempfile.TemporaryDirectory() as folder:
        if not _mount(["-t", "tmpfs", "-o", "size=1m", "none", folder]):
            return False
        subprocess.run(["umount", folder], check=True)
        return True


def means() -> dict[str, str]:
    """By what means disks are filled and folders made read-only on this machine."""
    if can_mount():
        return {"full disk": "a tmpfs of that size", "read-only folder": "a tmpfs mounted read-only"}
    writable = "skipped: root may write everything, and may not mount" if os.geteuid() == 0 else "its mode"
    return {"full disk": "RLIMIT_FSIZE, for want of the right to mount", "read-only folder": writable}


def try_mishap(scene: Scene, mishap: Mishap) -> Tried:
    """Let it happen."""
    began = time.monotonic()
    happen = {"full disk": _full_disk, "read-only folder": _read_only, "two runs at once": _two_at_once}[mishap.kind]
    random = np.random.default_rng([mishap.seed, mishap.number, 5])
    with tempfile.TemporaryDirectory(dir=scene.folder) as mine:
        verdict = judge(lambda: happen(scene, Path(mine), random), [str(scene.folder)])
    return Tried(mishap.id, mishap.kind, mishap.kind, verdict, time.monotonic() - began)


def _full_disk(scene: Scene, folder: Path, random: np.random.Generator) -> str:
    """No room for all of it: one line; with room, the same command finishes it."""
    from benchmarks.faults.kills import finish

    room = int(np.exp(random.uniform(np.log(4096), np.log(_CACHE_BYTES))))
    with _disk(folder, f"size={room}") as (disk, mounted):
        cache = disk / "cache"
        with Run(scene.videos, cache, folder, file_bytes=0 if mounted else room) as run:
            ended = run.end()
        check_ended(ended, [str(scene.folder)], (0, 1))
        if ended.status == 0:
            check_content(cache, scene.truth)
            return f"{room} bytes are enough"
        if mounted:
            _mount(["-o", "remount,size=100m", str(disk)])
        finish(scene, cache, folder)
    return f"{room} bytes: {ended.err.strip()}"


def _read_only(scene: Scene, folder: Path, random: np.random.Generator) -> str:
    """A folder without a cache, with a part of one or with all of it, that cannot be written: one line."""
    from benchmarks.faults.kills import finish

    with _disk(folder, "size=100m") as (disk, mounted):
        cache = disk / "cache"
        done = float(random.choice([0.0, 0.7, 1.0])) * scene.lengths[2]
        if done:
            with Run(scene.videos, cache, folder) as run:
                run.wait_for(lambda: time.monotonic() - run.began > done)
        with _unwritable(disk, mounted), Run(scene.videos, cache, folder) as run:
            ended = run.end()
            _look(cache)
        check_ended(ended, [str(scene.folder)], (0, 1))
        if ended.status == 0:
            check_content(cache, scene.truth)
        finish(scene, cache, folder)
    return f"status {ended.status}: {ended.err.strip()}"


def _look(cache: Path) -> None:
    """A cache that cannot be written can be looked at."""
    from codecsieve.cli import main

    if (cache / "zarr.json").exists():
        done = CliRunner().invoke(main, ["info", str(cache)])
        if done.exit_code:
            raise FaultError("lost", f"info of a cache that cannot be written: {done.output}")


def _two_at_once(scene: Scene, folder: Path, random: np.random.Generator) -> str:
    """Two runs on one cache: one does it, the other says who does."""
    cache = folder / "cache"
    logs = folder / "second"
    logs.mkdir()
    with Run(scene.videos, cache, folder) as one:
        time.sleep(float(random.choice([0.0, 1.0])) * random.random() * scene.lengths[2])
        with Run(scene.videos, cache, logs) as other:
            ends = one.end(), other.end()
    for ended in ends:
        check_ended(ended, [str(scene.folder)], (0, 1))
    if all(ended.status for ended in ends):
        raise FaultError("lost", f"neither went through: {ends[0].err} {ends[1].err}")
    check_content(cache, scene.truth)
    return f"statuses {ends[0].status}, {ends[1].status}: {ends[0].err.strip()}{ends[1].err.strip()}"


@contextmanager
def _disk(folder: Path, options: str) -> Iterator[tuple[Path, bool]]:
    """A folder on a disk of its own, if one can be mounted."""
    disk = folder / "disk"
    disk.mkdir()
    mounted = _mount(["-t", "tmpfs", "-o", options, "none", str(disk)])
    try:
        yield disk, mounted
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(disk)], check=True)


@contextmanager
def _unwritable(disk: Path, mounted: bool) -> Iterator[None]:
    if mounted:
        _mount(["-o", "remount,ro", str(disk)])
        yield
        _mount(["-o", "remount,rw", str(disk)])
    else:
        folders = [disk, *(path for path in disk.rglob("*") if path.is_dir())]
        for path in folders:
            path.chmod(0o555)
        yield
        for path in folders:
            path.chmod(0o755)


def _mount(arguments: list[str]) -> bool:
    with suppress(OSError):
        return subprocess.run(["mount", *arguments], capture_output=True).returncode == 0
    return False
