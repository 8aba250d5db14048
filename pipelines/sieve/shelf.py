"""Memory for what is held of one clip, kept for the next: a system gives new memory out slowly, page by page."""

from __future__ import annotations

import threading

import numpy as np

CHUNK_BYTES = 8 << 20
KEPT_BYTES = 128 << 20
"""As much is kept from clip to clip by each thread: the crops of 64 pictures of 1080 rows."""
_ALIGNED = 64


class Shelf:
    """Copies of arrays, all of which are let go together."""

    def __init__(self) -> None:
        self._chunks: list[np.ndarray] = []
        self._chunk = self._begin = 0

    @classmethod
    def of_thread(cls) -> Shelf:
        """The calling thread's own, emptied: what was copied to it before is lost."""
        if not hasattr(_local, "shelf"):
            _local.shelf = cls()
        shelf: Shelf = _local.shelf
        shelf._clear()
        return shelf

    def copy(self, values: np.ndarray) -> np.ndarray:
        """A copy, C-contiguous, that lasts until the shelf is emptied."""
        space = self._space(values.nbytes)
        copied = np.ndarray(values.shape, values.dtype, space)
        copied[...] = values
        return copied

    def _space(self, nbytes: int) -> np.ndarray:
        while self._chunk < len(self._chunks):
            chunk, begin = self._chunks[self._chunk], self._begin
            if begin + nbytes <= len(chunk):
                self._begin = begin + -(-nbytes // _ALIGNED) * _ALIGNED
                return chunk[begin:]
            self._chunk, self._begin = self._chunk + 1, 0
        self._chunks.append(np.empty(max(nbytes, CHUNK_BYTES), np.uint8))
        return self._space(nbytes)

    def _clear(self) -> None:
        self._chunk = self._begin = 0
        while sum(map(len, self._chunks)) > KEPT_BYTES:
            self._chunks.pop()


_local = threading.local()
