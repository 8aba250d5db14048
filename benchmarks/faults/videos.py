"""Damaged videos: each is sieved to a clip that may be one, the same in another process, or refused in one line.

What a damaged picture should look like nobody can say. So a clip is held to what any clip keeps to: shapes, positions
and frames in range, facts that can be; that another process makes the same of the file; and that neither takes more
memory than the bound. A file may be refused where FFmpeg itself shows no picture of it. Where two processes differ and
FFmpeg's own pictures do too (see `shown`), that is counted by itself: nothing tells codecsieve of it. The files are
encodes made on the spot, see `encodes`, and those of folders that are given.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import av
import numpy as np

from benchmarks.faults.damage import BYTES, Random
from benchmarks.faults.encodes import make_encodes
from benchmarks.faults.outcome import FaultError, Tried, Verdict, judge
from benchmarks.faults.pool import run_trials
from benchmarks.faults.shown import is_shown, is_unsteady
from codecsieve.codec.facts import VIDEO_SUFFIXES
from codecsieve.errors import CodecsieveError
from codecsieve.pipelines.config import SieveConfig
from codecsieve.pipelines.sieve.clip import sieve_clip
from codecsieve.pipelines.sieve.kept import SievedClip
from codecsieve.pipelines.sieve.warm import warm_up

LIMIT = 120.0
"""Seconds that one sieve may take; undamaged, these files take 0.01 to 0.5 s, with half a gigabyte of
holes behind them up to 30."""
BOUND = 1 << 30
"""Bytes of memory that a sieve is told it may take, besides what its process has before it."""
_HARD = 3 << 30
"""Bytes beyond which it gets none: what it takes is measured, this keeps the machine alive."""
_LARGE = 1 << 20
"""Bytes of a file; of a larger one that can be cut anywhere, the beginning is taken."""
_CUT_ANYWHERE = frozenset({".264", ".265", ".ts", ".mpg", ".ivf", ".obu", ".m4v", ".mkv", ".webm"})
_CONFIG = SieveConfig(num_frames=16, input_size=112, patch_size=14, k_keep=64)
_LARGE_ENOUGH = "memory"
"""What a refusal speaks of that is right although there are pictures: they are too large."""
_TAILS = (1 << 22, 1 << 26, 1 << 29)
_NUMBERS = (0, 1, 2, 7, 8, 0x7F, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)


@dataclass(frozen=True)
class VideoTrial:
    """One damaged video: of a file, and its codec."""

    seed: int
    number: int
    source: str
    codec: str

    @property
    def id(self) -> str:
        """What repeats it."""
        return "/".join(["videos", str(self.seed), str(self.number), Path(self.source).name])


def gather(folders: Sequence[Path], scratch: Path) -> tuple[list[str], list[str]]:
    """The files that are damaged, those of folders first, and the names of those that cannot be made here."""
    made, lacking = make_encodes(scratch)
    found = sorted(path for folder in folders for path in folder.rglob("*") if path.suffix.lower() in VIDEO_SUFFIXES)
    return [str(path.absolute()) for path in [*found, *made]], lacking


def video_trials(seed: int, count: int, files: Sequence[str]) -> Iterator[VideoTrial]:
    """So many damaged videos, the files in turns."""
    for number in range(count):
        source = files[number % len(files)]
        yield VideoTrial(seed, number, source, _codec(source))


def try_videos(trials: Sequence[VideoTrial], workers: int, files: Sequence[str]) -> Iterator[Tried]:
    """Do these trials, each in two processes."""
    with tempfile.TemporaryDirectory(prefix="codecsieve-faults-") as scratch:
        prepare = partial(_prepare, Path(scratch), files)
        first: dict[str, tuple[_Seen, float]] = {}
        for trial, answer, seconds in run_trials(prepare, trials, LIMIT, workers, _HARD):
            first[trial.id] = _as_seen(answer), seconds
        for trial, answer, seconds in run_trials(prepare, trials, LIMIT, workers, _HARD):
            (one, took), other = first[trial.id], _as_seen(answer)
            verdict = next((seen.verdict for seen in (one, other) if seen.verdict.outcome != "held"), one.verdict)
            if verdict.outcome == "held" and one != other:
                said = f"two processes differ: {one.verdict.said} | {other.verdict.said}"
                path = _write(trial, files, Path(scratch))
                verdict = Verdict("unsteady" if is_unsteady(path) else "wrong", said)
            words = damage(trial, files)[2]
            name = Path(trial.source).name
            yield Tried(trial.id, trial.codec, f"{name}: {words}", verdict, max(took, seconds))


@dataclass(frozen=True)
class _Seen:
    """What a process made of a file: its verdict, and a hash of the clip."""

    verdict: Verdict
    digest: str = ""


def damage(trial: VideoTrial, files: Sequence[str]) -> tuple[bytes, int, str]:
    """The damaged file's bytes, those of a hole after them, and in words what was done."""
    random = np.random.default_rng([trial.seed, trial.number, 2])
    data = _beginning(Path(trial.source))
    words, tail = [], 0
    for _ in range(1 if random.random() < 0.7 else int(random.integers(2, 4))):
        way = str(random.choice([*BYTES, "sizes", "sizes", "header", "header", "joined", "tail"]))
        words.append(way)
        if way == "sizes":
            data, said = _wrong_size(data, random)
            words[-1] += f" ({said})"
        elif way == "header":
            harm = str(random.choice(list(BYTES)))
            data = BYTES[harm](data[:1024], random) + data[1024:]
            words[-1] += f" ({harm})"
        elif way == "joined":
            other = files[int(random.integers(len(files)))]
            data += _beginning(Path(other))[: 1 << 18]
            words[-1] += f" with {Path(other).name}"
        elif way == "tail":
            tail = int(random.choice(_TAILS, p=(0.5, 0.4, 0.1)))
            words[-1] += f" of {tail >> 20} MiB"
        else:
            data = BYTES[way](data, random)
    return data, tail, ", ".join(words)


def _write(trial: VideoTrial, files: Sequence[str], folder: Path) -> Path:
    """Make the damaged file."""
    data, tail, _ = damage(trial, files)
    path = folder / f"{trial.number}{Path(trial.source).suffix}"
    path.write_bytes(data)
    os.truncate(path, len(data) + tail)
    return path


def _beginning(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_LARGE if path.suffix.lower() in _CUT_ANYWHERE else -1)


def _wrong_size(data: bytes, random: Random) -> tuple[bytes, str]:
    """A size, or a number like one, says something else: of a box of MP4, or four bytes of a header."""
    boxes = list(_boxes(data, 0, len(data)))
    changed = bytearray(data)
    number = _NUMBERS[int(random.integers(len(_NUMBERS)))]
    if boxes:
        at, name = boxes[int(random.integers(len(boxes)))]
        if random.random() < 0.5:
            number = max(0, int.from_bytes(data[at : at + 4]) + int(random.integers(-16, 17)))
        elif random.random() < 0.5:
            at += int(random.integers(8, 40))
        changed[at : at + 4] = number.to_bytes(4)
        return bytes(changed), f"{name} {number:#x}"
    at = int(random.integers(max(1, min(len(data), 2048))))
    size = int(random.choice([1, 2, 4, 8]))
    changed[at : at + size] = (number & (1 << 8 * size) - 1).to_bytes(
        size, "big" if random.random() < 0.5 else "little"
    )
    return bytes(changed), f"{number:#x} at {at}"


def _boxes(data: bytes, first: int, last: int) -> Iterator[tuple[int, str]]:
    """Where the boxes of an MP4 or QuickTime file begin, those in boxes too, and what they are called."""
    at = first
    while at + 8 <= last:
        size, name = int.from_bytes(data[at : at + 4]), data[at + 4 : at + 8]
        if size < 8 or at + size > last or not name.isalnum():
            return
        yield at, name.decode("ascii", "replace")
        if name in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts", b"moof", b"traf", b"mvex"):
            yield from _boxes(data, at + 8, at + size)
        at += size


def _prepare(scratch: Path, files: Sequence[str]) -> Callable[[VideoTrial], _Seen]:
    """Kernels are compiled and loaded for all that the files need; then each file is written, and sieved."""
    warm_up()
    for path in files:
        with contextlib.suppress(CodecsieveError):
            sieve_clip(path, _CONFIG)
    mine = Path(tempfile.mkdtemp(dir=scratch))

    def attempt(trial: VideoTrial) -> _Seen:
        path = _write(trial, files, mine)
        digests: list[str] = []
        before = _held_before()
        verdict = judge(lambda: _sieve(path, digests), [str(path)])
        took = _memory("VmHWM") - before
        said = verdict.said.replace(str(mine), "")
        verdict = Verdict(verdict.outcome, said)
        if took > BOUND:
            verdict = Verdict("crashed", f"{took / 1e9:.1f} GB of memory; {said}")
        elif verdict.outcome == "held" and not digests and _LARGE_ENOUGH not in said and is_shown(path):
            verdict = Verdict("lost", f"FFmpeg shows pictures of it: {said}")
        path.unlink()
        return _Seen(verdict, *digests)

    return attempt


def _sieve(path: Path, digests: list[str]) -> str:
    clip = sieve_clip(path, _CONFIG, max_memory=BOUND)
    _check(clip)
    digest = hashlib.sha256()
    for array in (clip.patches, clip.positions, clip.scores, clip.frame_ids):
        digest.update(array.tobytes())
    digest.update(repr((clip.codec, clip.width, clip.height, clip.fps, clip.frames, clip.filled, clip.order)).encode())
    digests.append(digest.hexdigest())
    return f"a clip: {clip.codec}, {clip.width}x{clip.height}, {clip.frames} frames, {clip.filled} slots filled"


def _check(clip: SievedClip) -> None:
    """Raise `FaultError` where a clip is not what any clip is."""
    k, t, grid, patch = _CONFIG.k_keep, _CONFIG.num_frames, _CONFIG.grid, _CONFIG.patch_size
    cells = np.ravel_multi_index(clip.positions.T.astype(np.int64), (t, grid, grid), mode="clip")
    ids = clip.frame_ids
    rules = {
        "patches' shape": clip.patches.shape == (k, 3, patch, patch) and clip.patches.dtype == np.uint8,
        "positions' shape": clip.positions.shape == (k, 3) and clip.positions.dtype == np.uint16,
        "positions in range": bool((clip.positions < (t, grid, grid)).all()),
        "positions ascending": bool((np.diff(cells) > 0).all()),
        "scores": clip.scores.shape == (k,) and bool((clip.scores >= 0).all()),
        "frame ids' shape": ids.shape == (t,) and ids.dtype == np.int32,
        "frame ids in range": bool((ids >= 0).all() and (ids < clip.frames).all()),
        "frame ids ascending": bool((np.diff(ids) >= 0).all()),
        "distinct frames": clip.distinct_frames == len(np.unique(ids)),
        "slots filled": 0 <= clip.filled < t,
        "size": clip.width > 0 and clip.height > 0,
        "frame rate": math.isfinite(clip.fps) and clip.fps >= 0,
        "words": bool(clip.codec) and clip.order in ("timestamps", "decoder"),
        "signals": clip.signals in ("bitstream", "search") and clip.decoder == "ffmpeg",
    }
    broken = [rule for rule, holds in rules.items() if not holds]
    if broken:
        raise FaultError("wrong", f"{', '.join(broken)}: {clip.frames} frames, ids {ids.tolist()}, {clip.fps} frames/s")


@lru_cache
def _codec(path: str) -> str:
    """What FFmpeg calls the codec of a file that is not damaged yet."""
    with av.open(path) as container:
        return container.streams.video[0].codec_context.codec.canonical_name


def _as_seen(answer: _Seen | Verdict) -> _Seen:
    return answer if isinstance(answer, _Seen) else _Seen(answer)


def _held_before() -> int:
    """Bytes of memory that this process holds; its peak is counted from now on, where the system can."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return _memory("VmRSS")


def _memory(name: str) -> int:
    """Bytes of this process's memory as Linux counts them: VmRSS, what it holds; VmHWM, the most that it has held."""
    with contextlib.suppress(OSError):
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith(f"{name}:"))
    return 0
