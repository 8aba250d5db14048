"""The client against a real service: the same bytes as without one, its jobs, its caches, its lines."""

from __future__ import annotations

import io
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from served import Running, free_port, running, write_long_work

import codecsieve as cs
from codecsieve.client import JobState, SievedTokens
from codecsieve.errors import ManifestError
from codecsieve.pipelines.serve.keys import Keys

pytestmark = pytest.mark.slow

SMALL = {"num_frames": 4, "input_size": 28, "k_keep": 6}


@pytest.fixture(scope="module")
def keyed(site: Path, model: Path) -> Iterator[tuple[Running, str]]:
    """A service with a model and a key."""
    secret = Keys(site / "data").add("me", ["read", "sieve", "jobs"])
    Keys(site / "data").add("reader", ["read"])
    with running(site, "--model", str(model)) as service:
        yield service, secret


@pytest.fixture(scope="module")
def client(keyed: tuple[Running, str]) -> Iterator[cs.Client]:
    with cs.Client(keyed[0].url, key=keyed[1]) as client:
        yield client


@pytest.fixture(scope="module")
def cached(client: cs.Client) -> str:
    """A cache of the service's: a.mp4 and b.mp4, labelled."""
    rows = [{"path": "videos/a.mp4", "label": "run", "take": 1}, {"path": "videos/b.mp4", "label": "walk", "take": 2}]
    seen: list[JobState] = []
    job = client.start_job("caches:labelled", manifest=rows, **SMALL)  # type: ignore[arg-type]
    done = job.wait(progress=seen.append)
    assert (done.state, done.done, job.state) == ("done", 2, done)
    assert done.summary is not None
    assert done.summary["complete"]
    assert seen[-1] == done
    assert all(earlier != later for earlier, later in itertools.pairwise(seen))
    return "caches:labelled"


def same(found: SievedTokens, truth: cs.SievedClip) -> bool:
    names = ("patches", "positions", "scores", "frame_ids")
    return all(
        getattr(found, name).dtype == getattr(truth, name).dtype
        and np.array_equal(getattr(found, name), getattr(truth, name))
        for name in names
    )


def test_it_is_ready_and_shows_no_key(client: cs.Client, keyed: tuple[Running, str]) -> None:
    assert client.ready()
    assert keyed[1] not in repr(client) + repr(client.ready())
    with keyed[0].client() as plain:
        assert [plain.head(path).status_code for path in ("/healthz", "/readyz")] == [200, 200]


def test_a_clip_is_what_sieve_makes_of_it(client: cs.Client, site: Path) -> None:
    video = site / "videos" / "a.mp4"
    truth = cs.sieve(video, **SMALL)  # type: ignore[arg-type]
    for clip in (client.sieve(video, **SMALL), client.sieve(path="videos/a.mp4", **SMALL)):  # type: ignore[arg-type]
        assert same(clip, truth)
        assert (clip.facts["codec"], clip.facts["fps"], clip.facts["signals"]) == ("h264", truth.fps, truth.signals)
        assert clip.show(2).tobytes() == truth.show(2).tobytes()
    part = client.sieve(video, start=0.2, end=0.5, preset="surprise", anchors=1, static_fallback=True, **SMALL)  # type: ignore[arg-type]
    config = cs.SieveConfig.preset("surprise", anchors=1, static_fallback=True, **SMALL)  # type: ignore[arg-type]
    assert part.facts["config"] == config.to_dict()
    assert client.sieve(video, pixels=False, **SMALL).patches is None  # type: ignore[arg-type]


def test_what_cannot_be_is_the_services_own_line(client: cs.Client, keyed: tuple[Running, str], site: Path) -> None:
    for ask, status, line in (
        (lambda: client.sieve(path="videos/a.mp4", k_kep=1), 422, r"k_kep: there is no such field; /openapi\.json"),  # type: ignore[call-arg]
        (lambda: client.sieve(path="videos/a.mp4", k_keep=0), 422, r"k_keep \(0\) must be > 0$"),
        (lambda: client.sieve(path="videos/none.mp4"), 404, r"path \('videos/none\.mp4'\): nothing there"),
        (lambda: client.sieve(site / "videos" / "notes.mp4"), 422, r"/videos/notes\.mp4: not a readable video"),
        (lambda: client.sieve(url="https://example.org/a.mp4"), 403, "URLs are not read here"),
        (lambda: client.cache("caches:none"), 404, "there is none"),
        (lambda: client.job("abc"), 404, r"job \('abc'\): there is none"),
        (lambda: client.start_job("caches:x"), 422, "a job must have inputs, or a manifest"),
        (lambda: client.start_job("caches:x", inputs=["videos"], k_kep=1), 422, r"did you mean k_keep\?"),  # type: ignore[call-arg]
        (lambda: cs.Client(keyed[0].url).caches(), 401, "Authorization must be"),
        (lambda: cs.Client(keyed[0].url, key="cs_other").caches(), 401, "there is no such key"),
    ):
        with pytest.raises(cs.ServiceError, match=line) as caught:
            ask()
        assert caught.value.status == status
        assert "\n" not in str(caught.value)


def test_a_description_and_pictures(client: cs.Client, site: Path, tmp_path: Path) -> None:
    told = client.describe(site / "videos" / "a.mp4", num_frames=8)
    assert (told["codec"], told["num_frames"]) == ("h264", 8)
    for suffix, start in ((".png", b"\x89PNG"), (".gif", b"GIF8"), (".mp4", b"\0\0\0")):
        out = tmp_path / f"picture{suffix}"
        data = client.inspect(path="videos/a.mp4", out=out, slots=2, **SMALL)  # type: ignore[arg-type]
        assert data == out.read_bytes()
        assert data.startswith(start)
    assert client.inspect(path="videos/a.mp4", **SMALL).startswith(b"\x89PNG")  # type: ignore[arg-type]


def test_embeddings_of_videos_and_of_a_cache(client: cs.Client, cached: str, site: Path, model: Path) -> None:
    clip = cs.sieve(site / "videos" / "a.mp4", **SMALL)  # type: ignore[arg-type]
    with torch.inference_mode():
        truth = cs.load_encoder(model)(
            patches=torch.from_numpy(clip.patches)[None], positions=torch.from_numpy(clip.positions.astype(int))[None]
        )
    assert truth.pooler_output is not None
    made = client.embed(site / "videos" / "a.mp4", tokens=True, **SMALL)  # type: ignore[arg-type]
    assert made.tokens is not None
    np.testing.assert_allclose(made.embedding, truth.pooler_output[0], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(made.tokens, truth.last_hidden_state[0], rtol=1e-4, atol=1e-4)
    b, a = client.embed_cached(cached, ["b.mp4", "a.mp4"])
    np.testing.assert_allclose(a.embedding, made.embedding, rtol=1e-4, atol=1e-5)
    assert np.abs(b.embedding - a.embedding).max() > 1e-3
    many = client.embed_cached(cached, ["a.mp4", "b.mp4"] * 6, tokens=True)  # more than are asked for at once
    assert [one.id for one in many] == [a.id, b.id] * 6
    assert many[-1].tokens is not None


def test_a_cache_is_read(client: cs.Client, cached: str, site: Path) -> None:
    cache, truth = client.cache(cached), cs.open_cache(site / "caches" / "labelled")
    assert cached in client.caches()
    assert (cache.facts["clips"], cache.facts["labels"]) == (2, ["run", "walk"])
    assert [row["uri"] for row in cache.rows()] == ["videos/a.mp4", "videos/b.mp4"]
    assert [row["label"] for row in cache.rows("take > 1")] == ["walk"]
    for name in ("a.mp4", truth.find("a.mp4")):
        clip = cache.clip(name)
        assert clip.patches is not None
        assert np.array_equal(clip.patches, truth["a.mp4"].patches)
        assert (clip.facts["label"], clip.facts["metadata"]) == ("run", {"take": 1})
        assert clip.show(2).tobytes() == truth["a.mp4"].show(2).tobytes()
    with Image.open(io.BytesIO(cache.picture("a.mp4", slots=2))) as picture:
        assert picture.format == "PNG"
    with pytest.raises(cs.ServiceError, match="where"):
        list(cache.rows("nothing"))


def test_what_the_roots_hold_is_told(client: cs.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    assert client.roots() == ["videos", "caches"]
    monkeypatch.setattr("codecsieve.client.files._PAGE", 1)
    files = list(client.files("videos"))
    assert [(file.path, file.kind) for file in files] == [(f"videos/{it}.mp4", "video") for it in ("a", "b", "notes")]
    assert (files[2].name, files[2].bytes) == ("notes.mp4", len("no video"))
    assert [file.name for file in client.files("videos/", begins="A")] == ["a.mp4"]
    for folder, status in (("videos/none", 404), ("videos/../..", 404), ("none", 404), ("videos/a.mp4", 422)):
        with pytest.raises(cs.ServiceError) as caught:
            list(client.files(folder))
        assert caught.value.status == status
    with pytest.raises(cs.ServiceError):
        list(client.files(""))


def test_a_manifest_of_this_machine_is_sent(client: cs.Client, site: Path, tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("\ufeffpath,label\nvideos/b.mp4,walk\n")
    job = client.start_job("caches:sent", manifest=tmp_path / "list.csv", **SMALL)  # type: ignore[arg-type]
    assert job.wait().state == "done"
    assert cs.open_cache(site / "caches" / "sent")["b.mp4"].label == "walk"
    (tmp_path / "other.csv").write_bytes(b"\xff\xfe\0")
    for name in ("none.csv", "other.csv", ""):
        with pytest.raises(ManifestError, match=rf"{name}: [^\n]*\Z"):
            client.start_job("caches:sent", manifest=str(tmp_path / name))


def test_rows_come_in_pages(client: cs.Client, cached: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("codecsieve.client.caches._PAGE", 1)
    assert [row["label"] for row in client.cache(cached).rows()] == ["run", "walk"]
    monkeypatch.setattr("codecsieve.client.client._JOBS_AT_ONCE", 1)
    done = client.jobs("done")
    assert cached in [job.state.cache for job in done]
    assert len({job.id for job in done}) == len(done)


def test_a_request_that_is_sent_again_is_one_job(client: cs.Client, keyed: tuple[Running, str]) -> None:
    body = {"cache": "caches:again", "manifest": [{"path": "videos/a.mp4"}], "options": SMALL}
    headers = {"Authorization": f"Bearer {keyed[1]}", "Idempotency-Key": "mine"}
    with keyed[0].client() as plain:
        asked = [plain.post("/v1/jobs", json=body, headers=headers) for _ in range(2)]
        assert [answer.status_code for answer in asked] == [202, 202]
        job = client.job(asked[0].json()["id"])
        job.wait()
        late = plain.post("/v1/jobs", json=body, headers=headers)
        assert {answer.json()["id"] for answer in (*asked, late)} == {job.id}
        other = plain.post("/v1/jobs", json={**body, "cache": "caches:other"}, headers=headers)
        assert (other.status_code, "was another job's" in other.json()["error"]) == (422, True)
        assert plain.post("/v1/jobs", json=body, headers={**headers, "Idempotency-Key": "next"}).json()["id"] != job.id
    assert sum(one.id == job.id for one in client.jobs()) == 1


def test_many_threads_share_a_client(client: cs.Client, site: Path) -> None:
    truth = cs.sieve(site / "videos" / "a.mp4", **SMALL)  # type: ignore[arg-type]
    right: list[bool] = []

    def ask() -> None:
        right.append(same(client.sieve(site / "videos" / "a.mp4", **SMALL), truth))  # type: ignore[arg-type]

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert right == [True] * 8


def test_an_upload_that_is_too_large_is_told_before_it_is_sent_whole(tmp_path: Path) -> None:
    (tmp_path / "large.mp4").write_bytes(bytes(30_000_000))
    with running(tmp_path, "--max-upload", "1 MB") as service, cs.Client(service.url, retries=0) as client:
        with pytest.raises(cs.ServiceError, match="the body is over the 1 MB that this service takes") as caught:
            client.sieve(tmp_path / "large.mp4")
        assert caught.value.status == 413
        assert service.stop() == 0
    with pytest.raises(cs.ServiceError, match="no answer") as caught:
        cs.Client(f"http://127.0.0.1:{free_port()}", retries=0).caches()
    assert caught.value.status == 0


def test_a_job_is_followed_through_a_restart(make_video: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    for number in range(12):
        make_video(tmp_path / "videos" / f"{number}.mp4", seed=number, frames=60)
    port = free_port()
    seen: list[JobState] = []
    with running(tmp_path, "--port", str(port), ready=False) as service:
        client = cs.Client(f"http://127.0.0.1:{port}")
        job = client.start_job("caches:one", inputs=["videos"], **SMALL)  # type: ignore[arg-type]
        waiting = threading.Thread(target=lambda: job.wait(progress=seen.append))
        waiting.start()
        while not seen or seen[-1].done < 2:
            time.sleep(0.02)
        service.process.kill()
    with running(tmp_path, "--port", str(port), ready=False):
        waiting.join(60)
    assert not waiting.is_alive()
    assert seen[-1] == job.state
    assert (job.state.state, job.state.failed) == ("done", 0)


def test_a_job_is_cancelled(make_video: Callable[..., Path], tmp_path: Path) -> None:
    write_long_work(tmp_path / "videos", make_video)
    with running(tmp_path) as service, cs.Client(service.url) as client:
        long = {**SMALL, "num_frames": 256, "input_size": 224}
        job = client.start_job("caches:one", inputs=["videos"], **long)  # type: ignore[arg-type]
        for state in job.events():
            if state.done >= 2:
                break
        assert job.cancel().state == "cancelled"
        assert job.wait().ended
        with pytest.raises(cs.ServiceError, match="only one that waits or runs can be cancelled") as caught:
            job.cancel()
        assert caught.value.status == 409
        assert service.stop() == 0
