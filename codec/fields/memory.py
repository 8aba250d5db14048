"""Memory of this process, read so that a wrong address is an error and not a crash.

Small structures are read through the kernel, which says where nothing is mapped, each in one piece (`Record` takes it
apart); arrays are looked at in place, once both their ends have been read so. Nothing is ever written.
"""

from __future__ import annotations

import math
import os
import struct
from collections import namedtuple
from collections.abc import Callable
from functools import lru_cache
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

MOST_BYTES = 1 << 31
"""Of an array; a larger one is a wrong size."""

_MOST_PLACES = 1024
"""Places of arrays that are remembered; decoders take theirs from pools of some dozens."""
_POINTER = struct.Struct("<Q")


class FieldsError(Exception):
    """What lies in the decoder's memory is not what the table says."""


class Record:
    """Numbers at known places of a structure, all taken out of a copy of its bytes at once."""

    def __init__(self, places: dict[str, tuple[int, str]], start: int = 0) -> None:
        """places: by name, the offset and the format (as of `struct`) of one number; start: offset of the copy.

        Raises FieldsError where places overlap, as they do of a wrong table.
        """
        names, format, self.end = sorted(places, key=lambda name: places[name][0]), "<", start
        for name in names:
            offset, code = places[name]
            if offset < self.end:
                raise FieldsError(f"no structure has a {name} at {offset}")
            format += f"{offset - self.end}x{code}"
            self.end = offset + struct.calcsize(f"<{code}")
        self.start = start
        self._unpack = struct.Struct(format).unpack_from
        self._make: Callable[[tuple[Any, ...]], Any] = namedtuple("Numbers", names)._make  # type: ignore[attr-defined]

    def take(self, raw: bytes, begin: int = 0) -> Any:
        """The numbers by their names, out of bytes of which the copy's first is number `begin`."""
        return self._make(self._unpack(raw, begin))

    def read(self, memory: Memory, address: int) -> Any:
        """The numbers of the structure at an address. Raises FieldsError where none is mapped there."""
        return self._make(self._unpack(memory.read(address + self.start, self.end - self.start)))


class _Placed:
    """Where an array lies, as numpy asks for it; not to be written."""

    def __init__(self, address: int, shape: tuple[int, ...], kind: str) -> None:
        self.__array_interface__ = {"version": 3, "data": (address, True), "shape": shape, "typestr": kind}


@lru_cache(_MOST_PLACES)
def _placed(address: int, shape: tuple[int, ...], kind: np.dtype) -> tuple[np.ndarray, int]:
    """An array that is not looked at yet, and where its last byte lies."""
    count = math.prod(shape) * kind.itemsize
    if not (0 < count <= MOST_BYTES and 0 < address < 1 << 63) or address % min(kind.alignment, 4):
        raise FieldsError(f"no array of {shape} {kind} can lie at {address:#x}")
    return np.asarray(_Placed(address, shape, kind.str)), address + count - 1


class Memory:
    """Memory of this process, for as long as it is open."""

    def __init__(self) -> None:
        """Raises FieldsError where the system does not let a process read itself."""
        try:
            self._file = os.open("/proc/self/mem", os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise FieldsError(f"/proc/self/mem cannot be read ({error.strerror})") from error

    def __enter__(self) -> Memory:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Let go of it; a second time does nothing."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def read(self, address: int, count: int) -> bytes:
        """A copy of so many bytes. Raises FieldsError where not all of them are mapped."""
        try:
            data = os.pread(self._file, count, address)
        except (OSError, OverflowError) as error:
            raise FieldsError(f"nothing lies at {address:#x}") from error
        if len(data) != count:
            raise FieldsError(f"no {count} bytes lie at {address:#x}")
        return data

    def pointer(self, address: int) -> int:
        """The pointer at an address; FieldsError where it is null."""
        value: int = _POINTER.unpack(self.read(address, 8))[0]
        if value == 0:
            raise FieldsError(f"a null pointer lies at {address:#x}")
        return value

    def integers(self, address: int, count: int, dtype: npt.DTypeLike = np.int32) -> np.ndarray:
        """A copy of `count` numbers."""
        return np.frombuffer(self.read(address, count * np.dtype(dtype).itemsize), dtype)

    def view(self, address: int, shape: tuple[int, ...], dtype: npt.DTypeLike) -> np.ndarray:
        """An array in place. It is good until the decoder is sent its next packet.

        Raises FieldsError where one of its ends is not mapped, or where it cannot be meant.
        """
        array, last = _placed(address, shape, np.dtype(dtype))
        self.read(address, 1)
        self.read(last, 1)
        return array
