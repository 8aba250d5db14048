"""What the roots hold is told a page at a time, to those who may name it, and nothing of what lies outside."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from served import inside
from starlette.testclient import TestClient

from codecsieve.pipelines.serve import listing
from codecsieve.pipelines.serve.keys import Keys

SECRET = "secret.mp4"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Roots with videos, and with links in them, to each other and to what lies outside."""
    for name in ("videos/sub/deep", "videos/.hidden", "videos/empty", "caches", "outside/sub"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("a.mp4", "B.MKV", "list.csv", "notes.pdf", ".b.mp4", "sub/c.mp4", "sub/deep/d.mp4"):
        (tmp_path / "videos" / name).write_bytes(b"12345")
    (tmp_path / "outside" / SECRET).write_text("x")
    (tmp_path / "caches" / "e.mp4").write_text("xx")
    links = {"out.mp4": f"outside/{SECRET}", "out": "outside", "gone.mp4": "outside/gone", "here.mp4": "caches/e.mp4",
             "there": "videos/sub", "loop.mp4": "videos/loop.mp4", "up": "", "pipe": "videos/pipe.mp4"}  # fmt: skip
    for name, target in links.items():
        (tmp_path / "videos" / name).symlink_to(tmp_path / target)
    os.mkfifo(tmp_path / "videos" / "pipe.mp4")
    return tmp_path


@pytest.fixture
def client(place: Path) -> Iterator[TestClient]:
    with inside(place) as client:
        yield client


def names(client: TestClient, root: str = "videos", **query: str | int) -> list[str]:
    answer = client.get(f"/v1/roots/{root}", params=query)
    assert answer.status_code == 200, answer.text
    return [entry["name"] for entry in answer.json()["entries"]]


def test_roots_and_what_is_in_them_are_told_as_requests_name_them(client: TestClient, place: Path) -> None:
    assert client.get("/v1/roots").json() == {"roots": ["videos", "caches"]}
    told = client.get("/v1/roots/videos").json()
    assert (told["folder"], told["next"], told["whole"]) == ("videos", None, True)
    assert [(one["name"], one["kind"], one["bytes"]) for one in told["entries"]] == [
        ("B.MKV", "video", 5), ("a.mp4", "video", 5), ("empty", "folder", None), ("here.mp4", "video", 2),
        ("list.csv", "manifest", 5), ("sub", "folder", None), ("there", "folder", None),
    ]  # fmt: skip
    below = client.get("/v1/roots/videos", params={"folder": "/sub/"}).json()
    assert [one["path"] for one in below["entries"]] == ["videos/sub/c.mp4", "videos/sub/deep"]
    assert names(client, folder="there") == ["c.mp4", "deep"]
    assert names(client, folder="empty") == []
    assert client.post("/v1/describe", json={"path": below["entries"][0]["path"]}).status_code == 422  # found: no video
    assert str(place) not in json.dumps([told, below])


def test_names_come_in_pages_and_by_their_beginnings(client: TestClient) -> None:
    everything, offset, pages = names(client), 0, list[list[str]]()
    while offset is not None:
        told = client.get("/v1/roots/videos", params={"limit": 3, "offset": offset}).json()
        pages.append([entry["name"] for entry in told["entries"]])
        offset = told["next"]
    assert [name for page in pages for name in page] == everything
    assert all(len(page) <= 3 for page in pages)
    assert names(client, begins="b") == names(client, begins="B") == ["B.MKV"]
    assert names(client, begins="out") == names(client, begins=".") == names(client, begins="zz") == []
    assert names(client, offset=2**31) == []


@pytest.mark.parametrize(
    "folder",
    ["..", "../outside", "sub/../../outside", "out", "up", "up/outside", "/../outside", "....//", "a.mp4\0", "none",
     "%2e%2e/outside", "..%2foutside", "x/" * 2000, "../" * 1000, "~", "sub\\..\\..\\outside"],
)  # fmt: skip
def test_a_folder_out_of_the_roots_is_as_one_that_is_not_there(client: TestClient, place: Path, folder: str) -> None:
    missing = client.get("/v1/roots/videos", params={"folder": "no-such"}).json()["error"]
    told = client.get("/v1/roots/videos", params={"folder": folder})
    assert told.status_code == 404, told.text
    assert told.json()["error"].partition("): ")[2] == missing.partition("): ")[2]
    assert SECRET not in told.text
    assert str(place) not in told.text


@pytest.mark.parametrize("root", ["other", "..", "%2e%2e", "videos%2f..%2foutside", "..%2foutside", "Videos", "%00"])
def test_a_root_is_one_that_there_is(client: TestClient, root: str) -> None:
    answer = client.get(f"/v1/roots/{root}")
    assert answer.status_code == 404
    assert SECRET not in answer.text


@pytest.mark.parametrize(
    ("query", "status"),
    [("folder=a.mp4", 422), ("limit=0", 422), ("limit=1001", 422), ("offset=-1", 422), ("offset=99999999999", 422),
     ("page=1", 422), (f"folder={'x' * 5000}", 422), (f"begins={'x' * 300}", 422), ("folder=%ff", 404)],
)  # fmt: skip
def test_queries_that_cannot_be(client: TestClient, query: str, status: int) -> None:
    answer = client.get(f"/v1/roots/videos?{query}")
    assert (answer.status_code, answer.json().keys()) == (status, {"error"})
    assert "\n" not in answer.json()["error"]


def test_a_folder_that_is_locked_is_told_and_one_that_has_gone_is_not_there(client: TestClient, place: Path) -> None:
    (place / "videos" / "locked").mkdir(mode=0)
    if os.geteuid():  # whom nothing is locked to
        answer = client.get("/v1/roots/videos?folder=locked")
        assert (answer.status_code, "Permission denied" in answer.json()["error"]) == (422, True)
    os.rename(place / "videos", place / "moved")
    assert client.get("/v1/roots/videos").status_code == 404


def test_names_that_are_no_text_are_left_out(client: TestClient, place: Path) -> None:
    (place / "videos" / "sub" / os.fsdecode(b"\xff.mp4")).write_text("x")
    (place / "videos" / "sub" / "a\nb\u202e.mp4").write_text("x")
    assert names(client, folder="sub") == ["a\nb\u202e.mp4", "c.mp4", "deep"]


def test_a_huge_folder_is_answered_soon_and_said_not_to_be_whole(
    client: TestClient, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = place / "videos" / "huge"
    folder.mkdir()
    for number in range(5000):
        (folder / f"{number:05}.mp4").symlink_to(place / "videos" / "a.mp4")
    began = time.monotonic()
    told = client.get("/v1/roots/videos?folder=huge&limit=1000&offset=4000").json()
    assert (len(told["entries"]), told["entries"][-1]["name"], told["next"]) == (1000, "04999.mp4", None)
    assert told["whole"]
    assert time.monotonic() - began < 20  # of which most is the machine's
    monkeypatch.setattr(listing, "MOST", 4999)
    told = client.get("/v1/roots/videos?folder=huge&limit=2").json()
    assert (len(told["entries"]), told["next"], told["whole"]) == (2, 2, False)
    monkeypatch.setattr(listing, "MOST", 5000)
    assert client.get("/v1/roots/videos?folder=huge&limit=2").json()["whole"]


def test_only_who_may_name_files_is_told_of_them(place: Path) -> None:
    secrets = {role: Keys(place / "data").add(role, [role]) for role in ("read", "sieve", "jobs")}
    with inside(place) as client:
        for url in ("/v1/roots", "/v1/roots/videos", "/v1/roots/none"):
            assert client.get(url).status_code == 401
            assert client.get(url, headers={"Authorization": "Bearer cs_wrong"}).status_code == 401
            told = client.get(url, headers={"Authorization": f"Bearer {secrets['read']}"})
            assert (told.status_code, told.json()["error"]) == (
                403,
                "key read has the roles read; this needs sieve or jobs",
            )
            for role in ("sieve", "jobs"):
                answer = client.get(url, headers={"Authorization": f"Bearer {secrets[role]}"})
                assert answer.status_code == (404 if url.endswith("none") else 200)
        page = {"Authorization": f"Bearer {secrets['sieve']}", "Origin": "http://evil.example"}
        assert client.get("/v1/roots/videos", headers=page).status_code == 403
