"""How fast a cache in an object store is read, beside the same cache on the disk: shuffled batches of 64.

    python -m benchmarks.speed.stores

The store is on this machine (`benchmarks.speed.bucket_server`), so that what is measured is this side, and shares its
cores with what is measured. Every form reads the same clips in the same random orders, in turns, all files warm; with a
wait before every answer, as a store far away has it, what counts is how many requests are under way at a time. What
loopback gives at most, and obstore by itself, stands beside them (`benchmarks.speed.bare_ranges`). The processors' time
tells the reader's share from the server's.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import numpy as np
import psutil

from benchmarks.common import save, show
from benchmarks.speed.bare_ranges import BareRanges
from benchmarks.speed.bucket_server import bucket_of
from benchmarks.speed.cache import clip_bytes, clips_of_videos, write_cache
from codecsieve.cache import SparseCache, open_cache

Reader = Callable[[Sequence[int]], object]

BATCH = 64
ROUNDS = 5
LATENCY = 0.03  # seconds, of the far store


@dataclass(frozen=True)
class StoreSpeed:
    """Clips read a second, median of the rounds; their bytes; and as a part of the disk's in the same round.

    reader_ms, server_ms: processor time a clip, of all threads, the kernel's part included.
    """

    form: str
    clips_per_second: float
    gigabytes_per_second: float
    of_disk: float
    reader_ms: float
    server_ms: float


@click.command(help=__doc__)
@click.option("--clips", default=256, show_default=True, help="Clips in the cache that is read.")
def main(clips: int) -> None:
    """Measure; print the table; write the JSON."""
    real = list(clips_of_videos())
    size = clip_bytes(real[0])
    with tempfile.TemporaryDirectory(prefix="codecsieve-bench-") as folder, contextlib.ExitStack() as servers:
        local = write_cache([real[number % len(real)] for number in range(clips)], Path(folder) / "cache")
        near = servers.enter_context(bucket_of(Path(folder)))
        far = servers.enter_context(bucket_of(Path(folder), LATENCY))
        bare = BareRanges(near, local.layout.arrays()[0], options(near))
        copies = open_cache("s3://bucket/cache", storage_options=options(near), cache_shards=Path(folder) / "copies")
        forms: dict[str, Reader] = {
            "disk": local.read,
            "store on loopback": at(near).read,
            "the same ranges by bare sockets": bare.receive,
            "the same ranges by obstore, thrown away": bare.throw_away,
            f"store, {LATENCY * 1000:.0f} ms away": at(far).read,
            "store, copies on the disk": copies.read,
        }
        speeds = compare(forms, clips, size)
    rows = [
        (s.form, f"{s.clips_per_second:,.0f}", s.gigabytes_per_second, f"{s.of_disk:.0%}", s.reader_ms, s.server_ms)
        for s in speeds
    ]
    columns = ["form", "clips/s", "GB/s", "of disk", "reader ms", "server ms"]
    show(f"Shuffled batches of {BATCH}, {size / 1e6:.2f} MB a clip", columns, rows)
    versions = {name: importlib.metadata.version(name) for name in ("numpy", "obstore")}
    save("stores", {"versions": versions, "clip_bytes": size, "clips": clips, "batch": BATCH,
                    "reading": [asdict(speed) for speed in speeds]})  # fmt: skip


def options(endpoint: str) -> dict[str, object]:
    """What obstore needs to read without keys."""
    return {"endpoint": endpoint, "skip_signature": True, "region": "us-east-1"}


def at(endpoint: str) -> SparseCache:
    """The cache of a server."""
    return open_cache("s3://bucket/cache", storage_options=options(endpoint))


def compare(forms: dict[str, Reader], clips: int, size: int) -> list[StoreSpeed]:
    """The forms in turns, the first, untimed round included, in which indices are read and copies made."""
    rounds: dict[str, list[np.ndarray]] = {form: [] for form in forms}
    random = np.random.default_rng(0)
    for _ in range(ROUNDS + 1):
        order = random.permutation(clips).tolist()
        for form, read in forms.items():
            before = _seconds()
            for first in range(0, clips - BATCH + 1, BATCH):
                read(order[first : first + BATCH])
            rounds[form].append((_seconds() - before) / (clips // BATCH * BATCH))
    warm = {form: np.array(taken[1:]) for form, taken in rounds.items()}
    found = []
    for form, taken in warm.items():
        wall, reader, server = np.median(taken, axis=0)
        of_disk = np.median(warm["disk"][:, 0] / taken[:, 0])
        told = (1 / wall, 1), (size / wall / 1e9, 3), (of_disk, 3), (reader * 1000, 2), (server * 1000, 2)
        found.append(StoreSpeed(form, *(round(float(value), digits) for value, digits in told)))
    return found


def _seconds() -> np.ndarray:
    """By the clock; of processors, this process's and its servers'."""
    mine = psutil.Process()
    servers = [child.cpu_times() for child in mine.children()]
    return np.array([time.perf_counter(), time.process_time(), sum(one.user + one.system for one in servers)])


if __name__ == "__main__":
    main()
