"""The attentive probe from end to end: how well can a small head tell classes apart by a cache's tokens?

    outcome = run_probe(ProbeRun(data_root, "hmdb51", cache_dir, model_weight, out), ProbeConfig())

The cache is made where it is not there, tokens are made once, probes are trained, one is chosen on the validation
split, and the test split is looked at once. The folder `out` then holds `report.json`, `confusion.png` and the
checkpoints. Under torchrun the work is shared.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812

from codecsieve.cache import SparseCache
from codecsieve.cache.features import FeatureCache
from codecsieve.errors import ConfigError
from codecsieve.pipelines.learn.baselines import Baseline
from codecsieve.pipelines.learn.baselines import load_encoder as load_any
from codecsieve.pipelines.learn.frozen import TokenEncoder, cached_features
from codecsieve.pipelines.learn.ranks import Ranks
from codecsieve.pipelines.probe.config import ProbeConfig, ProbeRun
from codecsieve.pipelines.probe.datasets import read_set
from codecsieve.pipelines.probe.report import add_published_line, circumstances, results, training, write_report
from codecsieve.pipelines.probe.tokens import LabelledTokens, Read
from codecsieve.pipelines.probe.training import evaluate, train_probes
from codecsieve.pipelines.probe.views import (
    Plan,
    View,
    check_selection,
    complete_caches,
    open_views,
    whole_frames,
)

Progress = Callable[[str, int, int], None]
"""Called with what is done, such as "clips encoded", how many, and of how many."""


def run_probe(
    run: ProbeRun,
    config: ProbeConfig,
    ranks: Ranks | None = None,
    progress: Progress | None = None,
    looked: Callable[[dict[str, Any]], None] | None = None,
    encoder: TokenEncoder | None = None,
) -> dict[str, Any]:
    """Do all of it, and return the report.

    Args:
        run: what is probed.
        config: how.
        ranks: the processes that share the work.
        progress: called with what is done.
        looked: called with each look at the validation split, an entry of `Trained.history`.
        encoder: whose tokens, in place of those of `run.model_weight`, which then is only its name.

    Raises:
        ManifestError: the manifests cannot be understood; a label is outside of the classes.
        ConfigError: the cache holds no pixels, a split is empty, an option is out of range or another than that of
            the cache, the model or the training that is there.
        EncoderError: the weights are missing or do not fit.
        CacheError: a cache, features or a checkpoint cannot be read or written, or are of something else.
    """
    began = time.monotonic()
    ranks, report = ranks or Ranks(), progress or (lambda what, done, total: None)
    labelled = read_set(run.data_root, run.dataset, run.hevc, run.manifests, run.num_classes)
    selection = check_selection(run)
    encoder = encoder or load_encoder(run, selection, ranks)
    plan = Plan.of(run.cache_dir, selection, config)
    if ranks.first:
        complete_caches(plan, labelled, selection, run.device, partial(report, "clips put into the cache"))
    ranks.wait()
    views = open_views(plan, labelled)
    features = _features(run, encoder, views, ranks, report)
    tokens = {name: labelled_tokens(of_split, features, len(labelled.classes)) for name, of_split in views.items()}
    digests = [one.key.digest() for one in features.values()]
    identity = {"dataset": labelled.name, "features": " ".join(digests), "clips": _digest(views)}
    trained = train_probes(
        tokens["train"],
        tokens["val"],
        len(labelled.classes),
        config,
        run.checkpoint_dir or run.out,
        identity,
        ranks,
        partial(report, "steps of training"),
        looked,
    )
    tally = evaluate(trained.best, tokens["test" if "test" in tokens else "val"], config.batch_size, ranks)
    outcome = {
        **circumstances(run, labelled, views, features),
        "model": encoder.name,
        "training": training(config, len(tokens["train"]), ranks),
        **results(trained, tally, config, labelled),
        "seconds": round(time.monotonic() - began, 1),
    }
    if ranks.first:
        write_report(run.out, outcome, tally, labelled)
        outcome["published_report"] = str(add_published_line(run, outcome))
    ranks.wait()
    return outcome


def load_encoder(run: ProbeRun, selection: dict[str, Any], ranks: Ranks) -> TokenEncoder:
    """The encoder that is named, for a cache of a selection.

    Raises EncoderError, and ConfigError where its tokens are of another size, or a baseline does not take the frames.
    """
    encoder = load_any(run.model_weight, run.model_name, run.baseline, ranks)
    if run.embedding_size not in (None, encoder.dim):
        raise ConfigError(f"embedding_size ({run.embedding_size}) must be {encoder.dim}, as of {run.model_weight}")
    if isinstance(encoder, Baseline):
        encoder.check_frames(whole_frames(selection))
        if run.baseline is not None and run.frames_token_num not in (None, tokens := encoder.frame_tokens()):
            raise ConfigError(f"frames_token_num ({run.frames_token_num}) must be {tokens}, as of {run.model_weight}")
    return encoder


def _features(
    run: ProbeRun, encoder: TokenEncoder, views: dict[str, list[View]], ranks: Ranks, report: Progress
) -> dict[SparseCache, FeatureCache]:
    """The tokens of all clips of all splits in all caches."""
    numbers: dict[SparseCache, set[int]] = {}
    for view in (view for of_split in views.values() for view in of_split):
        numbers.setdefault(view.cache, set()).update(view.split.numbers)
    features = {}
    for number, (cache, clips) in enumerate(numbers.items()):
        folder = run.features_dir
        if folder is not None and number:
            folder = folder.with_name(f"{folder.name}.{number}")
        features[cache] = cached_features(
            cache,
            sorted(clips),
            encoder,
            folder,
            run.encoder_batch_size,
            run.workers,
            ranks,
            partial(report, "clips encoded"),
        )
    return features


def labelled_tokens(
    views: Sequence[View], features: Mapping[SparseCache, FeatureCache], classes: int
) -> LabelledTokens:
    """A split's clips with their cached tokens in each view."""
    first, *others = [_reader(features[view.cache], view.split.numbers) for view in views]
    labels = views[0].split.labels
    if isinstance(labels[0], tuple):
        shown = [torch.tensor(label) for label in labels]
        return LabelledTokens(first, torch.stack([F.one_hot(one, classes).any(0) for one in shown]), tuple(others))
    return LabelledTokens(first, torch.tensor(labels), tuple(others))


def _reader(features: FeatureCache, numbers: Sequence[int]) -> Read:
    return lambda clips: features.read([numbers[clip] for clip in clips])


def _digest(views: dict[str, list[View]]) -> str:
    """Hex digits of which clips with which labels are trained on and chosen by."""
    parts = [[views[name][0].clip_ids, views[name][0].split.labels] for name in ("train", "val")]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]
