"""Manifests that come with jobs: as text they mean what a file means, and none is kept longer than it is to be read."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from served import inside
from starlette.testclient import TestClient

import codecsieve as cs
from codecsieve.errors import ConfigError, ManifestError
from codecsieve.pipelines.serve.jobs import CANCELLED, DONE, QUEUED, RUNNING, JobStore
from codecsieve.pipelines.serve.manifests import Manifests, rows_of
from codecsieve.pipelines.serve.refusal import RefusedError
from codecsieve.pipelines.serve.roots import Roots

SMALL = {"num_frames": 4, "input_size": 28, "k_keep": 6}


@pytest.fixture
def site(make_video: Callable[..., Path], tmp_path: Path) -> Path:
    (tmp_path / "videos").mkdir()
    for name in ("a", "b c"):
        make_video(tmp_path / "videos" / f"{name}.mp4")
    return tmp_path


@pytest.fixture
def client(site: Path) -> Iterator[TestClient]:
    with inside(site, kept_jobs=2, job_workers=1) as client:
        yield client


def ended(client: TestClient, job: dict[str, Any]) -> dict[str, Any]:
    deadline = time.monotonic() + 120
    while (state := client.get(f"/v1/jobs/{job['id']}").json())["state"] in ("queued", "running"):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return state


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


# --- what text means

TEXTS = {
    "named columns": "path,label,take\nvideos/a.mp4,run,1\n\nvideos/b c.mp4,,2\n",
    "tabs": "path\tlabel\ttake\nvideos/a.mp4\trun\t1\nvideos/b c.mp4\t\t2\n",
    "windows": '\ufeff"path","label","take"\r\n"videos/a.mp4","run","1"\r\n"videos/b c.mp4","","2"\r\n',
    "JSON lines": '\n{"path": "videos/a.mp4", "label": "run", "take": 1}\n{"path": "videos/b c.mp4", "take": 2}',
}


@pytest.mark.parametrize("case", TEXTS)
def test_text_means_what_a_file_of_it_means(case: str) -> None:
    rows = rows_of(TEXTS[case], {})
    assert rows == [{"path": "videos/a.mp4", "label": "run", "take": 1}, {"path": "videos/b c.mp4", "take": 2}]


def test_columns_are_named_and_the_rows_have_our_names() -> None:
    assert rows_of("file,class,from\nvideos/a.mp4,7,0.5\n", {"path": "file", "label": "class", "start": "from"}) == [
        {"path": "videos/a.mp4", "label": "7", "start": 0.5}
    ]
    with pytest.raises(ConfigError, match="columns"):
        rows_of("file\nvideos/a.mp4\n", {"file": "path"})


@pytest.mark.parametrize(
    "text",
    [" ", "path,label", "label\nrun", "path,path\na,b", '{"path": 3}', "{", '{"label": "run"}', "id\nx",
     "a,b,c,d,e,f,g", 'path,label\n"videos/a.mp4', "path,label\nvideos/a.mp4,x,y", "\ud800", "\0",
     "path,start\nvideos/a.mp4,soon", "x" * 2_000_000],
)  # fmt: skip
def test_text_that_is_no_manifest_is_told_in_one_line_without_a_path_of_ours(text: str) -> None:
    with pytest.raises(ManifestError, match=r"\Amanifest_text[^\n]*\Z") as told:
        rows_of(text, {})
    assert "/" not in str(told.value).replace("videos/a.mp4", "")


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n"])
def test_text_of_too_many_rows_is_not_read(end: str) -> None:
    began = time.monotonic()
    with pytest.raises(
        RefusedError, match=r"\Amanifest_text \(1000000 rows\) must have <= 250000; put it below a root"
    ):
        rows_of(f"v{end}" * 1_000_000, {})
    assert time.monotonic() - began < 20


@pytest.mark.parametrize(
    "path", ["../a.mp4", "/etc/passwd", "videos/../../etc/passwd", "~/a.mp4", "etc/passwd", "videos/none.mp4", "a\\b"]
)
def test_text_names_nothing_outside_of_the_roots(client: TestClient, site: Path, path: str) -> None:
    for text in (f'path\n"{path}"\n', json.dumps({"path": path})):
        answer = client.post("/v1/jobs", json={"cache": "caches:x", "manifest_text": text})
        assert (answer.status_code, "nothing there" in answer.json()["error"]) == (404, True), answer.text
        assert str(site) not in answer.text
    assert list((site / "data" / "jobs").iterdir()) == []


@pytest.mark.slow
def test_a_job_of_text_is_the_job_of_its_rows(client: TestClient, site: Path) -> None:
    text = "path,label,take\nvideos/a.mp4,run,1\nvideos/b c.mp4,walk,2\n"
    job = client.post("/v1/jobs", json={"cache": "caches:text", "manifest_text": text, "options": SMALL})
    assert job.status_code == 202, job.text
    assert ended(client, job.json())["state"] == "done"
    cache = cs.open_cache(site / "caches" / "text")
    assert (cache["a.mp4"].label, cache["a.mp4"].metadata["take"]) == ("run", 1)
    assert (cache["b c.mp4"].label, len(cache)) == ("walk", 2)
    wait_until(lambda: not list((site / "data" / "jobs").iterdir()))
    rows = [{"path": "videos/a.mp4"}]
    for both in ({"manifest": rows, "manifest_text": text}, {"inputs": ["videos"], "manifest_text": text}, {}):
        answer = client.post("/v1/jobs", json={"cache": "caches:x", **both})
        assert (answer.status_code, "one of them" in answer.json()["error"]) == (422, True)


def test_numbers_are_no_truth_values(client: TestClient) -> None:
    for options, rule in (({"k_keep": True}, "k_keep (True) must be a whole number"),
                          ({"center_prior": False}, "center_prior (False) must be a number"),
                          ({"static_fallback": 1}, "static_fallback (1) must be true or false")):  # fmt: skip
        answer = client.post("/v1/jobs", json={"cache": "caches:x", "inputs": ["videos"], "options": options})
        assert (answer.status_code, answer.json()["error"].startswith(rule)) == (422, True), answer.text


# --- how long they, and jobs, are kept


@pytest.mark.slow
def test_the_last_jobs_are_kept_and_a_manifest_until_its_jobs_have_ended(client: TestClient, site: Path) -> None:
    body = {"manifest": [{"path": "videos/a.mp4"}], "options": SMALL}
    keyed = {"Idempotency-Key": "first"}
    jobs = [client.post("/v1/jobs", json={"cache": "caches:0", **body}, headers=keyed).json()]
    jobs += [client.post("/v1/jobs", json={"cache": f"caches:{number}", **body}).json() for number in (1, 2)]
    assert len(list((site / "data" / "jobs").iterdir())) == 1  # alike, and shared
    assert ended(client, jobs[2])["state"] == "done"
    wait_until(lambda: not list((site / "data" / "jobs").iterdir()))
    kept = [job["id"] for job in client.get("/v1/jobs").json()["jobs"]]
    assert kept == [jobs[2]["id"], jobs[1]["id"]]
    assert client.get(f"/v1/jobs/{jobs[0]['id']}").status_code == 404
    assert len(cs.open_cache(site / "caches" / "0")) == 1
    again = {"Idempotency-Key": "second"}
    asked = [client.post("/v1/jobs", json={"cache": "caches:3", **body}, headers=again).json()]
    assert ended(client, asked[0])["state"] == "done"
    wait_until(lambda: not list((site / "data" / "jobs").iterdir()))
    late = client.post("/v1/jobs", json={"cache": "caches:3", **body}, headers=again).json()
    assert late["id"] == asked[0]["id"]
    assert list((site / "data" / "jobs").iterdir()) == []  # nobody is to read it


def test_what_a_killed_service_left_goes_and_what_goes_on_stays(site: Path, tmp_path: Path) -> None:
    """Each owner's jobs are counted by themselves, and those that wait or run not at all."""
    data = tmp_path / "data" / "jobs"
    data.mkdir(parents=True)
    store = JobStore(tmp_path / "data" / "jobs.sqlite")
    manifests = Manifests(data, Roots({"videos": site / "videos"}), store)
    for name in ("open.jsonl", "running.jsonl", "over.jsonl", "half.jsonl.partial"):
        (data / name).write_text("x")
    for owner, name, state, finished in (
        ("me", "open", QUEUED, None), ("me", "running", RUNNING, None), ("me", "over", DONE, 1.0),
        ("me", "other", CANCELLED, 2.0), ("you", "yours", DONE, 0.5),
    ):  # fmt: skip
        store.add(owner, "caches:x", {"inputs": [f"/moved/jobs/{name}.jsonl"]}, name)
        store.change(name, state=state, finished=finished)
    store.add("me", "caches:x", {"inputs": []}, "none")
    manifests.sweep()
    assert sorted(file.name for file in data.iterdir()) == ["open.jsonl", "running.jsonl"]
    store.forget(1)
    assert {job.id for job in store.page()} == {"open", "running", "none", "other", "yours"}
    store.close()


def test_no_manifest_is_swept_before_its_job_is_in_the_store(site: Path, tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    store = JobStore(tmp_path / "jobs.sqlite")
    manifests = Manifests(tmp_path / "kept", Roots({"videos": site / "videos"}), store)
    lines = manifests.lines_of([{"path": "videos/a.mp4"}])
    with manifests.kept(lines):
        sweeping = threading.Thread(target=manifests.sweep)
        sweeping.start()
        sweeping.join(0.2)
        assert sweeping.is_alive()
        store.add("me", "caches:x", {"inputs": [str(manifests.file_of(lines))]})
    sweeping.join()
    assert manifests.file_of(lines).read_bytes() == lines
    with pytest.raises(RefusedError, match="manifest row 2: must have a path"):
        manifests.lines_of([{"path": "videos/a.mp4"}, {"path": None}])
    with pytest.raises(RefusedError, match=r"manifest \(250001 rows\) must have <= 250000"):
        manifests.lines_of([{"path": "videos"}] * 250_001)
    store.close()
