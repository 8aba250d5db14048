"""The same service under Ray Serve: the same bytes, refusals, back-pressure, and an end in good order."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import psutil
import pytest
import served
import torch
from children import children_with
from served import Running, running

import codecsieve as cs

pytest.importorskip("ray", reason="ray is not installed: pip install 'codecsieve[ray]'")
pytestmark = [pytest.mark.slow, pytest.mark.cluster]

SMALL = {"num_frames": 4, "input_size": 28, "k_keep": 6}
QUERY = "num_frames=4&input_size=28&k_keep=6"
LONG = "num_frames=256&input_size=224&k_keep=16&signals=search"
ENDLESS = "num_frames=4096&input_size=448&k_keep=16&format=mp4"
"""Ten seconds of a processor, and more: whoever is killed after half a second has not done it."""
START_SECONDS = 400
"""For a machine that has much else to do, and has yet to compile the kernels."""


@pytest.fixture(scope="module")
def ray_service(site: Path, model: Path, make_video: Callable[..., Path]) -> Iterator[Running]:
    """One worker, and one that may wait."""
    make_video(site / "videos" / "long.mp4", frames=600, size=(320, 240))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(served, "START_SECONDS", START_SECONDS)
        with running(site, "--engine=ray", "--decodes=1", "--queue=1", f"--model={model}") as found:
            yield found


@pytest.fixture(scope="module")
def client(ray_service: Running) -> Iterator[httpx.Client]:
    with ray_service.client() as client:
        yield client


def worker_of(service: Running) -> psutil.Process:
    """The process that decodes, below the replica that has it."""
    (replica,) = children_with("ServeReplica:codecsieve:sieve", service.process.pid, recursive=True)
    (worker,) = children_with("spawn_main", replica.pid)
    return worker


@pytest.mark.parametrize("way", ["path", "body"])
def test_a_clip_comes_back_as_the_tokens_that_sieve_gives(client: httpx.Client, site: Path, way: str) -> None:
    truth, video = cs.sieve(site / "videos" / "a.mp4", **SMALL), site / "videos" / "a.mp4"  # type: ignore[arg-type]
    url = f"/v1/sieve?{QUERY}&format=npz"
    if way == "path":
        answer = client.post(url, json={"path": "videos/a.mp4"})
    else:
        answer = client.post(url, content=video.read_bytes(), headers={"Content-Type": "video/mp4"})
    assert answer.status_code == 200, answer.text
    arrays = dict(np.load(io.BytesIO(answer.content)))
    for name in ("patches", "positions", "scores", "frame_ids"):
        assert np.array_equal(arrays[name], getattr(truth, name)), name
    assert list((site / "data" / "uploads").iterdir()) == []


def test_a_file_that_is_no_video_is_refused_and_costs_nothing_else(client: httpx.Client, site: Path) -> None:
    answer = client.post("/v1/sieve", json={"path": "videos/notes.mp4"})
    assert answer.status_code == 422
    assert answer.json()["error"].startswith("videos/notes.mp4: not a readable video")
    cut = (site / "videos" / "a.mp4").read_bytes()[:2000]
    assert client.post("/v1/sieve", content=cut, headers={"Content-Type": "video/mp4"}).status_code == 422
    assert client.post(f"/v1/sieve?{QUERY}", json={"path": "videos/a.mp4"}).status_code == 200


def test_an_embedding_is_the_models_own(client: httpx.Client, site: Path, model: Path) -> None:
    clip = cs.sieve(site / "videos" / "a.mp4", **SMALL)  # type: ignore[arg-type]
    with torch.inference_mode():
        output = cs.load_encoder(model)(
            patches=torch.from_numpy(clip.patches)[None],
            positions=torch.from_numpy(clip.positions.astype(np.int64))[None],
        )
    answer = client.post(f"/v1/embed?{QUERY}", json={"path": "videos/a.mp4"})
    assert answer.status_code == 200, answer.text
    assert answer.json()["model"] == model.name
    assert output.pooler_output is not None
    np.testing.assert_allclose(answer.json()["embedding"][0], output.pooler_output[0].numpy(), rtol=1e-4, atol=1e-5)
    wrong = client.post("/v1/embed?num_frames=4&input_size=28&patch_size=7&k_keep=6", json={"path": "videos/a.mp4"})
    assert (wrong.status_code, "must be [K, 3, 14, 14]" in wrong.json()["error"]) == (422, True)


def test_what_waits_beyond_the_queue_is_told_to_come_again(client: httpx.Client) -> None:
    def ask(_: int) -> httpx.Response:
        return client.post(f"/v1/sieve?{LONG}", json={"path": "videos/long.mp4"})

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, range(8)))
    assert {answer.status_code for answer in answers} == {200, 429}
    for answer in answers:
        if answer.status_code == 429:
            assert "come again" in answer.json()["error"]
            assert int(answer.headers["retry-after"]) >= 1


def test_a_worker_that_dies_costs_the_request_that_it_is_at(client: httpx.Client, ray_service: Running) -> None:
    worker = worker_of(ray_service)
    before = worker.cpu_times().user
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(client.post, f"/v1/inspect?{ENDLESS}", json={"path": "videos/long.mp4"})
        while worker.cpu_times().user < before + 0.5:  # with what has not begun, another one would go on
            assert not asked.done(), asked.result().text
            time.sleep(0.01)
        worker.kill()
        answer = asked.result()
    assert answer.status_code == 422
    assert answer.json()["error"].startswith("videos/long.mp4: its worker process died")
    assert client.post(f"/v1/sieve?{QUERY}", json={"path": "videos/a.mp4"}).status_code == 200


def test_a_job_runs_and_clips_of_its_cache_are_embedded(client: httpx.Client) -> None:
    job = client.post("/v1/jobs", json={"cache": "caches:one", "inputs": ["videos/a.mp4"], "options": SMALL})
    with client.stream("GET", f"{job.headers['location']}/events", timeout=60) as events:
        assert '"state": "done"' in list(events.iter_lines())[-2]
    assert client.post("/v1/embed", json={"cache": "caches:one", "clips": ["a.mp4"]}).status_code == 200


def test_its_state_and_its_log_are_told_as_without_ray(client: httpx.Client, ray_service: Running) -> None:
    assert client.get("/readyz").json()["status"] == "ready"
    text = client.get("/metrics", headers={"X-Request-ID": "mine-1"}).text
    assert 'codecsieve_decodes_total{outcome="done",task="sieve"}' in text
    assert "codecsieve_embed_batch_count 0.0" not in text
    lines = ray_service.log.read_text().splitlines()
    events = [json.loads(line) for line in lines]  # all of them, Ray's own are in files of its own
    assert "mine-1" in {event.get("request_id") for event in events}
    assert [event["engine"] for event in events if event["message"] == "serving"] == ["ray"]


def test_its_token_is_its_own_and_lies_nowhere(ray_service: Running) -> None:
    """Ray listens on every address of the machine; who may talk to it may run code."""
    processes = psutil.Process(ray_service.process.pid).children(recursive=True)
    (gcs,) = [process for process in processes if "gcs_server" in process.name()]
    environment = gcs.environ()
    assert environment["RAY_AUTH_MODE"] == "token"
    assert len(environment["RAY_AUTH_TOKEN"]) == 64
    assert environment["RAY_USAGE_STATS_ENABLED"] == "0"


# The last one of this service.
def test_told_to_end_it_finishes_what_it_is_at_and_leaves_nothing(client: httpx.Client, ray_service: Running) -> None:
    processes = psutil.Process(ray_service.process.pid).children(recursive=True)
    worker = worker_of(ray_service)
    with ThreadPoolExecutor(1) as pool:
        worker.suspend()
        asked = pool.submit(client.post, f"/v1/sieve?{QUERY}", json={"path": "videos/a.mp4"})
        time.sleep(1)
        ray_service.process.terminate()
        time.sleep(1)
        worker.resume()
        assert asked.result().status_code == 200
    assert ray_service.process.wait(90) == 0
    _, alive = psutil.wait_procs(processes, timeout=20)
    assert alive == []
