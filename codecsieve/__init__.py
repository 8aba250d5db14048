"""Videos in, sparse tokens out: keep the patches that move, straight from what the codec already knows.

    import codecsieve as cs

    clip = cs.sieve("video.mp4", k_keep=1024)          # one clip's patches, positions, scores
    cache = cs.open_cache("cache")                     # what `codecsieve precompute` wrote

Names are loaded when they are first used, so that `import codecsieve` and `codecsieve --help` stay quick.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from codecsieve.cache import SparseBatch, SparseCache, SparseClip, open_cache
    from codecsieve.codec.clip import ClipSignals, read_clip
    from codecsieve.errors import CacheError, VideoError
    from codecsieve.kernels.dispatch import score_patches, select_patches
    from codecsieve.pipelines.config import SieveConfig
    from codecsieve.pipelines.loading.loader import make_loader
    from codecsieve.pipelines.sieve.kept import SievedClip

__version__ = "0.1.0"

_HOME = {
    "CacheError": "codecsieve.errors",
    "ClipSignals": "codecsieve.codec.clip",
    "SieveConfig": "codecsieve.pipelines.config",
    "SievedClip": "codecsieve.pipelines.sieve.kept",
    "SparseBatch": "codecsieve.cache",
    "SparseCache": "codecsieve.cache",
    "SparseClip": "codecsieve.cache",
    "VideoError": "codecsieve.errors",
    "make_loader": "codecsieve.pipelines.loading.loader",
    "open_cache": "codecsieve.cache",
    "read_clip": "codecsieve.codec.clip",
    "score_patches": "codecsieve.kernels.dispatch",
    "select_patches": "codecsieve.kernels.dispatch",
}

__all__ = [
    "CacheError",
    "ClipSignals",
    "SieveConfig",
    "SievedClip",
    "SparseBatch",
    "SparseCache",
    "SparseClip",
    "VideoError",
    "make_loader",
    "open_cache",
    "read_clip",
    "score_patches",
    "select_patches",
    "sieve",
]


def sieve(
    path: str | os.PathLike[str],
    *,
    start: float | None = None,
    end: float | None = None,
    **options: Any,
) -> SievedClip:
    """Sieve one clip, without a cache.

    Args:
        path: a video file.
        start: seconds from the file's first frame; None: from the beginning.
        end: seconds, exclusive; None: to the end.
        options: fields of `SieveConfig`, such as `num_frames=64, k_keep=2048, signals="auto"`.

    Returns:
        SievedClip: `patches` uint8 [K, 3, P, P], `positions` uint16 [K, 3] (slot, row, column), `scores` int32 [K]
        and what they come from.

    Raises:
        VideoError: the file cannot be used: one line that names it and says what to do.
        ValueError: an option is out of range.
        TypeError: an option that `SieveConfig` does not have.
    """
    from codecsieve.pipelines.config import SieveConfig
    from codecsieve.pipelines.sieve.clip import sieve_clip

    return sieve_clip(path, SieveConfig(**options), start, end)


if not TYPE_CHECKING:  # for a type checker, a name that is not above is an error

    def __getattr__(name: str) -> Any:
        if name not in _HOME:
            raise AttributeError(f"module 'codecsieve' has no attribute {name!r}")
        return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
