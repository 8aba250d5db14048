"""What the `zarr.json` files of a cache say, checked once: from here on it has its type, or is a CacheError.

Files may be cut, edited, or written by somebody else. A mark that is put there later goes through here, too. What a
cache's metadata looks like is said in `layout`; where it lies, in `location`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from codecsieve.errors import CacheError, ConfigError
from codecsieve.text import quoted

from .layout import ATTRIBUTE, FORMAT, GROUP, PACKED, SHARD_CLIPS, ArrayLayout, Layout, config_hash, metadata_files
from .location import Location

_NO_CACHE = "check the path, or make a cache with `codecsieve precompute`"
_AGAIN = "put back a copy of it (that of any cache made with the same options is as good), or make the cache again"


@dataclass(frozen=True)
class GroupMetadata:
    """Of a cache's group. config: the full config, whose hash was right; attributes: all of the group's."""

    layout: Layout
    config: dict[str, Any]
    attributes: dict[str, Any]


@dataclass(frozen=True)
class ArrayMetadata:
    """Of one array. rows: clips it has room for; raw: stored as `ShardSource` reads it, 64 raw little-endian chunks a
    shard, in one flat folder.
    """

    rows: int
    raw: bool


def read_group(location: Location) -> GroupMetadata:
    """The group's metadata; CacheError where there is none, or it is damaged or no cache's."""
    try:
        data = location.read(GROUP)
    except FileNotFoundError:
        raise CacheError(f"{location} is not a cache: it has no {GROUP}; {_NO_CACHE}") from None
    except CacheError:
        if location.local and location.folder.is_file():
            raise CacheError(f"{location} is a file, not a cache; {_NO_CACHE}") from None
        raise
    return parse_group(data, location)


def parse_group(data: bytes, location: Location) -> GroupMetadata:
    """The group's metadata out of its file's bytes; CacheError where they are damaged or no cache's."""
    match _parse(data, f"{location}/{GROUP}", _AGAIN):
        case {"zarr_format": 3, "node_type": "group", "attributes": {**attributes}}:
            return _check_group(cast(dict[str, Any], attributes), location)
        case {"zarr_format": 3, "node_type": "group"}:
            return _check_group({}, location)
    raise CacheError(f"cannot open cache {location}: its {GROUP} is not a Zarr v3 group's; {_AGAIN}")


def mark_group(location: Location, **marks: Any) -> None:
    """Set these members of our attribute of the group; the caller may write the cache.

    Nothing is written where they are so already.
    """

    def marked(group: GroupMetadata) -> list[bytes] | None:
        ours = group.attributes[ATTRIBUTE]
        if {**ours, **marks} == ours:
            return None
        raised = {**group.attributes, ATTRIBUTE: {**ours, **marks}}
        return [metadata_files((), 0, raised)[GROUP]]

    parts = marked(read_group(location))
    if parts is not None:
        location.publish(GROUP, parts, lambda there: marked(parse_group(there, location)))


def read_array(location: Location, array: ArrayLayout) -> ArrayMetadata:
    """An array's metadata; CacheError where it is missing, damaged, or another array's."""
    name = f"{location}/{array.name}/{GROUP}"
    try:
        data = location.read(f"{array.name}/{GROUP}")
    except FileNotFoundError:
        raise CacheError(f"{name} is missing; run `codecsieve verify {location} --repair`") from None
    return parse_array(data, array, location)


def parse_array(data: bytes, array: ArrayLayout, location: Location) -> ArrayMetadata:
    """An array's metadata out of its file's bytes; CacheError where they are damaged, or another array's."""
    name, advice = f"{location}/{array.name}/{GROUP}", f"run `codecsieve verify {location} --repair`"
    metadata = _parse(data, name, advice)
    match metadata:
        case {"zarr_format": 3, "node_type": "array", "shape": [int(rows), *shape], "data_type": str(dtype)}:
            if rows >= 0 and tuple(shape) == array.shape and dtype == array.dtype.name:
                return ArrayMetadata(rows, _is_raw(metadata, array))
    raise CacheError(f"{name} is not that of {array.dtype.name} [N, {', '.join(map(str, array.shape))}]; {advice}")


def attributes_of(metadata: bytes, name: str, advice: str) -> Mapping[str, Any]:
    """The attributes in a group's `zarr.json`; CacheError where it is no such thing."""
    match _parse(metadata, name, advice):
        case {"zarr_format": 3, "node_type": "group", "attributes": {**attributes}}:
            return cast(dict[str, Any], attributes)
    raise CacheError(f"{name} is not a Zarr v3 group's with attributes; {advice}")


def _check_group(attributes: dict[str, Any], location: Location) -> GroupMetadata:
    match attributes.get(ATTRIBUTE):
        case {"format": made} if made not in (FORMAT, PACKED) or isinstance(made, bool):
            raise CacheError(
                f"cache {location} has format {quoted(made)}, this codecsieve reads {FORMAT} and {PACKED}; "
                "install the codecsieve that made it, or make it again"
            )
        case {"format": _, "config": dict(config), "config_sha256": str(sha256)} if config_hash(config) == sha256:
            return GroupMetadata(_layout_of(config, location), config, attributes)
        case {"format": _}:
            raise CacheError(f"cache {location}: the config in its {GROUP} does not match its hash; {_AGAIN}")
    raise CacheError(f"{location} is a Zarr group but not a cache of codecsieve; choose another path")


def _layout_of(config: Mapping[str, Any], location: Location) -> Layout:
    try:
        return Layout(**{key: config[key] for key in Layout.__dataclass_fields__})
    except KeyError as error:
        raise CacheError(f"cache {location}: the config in its {GROUP} has no {error.args[0]}; {_AGAIN}") from None
    except ConfigError as error:
        raise CacheError(f"cache {location}: the config in its {GROUP} cannot be: {error}; {_AGAIN}") from error


def _is_raw(metadata: Mapping[str, Any], array: ArrayLayout) -> bool:
    match metadata:
        case {
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [int(clips), *outer]}},
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "."}},
            "codecs": [{"name": "sharding_indexed", "configuration": {**sharding}}],
        } if (clips, *outer) == (SHARD_CLIPS, *array.shape):
            pass
        case _:
            return False
    match sharding:
        case {
            "chunk_shape": [1, *inner],
            "codecs": [{"name": "bytes", **raw}],
            "index_codecs": [{"name": "bytes"}, {"name": "crc32c"}],
        } if tuple(inner) == array.shape and sharding.get("index_location", "end") == "end":
            return array.dtype.itemsize == 1 or raw.get("configuration") == {"endian": "little"}
    return False


def _parse(data: bytes, name: str, advice: str) -> Any:
    try:
        return json.loads(data, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        reason = str(error) if isinstance(error, json.JSONDecodeError) else "it is no JSON that can be read"
        raise CacheError(f"{name} is damaged ({reason}); {advice}") from error


def _refuse_constant(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")
