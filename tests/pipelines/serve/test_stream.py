"""`/v1/stream`: windows over a WebSocket as `cs.stream` gives them, its access rules, and that nothing stays behind."""

from __future__ import annotations

import io
import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from children import children_with
from served import Running, inside, running
from starlette.testclient import TestClient, WebSocketDenialResponse

import codecsieve as cs
from codecsieve.pipelines.serve.keys import Keys

QUERY = "window=8&stride=8&input_size=56&k_keep=40"
SMALL: dict[str, Any] = {"window": 8, "stride": 8, "input_size": 56, "k_keep": 40}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, make_video: Callable[..., Path]) -> Path:
    """With videos/clip.mkv of 24 pictures, and videos/notes.txt, which is none."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "videos").mkdir()
    make_video(folder / "videos" / "clip.mkv", frames=24, options={"bf": "0"})
    (folder / "videos" / "notes.txt").write_text("no video")
    return folder


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[TestClient]:
    with inside(folder, streams=1, patience=2) as client:
        yield client


def same_windows(socket: Any, expected: list[cs.StreamWindow]) -> None:
    """What comes is these windows, and then the end."""
    for window in expected:
        told = socket.receive_json()
        assert (told["window"], told["start"], told["notes"]) == (window.number, window.start, [])
        arrays = np.load(io.BytesIO(socket.receive_bytes()))
        for name in ("patches", "positions", "scores", "frame_ids"):
            np.testing.assert_array_equal(arrays[name], getattr(window.selection, name), name)
        np.testing.assert_array_equal(arrays["times"], window.times)
        assert json.loads(str(arrays["codecsieve"]))["signals"] == window.selection.signals
    told = socket.receive_json()
    assert told == {"end": True, "frames": 24, "windows": len(expected)}


@pytest.mark.slow
def test_a_video_that_is_sent_comes_back_as_its_windows(client: TestClient, folder: Path) -> None:
    data = (folder / "videos" / "clip.mkv").read_bytes()
    with client.websocket_connect(f"ws://localhost/v1/stream?{QUERY}") as socket:
        for at in range(0, len(data), 5000):
            socket.send_bytes(data[at : at + 5000])
        socket.send_bytes(b"")
        same_windows(socket, list(cs.stream(folder / "videos" / "clip.mkv", **SMALL)))


@pytest.mark.slow
def test_a_file_below_a_root_is_named(client: TestClient, folder: Path) -> None:
    with client.websocket_connect(f"ws://localhost/v1/stream?path=videos/clip.mkv&{QUERY}") as socket:
        same_windows(socket, list(cs.stream(folder / "videos" / "clip.mkv", **SMALL)))


@pytest.mark.parametrize(
    ("query", "status", "says"),
    [
        ("window=0", 422, r"window \(0\) must be in"),
        ("k_kep=3", 422, "k_kep: Extra inputs"),
        ("num_frames=8", 422, "num_frames .* is not for streams"),
        ("follow=true", 422, "follow is for a path"),
        ("format=pickle", 406, "format .* must be one of"),
        ("path=videos/../../etc/passwd", 404, "nothing there"),
        ("path=elsewhere/a.mp4", 404, "nothing there"),
    ],
)
def test_what_cannot_be_is_refused_before_it_is_accepted(
    client: TestClient, query: str, status: int, says: str
) -> None:
    with pytest.raises(WebSocketDenialResponse) as told, client.websocket_connect(f"ws://localhost/v1/stream?{query}"):
        pass
    assert told.value.status_code == status
    told.value.read()
    assert re.search(says, told.value.json()["error"])


@pytest.mark.parametrize("headers", [{"Origin": "http://evil.example"}, {"Host": "evil.example"}])
def test_pages_of_other_sites_may_not(client: TestClient, headers: dict[str, str]) -> None:
    with (
        pytest.raises(WebSocketDenialResponse) as told,
        client.websocket_connect("ws://localhost/v1/stream", headers=headers),
    ):
        pass
    assert told.value.status_code == 403


@pytest.mark.slow
def test_a_file_that_is_no_video_is_said_under_its_own_name(client: TestClient, folder: Path) -> None:
    with client.websocket_connect(f"ws://localhost/v1/stream?path=videos/notes.txt&{QUERY}") as socket:
        told = socket.receive_json()
    assert told["status"] == 422
    assert told["error"].startswith("videos/notes.txt: ")
    assert str(folder) not in told["error"]


@pytest.mark.slow
def test_a_sender_that_falls_silent_is_told_so(client: TestClient) -> None:
    with client.websocket_connect(f"ws://localhost/v1/stream?{QUERY}") as socket:
        socket.send_bytes(b"\x1aE\xdf\xa3")
        assert socket.receive_json() == {
            "error": "upload: nothing came for 2 s; has its sender stopped? patience says how long to wait",
            "status": 422,
        }


@pytest.mark.slow
def test_there_are_so_many_and_whoever_goes_makes_room(client: TestClient, folder: Path) -> None:
    with client.websocket_connect(f"ws://localhost/v1/stream?{QUERY}"):
        with (
            pytest.raises(WebSocketDenialResponse) as told,
            client.websocket_connect(f"ws://localhost/v1/stream?{QUERY}"),
        ):
            pass
        assert told.value.status_code == 429
        assert told.value.headers["retry-after"] == "10"
        assert len(children_with("stream_process")) == 1
    deadline = time.monotonic() + 60
    while children_with("stream_process") and time.monotonic() < deadline:
        time.sleep(0.05)
    assert children_with("stream_process") == []
    with client.websocket_connect(f"ws://localhost/v1/stream?path=videos/clip.mkv&{QUERY}") as socket:
        same_windows(socket, list(cs.stream(folder / "videos" / "clip.mkv", **SMALL)))


def test_a_stream_lasts_so_long(folder: Path, tmp_path: Path) -> None:
    with (
        inside(tmp_path, stream_seconds=0.5) as client,
        client.websocket_connect(f"ws://localhost/v1/stream?{QUERY}") as socket,
    ):
        assert socket.receive_json()["error"] == "lasted longer than 0.5 s; open another"


@pytest.mark.slow
def test_a_service_with_keys_as_users_have_it(folder: Path, tmp_path: Path) -> None:
    """Over the network, longer than a request's headers are waited for, and only with a key that may sieve."""
    from websockets.exceptions import InvalidStatus
    from websockets.sync.client import connect

    keys = Keys(tmp_path / "data")
    (tmp_path / "data").mkdir()
    sieves, reads = keys.add("siever", ["sieve"]), keys.add("reader", ["read"])
    data = (folder / "videos" / "clip.mkv").read_bytes()
    with running(tmp_path, "--patience", "3") as service:
        address = service.url.replace("http", "ws") + f"/v1/stream?{QUERY}"
        for key, status in ((None, 401), ("cs_wrong", 401), (reads, 403)):
            headers = {} if key is None else {"Authorization": f"Bearer {key}"}
            with pytest.raises(InvalidStatus) as told, connect(address, additional_headers=headers, proxy=None):
                pass
            assert told.value.response.status_code == status
        with connect(address, additional_headers={"Authorization": f"Bearer {sieves}"}, proxy=None) as socket:
            numbers = []
            for at in range(0, len(data), len(data) // 4):
                socket.send(data[at : at + len(data) // 4])
                time.sleep(1.2)
            socket.send(b"")
            for message in socket:
                if isinstance(message, str):
                    numbers.append(json.loads(message).get("window"))
        assert numbers == [0, 1, 2, None]
        assert_logged(service)


def assert_logged(service: Running) -> None:
    """A line of the log an attempt, with the key's name and never the key."""
    assert httpx.get(f"{service.url}/healthz", trust_env=False).status_code == 200
    lines = [json.loads(line) for line in service.log.read_text().splitlines()]
    told = [(line["status"], line["key"], line["windows"]) for line in lines if line["message"] == "stream"]
    assert told == [(401, None, 0), (401, None, 0), (403, None, 0), (101, "siever", 3)]
    assert "cs_" not in service.log.read_text()
