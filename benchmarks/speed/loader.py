"""Whether loaders keep up with the cache: clips a second of each, and of plain batched reads.

    python -m benchmarks.speed.loader [--clips N] [--batch-size N]

A cache of full size (2048 patches of 14 x 14 a clip) is made of noise, which reads like pictures do: nothing is
compressed. Speeds are of warm files. Every form reads a whole epoch in every round, in turns, and is compared with
the plain reads of the same round.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.common import save, show
from codecsieve.cache import CacheWriter, ClipArrays, IndexRecord, Layout, SparseCache, open_cache
from codecsieve.pipelines.loading.augment import Normalisation, Photometric
from codecsieve.pipelines.loading.dali import make_dali_loader
from codecsieve.pipelines.loading.dataset import SparseDataset
from codecsieve.pipelines.loading.loader import SparseLoader, make_loader
from codecsieve.pipelines.loading.order import ClipOrder

ROUNDS = 5
LAYOUT = Layout(num_frames=64, k_keep=2048, patch=14)
COLOURS: dict[str, Any] = {
    "photometric": Photometric(),
    "normalisation": Normalisation((0.5, 0.5, 0.5), (0.25, 0.25, 0.25)),
}


@dataclass(frozen=True)
class LoaderSpeed:
    """Clips a second, median of the rounds, and as a part of the plain reads' in the same round."""

    form: str
    clips_per_second: float
    of_plain_reads: float


@click.command(help=__doc__)
@click.option("--clips", default=384, show_default=True, help="Clips in the cache that is read.")
@click.option("--batch-size", default=16, show_default=True)
def main(clips: int, batch_size: int) -> None:
    """Measure all forms side by side; print the table; write the JSON."""
    with tempfile.TemporaryDirectory(prefix="codecsieve-bench-") as folder:
        speeds = compare(write_cache(clips, Path(folder) / "cache"), batch_size)
    clip_bytes = sum(array.nbytes for array in LAYOUT.arrays())
    rows = [(row.form, f"{row.clips_per_second:,.0f}", f"{row.of_plain_reads:.0%}") for row in speeds]
    show(f"Loading, {clip_bytes / 1e6:.2f} MB a clip, batches of {batch_size}", ["form", "clips/s", "of reads"], rows)
    packages = ["numpy", "torch", "zarr", *(["nvidia-dali-cuda130"] if has_dali() else [])]
    figures = {
        "versions": {name: importlib.metadata.version(name) for name in packages},
        "clip_bytes": clip_bytes,
        "clips": clips,
        "batch_size": batch_size,
        "loading": [asdict(row) for row in speeds],
    }
    save("loader", figures)


def write_cache(count: int, path: Path) -> SparseCache:
    """A cache of noise."""
    random = np.random.default_rng(0)
    k, p = LAYOUT.k_keep, LAYOUT.patch
    with CacheWriter.open(path, LAYOUT, {}) as writer:
        for work in writer.plan(f"{number:06d}" for number in range(count)):
            clips = {
                clip_id: ClipArrays(
                    patches=random.integers(0, 256, (k, 3, p, p), dtype=np.uint8),
                    positions=random.integers(0, 16, (k, 3), dtype=np.uint16),
                    scores=np.zeros(k, np.int32),
                    frame_ids=np.arange(LAYOUT.num_frames, dtype=np.int32),
                )
                for clip_id in work.ids
            }
            records = [IndexRecord(id=clip_id, uri=clip_id, status="ok", label=clip_id[-1]) for clip_id in work.ids]
            writer.write_shard(work.shard, clips, records)
    return open_cache(path)


def compare(cache: SparseCache, batch_size: int) -> list[LoaderSpeed]:
    """Clips a second of each form; the first round warms up and starts workers, and is not counted."""
    order = ClipOrder(len(cache), batch_size)
    dataset = SparseDataset(cache)

    def plain_reads() -> None:
        for numbers in order:
            batch = cache.read(numbers)  # held while the next is read, as a training loop does
        del batch

    def dataset_reads() -> None:
        for numbers in order:
            batch = dataset.__getitems__(numbers)
        del batch

    forms = {"plain reads": plain_reads, "dataset": dataset_reads, **loaders(cache, batch_size)}
    speeds: dict[str, list[float]] = {form: [] for form in forms}
    for _ in range(ROUNDS + 1):
        order.advance()
        for form, read_epoch in forms.items():
            start = time.perf_counter()
            read_epoch()
            speeds[form].append(len(cache) / (time.perf_counter() - start))
    warm = {form: values[1:] for form, values in speeds.items()}
    return [
        LoaderSpeed(
            form,
            round(statistics.median(values), 1),
            round(statistics.median(a / b for a, b in zip(values, warm["plain reads"], strict=True)), 3),
        )
        for form, values in warm.items()
    ]


def loaders(cache: SparseCache, batch_size: int) -> dict[str, Callable[[], None]]:
    """An epoch of each loader."""
    made: dict[str, SparseLoader] = {
        f"torch, {workers} workers": make_loader(cache, batch_size, workers=workers) for workers in (0, 1, 2)
    }
    made["torch, 0 workers, augmented here"] = make_loader(cache, batch_size, **COLOURS)
    if has_dali():
        made |= {f"DALI, {n} workers": make_dali_loader(cache, batch_size, workers=n) for n in (0, 1, 2)}
        made["DALI, 0 workers, augmented here"] = make_dali_loader(cache, batch_size, **COLOURS)

    def epoch_of(loader: SparseLoader) -> Callable[[], None]:
        def read() -> None:
            for _ in loader:
                pass

        return read

    return {form: epoch_of(loader) for form, loader in made.items()}


def has_dali() -> bool:
    """Whether DALI is installed."""
    return bool(importlib.util.find_spec("nvidia") and importlib.util.find_spec("nvidia.dali"))


if __name__ == "__main__":
    main()
