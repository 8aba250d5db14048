"""How fast a cache is exported to each format, and what it would cost to give `datasets` Parquet.

    python -m benchmarks.speed.export [--clips 256] [--folder FOLDER]

Clips are noise, of the sieve's default shape: no format compresses, so their pixels do not matter. Speeds are of one
process on warm files, the best of the rounds, by the clock and by processor time; a folder in memory (/dev/shm) leaves
the disk out.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.common import save, show
from codecsieve.cache import CacheWriter, ClipArrays, IndexRecord, Layout, SparseCache, open_cache
from codecsieve.pipelines.exchange.config import FORMATS
from codecsieve.pipelines.exchange.export import export_cache
from codecsieve.pipelines.exchange.to_huggingface import nested

ROUNDS = 3
LAYOUT = Layout(num_frames=64, k_keep=2048, patch=14)
GRID = 16
PARQUET_CLIPS = 32


@dataclass(frozen=True)
class WriteSpeed:
    """MB of clips written a second, by the clock and by processor time; and bytes written for each of the cache."""

    form: str
    megabytes_per_second: float
    megabytes_per_processor_second: float
    size: float


@click.command(help=__doc__)
@click.option("--clips", default=256, show_default=True, help="Clips in the cache.")
@click.option("--folder", type=click.Path(exists=True, path_type=Path), help="Where to write; else a temporary one.")
def main(clips: int, folder: Path | None) -> None:
    """Measure each format, and Parquet; print the table; write the JSON."""
    with tempfile.TemporaryDirectory(prefix="codecsieve-bench-", dir=folder) as made:
        cache = make_cache(Path(made) / "cache", clips)
        out = Path(made) / "out"
        rows = [
            measure(to, clips, out, lambda to=to: export_cache(cache, out, to))  # type: ignore[misc]
            for to in FORMATS
        ]
        few = min(clips, PARQUET_CLIPS)
        rows.append(measure("Parquet, nested lists", few, out, lambda: write_parquet(cache, few, out)))
    shown = [tuple(asdict(row).values()) for row in rows]
    show(f"Exporting {clips} clips, one process", ["to", "MB/s", "MB a processor's second", "size"], shown)
    save(
        "export",
        {"clips": clips, "into": str(folder or tempfile.gettempdir()), "formats": [asdict(row) for row in rows]},
    )


def make_cache(path: Path, clips: int) -> SparseCache:
    """A cache of clips of noise, which keep every eighth slot whole: in blocks, as one of the formats wants them."""
    random = np.random.default_rng(0)
    t, k, p = LAYOUT.num_frames, LAYOUT.k_keep, LAYOUT.patch
    positions = np.argwhere(np.ones((t // 8, GRID, GRID), bool)).astype(np.uint16) * np.array([8, 1, 1], np.uint16)
    ids = [f"clip-{number}" for number in range(clips)]
    with CacheWriter.open(path, LAYOUT, {"input_size": GRID * p}) as writer:
        for work in writer.plan(ids):
            made = {
                clip_id: ClipArrays(
                    patches=random.integers(0, 256, (k, 3, p, p), dtype=np.uint8),
                    positions=positions,
                    scores=random.integers(0, 50_000, k, dtype=np.int32),
                    frame_ids=np.arange(t, dtype=np.int32),
                )
                for clip_id in work.ids
            }
            writer.write_shard(
                work.shard, made, [IndexRecord(i, f"{i}.mp4", "ok", label="a", fps=25.0) for i in work.ids]
            )
    return open_cache(path)


def measure(form: str, clips: int, out: Path, write: Callable[[], object]) -> WriteSpeed:
    """The best round of `write`, which makes `out`."""
    megabytes = clips * LAYOUT.clip_bytes / 1e6
    clock, processor, size = [], [], 0
    for _ in range(ROUNDS):
        shutil.rmtree(out, ignore_errors=True)
        began = time.perf_counter(), time.process_time()
        write()
        clock.append(time.perf_counter() - began[0])
        processor.append(time.process_time() - began[1])
        size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    speeds = (round(megabytes / min(seconds), 1) for seconds in (clock, processor))
    return WriteSpeed(form, *speeds, size=round(size / megabytes / 1e6, 3))


def write_parquet(cache: SparseCache, clips: int, out: Path) -> None:
    """What `datasets` would have of clips in Parquet: nested lists, compressed as it does it."""
    out.mkdir()
    batch = cache.read(range(clips))
    columns = {array.name: nested(getattr(batch, array.name)) for array in cache.layout.arrays()}
    pq.write_table(pa.table({"id": list(batch.clip_ids), **columns}), out / "clips.parquet", compression="snappy")


if __name__ == "__main__":
    main()
