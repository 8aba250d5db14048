"""What a service answers: tokens, embeddings, pictures, caches, jobs, its own state."""

from __future__ import annotations

import base64
import io
import json
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from safetensors.numpy import load
from served import Running, running

import codecsieve as cs

SMALL = {"num_frames": 4, "input_size": 28, "k_keep": 6}
QUERY = "num_frames=4&input_size=28&k_keep=6"


@pytest.fixture(scope="module")
def client(service: Running) -> Iterator[httpx.Client]:
    with service.client() as client:
        yield client


@pytest.fixture(scope="module")
def truth(site: Path) -> cs.SievedClip:
    return cs.sieve(site / "videos" / "a.mp4", **SMALL)  # type: ignore[arg-type]


def arrow_of(answer: httpx.Response) -> tuple[dict[str, np.ndarray], dict[str, object]]:
    table = pa.ipc.open_stream(answer.content).read_all()
    arrays = {}
    for name in table.column_names:
        column = table[name].combine_chunks()
        arrays[name] = column.to_numpy_ndarray() if hasattr(column, "to_numpy_ndarray") else column.to_numpy()
    return arrays, json.loads(table.schema.metadata[b"codecsieve"])


@pytest.mark.slow
@pytest.mark.parametrize("way", ["path", "body", "form"])
@pytest.mark.parametrize("form", ["arrow", "npz", "safetensors"])
def test_a_clip_comes_back_as_the_tokens_that_sieve_gives(
    client: httpx.Client, site: Path, truth: cs.SievedClip, way: str, form: str
) -> None:
    url, video = f"/v1/sieve?{QUERY}&format={form}", site / "videos" / "a.mp4"
    match way:
        case "path":
            answer = client.post(url, json={"path": "videos/a.mp4"})
        case "body":
            answer = client.post(url, content=video.read_bytes(), headers={"Content-Type": "video/mp4"})
        case _:
            answer = client.post(url, files={"file": ("a.mp4", video.read_bytes())})
    assert answer.status_code == 200, answer.text
    match form:
        case "arrow":
            arrays, facts = arrow_of(answer)
        case "npz":
            arrays = dict(np.load(io.BytesIO(answer.content)))
            facts = json.loads(str(arrays.pop("codecsieve")))
        case _:
            arrays = load(answer.content)
            length = int.from_bytes(answer.content[:8], "little")
            facts = json.loads(json.loads(answer.content[8 : 8 + length])["__metadata__"]["codecsieve"])
    for name in ("patches", "positions", "scores"):
        assert np.array_equal(arrays[name], getattr(truth, name)), name
    frame_ids = facts["frame_ids"] if form == "arrow" else arrays["frame_ids"]
    assert np.array_equal(frame_ids, truth.frame_ids)  # type: ignore[arg-type]
    assert (facts["codec"], facts["signals"], facts["grid"]) == (truth.codec, truth.signals, 2)


def test_accept_says_the_form_too(client: httpx.Client) -> None:
    for accept, kind in (
        ("*/*", "application/vnd.apache.arrow.stream"),
        ("application/x-npz", "application/x-npz"),
        ("text/html, application/vnd.safetensors;q=0.5", "application/vnd.safetensors"),
    ):
        answer = client.post(f"/v1/sieve?{QUERY}", json={"path": "videos/a.mp4"}, headers={"Accept": accept})
        assert answer.headers["content-type"] == kind
    answer = client.post(f"/v1/sieve?{QUERY}", json={"path": "videos/a.mp4"}, headers={"Accept": "text/html"})
    assert answer.status_code == 406


def test_a_part_of_a_clip_without_pixels(client: httpx.Client, site: Path) -> None:
    answer = client.post(f"/v1/sieve?{QUERY}&start=0.2&end=0.5&pixels=false&format=npz", json={"path": "videos/a.mp4"})
    arrays = np.load(io.BytesIO(answer.content))
    truth = cs.sieve(site / "videos" / "a.mp4", start=0.2, end=0.5, **SMALL)  # type: ignore[arg-type]
    assert "patches" not in arrays
    assert np.array_equal(arrays["frame_ids"], truth.frame_ids)


@pytest.mark.parametrize(
    ("query", "status", "message"),
    [
        ("k_keep=0", 422, "k_keep (0) must be > 0"),
        ("k_keep=x", 422, "k_keep ('x'): Input should be a valid integer, unable to parse string as an integer"),
        ("k_kep=3", 422, "k_kep: there is no such field; /openapi.json lists those there are"),
        ("fuse=none", 422, "fuse ('none') must be one of weighted, max, sum, geomean"),
        ("fps=2", 422, "fps (2.0) is for spread fps; here spread is ends"),
        ("preset=other", 422, "preset"),
        ("start=nan", 422, "start"),
        ("format=pickle", 406, "format ('pickle') must be one of arrow, npz, safetensors"),
    ],
)
def test_a_field_that_cannot_be_is_one_line(client: httpx.Client, query: str, status: int, message: str) -> None:
    answer = client.post(f"/v1/sieve?{query}", json={"path": "videos/a.mp4"})
    assert answer.status_code == status
    assert answer.json().keys() == {"error"}
    assert answer.json()["error"].startswith(message)


def test_a_file_that_is_no_video_is_told_under_the_name_that_users_know(client: httpx.Client, site: Path) -> None:
    answer = client.post("/v1/sieve", json={"path": "videos/notes.mp4"})
    assert answer.status_code == 422
    assert answer.json()["error"].startswith("videos/notes.mp4: not a readable video")
    answer = client.post("/v1/sieve", content=b"no video", headers={"Content-Type": "video/mp4"})
    assert answer.json()["error"].startswith("upload: not a readable video")
    assert str(site) not in answer.text
    assert list((site / "data" / "uploads").iterdir()) == []


@pytest.mark.slow
def test_a_description_and_pictures(client: httpx.Client) -> None:
    told = client.post("/v1/describe", json={"path": "videos/a.mp4"}).json()
    assert (told["path"], told["codec"]) == ("videos/a.mp4", "h264")
    for form, start in (("png", b"\x89PNG"), ("gif", b"GIF8"), ("mp4", b"\0\0\0")):
        answer = client.post(f"/v1/inspect?{QUERY}&format={form}&slots=2", json={"path": "videos/a.mp4"})
        assert answer.status_code == 200, answer.text
        assert answer.content.startswith(start)


def test_a_study_selects_again_at_once_and_as_the_sieve_does(client: httpx.Client, site: Path) -> None:
    made = client.post("/v1/studies?num_frames=4&input_size=56", json={"path": "videos/a.mp4"})
    assert made.status_code == 201
    study = made.json()
    picture = Image.open(io.BytesIO(client.get(study["frames"]).content))
    assert picture.size == (study["columns"] * 56, 56)
    for options in ({"k_keep": 9}, {"k_keep": 20, "anchors": 1, "mv_compensate": "affine"}):
        kept = cs.sieve(site / "videos" / "a.mp4", num_frames=4, input_size=56, **options)  # type: ignore[arg-type]
        answer = client.get(f"/v1/studies/{study['id']}/selection", params=options).json()
        bits = np.unpackbits(np.frombuffer(base64.b64decode(answer["kept"]), np.uint8))[: 4 * 16]
        assert np.array_equal(np.flatnonzero(bits), kept.indices)
        assert len(base64.b64decode(answer["heat"])) == 4 * 16
    assert client.get(f"/v1/studies/{study['id']}/selection?k_keep=65").status_code == 422
    assert client.get("/v1/studies/none/selection").status_code == 404


def test_embeddings_need_a_model(client: httpx.Client) -> None:
    answer = client.post("/v1/embed", json={"path": "videos/a.mp4"})
    assert (answer.status_code, "--model" in answer.json()["error"]) == (501, True)


def wait_for(client: httpx.Client, job: dict[str, object]) -> dict[str, object]:
    """The job when it is done, by its events."""
    last: dict[str, object] = {}
    with client.stream("GET", f"/v1/jobs/{job['id']}/events", timeout=120) as events:
        for line in events.iter_lines():
            if line.startswith("data: "):
                last = json.loads(line.removeprefix("data: "))
    return last


@pytest.mark.slow
def test_a_job_makes_the_cache_that_precompute_makes(
    client: httpx.Client, site: Path, tmp_path: Path, cache_content: Callable[[Path], dict[str, object]]
) -> None:
    body = {"cache": "caches:one", "inputs": ["videos"], "options": SMALL}
    asked = client.post("/v1/jobs", json=body)
    assert asked.status_code == 202
    assert asked.headers["location"] == f"/v1/jobs/{asked.json()['id']}"
    done = wait_for(client, asked.json())
    assert done["state"] == "done"
    summary = done["summary"]
    assert isinstance(summary, dict)
    assert (summary["made"], summary["failed"], summary["complete"]) == (2, 1, False)
    assert summary["failures"][0]["uri"] == "videos/notes.mp4"
    cs.precompute(site / "videos", tmp_path / "two", **SMALL)  # type: ignore[arg-type]
    assert cache_content(site / "caches" / "one") == cache_content(tmp_path / "two")
    assert client.get(asked.headers["location"]).json()["state"] == "done"
    assert client.delete(asked.headers["location"]).status_code == 409
    assert "caches:one" in client.get("/v1/caches").json()["caches"]


@pytest.mark.slow
def test_a_manifest_in_the_job_gives_labels_and_the_cache_can_be_read(client: httpx.Client, site: Path) -> None:
    rows = [{"path": "videos/a.mp4", "label": "run", "take": 1}, {"path": "videos/b.mp4", "label": "walk", "take": 2}]
    job = client.post("/v1/jobs", json={"cache": "caches:labelled", "manifest": rows, "options": SMALL}).json()
    assert wait_for(client, job)["state"] == "done"
    facts = client.get("/v1/caches/caches:labelled", params={"where": "take > 1"}).json()
    assert (facts["clips"], facts["labels"], facts["rows"][0]["uri"]) == (1, ["walk"], "videos/b.mp4")
    assert client.get("/v1/caches/caches:labelled", params={"limit": 1, "offset": 1}).json()["total"] == 2
    cache = cs.open_cache(site / "caches" / "labelled")
    for clip in ("a.mp4", cache.find("a.mp4")):
        arrays, told = arrow_of(client.get(f"/v1/caches/caches:labelled/clips/{clip}"))
        assert np.array_equal(arrays["patches"], cache["a.mp4"].patches)
        assert told["label"] == "run"
        assert told["metadata"] == {"take": 1}
    picture = client.get("/v1/caches/caches:labelled/clips/a.mp4/picture")
    assert picture.content.startswith(b"\x89PNG")
    assert client.get("/v1/caches/caches:labelled/clips/none").status_code == 404
    assert client.get("/v1/caches/caches:labelled?where=nothing").status_code == 422
    assert client.get("/v1/caches/caches:none").status_code == 404


def test_a_job_that_cannot_be_is_refused_before_it_is_queued(client: httpx.Client, site: Path) -> None:
    for body, message in (
        ({"cache": "caches:x", "inputs": ["videos/none.mp4"]}, "path ('videos/none.mp4'): nothing there"),
        ({"cache": "elsewhere:x", "inputs": ["videos"]}, "cache ('elsewhere:x') must be ROOT:FOLDER"),
        ({"cache": "caches:x"}, "a job must have inputs, or a manifest"),
        ({"cache": "caches:x", "inputs": ["videos"], "options": {"k_keep": 0}}, "k_keep (0) must be > 0"),
        ({"cache": "caches:x", "inputs": ["videos"], "options": {"k_kep": 1}}, "did you mean k_keep?"),
    ):
        answer = client.post("/v1/jobs", json=body)
        assert answer.status_code in (404, 422), answer.text
        assert message in answer.json()["error"]
    cs.precompute(site / "videos" / "a.mp4", site / "caches" / "mine", workers=0, **SMALL)  # type: ignore[arg-type]
    body = {"cache": "caches:mine", "inputs": ["videos"], "options": {**SMALL, "k_keep": 5}}
    answer = client.post("/v1/jobs", json=body)
    assert answer.status_code == 409
    assert "cache 'caches:mine' was made with k_keep=6, you asked 5; give" in answer.json()["error"]
    cs.precompute(site / "videos" / "a.mp4", site / "caches" / "off", workers=0, decoder_fields="off", **SMALL)  # type: ignore[arg-type]
    body = {"cache": "caches:off", "inputs": ["videos"], "options": {**SMALL, "decoder_fields": "on"}}
    answer = client.post("/v1/jobs", json=body)
    assert answer.status_code == 409
    assert "was made with bitstream_reader=ffmpeg, you asked decoder" in answer.json()["error"]
    answer = client.post("/v1/jobs", json=body | {"options": {**SMALL, "decoder_fields": "off"}})
    assert answer.status_code == 202, answer.text


def test_its_state_is_told(client: httpx.Client) -> None:
    assert client.post(f"/v1/sieve?{QUERY}", json={"path": "videos/a.mp4"}).status_code == 200
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/readyz").json()["status"] == "ready"
    text = client.get("/metrics").text
    assert "codecsieve_requests_total{" in text
    assert 'codecsieve_decodes_total{outcome="done",task="sieve"}' in text
    assert client.get("/openapi.json").json()["paths"].keys() >= {"/v1/sieve", "/v1/jobs", "/v1/caches/{name}"}


def test_every_request_has_an_id_and_a_line_in_the_log(client: httpx.Client, service: Running) -> None:
    answer = client.get("/healthz", headers={"X-Request-ID": "mine-1"})
    assert answer.headers["x-request-id"] == "mine-1"
    other = client.get("/healthz", headers={"X-Request-ID": "not one\tof mine"}).headers["x-request-id"]
    assert other != "not one\tof mine"

    def logged() -> set[str]:
        events = [json.loads(line) for line in service.log.read_text().splitlines() if line[0] == "{"]
        return {event.get("request_id") for event in events}

    until = time.monotonic() + 60  # a line is written after its answer has left
    while not {"mine-1", other} <= logged() and time.monotonic() < until:
        time.sleep(0.05)
    assert {"mine-1", other} <= logged()


@pytest.mark.slow
def test_killed_in_mid_job_it_goes_on_with_the_next_start(
    make_video: Callable[..., Path], tmp_path: Path, cache_content: Callable[[Path], dict[str, object]]
) -> None:
    (tmp_path / "videos").mkdir()
    for number in range(12):
        make_video(tmp_path / "videos" / f"{number}.mp4", seed=number, frames=60)
    with running(tmp_path) as service, service.client() as client:
        job = client.post("/v1/jobs", json={"cache": "caches:one", "inputs": ["videos"], "options": SMALL}).json()
        with client.stream("GET", f"/v1/jobs/{job['id']}/events", timeout=60) as events:
            for line in events.iter_lines():
                if line.startswith("data: ") and json.loads(line[6:])["done"] >= 2:
                    break
            service.process.send_signal(signal.SIGKILL)
    with running(tmp_path) as service, service.client() as client:
        assert wait_for(client, job)["state"] == "done"
        assert service.stop() == 0
    cs.precompute(tmp_path / "videos", tmp_path / "two", **SMALL)  # type: ignore[arg-type]
    assert cache_content(tmp_path / "caches" / "one") == cache_content(tmp_path / "two")


@pytest.mark.slow
def test_a_job_that_is_cancelled_ends_and_what_it_made_stays(make_video: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    make_video(tmp_path / "videos" / "long.mp4", frames=600)  # so that no job ends by itself meanwhile
    clips = [
        {"path": "videos/long.mp4", "start": round(number / 1000, 3), "id": f"clip-{number}"} for number in range(1000)
    ]
    body = {"manifest": clips, "options": {**SMALL, "num_frames": 256, "input_size": 224}}
    with running(tmp_path) as service, service.client() as client:
        job = client.post("/v1/jobs", json={"cache": "caches:one", **body}).json()
        other = client.post("/v1/jobs", json={"cache": "caches:two", **body}).json()
        with client.stream("GET", f"/v1/jobs/{job['id']}/events", timeout=60) as events:
            for line in events.iter_lines():
                if line.startswith("data: ") and json.loads(line[6:])["done"] >= 2:
                    break
        gone = client.delete(f"/v1/jobs/{job['id']}")
        assert gone.json().get("state") == "cancelled", gone.text
        assert client.delete(f"/v1/jobs/{other['id']}").json()["state"] == "cancelled"
        deadline = time.monotonic() + 30
        while not (tmp_path / "caches" / "one" / "index").exists() or not len(
            cs.open_cache(tmp_path / "caches" / "one")
        ):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert service.stop() == 0
    assert 1 < len(cs.open_cache(tmp_path / "caches" / "one")) < 1000
    assert not (tmp_path / "caches" / "two").exists()


@pytest.mark.slow
def test_a_second_service_on_one_data_folder_refuses_in_one_line(service: Running, site: Path) -> None:
    before = service.log.read_text().count("is another service's")
    with running(site, ready=False) as second:
        assert second.process.wait(60) == 1
    lines = [line for line in service.log.read_text().splitlines() if "is another service's (process" in line]
    assert len(lines) == before + 1
    assert "Traceback" not in lines[-1]
