"""A training from end to end: goes on where it was cut off, and ends with the same weights as if it had not been.

    train(TrainRun(cache, concepts, out), TrainConfig(steps=10_000))

The folder `out` has `checkpoints/`, what `log` writes, and at the end `encoder/`, which `load_encoder` and transformers
open. Under torchrun the clips of a step and the banks of centres are shared.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from codecsieve.cache import open_cache
from codecsieve.encoder import OneVisionEncoder, load_encoder
from codecsieve.encoder.config import EncoderConfig
from codecsieve.errors import ConfigError
from codecsieve.files import lock, make_folder
from codecsieve.pipelines.learn.checkpoint import part
from codecsieve.pipelines.learn.ranks import Ranks
from codecsieve.text import quoted

from .bank import concept_labels
from .budget import HeadSize
from .checkpoint import (
    checkpoints,
    clear_partial,
    keep_only,
    read_checkpoint,
    read_encoder,
    read_state,
    write_checkpoint,
)
from .clips import ClipSource, Labelled, labelled_clips
from .config import CLIPS, TrainConfig, TrainRun
from .log import EMBEDDINGS, Log
from .pictures import labels_of, picture_source
from .plots import draw_embeddings
from .reader import DataSet, Source, StepReader
from .trainer import Bank, Trainer, seed_of
from .validation import Validated, validate

ENCODER, LOCK = "encoder", ".lock"
_FREE = ("steps", "save_every", "keep", "validate_every", "compile", "recompute", "precision", "accumulation",
         "tensorboard")  # fmt: skip
_PLACES = ("name", "cache", "tars", "concepts")
"""Of a head: files may be moved, what is in them is compared."""
"""Options that a training may go on with others of: they change no clip of a step, or are meant to be changed."""


@dataclass(frozen=True)
class Told:
    """How far a training is. step: that was taken, from 0; waited: part of the seconds spent waiting for clips."""

    step: int
    steps: int
    loss: float
    rate: float
    seconds: float
    waited: float


@dataclass(frozen=True)
class Trained:
    """What a training came to. encoder: the folder; loss: of its last step, None where none was left to take."""

    encoder: Path
    steps: int
    loss: float | None
    validated: Validated | None


def train(
    run: TrainRun,
    config: TrainConfig,
    ranks: Ranks | None = None,
    progress: Callable[[Told], None] | None = None,
    looked: Callable[[int, Validated], None] | None = None,
) -> Trained:
    """Train, or go on.

    Args:
        run: what is trained on, and where things go.
        config: how.
        ranks: the processes that share the work.
        progress: called after every step.
        looked: called after every validation, with the steps taken.

    Raises:
        ConfigError: an option cannot work, or `out` holds a training of something else.
        CacheError: a cache, concepts or a checkpoint cannot be read or written.
        EncoderError: the weights to begin with do not fit.
        TrainingError: loss or gradients are no numbers any more. The last checkpoint is as it was.
    """
    ranks = ranks or Ranks()
    model = load_encoder(run.init) if run.init else None
    encoder = model.config if model is not None else EncoderConfig.preset(config.encoder)
    data, banks, held = _data(run, config, encoder.patch_size)
    reader = StepReader(data, config.steps, config.accumulation, ranks)
    trainer = Trainer(config, banks, ranks, model)
    state: dict[str, Any] = {"identity": _identity(config, run, data, banks), "best": None}
    with contextlib.ExitStack() as stack:
        stack.enter_context(_alone(run.out, ranks))
        start = _resume(run.out, trainer, state)
        log = stack.enter_context(Log(run.out, start, ranks.first, config.tensorboard))
        loss, found = None, None
        for number, parts, waited, since in _timed(reader.read_from(start)):
            stepped = trainer.step(number, parts)
            loss, taken, last = stepped.loss, number + 1, number + 1 == config.steps
            told = Told(number, config.steps, loss, stepped.rate, time.monotonic() - since, waited)
            log.write({**vars(stepped), **vars(told)})
            if progress:
                progress(told)
            if held is not None and (last or (config.validate_every and taken % config.validate_every == 0)):
                found = validate(trainer, held)
                log.write({"validated": taken, **found.told})
                log.draw()
                if ranks.first:
                    draw_embeddings(found.embeddings.numpy(), _names(held), run.out / EMBEDDINGS)
                if state["best"] is None or found.recall > state["best"]["recall"]:
                    state["best"] = {"step": taken, "recall": found.recall}
                if looked:
                    looked(taken, found)
            if last or taken % config.save_every == 0 or (state["best"] or {}).get("step") == taken:
                write_checkpoint(trainer, run.out, taken, state, ranks)
                if ranks.first:
                    keep_only(run.out, config.keep, (state["best"] or {}).get("step"))
        log.draw()
        if ranks.first:
            export_encoder(run.out, run.out / ENCODER)
        ranks.wait()
    return Trained(run.out / ENCODER, config.steps, loss, found)


def export_encoder(out: Path, folder: Path, step: int | None = None, average: bool | None = None) -> Path:
    """Write the encoder of a checkpoint as `load_encoder` and transformers open it.

    step: of the checkpoint; None: the last. average: the moving average of its weights; None: where there is one.
    Raises ConfigError where there is no such checkpoint, or no average.
    """
    found = checkpoints(out)
    if not found or (step is not None and step not in found):
        raise ConfigError(f"{out} has no checkpoint{f' of step {step}' if step is not None else ''}: it has "
                          f"{', '.join(map(str, found)) or 'none'}")  # fmt: skip
    path = found[step if step is not None else max(found)]
    tensors = read_encoder(path)
    has = bool(part(tensors, "average."))
    if average and not has:
        raise ConfigError(f"{path} has no moving average; train with --average, or export without")
    prefix = "average." if (has if average is None else average) else "weights."
    model = OneVisionEncoder(EncoderConfig.from_dict(read_state(path).get("identity", {}).get("encoder", {})))
    model.load_state_dict(part(tensors, prefix))
    model.save_pretrained(folder)
    return folder


@contextlib.contextmanager
def _alone(out: Path, ranks: Ranks) -> Iterator[None]:
    """The folder, which no other training writes meanwhile, without what killed ones left half written."""
    with contextlib.ExitStack() as stack:
        if ranks.first:
            make_folder(out)
            stack.enter_context(lock(out / LOCK, out))
            clear_partial(out)
        ranks.wait()
        yield


def _resume(out: Path, trainer: Trainer, state: dict[str, Any]) -> int:
    """Go on from the last checkpoint; the steps that have been taken."""
    state["identity"]["encoder"] = trainer.model.config.to_dict()
    found = checkpoints(out)
    if not found:
        return 0
    path = found[max(found)]
    made = read_state(path)
    asked, had = state["identity"], made.get("identity", {})
    for name in asked | had:
        if had.get(name) != asked.get(name):
            raise ConfigError(
                f"{path} is of a training with {name} {quoted(had.get(name))}, you asked {quoted(asked.get(name))}; "
                "use another --out, or delete it"
            )
    taken, steps = int(made["step"]), trainer.config.steps
    if taken > steps:
        raise ConfigError(
            f"{path} has taken {taken} steps, steps ({steps}) must be >= that; use another --out, or "
            f"`codecsieve train export --step` for fewer"
        )
    state |= read_checkpoint(trainer, path)
    return taken


def _data(run: TrainRun, config: TrainConfig, patch_size: int) -> tuple[list[DataSet], list[Bank], Labelled | None]:
    """What heads are trained on, their banks, and the clips that are held out."""
    data, banks, held = [], [], None
    if run.cache is not None and run.concepts is not None:
        copies: dict[str, Any] = {"cache_shards": run.cache_shards, "cache_size": run.cache_size}
        needed = run.frames_cache if config.needs_frames else None
        frames = None if needed is None else open_cache(needed, **copies)
        found = concept_labels(run.concepts)
        cache = open_cache(run.cache, **copies)
        if cache.layout.patch != patch_size:
            raise ConfigError(
                f"cache {cache.location} has patches of {cache.layout.patch} px, and the encoder takes {patch_size}; "
                f"make it with --patch-size {patch_size}"
            )
        clips, held = labelled_clips(cache, frames, found.ids, found.labels, config)
        data.append(DataSet(CLIPS, ClipSource(clips, config), config.batch_size, config.seed))
        banks.append(Bank(CLIPS, found.classes, config.weight, config.concepts))
    for head in run.heads:
        source, classes = picture_source(head, patch_size, seed_of(config.seed, head.name))
        data.append(DataSet(head.name, source, head.batch_size, config.seed))
        banks.append(Bank(head.name, classes, head.weight, dataclasses.replace(config.concepts, drawn=head.drawn)))
    for bank in banks:
        _check_rate(config, bank.name, bank.classes)
    return data, banks, held


def _check_rate(config: TrainConfig, head: str, classes: int) -> None:
    if config.concept_rate * classes < 1:
        raise ConfigError(
            f"concept_rate ({config.concept_rate}) of {classes} concepts of {head} is not one; raise it: 1 holds each "
            "label against all"
        )


def head_sizes(run: TrainRun, config: TrainConfig) -> list[HeadSize]:
    """What a budget is made of. Raises ConfigError or CacheError where a bank or the cache cannot be read."""
    patch_size = EncoderConfig.preset(config.encoder).patch_size
    sizes = []
    if run.cache is not None and run.concepts is not None:
        found = concept_labels(run.concepts)
        tokens = open_cache(run.cache).layout.k_keep
        _check_rate(config, CLIPS, found.classes)
        sizes.append(HeadSize(found.classes, tokens, found.labels.shape[1], config.batch_size))
    for head in run.heads:
        found = labels_of(head)
        tokens = (head.size // patch_size) ** 2
        _check_rate(config, head.name, found.classes)
        sizes.append(HeadSize(found.classes, tokens, found.labels.shape[1], head.batch_size))
    return sizes


def _identity(config: TrainConfig, run: TrainRun, data: Sequence[DataSet], banks: Sequence[Bank]) -> dict[str, Any]:
    """What the weights of a training depend on, as plain JSON."""
    kept = {name: value for name, value in dataclasses.asdict(config).items() if name not in _FREE}
    for one, bank in zip(data, banks, strict=True):
        kept[one.head] = {"clips": _digest(one.source), "classes": bank.classes}
    for head in run.heads:
        own = {name: value for name, value in dataclasses.asdict(head).items() if name not in _PLACES}
        kept[head.name] |= own
    return kept


def _digest(source: Source) -> str:
    """Of what is trained on, with its labels."""
    names = "\n".join(source.ids).encode(errors="surrogatepass")
    return hashlib.blake2b(names + source.concepts.numpy().tobytes(), digest_size=8).hexdigest()


def _names(clips: Labelled) -> list[str]:
    """The labels that the cache has of clips, "" where there is none."""
    classes = clips.dataset.classes
    return [classes[label] if label >= 0 else "" for label in clips.dataset.labels.tolist()]


def _timed(steps: Iterator[tuple[int, Any]]) -> Iterator[tuple[int, Any, float, float]]:
    """Steps with the part of the time since the last one that was waited for their clips, and when that was."""
    since = time.monotonic()
    for number, parts in steps:
        now = time.monotonic()
        yield number, parts, now - since, since
        since = time.monotonic()
