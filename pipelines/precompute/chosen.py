"""Which options a run has: those that are given, and of the others those of a preset, or of the cache that is gone on
with. What an option does is left to `config`, whether a cache can be gone on with to its writer.
"""

from __future__ import annotations

import dataclasses
import os
from typing import Any, Unpack

from codecsieve.cache import Location
from codecsieve.cache.layout import GROUP
from codecsieve.cache.metadata import read_group
from codecsieve.errors import CacheError
from codecsieve.options import check_names
from codecsieve.pipelines.config import (
    DEFAULT_PRESET,
    Preset,
    SieveConfig,
    SieveKeywords,
    check_sieved,
    decoder_fields_of,
    options_in,
    refuse_idle,
)


def options_of_run(
    out: str | os.PathLike[str], preset: Preset | None = None, /, **given: Unpack[SieveKeywords]
) -> SieveConfig:
    """The options that clips are sieved by into a cache.

    out: the cache's folder, or its URL; preset: options by one name; None: those of the cache, where one is there, else
    those of `DEFAULT_PRESET`: a cache goes on as it was made, whatever the defaults have become since.

    Raises ConfigError where there is no such preset, an option cannot work, or the cache was imported; OptionError for
    one there is not; CacheError where `out` cannot be looked at.
    """
    location = Location.of(out)
    made = None if preset is not None else _made_with(location)
    if made is None:
        return SieveConfig.preset(preset or DEFAULT_PRESET, **given)
    check_sieved(made, location)
    check_names("precompute()", given, SieveConfig)
    config = SieveConfig(**{**options_in(made), **given})
    refuse_idle(given, config)
    return config


def as_the_cache_reads(location: Location, config: SieveConfig) -> SieveConfig:
    """With `auto` for the decoder's fields, they are read or not as in a cache, if there is one."""
    made = _made_with(location) if config.decoder_fields == "auto" else None
    if made is None:
        return config
    return dataclasses.replace(config, decoder_fields=decoder_fields_of(made.get("bitstream_reader")))


def _made_with(location: Location) -> dict[str, Any] | None:
    """The config of the cache that is there; None where there is none, or one that opening it refuses."""
    if not location.exists(GROUP):
        return None
    try:
        return dict(read_group(location).config)
    except CacheError:
        return None
