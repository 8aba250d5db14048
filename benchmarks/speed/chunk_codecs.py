"""What compressing a cache's patches would cost and save: chunk codecs on real patches, one chunk a clip.

`cache` runs this and prints it. The pictures' codecs lay a clip's patches out as one canvas; the lossy
ones show what they do to the pixels as PSNR.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numcodecs import Blosc, Zstd


@dataclass(frozen=True)
class CodecCost:
    """A chunk codec on real patches: size ratio, speed of writing and reading a file, and what is lost."""

    codec: str
    ratio: float
    write_clips_per_second: float
    read_clips_per_second: float
    psnr_db: float | None


Encode = Callable[[np.ndarray], bytes | bytearray]
Decode = Callable[[bytes], np.ndarray]
Codec = tuple[Encode, Decode]


def compare_codecs(clips: list[np.ndarray], folder: Path) -> list[CodecCost]:
    """Each codec, one chunk a clip, into and out of one file."""
    return [measure_codec(name, codec, clips, folder / "chunks") for name, codec in chunk_codecs(clips[0]).items()]


def measure_codec(name: str, codec: Codec, clips: list[np.ndarray], path: Path) -> CodecCost:
    """Write every clip, read every clip: the best of three, each."""
    encode, decode = codec
    writing, reading, sizes, back = [], [], [0], clips
    for _ in range(3):
        start = time.perf_counter()
        with path.open("wb") as file:
            sizes = [file.write(encode(clip)) for clip in clips]
        writing.append(time.perf_counter() - start)
        start = time.perf_counter()
        with path.open("rb", buffering=0) as file:
            back = [decode(file.read(size)) for size in sizes]
        reading.append(time.perf_counter() - start)
    errors = np.array([((a.astype(np.float64) - b) ** 2).mean() for a, b in zip(clips, back, strict=True)])
    return CodecCost(
        codec=name,
        ratio=round(sum(clip.nbytes for clip in clips) / sum(sizes), 2),
        write_clips_per_second=round(len(clips) / min(writing), 1),
        read_clips_per_second=round(len(clips) / min(reading), 1),
        psnr_db=round(10 * math.log10(255**2 / errors.mean()), 1) if errors.any() else None,
    )


def chunk_codecs(like: np.ndarray) -> dict[str, Codec]:
    """Codecs by name; the pictures' ones lay the patches out as one canvas, and need imagecodecs."""

    def of_bytes(codec: Any) -> Codec:
        return lambda clip: codec.encode(clip), lambda data: np.frombuffer(codec.decode(data), "u1").reshape(like.shape)

    codecs: dict[str, Codec] = {
        "raw": (lambda clip: clip.tobytes(), lambda data: np.frombuffer(data, "u1").reshape(like.shape)),
        "lz4": of_bytes(Blosc("lz4", clevel=5, shuffle=Blosc.NOSHUFFLE)),
        "blosc lz4 + bitshuffle": of_bytes(Blosc("lz4", clevel=5, shuffle=Blosc.BITSHUFFLE)),
        "blosc zstd-1 + bitshuffle": of_bytes(Blosc("zstd", clevel=1, shuffle=Blosc.BITSHUFFLE)),
        "zstd-1": of_bytes(Zstd(level=1)),
    }
    try:
        import imagecodecs as ic
    except ImportError:
        return codecs
    columns = max(width for width in range(1, math.isqrt(len(like)) + 1) if len(like) % width == 0)

    def of_canvas(encode: Encode, decode: Decode) -> Codec:
        return lambda clip: encode(to_canvas(clip, columns)), lambda data: from_canvas(decode(data), like.shape)

    return codecs | {
        "WebP lossless canvas": of_canvas(lambda c: ic.webp_encode(c, lossless=True, method=0), ic.webp_decode),
        "JPEG XL lossless canvas": of_canvas(lambda c: ic.jpegxl_encode(c, lossless=True, effort=1), ic.jpegxl_decode),
        "JPEG q95 canvas": of_canvas(lambda c: ic.jpeg8_encode(c, level=95, subsampling="444"), ic.jpeg8_decode),
        "WebP q90 canvas": of_canvas(lambda c: ic.webp_encode(c, level=90, lossless=False, method=0), ic.webp_decode),
        "JPEG XL d1 canvas": of_canvas(lambda c: ic.jpegxl_encode(c, distance=1.0, effort=3), ic.jpegxl_decode),
    }


def to_canvas(patches: np.ndarray, columns: int) -> np.ndarray:
    """uint8 [K, 3, P, P] as one picture, uint8 [rows * P, columns * P, 3]."""
    k, _, p, _ = patches.shape
    grid = patches.reshape(k // columns, columns, 3, p, p).transpose(0, 3, 1, 4, 2)
    return np.ascontiguousarray(grid).reshape(k // columns * p, columns * p, 3)


def from_canvas(canvas: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The inverse of `to_canvas`."""
    p = shape[-1]
    grid = canvas.reshape(canvas.shape[0] // p, p, canvas.shape[1] // p, p, 3).transpose(0, 2, 4, 1, 3)
    return np.ascontiguousarray(grid).reshape(shape)
