"""What a clustering keeps of itself while it runs, so that one that was killed goes on: the centres of a pass."""

from __future__ import annotations

import json
from pathlib import Path

import google_crc32c
import numpy as np

from codecsieve.files import make_folder, open_regular, publish

_FILE = "centres"
_HEAD = 4096
_NOTHING = (OSError, ValueError, KeyError, TypeError)


class Halfway:
    """The file of one clustering, which belongs to it alone."""

    def __init__(self, folder: Path, identity: str) -> None:
        """identity: what else there is of the clustering. What another one has left here does not count."""
        self._folder, self._identity = folder, identity

    def read(self) -> tuple[int, np.ndarray] | None:
        """Passes done and centres after them; None where there is nothing to go on from, or it is damaged."""
        try:
            with open(open_regular(self._folder / _FILE), "rb") as file:
                told = json.loads(file.read(_HEAD))
                if told["identity"] != self._identity:
                    return None
                centres = np.fromfile(file, "<f4").reshape(told["shape"])
            if google_crc32c.value(centres.reshape(-1).view("u1")) != told["crc32c"]:
                return None
            return int(told["passes"]), centres
        except _NOTHING:
            return None

    def write(self, passes: int, centres: np.ndarray) -> None:
        """Keep centres float32 [C, D]. Raises CacheError where the disk is full."""
        make_folder(self._folder)
        centres = np.ascontiguousarray(centres, "<f4")
        told = {
            "identity": self._identity,
            "passes": passes,
            "shape": list(centres.shape),
            "crc32c": google_crc32c.value(centres.reshape(-1).view("u1")),
        }
        publish(self._folder / _FILE, [json.dumps(told).encode().ljust(_HEAD), centres])
