"""Memory of this process, read so that a wrong address is an error and not a crash.

Small structures are read through the kernel, which says where nothing is mapped; arrays are looked at in place, once
both their ends have been read so. Nothing is ever written.
"""

from __future__ import annotations

import math
import os
import struct
from types import TracebackType

import numpy as np
import numpy.typing as npt

MOST_BYTES = 1 << 31
"""Of an array; a larger one is a wrong size."""


class FieldsError(Exception):
    """What lies in the decoder's memory is not what the table says."""


class _Placed:
    """Where an array lies, as numpy asks for it; not to be written."""

    def __init__(self, address: int, shape: tuple[int, ...], kind: str) -> None:
        self.__array_interface__ = {"version": 3, "data": (address, True), "shape": shape, "typestr": kind}


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
        value: int = struct.unpack("<Q", self.read(address, 8))[0]
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
        kind = np.dtype(dtype)
        count = math.prod(shape) * kind.itemsize
        if not 0 < count <= MOST_BYTES or address % min(kind.alignment, 4):
            raise FieldsError(f"no array of {shape} {kind} can lie at {address:#x}")
        self.read(address, 1)
        self.read(address + count - 1, 1)
        return np.asarray(_Placed(address, shape, kind.str))
