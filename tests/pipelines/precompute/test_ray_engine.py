"""How shards of actors that were lost are given to others; no cluster is started."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace

import pyarrow as pa

from codecsieve.cache import Layout, ShardTask
from codecsieve.pipelines.inputs.request import ClipRequest
from codecsieve.pipelines.precompute.ray_actor import ShardJob
from codecsieve.pipelines.precompute.ray_engine import RayEngine


def test_a_shard_that_came_before_its_actor_was_lost_is_not_made_again() -> None:
    engine, given = RayEngine.__new__(RayEngine), list[ShardJob]()
    engine._facts, engine._layout = None, Layout(8, 16, 14, "patches")
    engine._pool = SimpleNamespace(submit=lambda job, alone: given.append(job))  # type: ignore[assignment]
    jobs = [
        ShardJob(ShardTask(shard, {name: 64 * shard}, listed=pa.table({})), (ClipRequest(f"{name}.mp4", name),))
        for shard, name in enumerate("ab")
    ]
    assert list(engine._try_again(jobs, {1: set()}, Counter())) == []
    assert [job.task.shard for job in given] == [1]
    assert list(engine._try_again(jobs[:1], {}, Counter())) == []
    assert len(given) == 1
