"""Concepts of a cache, from its clips to a bank that a training takes and a page to look at it.

    make_concepts("cache", "concepts", encoder="encoder/", centres=1000)

Features are made once and kept beside the cache (`pooled`, `cache.features`); then come k-means (`kmeans`), labels
(`label`), the bank (`cache.concepts`), and its page (`page`). Under torchrun the processes share the encoding, and the
first one does what comes after it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Unpack

from codecsieve.cache import SparseCache, open_cache
from codecsieve.cache.concepts import (
    PAGE,
    ROWS,
    WORK,
    Concepts,
    holds_concepts,
    open_concepts,
    refuse_foreign,
    write_concepts,
)
from codecsieve.cache.features import clips_of
from codecsieve.cache.layout import LOCK, config_difference, config_hash
from codecsieve.errors import CacheError, ConfigError
from codecsieve.files import lock, make_folder
from codecsieve.options import check_names, in_units
from codecsieve.pipelines.learn.baselines import load_encoder
from codecsieve.pipelines.learn.frozen import TokenEncoder, cached_features
from codecsieve.pipelines.learn.ranks import Ranks
from codecsieve.text import shortened

from .config import ConceptsKeywords, ConceptsOptions
from .halfway import Halfway
from .kmeans import find_centres
from .label import label_rows
from .nearest import load_faiss
from .page import write_page
from .pooled import PooledEncoder, check_cache, check_pooling
from .rows import SLAB, CachedRows, Rows
from .start import sample_size

_COPIES = 4  # of centres, at most: before a pass and after it, faiss's, and what numpy makes in between
_A_CLIP = 300  # bytes of a clip, besides its labels: its id, mostly
_ELSE = 64 * 10**6

_log = logging.getLogger(__name__)

Progress = Callable[[str, int, int], None]
"""Called with what is done, such as "clips encoded", how many, and of how many."""


@dataclass(frozen=True)
class ConceptsMade:
    """What there is now. counts: see `label.Counts`; new: False where it was there already; page: to browse it."""

    folder: Path
    counts: Mapping[str, Any]
    new: bool
    page: Path


def make_concepts(
    cache: SparseCache | str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    encoder: str | TokenEncoder,
    features_dir: str | os.PathLike[str] | None = None,
    ranks: Ranks | None = None,
    progress: Progress | None = None,
    **options: Unpack[ConceptsKeywords],
) -> ConceptsMade:
    """Cluster the clips of a cache, and write their concepts into the folder `out`.

    The same call again goes on where it was cut off; where all is there, only the page is written again. Features stay
    beside the cache, whatever becomes of `out`.

    Args:
        cache: opened, or where it is; it must store pixels.
        out: a folder that is not there, is empty, or holds concepts of the same clips, encoder and options.
        encoder: a folder or a hub id, of ours or of another project's model; a name of timm's; or a `TokenEncoder`.
        features_dir: for the features; None: one beside the cache, named by cache config, model and options.
        ranks: the processes that share the work.
        progress: called with what is done.
        options: fields of `ConceptsOptions`, such as `centres=400_000, labels=10`.

    Raises:
        ConfigError: an option cannot work, or not with this cache or encoder; faiss is not installed.
        EncoderError: the encoder cannot be loaded, or does not take the cache's patches.
        CacheError: the cache or features cannot be read or written, or `out` is something else.
    """
    check_names(make_concepts, options, ConceptsOptions)
    chosen = ConceptsOptions(**options)  # type: ignore[arg-type]  # text becomes a number
    ranks, report = ranks or Ranks(), progress or (lambda what, done, total: None)
    load_faiss()  # before hours of encoding
    opened = cache if isinstance(cache, SparseCache) else open_cache(cache)
    folder = Path(out).absolute()
    _check_clips(opened, chosen)
    refuse_foreign(folder)
    loaded = load_encoder(encoder, None, None, ranks) if isinstance(encoder, str) else encoder
    if chosen.pool == "pooler" and isinstance(encoder, str):
        check_pooling(encoder, loaded)
    pooled = PooledEncoder(loaded, chosen)
    origin = _origin(opened, pooled, chosen)
    with contextlib.ExitStack() as held:
        if ranks.first:
            make_folder(folder)
            held.enter_context(lock(folder / LOCK, folder))
        new = not _is_there(folder, origin)
        ranks.wait()  # all must have seen the same before the first one changes it
        if new:
            features = cached_features(
                opened,
                range(len(opened)),
                pooled,
                None if features_dir is None else Path(features_dir).absolute(),
                chosen.batch_size,
                ranks=ranks,
                progress=partial(report, "clips encoded"),
            )
            if ranks.first:
                rows = CachedRows(features, range(len(opened)), opened.clip_ids)
                _cluster(fit_in_memory(rows, chosen), opened.clip_ids, folder, origin, chosen, report)
        if ranks.first:
            shutil.rmtree(folder / WORK, ignore_errors=True)  # also where a run was killed just before it
            write_page(open_concepts(folder), opened, chosen.pictures, partial(report, "clusters drawn"))
        ranks.wait()
    return ConceptsMade(folder, open_concepts(folder).described["counts"], new, folder / PAGE)


def memory_needed(clips: int, width: int, options: ConceptsOptions) -> int:
    """Bytes that clustering takes at its most, without features."""
    centres = _COPIES * 4 * options.centres * width
    sample = 4 * width * (sample_size(clips, options) + options.centres)
    return max(centres, sample) + 3 * 4 * SLAB * width + clips * (8 * options.labels + _A_CLIP) + _ELSE


def fit_in_memory(rows: CachedRows, options: ConceptsOptions) -> Rows:
    """Rows held in memory where they fit, as they are where not. Raises ConfigError where nothing else fits either."""
    needed = memory_needed(len(rows), rows.width, options)
    if needed > options.max_memory:
        raise ConfigError(
            f"max_memory ({in_units(options.max_memory)}) must be at least {in_units(needed)} for {options.centres} "
            f"centres of {rows.width} numbers; or take fewer centres or --dims"
        )
    return rows.held() if needed + 2 * len(rows) * rows.width <= options.max_memory else rows


def _check_clips(cache: SparseCache, options: ConceptsOptions) -> None:
    """Raise ConfigError where the clips of a cache are too few, or not what the options ask for."""
    if options.centres > len(cache):
        raise ConfigError(f"centres ({options.centres}) must be <= {len(cache)}, the clips of cache {cache.location}")
    check_cache(cache, options)


def _origin(cache: SparseCache, encoder: PooledEncoder, options: ConceptsOptions) -> dict[str, Any]:
    """What a bank says of where it comes from, as plain JSON."""
    clips = hashlib.sha256()
    for clip in clips_of(cache):
        clips.update(f"{clip.id} {clip.crc32c}\n".encode())
    return {
        "encoder": encoder.name,
        "encoder_sha256": encoder.encoder.fingerprint,
        "cache": str(cache.location),
        "cache_sha256": config_hash(cache.config),
        "clips_sha256": clips.hexdigest(),
        "metric": options.metric,
        "options": options.identity,
    }


def _is_there(folder: Path, origin: Mapping[str, Any]) -> bool:
    """Whether the bank is there, whole. Raises CacheError where the folder holds one of something else."""
    if not holds_concepts(folder):
        return False
    try:
        made = open_concepts(folder)
        _refuse_other(made, origin)
        for first in range(0, made.classes, ROWS):
            made.centres(first, min(first + ROWS, made.classes))
    except OtherConceptsError:
        raise
    except CacheError as error:
        _log.warning("%s; it is made again", str(error).partition("; ")[0])
        return False
    return True


class OtherConceptsError(CacheError):
    """A folder holds concepts of something else."""


def _refuse_other(made: Concepts, origin: Mapping[str, Any]) -> None:
    of, asked = made.described, origin
    if of.get("encoder_sha256") != asked["encoder_sha256"]:
        what = (
            f"holds concepts by another encoder ({shortened(str(of.get('encoder')), 80)}), you asked {asked['encoder']}"
        )
    elif of.get("cache_sha256") != asked["cache_sha256"]:
        what = "holds concepts of a cache with another config"
    elif of.get("clips_sha256") != asked["clips_sha256"]:
        what = f"holds concepts of other clips ({len(made.ids)} there)"
    elif of.get("options") != asked["options"]:
        options = of.get("options")
        what = config_difference(options if isinstance(options, dict) else {}, asked["options"])
    else:
        return
    raise OtherConceptsError(f"{made.folder} {what}; use another OUT or delete it")


def _cluster(
    rows: Rows,
    ids: Sequence[str],
    folder: Path,
    origin: Mapping[str, Any],
    options: ConceptsOptions,
    report: Progress,
) -> None:
    """Find centres and labels, and write the bank."""
    identity = {name: value for name, value in origin.items() if name not in ("encoder", "cache")}
    halfway = Halfway(folder / WORK, hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest())
    times = f"clips clustered, {options.iterations} times each"
    centres = find_centres(rows, options, halfway, partial(report, times))
    made = label_rows(rows, centres, options.labels, partial(report, "clips labelled"))
    write_concepts(folder, centres, ids, made.labels, {**origin, "counts": asdict(made.counts)}, made.cosines)
