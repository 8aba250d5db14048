"""Files of integers, `.npy`, `.npz`, pickles: read as data, never as objects, and no larger than they may be.

Which file is asked for is confined here, too: one that a name or a link leads out of its folder to is not read. What
the numbers mean is left to whoever asks.
"""

from __future__ import annotations

import io
import json
import math
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from codecsieve.errors import CacheError
from codecsieve.files import read_regular
from codecsieve.text import quoted, shortened

from .pickles import MOST_BYTES, read_pickle

SUFFIXES = (".pkl", ".pickle", ".npy", ".npz")
_HEADER = 10_000  # characters; numpy's own limit
_MEMBERS = 1 << 20
_JSON_BYTES = 1 << 20
_PACKED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # other methods may ask for gigabytes to unpack a little


def confined(folder: Path, name: str) -> Path:
    """A file of a folder by its name, which may have folders in it. Raises CacheError where it lies outside."""
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise CacheError(f"{shortened(str(folder))}: {quoted(name)} leads out of the folder; nothing outside is read")
    return path


def read_bytes(folder: Path, name: str, most: int = MOST_BYTES) -> bytes:
    """The bytes of a folder's file. Raises CacheError where it lies outside, is no file, or is larger than `most`."""
    path = confined(folder, name)
    try:
        return read_regular(path, most)
    except OSError as error:
        raise CacheError(f"cannot read {shortened(str(path))}: {error.strerror or error}") from error


def read_values(folder: Path, name: str) -> Any:
    """What a file of a folder holds, by its suffix: an array of integers; of `.npz`, and some pickles, several by name.

    Raises CacheError for what is not read.
    """
    data, shown = read_bytes(folder, name), shortened(str(folder / name))
    suffix = Path(name).suffix.lower()
    if suffix == ".npy":
        return parse_npy(data, shown)
    return parse_npz(data, shown) if suffix == ".npz" else read_pickle(data, shown)


def parse_npy(data: bytes, name: str) -> np.ndarray:
    """The array of a `.npy` file's bytes. Raises CacheError where it is no array of integers, whole and no more."""
    file = io.BytesIO(data)
    try:
        with warnings.catch_warnings(action="ignore"):
            version = np.lib.format.read_magic(file)
            if version not in ((1, 0), (2, 0)):
                raise ValueError(f"its version is {version}")
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, fortran, kind = read(file, max_header_size=_HEADER)
    except Exception as error:  # of a header that is none, Python's parsers raise what they like
        raise CacheError(f"{name} is no array: {error}") from error
    if kind.kind not in "iu" or kind.hasobject:
        raise CacheError(f"{name} holds {kind}, not integers")
    size = len(data) - file.tell()
    if min(shape, default=0) < 0 or math.prod(shape) * kind.itemsize != size or len(shape) > 4:
        raise CacheError(f"{name} says that it is {list(shape)}, and has {size} bytes")
    values = np.frombuffer(data, kind, offset=file.tell())
    return values.reshape(shape, order="F" if fortran else "C")


def parse_npz(data: bytes, name: str) -> dict[str, np.ndarray]:
    """The arrays of a `.npz` file's bytes by name. Raises CacheError where it is damaged, or too large unpacked."""
    arrays = {}
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as file:
            members = file.infolist()
            if len(members) > _MEMBERS or sum(member.file_size for member in members) > MOST_BYTES:
                raise CacheError(f"{name} would be larger than {MOST_BYTES} bytes unpacked; it is not read")
            if any(member.compress_type not in _PACKED for member in members):
                raise CacheError(f"{name} is packed as numpy packs nothing; it is not read")
            for member in members:
                with file.open(member) as packed:  # the size that is said is not believed
                    unpacked = packed.read(member.file_size + 1)
                arrays[member.filename.removesuffix(".npy")] = parse_npy(unpacked, f"{name}:{member.filename}")
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError, OSError, ValueError) as error:
        raise CacheError(f"{name} is damaged: {error}") from error
    return arrays


def read_json(folder: Path, name: str) -> dict[str, Any]:
    """The object of a JSON file of a folder. Raises CacheError where it is none."""
    try:
        value = json.loads(read_bytes(folder, name, _JSON_BYTES))
    except (ValueError, RecursionError) as error:
        raise CacheError(f"{shortened(str(folder / name))} is damaged ({error})") from error
    if not isinstance(value, dict):
        raise CacheError(f"{shortened(str(folder / name))} is no object of JSON")
    return value
