"""Clips a second of the engines of `precompute`, side by side: this machine's workers, and actors of Ray on it.

    python -m benchmarks.speed.engines VIDEO

Both make the same short clips with as many workers, in turns. The rate is that between the first clip and the last,
since a run of millions starts its workers once; what comes before the first clip stands beside it. Ray's cluster is one
that runs already. Then what the driver of a large cluster does for each shard: adopt its files and list it.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.common import save, show
from codecsieve.cache import CacheWriter, ClipArrays, IndexRecord, Layout, make_shard
from codecsieve.pipelines.config import SieveConfig
from codecsieve.pipelines.inputs.request import ClipRequest
from codecsieve.pipelines.precompute.ray_options import RayOptions
from codecsieve.pipelines.precompute.run import precompute
from codecsieve.pipelines.precompute.summary import Progress

_WORKERS = 2
_LISTED = 200  # shards


@click.command(help=__doc__)
@click.argument("video", type=click.Path(exists=True))
@click.option("--clips", default=640, show_default=True, help="Parts of the video, each a clip.")
@click.option("--rounds", default=3, show_default=True)
def main(video: str, clips: int, rounds: int) -> None:
    """Measure in turns; print the table; write the JSON."""
    from ray.cluster_utils import Cluster

    requests = [ClipRequest(video, f"clip-{number}", start=number / clips) for number in range(clips)]
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": _WORKERS, "object_store_memory": 10**8})
    try:
        engines: dict[str, dict[str, Any]] = {
            "local": {"workers": _WORKERS},
            "ray, an actor a core": {"ray": RayOptions(ray_address=cluster.address, ray_actors=_WORKERS)},
            "ray, one actor": {"ray": RayOptions(ray_address=cluster.address, ray_actors=1, ray_cpus=_WORKERS)},
        }
        runs = [{name: _run(requests, told) for name, told in engines.items()} for _ in range(rounds)]
    finally:
        cluster.shutdown()
    shards_a_second = _listing()
    rows = [
        (name, f"{statistics.median(run[name][0] for run in runs):.1f}",
         f"{statistics.median(run[name][0] / run['local'][0] for run in runs):.0%}",
         f"{statistics.median(run[name][1] for run in runs):.1f}")
        for name in engines
    ]  # fmt: skip
    show(
        f"{clips} clips, {_WORKERS} workers, medians of {rounds}", ["engine", "clips/s", "of local", "s to start"], rows
    )
    print(f"the driver lists {shards_a_second:.0f} shards a second")
    save("engines", {
        "clips": clips, "workers": _WORKERS,
        "rounds": [{name: {"clips_per_second": rate, "start_seconds": start} for name, (rate, start) in run.items()}
                   for run in runs],
        "of_local": {name: statistics.median(run[name][0] / run["local"][0] for run in runs) for name in engines},
        "listed_shards_per_second": shards_a_second,
    })  # fmt: skip


def _run(requests: list[ClipRequest], told: dict[str, Any]) -> tuple[float, float]:
    """Clips a second once there is the first, and the seconds until then."""
    times: list[float] = []

    def note(at: Progress) -> None:
        times.append(time.perf_counter())

    config = SieveConfig(num_frames=32, input_size=224, k_keep=512)
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="codecsieve-bench-") as folder:
        precompute(requests, Path(folder) / "cache", config, device="cpu", progress=note, **told)
    return (len(requests) - 1) / (times[-1] - times[1]), times[1] - begun


def _listing() -> float:
    """Shards a second that a driver adopts and lists, of clips of a few bytes, in a folder."""
    layout, made = Layout(4, 5, 2, "patches"), []
    with (
        tempfile.TemporaryDirectory(prefix="codecsieve-bench-") as folder,
        CacheWriter.open(Path(folder) / "cache", layout, {"trial": True}) as writer,
    ):
        for work in writer.plan(f"{number:016x}" for number in range(64 * _LISTED)):
            records = [IndexRecord(clip_id, f"/videos/{clip_id}.mp4", "ok") for clip_id in work.ids]
            arrays = {clip_id: _tiny() for clip_id in work.ids}
            task = writer.task(work.shard, work.ids)
            made.append(make_shard(writer.location, layout, task, arrays, records, draft="trial"))
        begun = time.perf_counter()
        for shard in made:
            writer.commit(shard)
        return _LISTED / (time.perf_counter() - begun)


def _tiny() -> ClipArrays:
    return ClipArrays(
        np.zeros((5, 3, 2, 2), np.uint8), np.zeros((5, 3), np.uint16), np.zeros(5, np.int32), np.zeros(4, np.int64)
    )


if __name__ == "__main__":
    main()
