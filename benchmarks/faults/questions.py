"""What is asked of a damaged cache: by the API, and by the command line in this process.

Each question gives a few words where what it saw is right. It raises `FaultError` where something is missing without a
word, or differs from the truth; a refusal of codecsieve's is left to `outcome.judge`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from click.testing import CliRunner

from benchmarks.faults.outcome import Ended, FaultError, check_ended
from benchmarks.faults.samples import (
    OPTIONS,
    PLANNED,
    Check,
    Sample,
    looks_whole,
    make_tokens,
    plan_is_whole,
    said_of,
    unpublished,
)
from codecsieve.cache import open_cache
from codecsieve.cli import main
from codecsieve.errors import CacheError
from codecsieve.pipelines.loading.loader import make_loader

ARRAYS = ("pixels", "positions", "scores", "frame_ids")


def read(sample: Sample, cache: Path, **options: Any) -> str:
    """Open it, and read every clip: the right one, or an error for it."""
    opened = open_cache(cache, **options)
    _check_listed(sample, cache, opened.clip_ids)
    refusal: CacheError | None = None
    for clip_id in opened.clip_ids:
        try:
            clip = opened[clip_id]
        except CacheError as error:
            refusal = error
            continue
        _check_clip(sample, cache, clip_id, vars(clip))
    if refusal is not None:
        raise refusal
    return f"{len(opened)} clips read"


def batches(sample: Sample, cache: Path) -> str:
    """Read it in batches of four."""
    opened = open_cache(cache)
    _check_listed(sample, cache, opened.clip_ids)
    refusal: CacheError | None = None
    for first in range(0, len(opened), 4):
        try:
            batch = opened.read(range(first, min(first + 4, len(opened))))
        except CacheError as error:
            refusal = error
            continue
        for place, clip_id in enumerate(batch.clip_ids):
            arrays = {name: getattr(batch, name) for name in ARRAYS}
            clip = {name: None if array is None else array[place] for name, array in arrays.items()}
            _check_clip(sample, cache, clip_id, {**clip, "label": batch.labels[place]})
    if refusal is not None:
        raise refusal
    return f"{len(opened)} clips read"


def loader(sample: Sample, cache: Path) -> str:
    """Read it through the loader."""
    opened = open_cache(cache)
    _check_listed(sample, cache, opened.clip_ids)
    batches_of = make_loader(opened, batch_size=4, shuffle=False)
    classes = batches_of.dataset.classes
    seen = 0
    for batch in batches_of:
        for place, clip_id in enumerate(batch.ids):
            if not batch.real[place]:
                continue
            truth = sample.clips.get(clip_id)
            if truth is None:
                raise FaultError("wrong", f"a clip {clip_id!r} that there is not")
            same = np.array_equal(batch.patches[place].numpy(), truth["pixels"])
            same &= np.array_equal(batch.positions[place].numpy(), truth["positions"])
            if not same or classes[int(batch.labels[place])] != said_of(sample, cache, clip_id)[0]:
                raise FaultError("wrong", f"clip {clip_id} differs")
            seen += 1
    if seen != len(opened):
        raise FaultError("lost", f"{seen} of {len(opened)} clips")
    return f"{seen} clips read"


def features(sample: Sample, cache: Path) -> str:
    """Make tokens of it, as the probe does; of a damaged feature cache, read them, and make what is missing."""
    if sample.form == "features":
        tokens = make_tokens(open_cache(sample.whole_cache), cache)
    else:
        opened = open_cache(cache)
        _check_listed(sample, cache, opened.clip_ids)
        tokens = make_tokens(opened, cache.parent / "features")
    for clip_id, made in tokens.items():
        if clip_id not in sample.tokens or not np.array_equal(made, sample.tokens[clip_id]):
            raise FaultError("wrong", f"tokens of clip {clip_id} differ")
    return f"tokens of {len(tokens)} clips"


def info(sample: Sample, cache: Path) -> str:
    """`info`: how many clips are in and how many failed; and what the plan has and the index has not."""
    _command("info", cache)
    told = _command("info", cache, "--json")
    if told.status:
        return told.err.strip()
    facts = json.loads(told.out)
    gone = unpublished(sample, cache)
    counts = facts["clips"], facts["failed"]
    right = len(sample.clips.keys() - gone), len(sample.failed - gone)
    if counts != right:
        raise FaultError("lost", f"{counts} clips in and failed, should be {right}")
    _check_tells(sample, cache, gone, told)
    return "{} clips, {} failed".format(*counts)


def failed(sample: Sample, cache: Path) -> str:
    """`info --failed`: every clip that failed."""
    told = _command("info", cache, "--failed")
    if told.status:
        return told.err.strip()
    listed = set(re.findall(r"^(clip-\d\d)  ", told.out, re.MULTILINE))
    right = sample.failed - unpublished(sample, cache)
    if listed != right:
        raise FaultError("lost", f"{len(listed)} clips failed, should be {len(right)}")
    return f"{len(listed)} listed"


def verify(sample: Sample, cache: Path, command: Sequence[str] = ("verify",)) -> str:
    """`verify`, and `info --verify`: status 0 where every clip can be read, and all that is planned is told of."""
    unread = _unread(sample, cache)
    told = _command(command[0], cache, *command[1:])
    if told.status:
        return (told.err or told.out).strip().splitlines()[0]
    gone = unpublished(sample, cache)
    if unread - gone:
        raise FaultError(
            "lost", f"status 0, but {len(unread - gone)} clips cannot be read: {sorted(unread - gone)[:4]}"
        )
    _check_tells(sample, cache, gone, told)
    return "whole"


def repair(sample: Sample, cache: Path) -> str:
    """`verify --repair`, then `precompute`: status 0 where every clip of its inputs is right."""
    _command("verify", cache, "--repair")
    return precompute(sample, cache, hidden=False)


def precompute(sample: Sample, cache: Path, hidden: bool = True) -> str:
    """The same `precompute` again: status 0 where every clip of its inputs is right.

    hidden: but for clips whose bytes have changed in shard files that look whole: to find these is for `verify`.
    """
    store = "indices" if sample.form == "indices" else "patches"
    told = _run(["precompute", sample.inputs, "--out", cache, *OPTIONS, "--store", store, "--quiet"], cache)
    if told.status:
        return (told.err or told.out).strip().splitlines()[0]
    unread = _unread(sample, cache)
    if hidden:
        unread = {clip_id for clip_id in unread if not looks_whole(sample, cache, clip_id)}
    if unread:
        raise FaultError("lost", f"status 0, but {len(unread)} clips cannot be read: {sorted(unread)[:4]}")
    return "every clip is in"


def inspect(sample: Sample, cache: Path) -> str:
    """`inspect`: the same picture."""
    picture = cache.parent / "picture.png"
    told = _command("inspect", cache, sample.drawn, "--out", picture, "--slots", "2")
    if told.status:
        return told.err.strip()
    if picture.read_bytes() != sample.picture:
        raise FaultError("wrong", f"another picture of clip {sample.drawn}")
    return "the same picture"


def listing(sample: Sample, cache: Path) -> str:
    """`list`: every clip and every failed one, with what is said of it."""
    told = _command("list", cache, "--json")
    if told.status:
        return told.err.strip()
    rows = {row["id"]: row for row in json.loads(told.out)}
    missing = (sample.clips.keys() | sample.failed) - rows.keys() - unpublished(sample, cache)
    if missing:
        raise FaultError("lost", f"{len(missing)} clips are not listed: {sorted(missing)[:4]}")
    for clip_id, row in rows.items():
        if (row["label"], row.get("take")) != said_of(sample, cache, clip_id):
            raise FaultError("wrong", f"label or take of clip {clip_id}: {row['label']!r}, {row.get('take')!r}")
    return f"{len(rows)} listed"


def merge(sample: Sample, cache: Path) -> str:
    """Merged into a cache that is not there yet: status 0 where all clips that could be read are in, as they were."""
    readable = sample.clips.keys() - _unread(sample, cache)
    whole = cache.parent / "merged"
    told = _run(["merge", whole, cache], cache)
    if told.status:
        return told.err.strip()
    opened = open_cache(whole)
    if readable - set(opened.clip_ids):
        raise FaultError("lost", f"{len(readable - set(opened.clip_ids))} clips are not in the merged cache")
    for clip_id in opened.clip_ids:
        _check_clip(sample, whole, clip_id, vars(opened[clip_id]))
    return f"{len(opened)} clips merged"


def drop(sample: Sample, cache: Path) -> str:
    """`drop` of two clips: status 0 where these are out and all others that could be read still can be."""
    gone = {*list(sample.clips)[1:3]}
    readable = sample.clips.keys() - _unread(sample, cache) - gone
    told = _command("drop", cache, *gone)
    if told.status == 0 and gone & set(open_cache(cache).clip_ids):
        raise FaultError("wrong", "a clip that was dropped is still in")
    lost = readable & _unread(sample, cache)
    if lost and told.status == 0:
        raise FaultError("lost", f"{len(lost)} other clips cannot be read any more: {sorted(lost)[:4]}")
    return "dropped" if told.status == 0 else told.err.strip()


def compact(sample: Sample, cache: Path) -> str:
    """`compact`: whether it can or not, what could be read still can be."""
    readable = sample.clips.keys() - _unread(sample, cache)
    told = _command("compact", cache)
    lost = readable & _unread(sample, cache)
    if lost:
        raise FaultError("lost", f"{len(lost)} clips cannot be read any more: {sorted(lost)[:4]}")
    return "compacted" if told.status == 0 else told.err.strip()


def _command(name: str, cache: Path, *arguments: Any) -> Ended:
    return _run([name, cache, *arguments], cache)


def _run(arguments: Sequence[Any], cache: Path) -> Ended:
    """Run a command in this process, and see that it ends as one may that is about a cache."""
    done = CliRunner().invoke(main, [str(argument) for argument in arguments])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    ended = Ended(done.exit_code, done.stdout, done.stderr)
    check_ended(ended, [str(cache.parent), "clip-"])
    return ended


def _check_listed(sample: Sample, cache: Path, listed: Sequence[str]) -> None:
    """What the index lists are clips that there are, each once, and all that it must list."""
    if len(set(listed)) < len(listed):
        raise FaultError("wrong", "a clip comes twice")
    if not sample.clips.keys() >= set(listed):
        raise FaultError("wrong", f"a clip that there is not: {sorted(set(listed) - sample.clips.keys())[0][:40]!r}")
    missing = sample.clips.keys() - set(listed) - unpublished(sample, cache)
    if missing:
        raise FaultError("lost", f"{len(missing)} clips are not listed: {sorted(missing)[:4]}")


def _check_clip(sample: Sample, cache: Path, clip_id: str, clip: dict[str, Any]) -> None:
    truth = sample.clips[clip_id]
    for name in ARRAYS:
        if not np.array_equal(clip[name], truth[name]):
            raise FaultError("wrong", f"{name} of clip {clip_id} differ")
    if clip["label"] != said_of(sample, cache, clip_id)[0]:
        raise FaultError("wrong", f"label of clip {clip_id} is {clip['label']!r}")


def _check_tells(sample: Sample, cache: Path, gone: set[str], told: Ended) -> None:
    """What the plan has and the index has not is told by its number, or by that of all that is planned."""
    if gone and plan_is_whole(sample, cache):
        numbers = set(re.findall(r"\b\d+\b", told.out + told.err))
        if not numbers & {str(len(gone)), str(PLANNED)}:
            raise FaultError("lost", f"nothing of the {len(gone)} of {PLANNED} planned clips that the index has not")


def _unread(sample: Sample, cache: Path) -> set[str]:
    """Clips that cannot be read, or not rightly."""
    unread = set(sample.clips)
    try:
        opened = open_cache(cache)
    except Exception:
        return unread
    for clip_id in unread.intersection(opened.clip_ids):
        try:
            _check_clip(sample, cache, clip_id, vars(opened[clip_id]))
        except Exception:
            continue
        unread.remove(clip_id)
    return unread


_READ: dict[str, Check] = {
    "read": read,
    "verified": partial(read, verify=True),
    "batches": batches,
    "zarr": partial(read, form="zarr"),
    "info": info,
    "failed": failed,
    "list": listing,
    "info-verify": partial(verify, command=("info", "--verify")),
    "verify": verify,
    "inspect": inspect,
}
_WRITE: dict[str, Check] = {
    "repair": repair,
    "precompute": precompute,
    "merge": merge,
    "drop": drop,
    "compact": compact,
}
_TRAIN: dict[str, Check] = {"loader": loader, "features": features}
_ZARR = {name: question for name, question in _READ.items() if name != "zarr"}
QUESTIONS: dict[str, dict[str, Check]] = {
    "raw": {**_READ, **_TRAIN, **_WRITE},
    "packed": {**_READ, **_TRAIN, **_WRITE},
    "indices": {**_READ, **_WRITE},
    "compressed": {**_ZARR, **_TRAIN},
    "features": {"features": features},
}
"""Of each form, what is asked."""
