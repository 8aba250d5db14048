"""A run on Ray: the cache of a run on this machine, whatever is lost meanwhile, and one line for what cannot be."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from buckets import bucket
from runs import SMALL, start, wait_for_a_shard, write_manifest

from codecsieve.cache import open_cache, verify_cache
from codecsieve.errors import CacheError, ConfigError, WorkerError
from codecsieve.objects import Objects
from codecsieve.pipelines.config import SieveConfig
from codecsieve.pipelines.inputs.clips import read_inputs, read_ranges
from codecsieve.pipelines.inputs.request import ClipRequest
from codecsieve.pipelines.precompute.ray_options import RayOptions
from codecsieve.pipelines.precompute.run import precompute
from codecsieve.pipelines.precompute.summary import Progress

pytest.importorskip("ray", reason="ray is not installed: pip install 'codecsieve[ray]'")
pytestmark = [pytest.mark.slow, pytest.mark.cluster]

MakeVideo = Callable[..., Path]
CacheContent = Callable[[Path], dict[str, object]]
ROWS = 300
ON_RAY = ["--engine", "ray", "--ray-actors", "2"]
PATIENCE = 300
"""Seconds, for a machine that has much else to do."""


@pytest.fixture(scope="module")
def manifest(make_video: MakeVideo, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Many parts of one clip, and one file that is not there."""
    clip = make_video(tmp_path_factory.mktemp("clip") / "clip.mp4", frames=60)
    return write_manifest(clip, ROWS)


@pytest.fixture(scope="module")
def local(manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    cache = tmp_path_factory.mktemp("local") / "cache"
    precompute(read_inputs([manifest]), cache, SMALL, workers=2)
    return cache


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A cluster of a head without cores and of two nodes that have one each."""
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": 10**8})
    for _ in range(2):
        made.add_node(num_cpus=1, object_store_memory=10**8)
    yield made
    made.shutdown()


def actors() -> list[psutil.Process]:
    """The processes of actors that there are."""
    return [one for one in psutil.process_iter(["cmdline"]) if "ray::ShardActor" in " ".join(one.info["cmdline"] or ())]


def wait_until_gone(processes: list[psutil.Process]) -> None:
    _, alive = psutil.wait_procs(processes, timeout=PATIENCE)
    assert alive == []


@pytest.mark.parametrize("size", [100, 1000])
def test_an_actor_that_is_killed_is_replaced_and_the_bytes_are_those_of_one_machine(
    cluster: Any, manifest: Path, local: Path, tmp_path: Path, cache_content: CacheContent, size: int
) -> None:
    killed, told = list[psutil.Process](), list[Progress]()

    def kill(at: Progress) -> None:
        told.append(at)
        if at.done >= 70 and not killed:
            killed.append(actors()[0])
            killed[0].kill()

    ray = RayOptions(ray_address=cluster.address, ray_actors=2)
    summary = precompute(read_ranges([manifest], size=size), tmp_path / "cache", SMALL, ray=ray, progress=kill)
    assert killed
    assert (summary.made, len(summary.failures)) == (ROWS - 1, 1)
    assert sorted({at.done for at in told}) == list(range(ROWS + 1))
    assert (told[-1].total, told[-1].failed) == (ROWS, 1)
    assert cache_content(tmp_path / "cache") == cache_content(local)
    assert not list((tmp_path / "cache").rglob("*.partial"))


def test_a_clip_at_which_three_actors_are_lost_has_failed(
    cluster: Any, make_video: MakeVideo, tmp_path: Path, manifest: Path
) -> None:
    poison = make_video(tmp_path / "poison.mp4", frames=2500, size=(480, 360))
    done = threading.Event()

    def kill_whoever_opens_it() -> None:
        while not done.is_set():
            for actor in actors():
                try:
                    files = [file.path for worker in actor.children() for file in worker.open_files()]
                    if str(poison) in files:
                        actor.kill()
                except psutil.Error:
                    continue
            time.sleep(0.01)

    killing = threading.Thread(target=kill_whoever_opens_it)
    killing.start()
    try:
        requests = [ClipRequest(str(manifest.with_name("clip.mp4")), f"clip-{row}", start=row / 10) for row in range(4)]
        requests.insert(2, ClipRequest(str(poison), "poison"))
        config = SieveConfig(num_frames=2048, input_size=448, k_keep=16)
        ray = RayOptions(ray_address=cluster.address, ray_actors=1)
        summary = precompute(requests, tmp_path / "cache", config, ray=ray)
    finally:
        done.set()
        killing.join()
    (failure,) = summary.failures
    assert (failure.id, summary.made) == ("poison", 4)
    assert failure.error.startswith(f"{poison}: 3 actors died while they were at it; leave it out")


def test_a_node_that_is_lost_leaves_its_shards_to_others(
    cluster: Any, manifest: Path, local: Path, tmp_path: Path, cache_content: CacheContent
) -> None:
    extra, lost = cluster.add_node(num_cpus=1, object_store_memory=10**8), []

    def lose(at: Progress) -> None:
        if at.done >= 70 and not lost:
            lost.append(extra)
            cluster.remove_node(extra, allow_graceful=False)

    ray = RayOptions(ray_address=cluster.address)  # an actor on each of three nodes
    precompute(read_inputs([manifest]), tmp_path / "cache", SMALL, ray=ray, progress=lose)
    assert lost
    assert cache_content(tmp_path / "cache") == cache_content(local)


def test_a_part_is_made_of_its_shards_only(cluster: Any, manifest: Path, local: Path, tmp_path: Path) -> None:
    ray = RayOptions(ray_address=cluster.address, ray_actors=2)
    for part in ("1/2", "2/2"):
        summary = precompute(read_inputs([manifest]), tmp_path / "cache", SMALL, ray=ray, part=part)
        assert summary.made > 64
    made, truth = open_cache(tmp_path / "cache"), open_cache(local)
    assert made.index["id"] == truth.index["id"]
    assert (made["clip-70"].patches == truth["clip-70"].patches).all()


def test_the_first_failure_ends_a_run_that_is_to_fail_fast(cluster: Any, manifest: Path, tmp_path: Path) -> None:
    ray = RayOptions(ray_address=cluster.address, ray_actors=2)
    summary = precompute(read_inputs([manifest]), tmp_path / "cache", SMALL, ray=ray, fail_fast=True)
    assert len(summary.failures) == 1
    assert summary.not_tried > 0
    assert len(open_cache(tmp_path / "cache").index) == ROWS - summary.not_tried


def test_killed_with_its_cluster_a_second_run_finishes_with_the_same_bytes(
    manifest: Path, local: Path, tmp_path: Path, cache_content: CacheContent
) -> None:
    process = start(manifest, tmp_path / "cache", *ON_RAY)
    wait_for_a_shard(tmp_path / "cache", PATIENCE)
    found = psutil.Process(process.pid).children(recursive=True)
    whole = [one for one in found if "ShardActor" in "".join(one.cmdline()) or "spawn_main" in "".join(one.cmdline())]
    assert whole
    process.kill()
    process.communicate()
    wait_until_gone(whole)
    before = open_cache(tmp_path / "cache").index["status"].to_pylist()
    assert 64 <= len(before) < ROWS
    again = start(manifest, tmp_path / "cache", *ON_RAY)
    stdout, stderr = again.communicate(timeout=PATIENCE)
    assert again.returncode == 1, stderr  # one file is not there
    assert f"{ROWS - 1}, {ROWS - 1 - before.count('ok')} of them new" in stdout
    assert cache_content(tmp_path / "cache") == cache_content(local)


def test_interrupted_it_publishes_what_is_done_and_another_engine_goes_on(
    manifest: Path, local: Path, tmp_path: Path, cache_content: CacheContent
) -> None:
    process = start(manifest, tmp_path / "cache", *ON_RAY)
    wait_for_a_shard(tmp_path / "cache", PATIENCE)
    os.kill(process.pid, signal.SIGINT)
    _, stderr = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130, stderr
    assert stderr.endswith("codecsieve: interrupted; run the same command again to go on\n")
    inside = len(open_cache(tmp_path / "cache").index)
    assert 64 <= inside < ROWS
    precompute(read_inputs([manifest]), tmp_path / "cache", SMALL, workers=2)
    assert cache_content(tmp_path / "cache") == cache_content(local)


def test_a_cache_in_a_bucket_is_that_of_a_folder(manifest: Path, local: Path) -> None:
    pytest.importorskip("obstore", reason="object stores need obstore")
    pytest.importorskip("moto", reason="the S3 server is moto's")
    with bucket("clips"):
        process = start(manifest, "s3://clips/cache", *ON_RAY)
        _, stderr = process.communicate(timeout=PATIENCE)
        assert process.returncode == 1, stderr  # one file is not there
        made, truth = open_cache("s3://clips/cache"), open_cache(local)
        assert made.clip_ids == truth.clip_ids
        assert made.index.select(["id", "row", "status"]).equals(truth.index.select(["id", "row", "status"]))
        for clip_id in truth.clip_ids[::7]:
            assert (made[clip_id].patches == truth[clip_id].patches).all()
        assert verify_cache("s3://clips/cache").complete
        assert not [key for key, _ in Objects("s3://clips/cache").walk() if "ray-" in key]  # drafts


def test_what_cannot_be_is_one_line(cluster: Any, manifest: Path, local: Path, tmp_path: Path) -> None:
    requests = read_inputs([manifest])[:1]
    there = cluster.address
    for options, run, match in (
        (RayOptions(), {"workers": 2}, r"workers \(2\) is for engine local; say ray_actors"),
        (RayOptions(), {"device": "cuda"}, r"device \(cuda\) on Ray must come with ray_gpus"),
        (
            RayOptions(ray_address=there, ray_cpus=64),
            {},
            "the cluster has 2 cores .* for one actor of 64 cores",
        ),
        (RayOptions(ray_address=there, ray_gpus=0.5), {}, "0 GPUs, too few"),
    ):
        with pytest.raises(ConfigError, match=match):
            precompute(requests, tmp_path / "cache", SMALL, ray=options, **run)  # type: ignore[arg-type]
    with pytest.raises(WorkerError, match=r"Ray is not at 127\.0\.0\.1:1: .*refused"):
        precompute(requests, tmp_path / "cache", SMALL, ray=RayOptions(ray_address="127.0.0.1:1"))
    assert not (tmp_path / "cache").exists()
    with pytest.raises(CacheError, match="use another --out"):
        precompute(requests, local, SieveConfig(k_keep=17), ray=RayOptions(ray_address=there))
