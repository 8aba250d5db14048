"""Concepts on disk: a bank of cluster centres, and of each clip which of them are nearest.

    OUT/
      zarr.json            what they were made of: encoder, metric, options, counts; written last
      centres/             float32 [C, D], up to 65,536 rows a chunk, each with its CRC-32C
      labels.parquet       id, labels (list of int32, nearest first), cosines with these (list of float32, or null)

A folder without `zarr.json` is no bank: it goes first where a bank is replaced, and comes last, when all else is on the
disk. How centres are found is left to whoever writes.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import google_crc32c
import numpy as np
import pyarrow as pa

from codecsieve.errors import CacheError
from codecsieve.files import PARTIAL, kind_of_file, make_folder, publish, read_regular, remove, remove_all
from codecsieve.text import one_line, quoted, shortened

from .layout import ATTRIBUTE, GROUP, LOCK, is_id
from .location import Location, cannot_read
from .metadata import attributes_of
from .parquet import column, from_parquet, to_parquet

KIND, FORMAT = "concepts", 1
CENTRES, LABELS = "centres", "labels.parquet"
PAGE, SHEETS, WORK = "index.html", "clusters", ".work"
"""What else may stand in a bank's folder: a page to browse it, its pictures, and what making it leaves meanwhile."""
ROWS = 65_536
"""Centres of a chunk, at most: a process reads those of its range."""
_OWN = {GROUP, CENTRES, LABELS, PAGE, SHEETS, WORK, LOCK}
_SCHEMA = pa.schema({"id": pa.string(), "labels": pa.list_(pa.int32()), "cosines": pa.list_(pa.float32())})
_ADVICE = "make it again with `codecsieve concepts`"
_DAMAGE = (ValueError, TypeError, KeyError, RuntimeError, OSError)  # what zarr says of files that are not as they were


@dataclass(frozen=True)
class Concepts:
    """A bank. classes, width: of the centres; ids: of clips; labels: int32 [N, L], of each clip, nearest first;
    described: what it was made of; cosines: float32 [N, L] with these centres, or None.
    """

    folder: Path
    classes: int
    width: int
    ids: list[str]
    labels: np.ndarray
    described: Mapping[str, Any]
    cosines: np.ndarray | None = None

    def centres(self, first: int = 0, last: int | None = None) -> np.ndarray:
        """Centres of a range of classes: float32 [last - first, D]. Raises CacheError where they are damaged."""
        import zarr  # a quarter of a second, which labels do without

        last = self.classes if last is None else last
        if not 0 <= first <= last <= self.classes:
            raise CacheError(f"centres ({first}..{last}) of {self.folder} must be in 0..{self.classes}")
        try:
            group = zarr.open_group(self.folder, mode="r")
            found = np.asarray(cast(Any, group[CENTRES])[first:last], np.float32)
        except _DAMAGE as error:
            reason = one_line(str(error)) or type(error).__name__
            raise CacheError(f"{self.folder / CENTRES} is damaged ({shortened(reason)}); {_ADVICE}") from error
        if not np.isfinite(found).all():  # as those of a chunk that is not there
            raise CacheError(f"{self.folder / CENTRES} is damaged: centres of {first}..{last - 1} are lost; {_ADVICE}")
        return found


def write_concepts(
    folder: str | os.PathLike[str],
    centres: np.ndarray,
    ids: Sequence[str],
    labels: np.ndarray,
    described: Mapping[str, Any],
    cosines: np.ndarray | None = None,
) -> Concepts:
    """Write a bank, in the place of one that is there; by one process at a time.

    centres: float32 [C, D]; ids: of clips; labels: whole numbers [N, L], 0..C - 1, nearest first; described: plain
    JSON; cosines: [N, L]. Raises CacheError where these do not fit each other, or the folder holds something else or
    cannot be written.
    """
    path = Path(folder).absolute()
    _check(path, centres, ids, labels, cosines)
    begin_concepts(path)
    rows, width = _chunk_rows(len(centres)), centres.shape[1]
    metadata = _metadata((len(centres), width), rows, {"format": FORMAT, "kind": KIND, **described}, path)
    make_folder(path / CENTRES)
    for number in range(0, len(centres), rows):
        chunk = np.zeros((rows, width), "<f4")
        chunk[: len(centres) - number] = centres[number : number + rows]
        checksum = google_crc32c.value(chunk.reshape(-1).view("u1")).to_bytes(4, "little")
        publish(path / CENTRES / f"c.{number // rows}.0", [chunk, checksum])
    publish(path / CENTRES / GROUP, [metadata[f"{CENTRES}/{GROUP}"]])
    table = {"id": pa.array(ids, pa.string()), "labels": _lists(labels, np.int32)}
    table["cosines"] = pa.nulls(len(ids), _SCHEMA.field("cosines").type) if cosines is None else _lists(cosines, "f4")
    publish(path / LABELS, [to_parquet(pa.table(table, _SCHEMA))])
    publish(path / GROUP, [metadata[GROUP]])
    return open_concepts(path)


def open_concepts(folder: str | os.PathLike[str]) -> Concepts:
    """Open a bank. Raises CacheError: it is not there, damaged, or its labels do not fit its centres."""
    path = Path(folder).absolute()
    location = Location(path)
    try:
        group, array = location.read(GROUP), location.read(f"{CENTRES}/{GROUP}")
        ours = attributes_of(group, f"{path / GROUP}", _ADVICE).get(ATTRIBUTE)
        match ours:
            case {"kind": "concepts", "format": 1, **rest}:
                described = {"kind": KIND, "format": FORMAT, **cast(dict[str, Any], rest)}
            case _:
                raise CacheError(f"{path} holds no concepts: it says {quoted(ours, 80)}; {_ADVICE}")
        table = from_parquet(_read_labels(path / LABELS), _SCHEMA, f"{path / LABELS}", _ADVICE, ("cosines",))
    except FileNotFoundError as error:
        missing = one_line(str(error.filename or error))
        raise CacheError(f"{path} holds no concepts ({missing} is missing); {_ADVICE}") from None
    classes, width = _shape(array, path)
    ids, labels, cosines = column(table, "id"), _square(table, "labels", path), _cosines(table, path)
    if not all(map(is_id, ids)) or len(set(ids)) < len(ids):
        raise CacheError(f"{path / LABELS} is damaged: an id is missing, or comes twice; {_ADVICE}")
    if labels.min() < 0 or labels.max() >= classes:
        raise CacheError(f"{path / LABELS}: labels must be in 0..{classes - 1}, the centres there are; {_ADVICE}")
    return Concepts(path, classes, width, ids, labels, described, cosines)


def holds_concepts(folder: Path) -> bool:
    """Whether a whole bank is in a folder; it may be damaged all the same."""
    return (folder / GROUP).exists()


def refuse_foreign(path: Path) -> None:
    """Raise CacheError where `path` is something that is no bank, nor the beginning of one."""
    if not path.is_dir():
        if path.exists():
            raise CacheError(f"{path} is a {kind_of_file(path)}, and concepts are a folder; use another folder")
        return
    names = {entry.name for entry in path.iterdir() if not entry.name.endswith(PARTIAL)}
    if names - _OWN:
        raise CacheError(f"{path} is not empty and holds no concepts; use another folder")
    if GROUP in names:
        try:
            kind = attributes_of(Location(path).read(GROUP), str(path / GROUP), "use another folder").get(ATTRIBUTE)
        except CacheError:
            kind = {"kind": KIND} if CENTRES in names else None  # ours, and damaged
        if not (isinstance(kind, dict) and kind.get("kind") == KIND):
            raise CacheError(f"{path} is not empty and holds no concepts; use another folder")


def begin_concepts(path: Path) -> None:
    """Make the folder of a bank, or that of another no bank any more. Raises as `refuse_foreign`."""
    refuse_foreign(path)
    make_folder(path)
    remove(path / GROUP)  # first: from here on nobody takes it for whole
    if (path / CENTRES).is_dir():
        remove_all([entry for entry in (path / CENTRES).iterdir() if not entry.is_dir()])


def _check(path: Path, centres: np.ndarray, ids: Sequence[str], labels: np.ndarray, cosines: np.ndarray | None) -> None:
    """Raise CacheError where these are no bank."""
    if centres.ndim != 2 or not centres.size or not np.issubdtype(centres.dtype, np.floating):
        raise CacheError(f"{path}: centres ({centres.dtype} {list(centres.shape)}) must be float32 [C, D]")
    if any(not np.isfinite(centres[at : at + ROWS]).all() for at in range(0, len(centres), ROWS)):
        raise CacheError(f"{path}: centres must be finite")
    if labels.ndim != 2 or not labels.size or len(labels) != len(ids) or not np.issubdtype(labels.dtype, np.integer):
        raise CacheError(f"{path}: labels ({labels.dtype} {list(labels.shape)}) must be whole numbers [{len(ids)}, L]")
    if labels.min() < 0 or labels.max() >= len(centres):
        raise CacheError(f"{path}: labels must be in 0..{len(centres) - 1}, the centres there are")
    if cosines is not None and cosines.shape != labels.shape:
        raise CacheError(f"{path}: cosines ({list(cosines.shape)}) must be {list(labels.shape)}, as labels")
    if not all(map(is_id, ids)) or len(set(ids)) < len(ids):
        raise CacheError(f"{path}: ids must be of clips, each named once")


def _chunk_rows(classes: int) -> int:
    """Centres of a chunk: as even as may be, since the last one is padded."""
    return math.ceil(classes / math.ceil(classes / ROWS))


def _metadata(shape: tuple[int, int], rows: int, described: Mapping[str, Any], path: Path) -> dict[str, bytes]:
    """The files that say what the bank is, by name."""
    import zarr
    from zarr.codecs import Crc32cCodec
    from zarr.storage import MemoryStore

    files: dict[str, Any] = {}
    try:
        plain = json.loads(json.dumps(described, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise CacheError(f"{path}: what concepts are described by must be plain JSON ({error})") from error
    group = zarr.create_group(store=MemoryStore(files), attributes={ATTRIBUTE: plain}, zarr_format=3)
    group.create_array(
        CENTRES,
        shape=shape,
        chunks=(rows, shape[1]),
        dtype="<f4",
        compressors=[Crc32cCodec()],
        filters=None,
        fill_value=float("nan"),  # of a chunk that is lost, so that it is not taken for centres
        chunk_key_encoding={"name": "default", "separator": "."},
        dimension_names=("class", "channel"),
    )
    return {name: buffer.to_bytes() for name, buffer in files.items()}


def _lists(values: np.ndarray, dtype: Any) -> pa.ListArray:
    """A matrix as lists, a row each."""
    flat = np.ascontiguousarray(values, dtype)
    offsets = np.arange(0, flat.size + 1, flat.shape[1], dtype=np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(flat.reshape(-1)))


def _square(table: pa.Table, name: str, path: Path) -> np.ndarray:
    """A column of lists, which must be of one length, as a matrix."""
    rows, parts = len(table), table[name].chunks
    flat = [part.flatten() for part in parts]
    lengths = {length for part in parts for length in np.unique(part.value_lengths().drop_null())}
    if not rows or table[name].null_count or any(one.null_count for one in flat) or len(lengths) != 1 or lengths == {0}:
        raise CacheError(f"{path / LABELS} is damaged: clips must have as many {name} each; {_ADVICE}")
    return np.concatenate([one.to_numpy(zero_copy_only=False) for one in flat]).reshape(rows, -1)


def _cosines(table: pa.Table, path: Path) -> np.ndarray | None:
    if table["cosines"].null_count == len(table):
        return None
    cosines = _square(table, "cosines", path)
    if cosines.shape != _square(table, "labels", path).shape or not np.isfinite(cosines).all():
        raise CacheError(f"{path / LABELS} is damaged: clips must have a cosine for each label; {_ADVICE}")
    return cosines


def _read_labels(path: Path) -> bytes:
    """The file's bytes, which may be more than metadata has. Raises FileNotFoundError, or CacheError."""
    try:
        return read_regular(path)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise cannot_read(str(path), error) from error


def _shape(metadata: bytes, path: Path) -> tuple[int, int]:
    try:
        match json.loads(metadata):
            case {"node_type": "array", "shape": [int(classes), int(width)], "data_type": "float32"} if classes > 0:
                return classes, width
    except (ValueError, RecursionError):
        pass
    raise CacheError(f"{path / CENTRES / GROUP} is not that of float32 [C, D]; {_ADVICE}")
