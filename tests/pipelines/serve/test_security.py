"""What a service keeps out: paths, lists of files, keys that are none, bodies that are too much; and it goes on.

What addresses, keys, roots and bodies are by themselves is in `test_fetch`, `test_keys`, `test_roots`, `test_receive`.
"""

from __future__ import annotations

import contextlib
import json
import random
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from served import Running, free_port, running

import codecsieve as cs
from codecsieve.errors import VideoError
from codecsieve.pipelines.serve.jobs import JobStore
from codecsieve.pipelines.serve.limits import Limits
from codecsieve.pipelines.serve.tasks import Clip, check_limits

pytestmark = pytest.mark.slow

QUERY = "num_frames=4&input_size=28&k_keep=6"
SMALL = {"num_frames": 4, "input_size": 28, "k_keep": 6}
SECRET = "what nobody is to be told"
VIDEO = {"Content-Type": "video/mp4"}
JSON = {"Content-Type": "application/json"}
HEAD = b"POST /v1/sieve HTTP/1.1\r\nHost: localhost\r\nContent-Type: video/mp4\r\n"


@pytest.fixture(scope="module")
def place(make_video: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Roots with links that lead out of them, and what lies outside."""
    folder = tmp_path_factory.mktemp("place")
    outside = folder / "outside"
    for name in ("videos", "videos/out", "caches", "outside"):
        (folder / name).mkdir()
    make_video(folder / "videos" / "a.mp4", seed=1)
    shutil.copy(folder / "videos" / "a.mp4", outside / "b.mp4")
    (outside / "secret.txt").write_text(SECRET)
    (folder / "videos" / "link.mp4").symlink_to(outside / "b.mp4")
    (folder / "videos" / "folder").symlink_to(outside)
    (folder / "videos" / "out" / "c.mp4").symlink_to(outside / "b.mp4")
    (folder / "caches" / "link").symlink_to(outside)
    (folder / "videos" / "list.csv").write_text(f"path\n{outside}/b.mp4\n")
    (folder / "videos" / "none.csv").write_text(f"path\n{outside}/none.mp4\n")
    (folder / "videos" / "up.csv").write_text("path\n../outside/b.mp4\n")
    for name, told in (
        ("set", f"{outside}/b.mp4"),
        ("mixed", f"{outside}/b.mp4"),
        ("inside", f"{folder}/videos/a.mp4"),
    ):
        (folder / name).mkdir()
        pq.write_table(pa.table({"path": [told]}), folder / name / "a.parquet")
        (folder / name).rename(folder / "videos" / name)
    (folder / "videos" / "mixed" / "_v").mkdir()  # which a data set does not count, and a folder of videos does
    shutil.copy(folder / "videos" / "a.mp4", folder / "videos" / "mixed" / "_v")
    cs.precompute(folder / "videos" / "a.mp4", folder / "caches" / "one", **SMALL)  # type: ignore[arg-type]
    return folder


@pytest.fixture(scope="module")
def guarded(place: Path) -> Iterator[Running]:
    limits = {"max-upload": "1 MB", "max-json": "1 MB", "max-seconds": 20, "max-side": 2000, "patience": 2}
    with running(place, *(word for name, value in limits.items() for word in (f"--{name}", str(value)))) as found:
        yield found


@pytest.fixture(scope="module")
def client(guarded: Running) -> Iterator[httpx.Client]:
    with guarded.client() as client:
        yield client


@pytest.fixture(autouse=True)
def still_alive(client: httpx.Client, guarded: Running, place: Path) -> Iterator[None]:
    """After each test the service works, nothing of it was its own error, and nothing outside was touched."""
    before = sorted((path.name, path.stat().st_mtime_ns) for path in (place / "outside").iterdir())
    yield
    assert client.get("/healthz").status_code == 200
    assert client.post(f"/v1/sieve?{QUERY}", json={"path": "videos/a.mp4"}).status_code == 200
    assert sorted((path.name, path.stat().st_mtime_ns) for path in (place / "outside").iterdir()) == before
    assert list((place / "data" / "uploads").iterdir()) == []
    assert "internal error" not in guarded.log.read_text()


def refused(answer: httpx.Response, *statuses: int) -> str:
    """The one line of a refusal."""
    assert answer.status_code in statuses, f"{answer.status_code}: {answer.text[:300]}"
    assert answer.json().keys() == {"error"}
    message: str = answer.json()["error"]
    assert "\n" not in message
    assert len(message) < 1500
    assert SECRET not in message
    assert "Traceback" not in message
    return message


def connect(service: Running) -> socket.socket:
    host, port = service.url.removeprefix("http://").split(":")
    connection = socket.create_connection((host, int(port)))
    connection.settimeout(10)
    return connection


def say(service: Running, request: bytes) -> bytes:
    """What is answered to bytes that need be no HTTP."""
    with connect(service) as connection, contextlib.suppress(ConnectionError):
        connection.sendall(request)
        answer = bytearray()
        with contextlib.suppress(ConnectionError):  # it may stop listening before all is said
            while data := connection.recv(65536):
                answer += data
    return bytes(answer)


def ended(client: httpx.Client, job: dict[str, object]) -> dict[str, object]:
    """A job when it is done, or has failed."""
    deadline = time.monotonic() + 60
    while (state := client.get(f"/v1/jobs/{job['id']}").json())["state"] in ("queued", "running"):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return state


# --- paths

PATHS = [
    "videos/../outside/b.mp4", "../outside/b.mp4", "videos/link.mp4", "videos/folder/b.mp4", "/etc/passwd",
    "videos//etc/passwd", "videos/%2e%2e/outside/b.mp4", "videos/%252e%252e/outside/b.mp4",
    "videos/..%2foutside%2fb.mp4", "videos/a.mp4\0.txt", "videos/../videos/../outside/b.mp4", "videos/../caches/..",
    "videos\\..\\outside\\b.mp4", "elsewhere/a.mp4", "", "/", ".", "..", "videos/..", "x" * 100_000,
    "videos/" + "../" * 1000, "file:///etc/passwd", "concat:/etc/passwd", "subfile,,start,0,end,9,,:/etc/passwd",
    "videos/\ud800.mp4", "~/a.mp4", "$HOME/a.mp4",
]  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
def test_a_path_out_of_the_roots_is_as_one_that_is_not_there(client: httpx.Client, place: Path, path: str) -> None:
    missing = refused(client.post("/v1/sieve", json={"path": "videos/none.mp4"}), 404)
    for url in ("/v1/sieve", "/v1/describe", "/v1/inspect", "/v1/studies"):
        told = refused(client.post(url, content=json.dumps({"path": path}), headers=JSON), 404)
        assert told.partition("): ")[2] == missing.partition("): ")[2]
        assert str(place) not in told
    for what in ({"inputs": [path]}, {"manifest": [{"path": path}]}, {"manifest": [{"path": "videos/a.mp4"},
                 {"path": path}]}):  # fmt: skip
        refused(client.post("/v1/jobs", content=json.dumps({"cache": "caches:x", **what}), headers=JSON), 404)
    assert not (place / "caches" / "x").exists()


@pytest.mark.parametrize(
    "name", ["caches:link", "caches:..", "caches:.", "caches:a/b", "..:x", "caches:%2e%2e", "caches:x%00", "/etc",
             "caches:" + "x" * 5000, "caches:..%2foutside", "caches:one%0a", "caches:%ff"],
)  # fmt: skip
def test_a_cache_is_right_below_its_root(client: httpx.Client, name: str) -> None:
    assert client.get(f"/v1/caches/{name}").status_code in (404, 405)
    for clip in ("..%2f..%2fsecret.txt", "%2e%2e", "a.mp4"):
        assert client.get(f"/v1/caches/{name}/clips/{clip}").status_code in (404, 405)
    refused(client.post("/v1/jobs", json={"cache": name, "inputs": ["videos/a.mp4"]}), 404)
    assert client.get("/v1/caches").json()["caches"] == ["caches:one"]


@pytest.mark.parametrize(
    "clip", ["../../outside/secret.txt", "..%2f..%2f..%2foutside%2fsecret.txt", "%00", "%ff", "x" * 60_000, "%2e%2e",
             "a.mp4%00", "%E2%80%AE", "*", "/etc/passwd"],
)  # fmt: skip
def test_a_clip_is_one_that_the_cache_has(guarded: Running, client: httpx.Client, clip: str) -> None:
    for suffix in ("", "/picture"):
        request = f"GET /v1/caches/caches:one/clips/{clip}{suffix} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        answer = say(guarded, request.encode() + b"\r\n")
        assert answer.startswith((b"HTTP/1.1 404", b"HTTP/1.1 400")), answer[:300]
        assert SECRET.encode() not in answer


@pytest.mark.parametrize(
    "path", ["/../outside/secret.txt", "/%2e%2e/%2e%2e/etc/passwd", "/%252e%252e/etc/passwd", "/..%2f..%2fapp.py",
             "//etc/passwd", "//evil.example/", "/..%5c..%5capp.py", "/%00", "/main.js%00", "/%ff%fe",
             "/" + "a/" * 3000, "/" + "a" * 20_000, "http://evil.example/../app.py"],
)  # fmt: skip
def test_the_page_is_all_that_is_served_of_files(guarded: Running, path: str) -> None:
    answer = say(guarded, f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 404"), answer[:300]
    assert SECRET.encode() not in answer


@pytest.mark.parametrize(
    "inputs", ["videos/list.csv", "videos/none.csv", "videos/up.csv", "videos/out", "videos/set", "videos/mixed"]
)
def test_what_lies_below_a_root_cannot_name_what_is_outside(client: httpx.Client, place: Path, inputs: str) -> None:
    """Nor say whether that is there."""
    job = client.post("/v1/jobs", json={"cache": "caches:out", "inputs": [inputs]}).json()
    state = ended(client, job)
    assert state["state"] == "failed", state
    assert str(state["note"]).endswith(": leads out of the service's roots; leave it out")
    assert not (place / "caches" / "out").exists()


def test_a_data_set_that_names_what_is_inside_is_made(client: httpx.Client) -> None:
    asked = {"cache": "caches:inside", "inputs": ["videos/inside"], "options": SMALL}
    state = ended(client, client.post("/v1/jobs", json=asked).json())
    assert (state["state"], state["done"], state["failed"]) == ("done", 1, 0), state


# --- requests that are none

NO_HTTP = {
    "TLS": b"\x16\x03\x01\0\xff\r\n\r\n", "nothing": b"\r\n\r\n\r\n", "another protocol": b"SSH-2.0-x\r\n\r\n",
    "no host": b"GET /healthz HTTP/1.1\r\n\r\n", "two hosts": b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "a length below zero": HEAD + b"Content-Length: -5\r\n\r\n", "no length": HEAD + b"Content-Length: x\r\n\r\n",
    "two lengths": HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
    "a chunk that is none": HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nabc",
    "another encoding": HEAD + b"Transfer-Encoding: gzip\r\n\r\nabc",
    "a long line": b"GET /" + b"x" * 200_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a long header": b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 200_000 + b"\r\n\r\n",
    "many headers": b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 50_000 + b"\r\n",
    "a header across lines": b"GET / HTTP/1.1\r\nHost: localhost\r\nX\r\n\r\n",
    "bytes in the target": b"GET /\xff\xfe HTTP/1.1\r\nHost: localhost\r\n\r\n",
}  # fmt: skip


@pytest.mark.parametrize("case", NO_HTTP)
def test_what_is_no_http_is_said_to_be_in_one_line(guarded: Running, case: str) -> None:
    answer = say(guarded, NO_HTTP[case])
    head, _, body = answer.partition(b"\r\n\r\n")
    if not answer and len(NO_HTTP[case]) > 100_000:
        return  # it was told while it still spoke, and did not hear it
    assert head.startswith((b"HTTP/1.1 400", b"HTTP/1.1 501")), answer[:300]
    assert b"application/json" in head
    assert json.loads(body).keys() == {"error"}


def test_lengths_and_chunks_that_contradict_each_other_are_one_request(guarded: Running) -> None:
    """What follows the last chunk is not taken for a request of its own that a proxy has not seen."""
    hidden = b"GET /v1/hidden HTTP/1.1\r\nHost: localhost\r\n\r\n"
    answer = say(guarded, HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + hidden)
    assert answer.startswith(b"HTTP/1.1 400")
    assert answer.count(b"HTTP/1.1 ") == 1
    assert b"/v1/hidden" not in guarded.log.read_bytes()


def test_methods_that_are_made_up_are_measured_as_one(guarded: Running, client: httpx.Client) -> None:
    for number in range(20):
        assert client.request(f"MADEUP{number}", "/v1/caches").status_code == 405
    told = client.get("/metrics").text
    assert "MADEUP" not in told
    assert 'method="other"' in told


def test_bodies_that_are_none(client: httpx.Client) -> None:
    for kind in ("text/html", "application/x-www-form-urlencoded", "", "image/png", "video"):
        refused(client.post("/v1/sieve", content=b"x", headers={"Content-Type": kind}), 415)
    refused(client.post("/v1/sieve", headers=VIDEO), 400)
    for body in (
        "{", "[]", "3", "null", '{"path": 3}', '{"path": "a", "url": "b"}', '{"path": NaN}', "[" * 100_000,
        '{"path": ' + "[" * 5000, '{"path": ["videos/a.mp4"]}', '{"cache": "caches:one"}',
    ):  # fmt: skip
        refused(client.post("/v1/sieve", content=body, headers=JSON), 400)
    refused(client.post("/v1/sieve", content='{"path": "videos/a.mp4", "path": "/etc/passwd"}', headers=JSON), 404)
    for kind in (
        "multipart/form-data",
        "multipart/form-data; boundary=x",
        f"multipart/form-data; boundary={'x' * 999}",
    ):
        refused(client.post("/v1/sieve", content=b"--y\r\nbroken", headers={"Content-Type": kind}), 400)
    refused(client.post("/v1/sieve", data={"text": "x"}, files={"none": (None, b"x")}), 400)
    refused(client.post("/v1/sieve", files=[("a", (None, b"x"))] * 1000), 400)


@pytest.mark.parametrize(
    ("body", "status"),
    [("", 400), ("[]", 400), ("{}", 422), ("[" * 100_000, 400), ('{"cache": "caches:x", "inputs": 3}', 422),
     ('{"cache": ["caches:x"], "inputs": ["videos"]}', 422),
     ('{"cache": "caches:x", "inputs": ["videos"], "k": 1}', 422),
     ('{"cache": "caches:x", "inputs": ["videos"], "columns": {"%s": 1}}' % ("k" * 500_000), 422),
     ('{"cache": "caches:x", "inputs": ["videos"], "options": {"k_keep": NaN}}', 400),
     ('{"cache": "caches:x", "inputs": ["videos"], "options": {"name": 1}}', 422),
     ('{"cache": "caches:x", "inputs": ["videos"], "options": {"cls": 1}}', 422),
     ('{"cache": "caches:x", "inputs": ["videos"], "options": {"k_keep": %s}}' % ("9" * 4000), 422),
     ('{"cache": "caches:x", "inputs": ["videos"], "options": {"policy": "\\ud800"}}', 422),
     ('{"cache": "caches:x", "inputs": ["videos"], "options": {"\\u0000": {}}}', 422),
     ('{"cache": "caches:x", "inputs": ["videos"], "preset": "\\ud800"}', 422),
     ('{"cache": "caches:x", "inputs": ["videos"], "prune": ["all"]}', 422),
     ('{"cache": "caches:x", "manifest": [{"path": ["a"]}]}', 422), ('{"cache": "caches:x", "manifest": [{}]}', 422),
     ('{"cache": "\\ud800", "inputs": ["videos"]}', 422),
     ('{"cache": "caches:x", "inputs": ["' + "x" * 2_000_000 + '"]}', 413)],
    ids=range(20),
)  # fmt: skip
def test_jobs_that_are_none(client: httpx.Client, body: str, status: int) -> None:
    refused(client.post("/v1/jobs", content=body, headers=JSON), status, 404)


@pytest.mark.parametrize(
    "rows",
    ['[{"path": "videos/a.mp4", "label": "\\ud800"}]', '[{"path": "videos/a.mp4", "id": "../x"}]',
     '[{"path": "videos/a.mp4", "start": "x"}]', '[{"path": "videos/a.mp4", "start": 1e999}]',
     '[{"path": "videos/a.mp4", "label": "\\u0000"}]', '[{"path": "videos/a.mp4", "take": 1%s}]' % ("0" * 400)],
)  # fmt: skip
def test_a_manifest_that_cannot_be_is_a_job_that_failed_in_one_line(client: httpx.Client, rows: str) -> None:
    body = f'{{"cache": "caches:rows", "manifest": {rows}, "options": {json.dumps(SMALL)}}}'
    asked = client.post("/v1/jobs", content=body, headers=JSON)
    if asked.status_code != 202:
        refused(asked, 422)
        return
    state = ended(client, asked.json())
    assert state["state"] in ("done", "failed")
    assert "its process died" not in str(state["note"])
    assert "\n" not in str(state["note"])


def test_bodies_that_are_too_much_are_not_read_to_their_end(guarded: Running, client: httpx.Client) -> None:
    def endless(first: bytes) -> Iterator[bytes]:
        yield first
        for _ in range(40):
            yield bytes(65536)

    form = {"Content-Type": "multipart/form-data; boundary=x"}
    file = b'--x\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\n'
    for url in ("/v1/sieve", "/v1/describe", "/v1/inspect", "/v1/studies"):
        refused(client.post(url, content=bytes(1_500_000), headers=VIDEO), 413)
        refused(client.post(url, content=endless(b"x"), headers=VIDEO), 413)
        refused(client.post(url, content=endless(file), headers=form), 413)
        refused(client.post(url, content=endless(b"{"), headers=JSON), 413)
    refused(client.post("/v1/jobs", content=endless(b"{"), headers=JSON), 413)
    told = HEAD + b"Expect: 100-continue\r\nConnection: close\r\nContent-Length: 99999999999999999999\r\n\r\n"
    answer = say(guarded, told)
    assert answer.startswith(b"HTTP/1.1 413")
    zipped = client.post("/v1/sieve", content=bytes.fromhex("1f8b0800"), headers={**VIDEO, "Content-Encoding": "gzip"})
    refused(zipped, 422)  # it is never inflated


# --- clips that are too much


def test_clips_that_are_too_much_are_refused_by_their_header(
    client: httpx.Client, make_video: Callable[..., Path], tmp_path: Path
) -> None:
    large = make_video(tmp_path / "large.mp4", size=(2400, 64), frames=2)
    told = refused(client.post("/v1/sieve", content=large.read_bytes(), headers=VIDEO), 422)
    assert "over the 2000 pixels a side" in told
    long = make_video(tmp_path / "long.mp4", size=(64, 48), frames=700)
    assert "over the 20 s" in refused(client.post("/v1/sieve", content=long.read_bytes(), headers=VIDEO), 422)
    answer = client.post(f"/v1/sieve?{QUERY}&start=1&end=2", content=long.read_bytes(), headers=VIDEO)
    assert answer.status_code == 200
    weeks = make_video(tmp_path / "weeks.mkv", size=(64, 48), frames=2, times=[0, 2_000_000_000])
    assert "over the 20 s" in refused(client.post("/v1/inspect", content=weeks.read_bytes(), headers=VIDEO), 422)


@pytest.mark.parametrize(
    ("options", "start", "end", "says"),
    [({"max_side": 95}, None, None, "96x64 is over the 95 pixels a side"), ({"max_side": 96}, None, None, None),
     ({"max_seconds": 0.9}, None, None, "1 s is over the 0.9 s"), ({"max_seconds": 1}, None, None, None),
     ({"max_seconds": 0.5}, 0.2, 0.6, None), ({"max_seconds": 0.5}, 0.2, 9.0, "is over the 0.5 s"),
     ({"max_samples": 96 * 64 * 23}, None, None, "pixels, over the"), ({"max_samples": 96 * 64 * 24}, None, None, None),
     ({"max_samples": 96 * 64 * 11}, 0.0, 0.4, None), ({"max_samples": 96 * 64 * 9}, 0.0, 0.4, "pixels, over the"),
     ({"max_memory": 1_000_000}, None, None, "of memory")],
)  # fmt: skip
def test_each_limit_of_a_clip(
    place: Path, options: dict[str, float], start: float | None, end: float | None, says: str | None
) -> None:
    clip = Clip(str(place / "videos" / "a.mp4"), "a", start, end)
    limits = Limits(**options)  # type: ignore[arg-type]
    if says is None:
        check_limits(clip, limits)
        return
    with pytest.raises(VideoError, match=says):
        check_limits(clip, limits)


def png(width: int, height: int) -> bytes:
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + bytes(4) + struct.pack(">I", 9) + b"IDATx"


BOMBS = {
    "png": png(30_000, 30_000), "png of all there is": png(2**31 - 1, 2**31 - 1),
    "gif": b"GIF89a" + struct.pack("<HHBBB", 65535, 65535, 0x80, 0, 0) + bytes(6)
    + b"," + struct.pack("<HHHHB", 0, 0, 65535, 65535, 0) + b"\x02\x02\x4c\x01\0;",
    "yuv4mpeg": b"YUV4MPEG2 W16384 H16384 F25:1 C420jpeg\nFRAME\n" + bytes(100),
    "yuv4mpeg, an endless line": b"YUV4MPEG2 W" + b"9" * 900_000,
    "bmp": b"BM" + struct.pack("<IIIIiiHHIIiiII", 100, 0, 54, 40, 32_000, 32_000, 1, 24, 0, 0, 0, 0, 0, 0) + bytes(46),
    "ppm": b"P6 60000 60000 255\n" + bytes(100),
    "ivf": b"DKIF" + struct.pack("<HHIHHIIII", 0, 32, 0x30385056, 65535, 65535, 25, 1, 10**9, 0) + bytes(100),
}  # fmt: skip


@pytest.mark.parametrize("case", BOMBS)
def test_a_small_file_of_a_large_picture_costs_nothing(client: httpx.Client, case: str) -> None:
    began = time.monotonic()
    for url in (f"/v1/sieve?{QUERY}", "/v1/describe", f"/v1/inspect?{QUERY}", "/v1/studies?num_frames=4&input_size=28"):
        refused(client.post(url, content=BOMBS[case], headers=VIDEO), 413, 422)
    assert time.monotonic() - began < 20


def test_a_clip_that_grows_on_its_way_is_sieved_or_refused(
    client: httpx.Client, make_video: Callable[..., Path], tmp_path: Path
) -> None:
    small, large = (make_video(tmp_path / f"{width}.ts", size=(width, 64), frames=6) for width in (96, 3840))
    answer = client.post(f"/v1/sieve?{QUERY}", content=small.read_bytes() + large.read_bytes(), headers=VIDEO)
    assert answer.status_code in (200, 413, 422)


@pytest.mark.parametrize(
    "query",
    [pytest.param("num_frames=65535&input_size=8000&k_keep=5", marks=pytest.mark.slow),
     pytest.param("num_frames=64&input_size=140000&k_keep=5", marks=pytest.mark.slow),
     "num_frames=99999999999999999999", "input_size=-14", "k_keep=1e3", "start=1e308", "start=-1", "end=0", "start=nan",
     "patch_size=0", "preset=%00", "fuse=%ff", "k_keep=5&k_keep=6&x=1"],
)  # fmt: skip
@pytest.mark.parametrize("route", ["sieve", "inspect", "studies"])
def test_options_that_ask_for_too_much(client: httpx.Client, route: str, query: str) -> None:
    refused(client.post(f"/v1/{route}?{query}", json={"path": "videos/a.mp4"}), 413, 422)


def test_files_whose_bytes_were_flipped_are_sieved_or_refused(
    client: httpx.Client, make_video: Callable[..., Path], tmp_path: Path
) -> None:
    draw = random.Random(7)
    whole = [make_video(tmp_path / f"whole{suffix}", frames=12).read_bytes() for suffix in (".mp4", ".mkv", ".ts")]
    files = []
    for number in range(300):
        data = bytearray(whole[number % 3])
        for _ in range(draw.choice([1, 5, 50, 500])):
            data[draw.randrange(len(data))] = draw.randrange(256)
        files.append(bytes(data))

    def send(number: int) -> int:
        route = ("sieve", "describe", "inspect")[number // 3 % 3]
        options = "num_frames=4" if route == "describe" else QUERY
        answer = client.post(f"/v1/{route}?{options}", content=files[number], headers=VIDEO)
        if answer.status_code != 200:
            refused(answer, 413, 422, 504)
        return answer.status_code

    with ThreadPoolExecutor(4) as pool:
        seen = list(pool.map(send, range(300)))
    assert seen.count(200) > 30
    assert seen.count(422) > 30


def test_a_damaged_cache_is_read_or_said_to_be_damaged(guarded: Running, client: httpx.Client, place: Path) -> None:
    draw = random.Random(5)
    damaged, whole = place / "caches" / "damaged", place / "caches" / "one"
    files = sorted(path.relative_to(whole) for path in whole.rglob("*") if path.is_file() and path.stat().st_size)
    seen: dict[int, int] = {}
    try:
        for number in range(60):
            shutil.copytree(whole, damaged)
            path = damaged / files[number % len(files)]
            data = bytearray(path.read_bytes())
            if draw.random() < 0.3:
                del data[draw.randrange(len(data)) :]
            for _ in range(3 if data else 0):
                data[draw.randrange(len(data))] = draw.randrange(256)
            path.write_bytes(data)
            for url in ("", "?where=fps>1", "/clips/a.mp4", "/clips/a.mp4/picture"):
                answer = client.get(f"/v1/caches/caches:damaged{url}")
                seen[answer.status_code] = seen.get(answer.status_code, 0) + 1
                if answer.status_code != 200:
                    told = refused(answer, 404, 409, 422)
                    assert str(place) not in told
            shutil.rmtree(damaged)
    finally:
        shutil.rmtree(damaged, ignore_errors=True)
    assert seen[200] > 10
    assert seen[409] > 10


# --- who is slow


def test_who_is_slow_holds_nobody_up(guarded: Running, client: httpx.Client) -> None:
    kinds = [HEAD + b"Content-Length: 1000\r\n\r\nabc", HEAD + b"X-Slow: ", b""]
    slow = [(kind, connect(guarded)) for kind in kinds * 20]
    for kind, connection in slow:
        connection.sendall(kind)
    began = time.monotonic()
    assert client.get("/healthz").status_code == 200
    assert client.post(f"/v1/sieve?{QUERY}", json={"path": "videos/a.mp4"}).status_code == 200
    assert time.monotonic() - began < 20  # of 120, were they waited for one after the other
    for kind, connection in slow:  # after a while those in the midst of a body are told, the others closed
        answer = connection.recv(100)
        assert answer.startswith(b"HTTP/1.1 408") if kind is kinds[0] else answer == b""
        connection.close()
    assert time.monotonic() - began < 40


def test_who_sends_a_header_a_byte_at_a_time_is_not_waited_for(guarded: Running) -> None:
    with connect(guarded) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: ")
        began = time.monotonic()
        with contextlib.suppress(ConnectionError):
            while time.monotonic() - began < 30:
                connection.sendall(b"x")
                time.sleep(0.1)
        assert time.monotonic() - began < 25


def test_an_upload_that_is_broken_off_leaves_nothing(guarded: Running, place: Path) -> None:
    uploads = place / "data" / "uploads"
    form = HEAD.replace(b"video/mp4", b"multipart/form-data; boundary=x")
    part = b'--x\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\n'
    for head, body in ((HEAD, b""), (form, part)):
        with connect(guarded) as connection:
            connection.sendall(head + b"Content-Length: 100000\r\n\r\n" + body + bytes(1000))
            deadline = time.monotonic() + 20
            while not list(uploads.iterdir()) and time.monotonic() < deadline:
                time.sleep(0.01)
            assert list(uploads.iterdir())
        deadline = time.monotonic() + 30
        while list(uploads.iterdir()):
            assert time.monotonic() < deadline
            time.sleep(0.01)


@pytest.mark.parametrize("path", ["sieve", "describe"])
def test_a_body_that_is_broken_off_is_told_as_such(guarded: Running, path: str) -> None:
    asked = f"broken-off-{path}"
    with connect(guarded) as connection:
        head = f"POST /v1/{path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nX-Request-ID: {asked}"
        connection.sendall(f"{head}\r\nContent-Length: 100\r\n\r\n{{".encode())
    deadline = time.monotonic() + 30
    while asked not in guarded.log.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    (line,) = [line for line in guarded.log.read_text().splitlines() if asked in line]
    assert json.loads(line)["status"] == 499


# --- lists of other files


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A port of this machine; nobody may have come to it by the end."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0.1)
        yield listening
        with pytest.raises(TimeoutError):
            listening.accept()


def lists(place: Path, port: int) -> list[bytes]:
    """Files that name others: a clip outside, a text outside, an address."""
    url, clip, secret = f"http://127.0.0.1:{port}/a.mp4", place / "outside" / "b.mp4", place / "outside" / "secret.txt"
    return [text.encode() for text in (
        f"#EXTM3U\n#EXTINF:1,\n{url}\n#EXTINF:1,\n{clip}\n",
        f"#EXTM3U\n#EXT-X-MAP:URI=\"{secret}\"\n#EXTINF:1,\n{clip}\n",
        f'#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI="{url}"\n#EXTINF:1,\nfile:{clip}\n',
        f"ffconcat version 1.0\nfile {clip}\nfile {url}\n", f"ffconcat version 1.0\nfile '{secret}'\n",
        f"file '{clip}'\n",
        f"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nm=video {port} RTP/AVP 96\na=rtpmap:96 H264/90000\n",
        f'<?xml version="1.0"?><MPD><Period><AdaptationSet><Representation><BaseURL>{url}</BaseURL></Representation>'
        "</AdaptationSet></Period></MPD>",
        f'<svg xmlns="http://www.w3.org/2000/svg"><image href="{url}"/><image href="file://{secret}"/></svg>',
        f"[playlist]\nFile1={secret}\n", f"<smil><body><video src='{url}'/></body></smil>", f"{url}\n", f"{clip}\n",
        f"[Reference]\nRef1={url}\n", f"<asx><entry><ref href='{url}'/></entry></asx>",
    )]  # fmt: skip


@pytest.mark.parametrize("suffix", ["mp4", "m3u8", "mpd", "sdp", "ffconcat", "txt"])
def test_a_list_of_other_files_opens_none_of_them(
    client: httpx.Client, place: Path, listener: socket.socket, suffix: str
) -> None:
    for text in lists(place, listener.getsockname()[1]):
        file = {"file": (f"list.{suffix}", text, "application/vnd.apple.mpegurl")}
        refused(client.post("/v1/sieve", files=file), 422)
        refused(client.post("/v1/describe", content=text, headers={"Content-Type": "application/octet-stream"}), 422)
        below = place / "videos" / f"list.{suffix}"
        below.write_bytes(text)
        try:
            refused(client.post("/v1/inspect", json={"path": f"videos/{below.name}"}), 422)
        finally:
            below.unlink()


def with_reference(video: bytes, kind: bytes, data: bytes) -> bytes:
    """An MP4 whose samples are said to lie in another file."""
    at = video.index(b"dref") + 12
    entry = struct.pack(">I", 12 + len(data)) + kind + bytes(4) + data
    made = bytearray(video[:at] + entry + video[at + 12 :])
    for name in (b"moov", b"trak", b"mdia", b"minf", b"dinf", b"dref"):
        place = made.rindex(name, 0, at) - 4
        size = int.from_bytes(made[place : place + 4], "big") + len(data)
        made[place : place + 4] = size.to_bytes(4, "big")
    return bytes(made)


def test_a_film_whose_pictures_are_said_to_lie_elsewhere_opens_nothing_else(
    client: httpx.Client, place: Path, listener: socket.socket
) -> None:
    video = (place / "videos" / "a.mp4").read_bytes()
    path = str(place / "outside" / "b.mp4").encode()
    alias = struct.pack(">II", 150 + 8 + len(path), 0)[:6] + bytes(144) + struct.pack(">HH", 2, len(path)) + path
    for kind, data in ((b"url ", f"http://127.0.0.1:{listener.getsockname()[1]}/a.mp4\0".encode()),
                       (b"url ", b"file://" + path + b"\0"), (b"alis", alias), (b"alis", path)):  # fmt: skip
        answer = client.post(f"/v1/sieve?{QUERY}", content=with_reference(video, kind, data), headers=VIDEO)
        assert answer.status_code in (200, 422)


def test_urls_are_not_read_unless_a_host_was_allowed(client: httpx.Client, listener: socket.socket) -> None:
    for url in (
        "http://good.example/a.mp4",
        f"http://127.0.0.1:{listener.getsockname()[1]}/",
        "file:///etc/passwd",
        "",
    ):
        assert "--fetch-host" in refused(client.post("/v1/sieve", json={"url": url}), 403)


# --- keys


def keys_command(folder: Path, *words: str) -> str:
    command = [sys.executable, "-m", "codecsieve", "serve", "--data", str(folder / "data"), "keys", *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_keys_open_what_their_roles_say_and_nothing_of_others(place: Path, tmp_path: Path) -> None:
    (tmp_path / "videos").symlink_to(place / "videos")
    roles = {"reader": ["read"], "siever": ["sieve"], "one": ["jobs"], "two": ["jobs", "sieve"]}
    keys = {
        name: keys_command(tmp_path, "add", name, *(f"--role={role}" for role in listed))
        for name, listed in roles.items()
    }
    with running(tmp_path, "--rate", "200", "--max-json", "1 MB") as service, service.client() as client:

        def ask(method: str, url: str, key: str | None, **options: object) -> httpx.Response:
            headers = {} if key is None else {"Authorization": f"Bearer {keys.get(key, key)}"}
            return client.request(method, url, headers=headers, **options)  # type: ignore[arg-type]

        sieve = {"json": {"path": "videos/a.mp4"}}
        for key, status in ((None, 401), ("wrong", 401), ("reader", 403), ("one", 403), ("siever", 200)):
            assert ask("POST", f"/v1/sieve?{QUERY}", key, **sieve).status_code == status
        for key, status in ((None, 401), ("siever", 403), ("reader", 200)):
            assert ask("GET", "/v1/caches", key).status_code == status
            assert ask("GET", "/metrics", key).status_code == status
        assert ask("GET", "/healthz", None).status_code == 200
        for key, status in ((None, 401), ("siever", 403)):  # whoever may not ask is not read to the end
            assert ask("POST", "/v1/jobs", key, content=bytes(5_000_000)).status_code == status
        body = {"json": {"cache": "caches:x", "inputs": ["videos/a.mp4"], "options": {"k_keep": 5}}}
        job = ask("POST", "/v1/jobs", "one", **body).json()
        for method, path in (("GET", ""), ("GET", "/events"), ("DELETE", "")):
            assert ask(method, f"/v1/jobs/{job['id']}{path}", "two").status_code == 404
        assert ask("GET", "/v1/jobs", "two").json()["jobs"] == []
        study = ask("POST", "/v1/studies?num_frames=4&input_size=28", "siever", **sieve).json()
        for key, status in (("two", 404), ("siever", 200)):
            assert ask("GET", study["frames"], key).status_code == status
            assert ask("GET", f"/v1/studies/{study['id']}/selection?k_keep=4", key).status_code == status
        keys_command(tmp_path, "remove", "reader")
        assert ask("GET", "/v1/caches", "reader").status_code == 401
        asked = (ask("GET", "/v1/jobs", "one") for _ in range(5000))  # a slow machine earns requests meanwhile
        answer = next(answer for answer in asked if answer.status_code != 200)
        assert int(answer.headers["Retry-After"]) >= 1
        refused(answer, 429)
        guesses = [ask("GET", "/v1/jobs", f"cs_{number}") for number in range(70)]
        assert int(guesses[-1].headers["Retry-After"]) >= 1
        refused(guesses[-1], 429)
        assert ask("GET", "/v1/jobs", "two").status_code == 200
        kept = tmp_path / "data" / "keys.json"
        kept.write_text("{")
        assert "keys of this service cannot be read" in refused(ask("GET", "/v1/jobs", "two"), 503)
        kept.unlink()
        assert ask("GET", "/v1/jobs", None).status_code == 401
        assert not any(secret in service.log.read_text() for secret in keys.values())


def test_without_keys_it_is_this_machines_alone(guarded: Running, place: Path, tmp_path: Path) -> None:
    for headers in ({"Host": "evil.example"}, {"Origin": "http://evil.example"}, {"Host": "127.0.0.1.evil.example"},
                    {"Sec-Fetch-Site": "cross-site"}, {"Origin": "http://["}):  # fmt: skip
        refused(httpx.get(f"{guarded.url}/v1/caches", headers=headers, trust_env=False), 403)
    command = [sys.executable, "-m", "codecsieve", "serve", "--data", str(tmp_path), "--host", "0.0.0.0", "--port"]
    done = subprocess.run([*command, str(free_port())], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "must be loopback where there are no keys" in done.stderr
    inside = [sys.executable, "-m", "codecsieve", "serve", "--data", str(place / "videos" / "d"), "--root",
              f"videos={place / 'videos'}"]  # fmt: skip
    done = subprocess.run(inside, capture_output=True, text=True, timeout=60)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert not (place / "videos" / "d").exists()


def test_told_to_be_insecure_it_is_anybodys_but_no_other_sites(tmp_path: Path) -> None:
    with running(tmp_path, "--host", "0.0.0.0", "--insecure") as service:
        for headers, status in (({"Host": "any.example"}, 200), ({"Origin": "http://evil.example"}, 403)):
            answer = httpx.get(f"{service.url}/v1/caches", headers=headers, trust_env=False)
            assert answer.status_code == status


# --- logs, conditions, the queue


def test_nothing_that_is_said_can_look_like_a_line_of_the_log(guarded: Running, client: httpx.Client) -> None:
    nasty = 'x\r\n{"level": "error"}\x1b[2J\u2028\u202e'
    quoted = "x%0d%0a%7b%22level%22%3a%22forged%22%7d%1b%5b2J%e2%80%a8"
    before = guarded.log.read_bytes().count(b'"message": "request"')
    for url in (f"/v1/caches/{quoted}", f"/v1/jobs/{quoted}", f"/{quoted}", f"/v1/studies/{quoted}/frames",
                f"/v1/caches/caches:one/clips/{quoted}", f"/v1/caches/caches:one?where={quoted}"):  # fmt: skip
        client.get(url, headers={"User-Agent": "x\x1b[2J", "X-Request-ID": "a\x1b b", "Referer": "\x7f"})
    client.post("/v1/sieve", json={"path": nasty})
    client.post("/v1/sieve", files={"file": (nasty, b"no video")})
    client.post("/v1/jobs", json={"cache": nasty, "inputs": [nasty]})
    lines = guarded.log.read_bytes().splitlines()
    assert sum(json.loads(line)["message"] == "request" for line in lines) == before + 9
    for line in lines:
        assert line.isascii()
        assert line.decode().isprintable()
        assert json.loads(line).keys() >= {"time", "level", "message"}
        assert json.loads(line)["level"] != "forged"


@pytest.mark.parametrize(
    "where",
    ["(select count(*) from read_text('/etc/passwd')) > 0", "(select count(*) from read_csv('/etc/passwd')) > 0",
     "(select count(*) from '/etc/passwd') > 0", "(select count(*) from glob('/*')) > 0",
     "(select count(*) from parquet_scan('http://127.0.0.1:9/a')) > 0", "label in (copy x to '/tmp/y')",
     "1=1); attach '/tmp/x.db'; select (1", "1=1); install httpfs; load httpfs; select (1",
     "1=1); copy clips to '/tmp/y'; select (1", "1=1); set enable_external_access = true; select (1",
     "1=1); pragma database_list; --", "true) union all (select 77 where true",
     "true) union all select 5 from range(3) where (true", "true) or (true", "true limit 1", "true from clips",
     "true; ",
     "(select count(*) from query('attach ''/tmp/x.db''')) > 0", "getenv('HOME') = 'x'", "label = ?", "$1", "--",
     "/*", "'",
     "(" * 4000 + "1" + ")" * 4000, "not " * 2400 + "true", "\0", "x" * 10_001, "error('a\nb')", "nothing = 1"],
)  # fmt: skip
def test_a_condition_reads_no_file_and_is_nothing_but_a_condition(client: httpx.Client, where: str) -> None:
    began = time.monotonic()
    told = refused(client.get("/v1/caches/caches:one", params={"where": where}), 422)
    assert time.monotonic() - began < 20
    assert told.startswith("where (")
    assert "root:" not in told


def test_a_condition_that_never_ends_or_takes_all_memory_is_ended(client: httpx.Client) -> None:
    endless = [
        "(with recursive r(i) as (select 1 union all select i + 1 from r) select max(i) from r) > 0",
        "(select sum(a.range * b.range) from range(1000000) a, range(1000000) b) > 0",
        "(select count(*) from range(1000000000000)) = 0", "repeat('x', 4000000000) = ''",
        "(select list(range) from range(100000000000)) is null", "range(100000000000) is null",
    ]  # fmt: skip
    began = time.monotonic()
    with ThreadPoolExecutor(len(endless)) as pool:
        asked = [pool.submit(client.get, "/v1/caches/caches:one", params={"where": where}) for where in endless]
        while not all(one.done() for one in asked):  # the service itself answers on, whatever that takes
            at = time.monotonic()
            assert client.get("/healthz").status_code == 200
            assert time.monotonic() - at < 10
            time.sleep(0.2)
    for one in asked:
        refused(one.result(), 413, 422, 504)
    assert time.monotonic() - began < 90


def test_more_than_the_queue_holds_is_told_to_come_again_and_who_goes_is_not_waited_on(
    make_video: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "videos").mkdir()
    make_video(tmp_path / "videos" / "a.mp4", frames=100, size=(640, 384))
    (tmp_path / "data").mkdir()
    before = JobStore(tmp_path / "data" / "jobs.sqlite")
    gone = before.add("local", "old:one", {"inputs": [], "options": {}, "preset": "onevision", "run": {}})
    before.close()
    with running(tmp_path, "--decodes", "1", "--queue", "1") as service, service.client() as client:
        busy = "/v1/inspect?num_frames=64&input_size=112&k_keep=6&format=mp4"

        def ask() -> httpx.Response:
            return client.post(busy, json={"path": "videos/a.mp4"})

        with ThreadPoolExecutor(6) as pool:
            answers = [asked.result() for asked in [pool.submit(ask) for _ in range(6)]]
        assert {answer.status_code for answer in answers} == {200, 429}
        for answer in answers:
            if answer.status_code == 429:
                assert int(answer.headers["Retry-After"]) >= 1
                refused(answer, 429)

        # Who sends a request that has to wait, and goes, has left nothing to be done.
        first = threading.Thread(target=ask)
        first.start()
        time.sleep(0.3)
        body = b'{"path": "videos/a.mp4"}'
        with connect(service) as connection:
            connection.sendall(
                b"POST /v1/describe HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                b"X-Request-ID: gone\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
            )
            time.sleep(0.3)
        first.join()
        assert client.post(f"/v1/sieve?{QUERY}", json={"path": "videos/a.mp4"}).status_code == 200
        assert 'task="describe"' not in client.get("/metrics").text
        lines = [json.loads(line) for line in service.log.read_text().splitlines()]
        assert [line["status"] for line in lines if line.get("request_id") == "gone"] == [499]

        # A job of a root that is none any more holds up no other.
        assert "must be ROOT:FOLDER" in str(ended(client, {"id": gone.id})["note"])
        job = client.post("/v1/jobs", json={"cache": "caches:x", "inputs": ["videos"], "options": SMALL}).json()
        assert ended(client, job)["state"] == "done"
        assert service.stop() == 0
