"""Damaged caches: whatever is asked of one, it gives what is right, or says in one line what is wrong.

Each trial damages one file of a small cache, or up to three, and asks one thing of it. What may be done to a file is
left to `damage` and `metadata`, what is asked to `questions`, and the caches and the truth about them to `samples`.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import zarr

from benchmarks.faults.damage import BYTES, PLACES, Random, sparse_tail
from benchmarks.faults.metadata import rewrite_json, rewrite_table
from benchmarks.faults.outcome import Tried, Verdict, judge
from benchmarks.faults.pool import run_trials
from benchmarks.faults.questions import QUESTIONS
from benchmarks.faults.samples import FORMS, PLANNED, Sample, make_samples
from codecsieve.pipelines.sieve.warm import warm_up

LIMIT = 20.0
"""Seconds that one question may take: each is of a second at most, on a machine that does nothing else."""
MEMORY = 4 << 30
"""Bytes that a worker may have more than it begins with; Arrow alone reserves one gigabyte."""
_SHARES = (0.35, 0.2, 0.15, 0.15, 0.15)
"""Of the forms of the cache."""
_COSTLY = ("inspect",)
_UNREADABLE = "unreadable"
SEPARATOR = "/"


@dataclass(frozen=True)
class CacheTrial:
    """One question to one damaged cache."""

    seed: int
    number: int
    question: str

    @property
    def id(self) -> str:
        """What repeats it."""
        return SEPARATOR.join(["caches", str(self.seed), str(self.number), self.question])


def cache_trials(seed: int, count: int) -> Iterator[CacheTrial]:
    """Every question to each of so many damaged caches; the costly ones to one in four."""
    for number in range(count):
        for question in QUESTIONS[_form(seed, number)]:
            if question not in _COSTLY or number % 4 == 0:
                yield CacheTrial(seed, number, question)


def try_caches(trials: Sequence[CacheTrial], workers: int) -> Iterator[Tried]:
    """Do these trials."""
    with tempfile.TemporaryDirectory(prefix="codecsieve-faults-") as scratch:
        folder = Path(scratch)
        samples = {sample.form: sample for sample in make_samples(folder / "whole")}
        prepare = partial(_prepare, samples, folder)
        for trial, answer, seconds in run_trials(prepare, trials, LIMIT, workers, MEMORY, ["torch", "zarr"]):
            form = _form(trial.seed, trial.number)
            verdict, words = (answer, "") if isinstance(answer, Verdict) else answer
            if not words:  # its process has gone, and the words with it
                words = damage(samples[form], folder / "again", trial)
                shutil.rmtree(folder / "again")
            yield Tried(trial.id, trial.question, f"{form}: {words}", verdict, seconds)


def skipped() -> list[str]:
    """What cannot be tried here, and why."""
    return ["caches: files unreadable by mode, since root reads them all the same"] if _is_root() else []


def damage(sample: Sample, folder: Path, trial: CacheTrial) -> str:
    """Copy a cache into `folder`, which is made, and damage the copy; in words, what was done."""
    random = np.random.default_rng([trial.seed, trial.number, 1])
    copy = folder / "cache"
    shutil.copytree(sample.folder, copy)
    files = 1 if random.random() < 0.7 else int(random.integers(2, 4))
    return "; ".join(_damage_one(copy, random) for _ in range(files))


def _form(seed: int, number: int) -> str:
    return str(np.random.default_rng([seed, number, 0]).choice(FORMS, p=_SHARES))


def _prepare(samples: dict[str, Sample], scratch: Path) -> Callable[[CacheTrial], tuple[Verdict, str]]:
    warm_up()
    zarr.open_group(samples[FORMS[0]].folder, mode="r")  # which starts a thread, once, that memory might lack for later
    mine = Path(tempfile.mkdtemp(dir=scratch))

    def attempt(trial: CacheTrial) -> tuple[Verdict, str]:
        sample = samples[_form(trial.seed, trial.number)]
        folder = Path(tempfile.mkdtemp(dir=mine))
        words = damage(sample, folder, trial)
        ask = QUESTIONS[sample.form][trial.question]
        named = [str(folder), *(f"clip-{number:02d}" for number in range(PLANNED)), "label-"]
        verdict = judge(lambda: ask(sample, folder / "cache"), named)
        shutil.rmtree(folder, ignore_errors=True)
        return verdict, words

    return attempt


def _damage_one(cache: Path, random: Random) -> str:
    """Damage one thing in a cache: in words, which and how."""
    kind = str(random.choice(["group", "array", "table", "table", "shard", "shard", "place", "place", "stray"]))
    if kind == "stray":
        return _leave_stray(cache, random)
    entries = _entries(cache, kind)
    if not entries:
        return f"no {kind} is left to damage"
    path = entries[int(random.integers(len(entries)))]
    name = path.relative_to(cache.parent)
    if kind == "place":
        places = [place for place in PLACES if place != _UNREADABLE or not _is_root()]
        place = str(random.choice(places))
        PLACES[place](path, random)
        return f"{name}: {place} in its place"
    draw = random.random()
    if draw < 0.05:
        sparse_tail(path, random)
        return f"{name}: a sparse tail"
    if draw < 0.15:
        return _swap(path, cache, random)
    data = path.read_bytes()
    if draw < 0.6 and data:
        try:
            if path.suffix == ".json":
                data, words = rewrite_json(data, random)
                path.write_bytes(data)
                return f"{name}: {words}"
            if path.suffix == ".parquet":
                data, words = rewrite_table(data, random)
                path.write_bytes(data)
                return f"{name}: {words}"
        except Exception:  # damaged before, so that it can no longer be rewritten
            pass
    harm = str(random.choice(list(BYTES)))
    path.write_bytes(BYTES[harm](data, random))
    return f"{name}: {harm}"


def _entries(cache: Path, kind: str) -> list[Path]:
    """What there is of a kind, in order; of places, folders, and files that are not there by mistake, too."""
    found = sorted(path for path in cache.rglob("*") if path.name != ".lock")
    if kind == "place":
        return found
    files = [path for path in found if path.is_file() and not path.is_symlink()]
    chosen = {
        "group": [path for path in files if path.name == "zarr.json" and path.parent == cache],
        "array": [path for path in files if path.name == "zarr.json" and path.parent != cache],
        "table": [path for path in files if path.suffix == ".parquet"],
        "shard": [path for path in files if path.suffix not in (".json", ".parquet")],
    }
    return chosen[kind]


def _swap(path: Path, cache: Path, random: Random) -> str:
    """Another file's content in this one's place, or the two of them exchanged."""
    others = [other for other in _entries(cache, "place") if other.is_file() and not other.is_symlink()]
    other = others[int(random.integers(len(others)))]
    one, two = path.read_bytes(), other.read_bytes()
    path.write_bytes(two)
    if random.random() < 0.5:
        return f"{path.relative_to(cache)}: is now {other.relative_to(cache)}"
    other.write_bytes(one)
    return f"{path.relative_to(cache)}: exchanged with {other.relative_to(cache)}"


_STRAYS = (
    "part-000000.parquet.partial", "part-0.parquet", "part-000000 (1).parquet", "part-\u00b2.parquet", "part-9.parquet",
    "part-99999999999999999999.parquet", "part-.parquet", "c.0.bak", "c.2.0.0", ".nfs0001", "Thumbs.db",
)  # fmt: skip


def _leave_stray(cache: Path, random: Random) -> str:
    """A file that does not belong there: a copy of one that does, under a name that looks much like it, or noise."""
    folders = [cache, *(path for path in sorted(cache.rglob("*")) if path.is_dir() and not path.is_symlink())]
    folder = folders[int(random.integers(len(folders)))]
    files = [path for path in sorted(folder.iterdir()) if path.is_file() and not path.is_symlink()]
    name = str(random.choice(_STRAYS))
    if os.path.lexists(folder / name):
        return f"{name} is there already"
    if files and random.random() < 0.7:
        source = files[int(random.integers(len(files)))]
        shutil.copy(source, folder / name)
        return f"{folder.relative_to(cache)}/{name}: a copy of {source.name}"
    (folder / name).write_bytes(random.bytes(int(random.integers(2000))))
    return f"{folder.relative_to(cache)}/{name}: noise"


def _is_root() -> bool:
    return hasattr(os, "geteuid") and os.geteuid() == 0
