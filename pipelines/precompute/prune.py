"""Which clips a run takes out of its cache at the end: those whose video is gone, those that failed.

Both are asked for by name. How clips are taken out is left to the cache.
"""

from __future__ import annotations

import os
from collections.abc import Collection

from codecsieve.cache import drop_clips, open_cache
from codecsieve.codec.video_file import size_of
from codecsieve.pipelines.inputs.request import path_of
from codecsieve.pipelines.precompute.inputs import Inputs


def prune_clips(cache: str | os.PathLike[str], inputs: Inputs, kinds: Collection[str]) -> int:
    """Take clips out of a cache that nobody is writing, and say how many.

    inputs: of the run; kinds: of "missing", clips that they name neither by id nor by path, and whose video is not
    where the cache knows it; of "failed", clips that failed, wanted or not. Raises CacheError as `drop_clips`.
    """
    index, ids = open_cache(cache).index, []
    for clip_id, status, uri in zip(*(index[name].to_pylist() for name in ("id", "status", "uri")), strict=True):
        missing = "missing" in kinds and clip_id not in inputs.ids and uri not in inputs.paths and _is_gone(uri)
        if missing or ("failed" in kinds and status == "failed"):
            ids.append(clip_id)
    return drop_clips(cache, ids).total


def _is_gone(uri: str) -> bool:
    """Whether a file or object is certainly not there: one that cannot be looked at is not meant."""
    try:
        size_of(path_of(uri))
    except (FileNotFoundError, NotADirectoryError):
        return True
    except (OSError, ValueError):
        return False
    return False
