"""Arrays of a service's answers, read from safetensors: checked before they are believed, and never unpickled.

Of the forms that a service offers this is the one that cannot hold more than its bytes: nothing in it is compressed, so
that a bound on an answer is a bound on memory.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from codecsieve.mosaic import Pictured, draw_kept

if TYPE_CHECKING:
    from PIL import Image

SAFETENSORS = "application/vnd.safetensors"
FACTS = "codecsieve"
_MOST_HEADER = 16 * 10**6
_MOST_SIDE = 8192  # pixels of the square that a clip's patches lie in
_KINDS = {"U8": "u1", "U16": "<u2", "I32": "<i4", "I64": "<i8", "F32": "<f4", "F64": "<f8"}


@dataclass(frozen=True, repr=False)
class SievedTokens(Pictured):
    """What is kept of one clip, as a service gives it: the arrays of `codecsieve.sieve`, and what is known besides."""

    patches: np.ndarray | None
    """uint8 [K, 3, P, P], RGB; None where pixels were not asked for, or the cache has none."""
    positions: np.ndarray
    """uint16 [K, 3]: slot, patch row, patch column of each kept patch."""
    scores: np.ndarray
    """int32 [K]: energy (0..255) summed over the patch's pixels."""
    frame_ids: np.ndarray
    """int32 [T]: display index in the file of the frame in each slot."""
    facts: Mapping[str, Any]
    """Of a sieved clip: codec, width, height, fps, frames, signals, config, grid, ...; of one of a cache: id, label,
    uri, metadata, grid."""

    def __repr__(self) -> str:
        known = ", ".join(f"{name}: {self.facts[name]}" for name in ("id", "label", "codec", "signals", "frames")
                          if self.facts.get(name) is not None)  # fmt: skip
        patches = "none" if self.patches is None else f"uint8 {list(self.patches.shape)}"
        return (
            f"SievedTokens: {known}\n"
            f"  patches    {patches}\n"
            f"  positions  uint16 {list(self.positions.shape)}: slot, row, column"
        )

    def show(self, slots: int = 8) -> Image.Image:
        """The picture of the patches kept, see `Pictured.show`."""
        return draw_kept(self.patches, self.positions, int(self.facts["grid"]), slots)


@dataclass(frozen=True)
class Embedded:
    """What a service's model makes of one clip."""

    embedding: np.ndarray
    """float32 [C]."""
    tokens: np.ndarray | None
    """float32 [K, C], the last hidden states; None where they were not asked for."""
    id: str
    """The clip's id, or for a video that was sent its name."""
    model: str


def sieved_tokens(data: bytearray) -> SievedTokens:
    """A clip of a service's answer. Raises ValueError for what is none."""
    return _sieved(*read_safetensors(data))


def sieved_window(data: bytearray) -> tuple[SievedTokens, np.ndarray]:
    """A window of a service's stream, and the times of its frames, float64 [T]. Raises ValueError for what is none."""
    arrays, facts = read_safetensors(data)
    window, times = _sieved(arrays, facts), _array(arrays, "times", "<f8")
    if times is None or times.shape != window.frame_ids.shape or not len(times):
        raise ValueError("its times are missing")
    return window, times


def _sieved(arrays: Mapping[str, np.ndarray], facts: Mapping[str, Any]) -> SievedTokens:
    patches, positions, scores, frames = (
        _array(arrays, name, kind) for name, kind in (("patches", "u1"), ("positions", "<u2"), ("scores", "<i4"),
                                                       ("frame_ids", "<i4"))
    )  # fmt: skip
    grid = facts.get("grid")
    if positions is None or scores is None or frames is None or type(grid) is not int or grid < 1:
        raise ValueError("arrays or facts are missing")
    count = len(scores)
    side = 1 if patches is None else patches.shape[-1]
    if (
        scores.ndim != 1
        or frames.ndim != 1
        or positions.shape != (count, 3)
        or (patches is not None and patches.shape != (count, 3, side, side))
        or grid * side > _MOST_SIDE
        or int(positions[:, 1:].max(initial=0)) >= grid
    ):
        raise ValueError("its arrays do not fit each other")
    return SievedTokens(patches, positions, scores, frames, facts)


def embedded(data: bytearray, count: int) -> list[Embedded]:
    """So many clips' embeddings of a service's answer. Raises ValueError for what is none."""
    arrays, facts = read_safetensors(data)
    embeddings, tokens = _array(arrays, "embedding", "<f4"), _array(arrays, "tokens", "<f4")
    ids, model = facts.get("ids"), facts.get("model")
    if (
        embeddings is None
        or embeddings.ndim != 2
        or len(embeddings) != count
        or not isinstance(ids, list)
        or len(ids) != count
        or (tokens is not None and (tokens.ndim != 3 or tokens.shape[::2] != embeddings.shape))
    ):
        raise ValueError("its arrays do not fit each other")
    return [
        Embedded(embeddings[one], None if tokens is None else tokens[one], str(ids[one]), str(model))
        for one in range(count)
    ]


def read_safetensors(data: bytearray) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Arrays by name, which share the memory of `data`, and the facts in the metadata.

    Raises ValueError where it is cut short or says what cannot be.
    """
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > min(len(data) - 8, _MOST_HEADER):
        raise ValueError("it is cut short")
    try:
        header = json.loads(data[8 : 8 + length])
        facts = json.loads(header.pop("__metadata__")[FACTS])
        arrays = {
            str(name): _tensor(data, 8 + length, told["dtype"], told["shape"], told["data_offsets"])
            for name, told in header.items()
        }
    except (AttributeError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"its header cannot be read: {type(error).__name__}") from None
    if not isinstance(facts, dict):
        raise ValueError("its facts are no object")
    return arrays, facts


def _tensor(data: bytearray, start: int, dtype: str, shape: list[int], offsets: list[int]) -> np.ndarray:
    kind = np.dtype(_KINDS[dtype])
    begin, end = offsets
    numbers = [*shape, begin, end]
    if len(shape) > 8 or any(type(number) is not int or not 0 <= number < 2**62 for number in numbers):
        raise ValueError("a shape cannot be")
    count = math.prod(shape)
    if end - begin != count * kind.itemsize or start + end > len(data):
        raise ValueError("it is cut short, or its arrays are not as long as it says")
    array = np.frombuffer(data, kind, count, start + begin) if count else np.empty(0, kind)
    return array.reshape(shape)


def _array(arrays: Mapping[str, np.ndarray], name: str, kind: str) -> np.ndarray | None:
    found = arrays.get(name)
    if found is not None and found.dtype != np.dtype(kind):
        raise ValueError(f"{name} is of another type")
    return found
