"""The attentive probe from end to end: how well can a small head tell classes apart by a cache's tokens?

    outcome = run_probe(ProbeRun(data_root, "hmdb51", cache_dir, model_weight, out), ProbeConfig())

The cache is made where it is not there, tokens are made once, probes are trained, one is chosen on the validation
split, and the test split is looked at once. The folder `out` then holds `report.json`, `confusion.png` and the
checkpoints. Under torchrun the work is shared.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from collections.abc import Callable
from typing import Any

import torch

from codecsieve.cache import SparseCache, open_cache
from codecsieve.cache.features import FeatureCache
from codecsieve.cache.layout import GROUP, config_difference
from codecsieve.errors import ConfigError
from codecsieve.pipelines.config import SieveConfig
from codecsieve.pipelines.inputs.clips import read_inputs
from codecsieve.pipelines.learn.frozen import FrozenEncoder, cached_features
from codecsieve.pipelines.learn.ranks import Ranks
from codecsieve.pipelines.precompute.run import precompute
from codecsieve.pipelines.probe.config import ProbeConfig, ProbeRun
from codecsieve.pipelines.probe.datasets import (
    LabelledSet,
    Split,
    check_splits,
    find_clips,
    read_set,
    split_off_validation,
)
from codecsieve.pipelines.probe.report import circumstances, results, training, write_report
from codecsieve.pipelines.probe.training import LabelledTokens, evaluate, train_probes

Progress = Callable[[str, int, int], None]
"""Called with what is done, such as "clips encoded", how many, and of how many."""


def run_probe(
    run: ProbeRun, config: ProbeConfig, ranks: Ranks | None = None, progress: Progress | None = None
) -> dict[str, Any]:
    """Do all of it, and return the report.

    Raises:
        ManifestError: the manifests cannot be understood; a label is outside of the classes.
        ConfigError: the cache holds no pixels, a split is empty, an option is out of range or another than that of
            the cache, the model or the training that is there.
        EncoderError: the weights are missing or do not fit.
        CacheError: a cache, features or a checkpoint cannot be read or written, or are of something else.
    """
    began = time.monotonic()
    ranks, report = ranks or Ranks(), progress or (lambda what, done, total: None)
    labelled = read_set(run.data_root, run.dataset)
    _check_selection(run)
    encoder = FrozenEncoder.load(run.model_weight, run.model_name, ranks)
    if run.embedding_size not in (None, encoder.dim):
        raise ConfigError(f"embedding_size ({run.embedding_size}) must be {encoder.dim}, as of {run.model_weight}")
    if ranks.first:
        _complete_cache(run, labelled, report)
    ranks.wait()
    # What is made of the pixels stays: each clip is checked as it is read.
    cache = open_cache(run.cache_dir, verify=True)
    splits = _splits(cache, labelled)
    features = _features(run, encoder, cache, splits, ranks, report)
    tokens = {name: labelled_tokens(features, split) for name, split in splits.items()}
    identity = {"dataset": run.dataset, "features": features.key.digest(), "clips": _digest(splits, cache)}
    trained = train_probes(
        tokens["train"],
        tokens["val"],
        len(labelled.classes),
        config,
        run.out,
        identity,
        ranks,
        lambda done, total: report("training steps", done, total),
    )
    tally = evaluate(trained.best, tokens["test" if "test" in splits else "val"], config.batch_size, ranks)
    outcome = {
        **circumstances(run, labelled, cache, features, splits),
        "model": encoder.name,
        "training": training(config, len(tokens["train"]), ranks),
        **results(trained, tally, config, labelled),
        "seconds": round(time.monotonic() - began, 1),
    }
    if ranks.first:
        write_report(run.out, outcome, tally, labelled)
    ranks.wait()
    return outcome


def _features(
    run: ProbeRun,
    encoder: FrozenEncoder,
    cache: SparseCache,
    splits: dict[str, Split],
    ranks: Ranks,
    report: Progress,
) -> FeatureCache:
    """The tokens of all clips of all splits."""
    return cached_features(
        cache,
        sorted({number for split in splits.values() for number in split.numbers}),
        encoder,
        run.features_dir,
        run.encoder_batch_size,
        run.workers,
        ranks,
        lambda done, total: report("clips encoded", done, total),
    )


def labelled_tokens(features: FeatureCache, split: Split) -> LabelledTokens:
    """A split's clips with their cached tokens."""
    numbers = split.numbers
    return LabelledTokens(lambda clips: features.read([numbers[clip] for clip in clips]), torch.tensor(split.labels))


def _check_selection(run: ProbeRun) -> None:
    """Raise ConfigError where a cache that is there holds no pixels, or was made with other options."""
    if (run.cache_dir / GROUP).exists():
        cache = open_cache(run.cache_dir)
        cache.check_pixels()
        made = {name: cache.config.get(name) for name in run.selection}
        if made != run.selection:
            difference = config_difference(made, run.selection)
            raise ConfigError(f"cache {run.cache_dir} {difference}; leave the option out, or use another --cache-dir")
        config = _selection_of(cache)
    else:
        config = run.selection
    patches = SieveConfig(**config).grid ** 2
    if run.frames_token_num not in (None, patches):
        raise ConfigError(f"frames_token_num ({run.frames_token_num}) must be {patches}, the patches of a whole frame")


def _selection_of(cache: SparseCache) -> dict[str, Any]:
    """The options that a cache was made with."""
    known = {own.name for own in dataclasses.fields(SieveConfig)}
    return {name: value for name, value in cache.config.items() if name in known}


def _complete_cache(run: ProbeRun, labelled: LabelledSet, report: Progress) -> None:
    """Put clips into the cache that were never tried for it."""
    there = (run.cache_dir / GROUP).exists()
    if there and find_clips(open_cache(run.cache_dir), labelled):
        return
    requests, selection = read_inputs(labelled.manifests.values()), run.selection
    if there:
        cache = open_cache(run.cache_dir)
        tried = cache.index.select(["id", "uri", "start", "end"]).to_pylist()
        ids = {record["id"] for record in tried}
        places = {(record["uri"], record["start"], record["end"]) for record in tried}
        # Not those that are there: they may have had other labels, or have moved.
        requests = [r for r in requests if r.id not in ids and (r.path, r.start, r.end) not in places]
        selection = _selection_of(cache)
    if not requests:
        return
    precompute(
        requests,
        run.cache_dir,
        SieveConfig(**selection),
        device=run.device,
        progress=lambda at: report("clips put into the cache", at.done, at.total),
    )


def _splits(cache: SparseCache, labelled: LabelledSet) -> dict[str, Split]:
    """Train, val and, where there is one, test: each with clips."""
    splits = find_clips(cache, labelled) or find_clips(cache, labelled, read_inputs(labelled.manifests.values()))
    if splits is None:
        raise ConfigError(f"cache {cache.location} must have all clips of {labelled.name}; run probe again")
    if "val" not in splits:
        train, validation = split_off_validation(splits["train"], cache.clip_ids)
        splits = {"train": train, "val": validation} | {name: splits[name] for name in splits if name != "train"}
    check_splits(splits, labelled)
    return splits


def _digest(splits: dict[str, Split], cache: SparseCache) -> str:
    """Hex digits of which clips with which labels are trained on and chosen by."""
    chosen = [splits["train"], splits["val"]]
    parts = [[[cache.clip_ids[number] for number in split.numbers], split.labels] for split in chosen]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]
