"""A clip's bytes through zarr-python: compressed copies, fsspec's file systems, whatever that reads.

Raw shards are read without it, by `sources`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.abc.store import ByteRequest
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import LocalStore, ObjectStore

from codecsieve.errors import CacheError
from codecsieve.files import kind_of_file
from codecsieve.text import one_line, shortened

from .layout import ArrayLayout
from .location import Location
from .source import Source


class ZarrSource(Source):
    """Rows through zarr-python."""

    missing_reads_zero = True

    def __init__(self, group: zarr.Group, array: ArrayLayout, name: str) -> None:
        self._name = f"{name}/{array.name}"
        try:
            self._stored: Any = group[array.name]
        except Exception as error:  # zarr raises whatever its stores and codecs do
            raise CacheError(f"cannot open {self._name}: {_reason(error)}; make the cache again") from error

    def read_into(self, row: int, out: np.ndarray) -> None:
        """See `sources.Source`."""
        try:
            out[...] = self._stored[row]
        except Exception as error:  # as above
            raise CacheError(f"cannot read row {row} of {self._name}: {_reason(error)}") from error


class _FilesOnly(LocalStore):
    """A folder as zarr reads it, but for what is no file: a FIFO would keep it waiting for ever."""

    async def get(
        self, key: str, prototype: BufferPrototype | None = None, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        path = self.root / key
        if path.exists() and kind_of_file(path) != "file":
            raise CacheError(f"{path} is a {kind_of_file(path)}, not a file")
        return await super().get(key, prototype, byte_range)


def open_group(location: Location) -> zarr.Group:
    """A cache's Zarr group as zarr-python has it, to be read; CacheError where it has none."""
    options, store = None, _store(location)
    if store is location.root and location.storage_options is not None:
        options = dict(location.storage_options)
    try:
        return zarr.open_group(store, mode="r", zarr_format=3, storage_options=options)
    except Exception as error:  # zarr raises whatever its stores do
        raise CacheError(f"cannot open cache {location}: {_reason(error)}") from error


def _store(location: Location) -> Any:
    if isinstance(location.root, Path):
        return _FilesOnly(location.root, read_only=True)
    return location.root if location.bucket is None else ObjectStore(location.bucket.objects.store, read_only=True)


def _reason(error: Exception) -> str:
    return shortened(one_line(str(error))) or type(error).__name__
