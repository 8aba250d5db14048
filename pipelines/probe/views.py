"""The caches that a probe's clips are in: one, or several where clips are sampled more than once.

The base cache is the one that was named. Where its frames are drawn from segments (`spread` is not `ends`), or several
views are asked for, training clips have caches of their own beside it, `CACHE.jitter-0`, `CACHE.jitter-1` and so on,
with the same options but frames drawn anew; so do clips that are judged, from `CACHE.jitter-1`, for more than one
temporal crop. What a set's clips are is left to `datasets`, finding them to `splits`.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import os
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import platformdirs

from codecsieve.cache import SparseCache, open_cache
from codecsieve.cache.layout import GROUP, config_difference, config_hash
from codecsieve.cache.location import Location
from codecsieve.errors import ConfigError
from codecsieve.pipelines.config import SieveConfig, options_in
from codecsieve.pipelines.inputs.clips import requests_of
from codecsieve.pipelines.inputs.request import ClipRequest
from codecsieve.pipelines.precompute.chosen import as_the_cache_reads
from codecsieve.pipelines.precompute.run import precompute
from codecsieve.pipelines.probe.config import ProbeConfig, ProbeRun
from codecsieve.pipelines.probe.datasets import SPLITS, LabelledSet
from codecsieve.pipelines.probe.splits import Split, check_splits, find_clips, in_all, split_off_validation

Report = Callable[[int, int], None]
"""Called with the clips done and to be done."""


@dataclass(frozen=True, eq=False)
class View:
    """A split's clips as one cache has them."""

    cache: SparseCache
    split: Split

    @property
    def clip_ids(self) -> list[str]:
        """Of its clips."""
        return [self.cache.clip_ids[number] for number in self.split.numbers]


def default_cache(folder: Path, selection: dict[str, Any]) -> Path:
    """Where the cache of a data set's folder lies that nobody named: beside the folder, or, where that cannot be
    written, in the user's folder for caches; one for each selection.
    """
    config = SieveConfig(**selection)
    name = f"{config.policy}-{config.num_frames}-{config.k_keep}-{config_hash(config.to_dict())[:8]}"
    beside = folder.with_name(f"{folder.name}.caches")
    if os.access(beside if beside.exists() else folder.parent, os.W_OK):
        return beside / name
    digest = hashlib.blake2b(os.fsencode(folder), digest_size=4).hexdigest()
    return Path(platformdirs.user_cache_dir("codecsieve")) / f"{folder.name}-{digest}" / name


def check_selection(run: ProbeRun) -> dict[str, Any]:
    """The options that the base cache has, or will have.

    Raises ConfigError where a cache that is there holds no pixels or was made with other options, or a frame has
    another number of patches than it must.
    """
    # A value that is misspelt is told with those that there are, not as one that the cache was not made with.
    words: dict[str, Any] = {name: value for name, value in run.selection.items() if isinstance(value, str)}
    SieveConfig(**words)
    if (run.cache_dir / GROUP).exists():
        cache = open_cache(run.cache_dir)
        cache.check_pixels()
        selection = selection_of(cache)
        made = {name: selection[name] for name in run.selection}
        if made != run.selection:
            difference = config_difference(made, run.selection)
            raise ConfigError(f"cache {run.cache_dir} {difference}; leave the option out, or use another --cache-dir")
    else:
        selection = run.fresh | run.selection
    patches = SieveConfig(**selection).grid ** 2
    if run.baseline is None and run.frames_token_num not in (None, patches):
        raise ConfigError(f"frames_token_num ({run.frames_token_num}) must be {patches}, the patches of a whole frame")
    return selection


def whole_frames(selection: dict[str, Any]) -> int:
    """How many frames a cache keeps whole of a clip, as baselines want them. Raises ConfigError where it keeps none."""
    config = SieveConfig(**selection)
    if config.policy != "sampling":
        raise ConfigError(
            f"policy ({config.policy}) must be sampling: a baseline takes whole frames; use --model-family sampling, "
            "and a cache of its own"
        )
    return config.k_keep // config.grid**2


def selection_of(cache: SparseCache) -> dict[str, Any]:
    """The options that a cache was made with."""
    return options_in(cache.config)


def jittered(cache_dir: Path, seed: int) -> Path:
    """The cache beside one, of the same clips with frames drawn anew."""
    return cache_dir.with_name(f"{cache_dir.name}.jitter-{seed}")


def jitter_of(folder: Path) -> dict[str, Any]:
    """What such a cache's options differ in."""
    return {"spread": "jitter", "spread_seed": int(folder.name.rpartition("-")[2])}


@dataclass(frozen=True)
class Plan:
    """Which caches a run needs, and of which splits. train: of the training clips, judged: of the others."""

    base: Path
    train: tuple[Path, ...]
    judged: tuple[Path, ...]

    @classmethod
    def of(cls, base: Path, selection: dict[str, Any], config: ProbeConfig) -> Plan:
        """selection: the base cache's."""
        redrawn = selection.get("spread", "ends") == "middle" or config.views > 1
        train = [jittered(base, seed) for seed in range(config.views)] if redrawn else [base]
        return cls(base, tuple(train), (base, *(jittered(base, seed) for seed in range(1, config.temporal_crops))))

    def splits_of(self, labelled: LabelledSet) -> dict[Path, list[str]]:
        """The manifests whose clips each cache has. Without a val.csv, clips of train.csv are judged as well."""
        names: dict[Path, list[str]] = defaultdict(list)
        for folder in self.train:
            names[folder].append("train")
        for folder in self.judged:
            names[folder] += ["train"] * ("val" not in labelled.rows) + ["val", "test"]
        return {folder: [name for name in labelled.rows if name in given] for folder, given in names.items()}


def complete_caches(plan: Plan, labelled: LabelledSet, selection: dict[str, Any], device: str, report: Report) -> None:
    """Put clips into the caches that were never tried for them; each is made where it is not there.

    selection: the base cache's. Raises ConfigError where one beside it was made with other options.
    """

    @functools.cache
    def requests() -> list[ClipRequest]:
        # Of all splits, whichever a cache has: so that a clip has the same id in each.
        return requests_of([row for rows in labelled.rows.values() for row in rows])

    for folder, names in plan.splits_of(labelled).items():
        here = labelled.only(names)
        config = SieveConfig(**selection | ({} if folder == plan.base else jitter_of(folder)))
        if (folder / GROUP).exists():
            cache = open_cache(folder)
            config = _as_it_is(cache, config)
            if find_clips(cache, here):
                continue
            missing = _not_tried(cache, _of_rows(requests(), here))
        else:
            missing = _of_rows(requests(), here)
        if missing:
            config = as_the_cache_reads(Location(plan.base), config)  # one probe, one way of reading
            precompute(missing, folder, config, device=device, progress=lambda at: report(at.done, at.total))


def _as_it_is(cache: SparseCache, asked: SieveConfig) -> SieveConfig:
    """A cache's options, which must be those asked, but for what `signals` and `decoder_fields` came to where it was
    made.
    """
    made = SieveConfig(**selection_of(cache))
    if dataclasses.replace(made, signals=asked.signals, decoder_fields=asked.decoder_fields) != asked:
        difference = config_difference(made.to_dict(), asked.to_dict())
        raise ConfigError(f"cache {cache.location} {difference}, as of the cache beside it; delete it")
    return made


def _of_rows(requests: Sequence[ClipRequest], labelled: LabelledSet) -> list[ClipRequest]:
    places = {(row.path, row.start, row.end) for rows in labelled.rows.values() for row in rows}
    return [request for request in requests if (request.path, request.start, request.end) in places]


def _not_tried(cache: SparseCache, requests: Sequence[ClipRequest]) -> list[ClipRequest]:
    """Not those that are there: they may have had other labels, or have moved."""
    tried = cache.index.select(["id", "uri", "start", "end"]).to_pylist()
    ids = {record["id"] for record in tried}
    places = {(record["uri"], record["start"], record["end"]) for record in tried}
    return [r for r in requests if r.id not in ids and (r.path, r.start, r.end) not in places]


def open_views(plan: Plan, labelled: LabelledSet) -> dict[str, list[View]]:
    """Train, val and, where there is one, test: each with clips, the same ones in the same order in all of its views.

    Raises ConfigError where a split is empty, or shares clips with another.
    """
    wanted = plan.splits_of(labelled)
    # What is made of the pixels stays: each clip is checked as it is read.
    caches = {folder: open_cache(folder, verify=True) for folder in wanted}
    base, first = caches[plan.base], caches[plan.train[0]]
    found = _found(base, labelled, wanted[plan.base])
    home = dict.fromkeys(found, base)
    if "train" not in found:
        found |= _found(first, labelled, ["train"])
        home["train"] = first
    if "val" not in found:
        train, validation = split_off_validation(found["train"], base.clip_ids)
        found, home = {**found, "train": train, "val": validation}, {**home, "val": base}
    views = {}
    for name in (name for name in SPLITS if name in found):
        others = [caches[folder] for folder in (plan.train if name == "train" else plan.judged)]
        same = in_all(found[name], home[name], others)
        views[name] = [View(cache, split) for cache, split in zip(others, same, strict=True)]
    check_splits(
        {name: of_split[0].split for name, of_split in views.items()},
        {name: of_split[0].clip_ids for name, of_split in views.items()},
        labelled,
    )
    return views


def _found(cache: SparseCache, labelled: LabelledSet, names: Sequence[str]) -> dict[str, Split]:
    here = labelled.only(names)
    found = find_clips(cache, here)
    if found is None:
        found = find_clips(cache, here, requests_of([row for rows in labelled.rows.values() for row in rows]))
    if found is None:
        raise ConfigError(f"cache {cache.location} must have all clips of {labelled.name}; run probe again")
    return found
