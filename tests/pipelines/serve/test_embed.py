"""Embeddings over HTTP: the model's own, whoever else asks at the moment."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest
import torch
from served import running

import codecsieve as cs

pytestmark = pytest.mark.slow

QUERY = "num_frames=4&input_size=28&k_keep=6"
SMALL = {"num_frames": 4, "input_size": 28, "k_keep": 6}


@pytest.fixture(scope="module")
def client(site: Path, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    folder = tmp_path_factory.mktemp("embedding")
    (folder / "videos").symlink_to(site / "videos")
    with running(folder, "--model", str(model)) as service, service.client() as client:
        yield client


def truth_of(model: Path, video: Path) -> tuple[np.ndarray, np.ndarray]:
    clip = cs.sieve(video, **SMALL)  # type: ignore[arg-type]
    encoder = cs.load_encoder(model)
    with torch.inference_mode():
        output = encoder(
            patches=torch.from_numpy(clip.patches)[None],
            positions=torch.from_numpy(clip.positions.astype(np.int64))[None],
        )
    assert output.pooler_output is not None
    return output.pooler_output[0].numpy(), output.last_hidden_state[0].numpy()


def test_an_embedding_is_the_models_own(client: httpx.Client, site: Path, model: Path) -> None:
    pooled, states = truth_of(model, site / "videos" / "a.mp4")
    answer = client.post(f"/v1/embed?{QUERY}", json={"path": "videos/a.mp4"})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert answer.json().keys() == {"ids", "model", "embedding"}
    np.testing.assert_allclose(answer.json()["embedding"][0], pooled, rtol=1e-4, atol=1e-5)
    answer = client.post(f"/v1/embed?{QUERY}&tokens=true&format=npz", json={"path": "videos/a.mp4"})
    arrays = np.load(io.BytesIO(answer.content))
    np.testing.assert_allclose(arrays["tokens"][0], states, rtol=1e-4, atol=1e-4)
    assert json.loads(str(arrays["codecsieve"]))["ids"] == ["videos/a.mp4"]


def test_clips_that_are_asked_for_at_once_go_through_together_and_stay_apart(
    client: httpx.Client, site: Path, model: Path
) -> None:
    truth = {name: truth_of(model, site / "videos" / name)[0] for name in ("a.mp4", "b.mp4")}

    def ask(number: int) -> tuple[str, list[float]]:
        name = ("a.mp4", "b.mp4")[number % 2]
        k_keep = 6 if number < 12 else 8
        answer = client.post(
            f"/v1/embed?{QUERY.replace('k_keep=6', f'k_keep={k_keep}')}", json={"path": f"videos/{name}"}
        )
        assert answer.status_code == 200, answer.text
        return (name if k_keep == 6 else "", answer.json()["embedding"][0])

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, range(16)))
    for name, embedding in answers:
        if name:
            np.testing.assert_allclose(embedding, truth[name], rtol=1e-4, atol=1e-5)
    text = client.get("/metrics").text
    assert "codecsieve_embed_batch_count" in text


def test_clips_of_a_cache_are_embedded_without_decoding(client: httpx.Client, site: Path, model: Path) -> None:
    job = client.post(
        "/v1/jobs", json={"cache": "caches:one", "inputs": ["videos/a.mp4", "videos/b.mp4"], "options": SMALL}
    )
    with client.stream("GET", f"{job.headers['location']}/events", timeout=60) as events:
        assert "done" in list(events.iter_lines())[-2]
    answer = client.post("/v1/embed", json={"cache": "caches:one", "clips": ["b.mp4", "a.mp4"]})
    assert answer.status_code == 200, answer.text
    for embedding, name in zip(answer.json()["embedding"], ("b.mp4", "a.mp4"), strict=True):
        np.testing.assert_allclose(embedding, truth_of(model, site / "videos" / name)[0], rtol=1e-4, atol=1e-5)
    assert client.post("/v1/embed", json={"cache": "caches:one", "clips": ["none"]}).status_code == 404


def test_patches_of_another_size_are_refused_in_one_line(client: httpx.Client) -> None:
    answer = client.post("/v1/embed?num_frames=4&input_size=28&patch_size=7&k_keep=6", json={"path": "videos/a.mp4"})
    assert answer.status_code == 422
    assert "must be [K, 3, 14, 14]" in answer.json()["error"]
