"""The client against services that are not well: what is tried again, what is not believed, how much is taken.

Against a real one it is tested in tests/pipelines/serve/test_client.py.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

import codecsieve as cs
from codecsieve.client import connection
from codecsieve.client.tokens import SAFETENSORS, read_safetensors

Handler = Callable[[httpx.Request], httpx.Response]
JOB = {
    "id": "ab12", "cache": "caches:one", "state": "running", "note": "", "done": 1, "total": 2, "failed": 0,
    "eta": None, "summary": None, "created": 1.0, "started": 2.0, "finished": None, "options": {}, "newer": "field",
}  # fmt: skip


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that are made, without making them."""
    made: list[float] = []
    monkeypatch.setattr(connection.time, "sleep", made.append)
    return made


def client_of(handler: Handler, **options: Any) -> cs.Client:
    return cs.Client("http://service", transport=httpx.MockTransport(handler), **options)


def answers(*listed: httpx.Response | Exception) -> Handler:
    """One after the other, the last for ever."""
    left = list(listed)

    def handler(request: httpx.Request) -> httpx.Response:
        answer = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    return handler


def tensors(facts: Any = None, **arrays: np.ndarray) -> bytes:
    """As a service has them, written by the format's own library."""
    from safetensors.numpy import save

    return save(dict(arrays), {"codecsieve": json.dumps({"grid": 2} if facts is None else facts)})


def clip_bytes(count: int = 3, **changed: Any) -> bytes:
    facts = changed.pop("facts", None)
    arrays = {
        "patches": np.zeros((count, 3, 14, 14), np.uint8),
        "positions": np.zeros((count, 3), np.uint16),
        "scores": np.zeros(count, np.int32),
        "frame_ids": np.arange(4, dtype=np.int32),
    }
    return tensors(facts, **{name: array for name, array in {**arrays, **changed}.items() if array is not None})


def clip_answer(data: bytes | None = None, kind: str = SAFETENSORS) -> httpx.Response:
    return httpx.Response(200, content=clip_bytes() if data is None else data, headers={"Content-Type": kind})


def test_importing_it_loads_nothing_heavy() -> None:
    heavy = ("torch", "av", "numba", "fastapi", "uvicorn", "pyarrow", "zarr", "duckdb", "codecsieve.pipelines")
    program = f"import sys, codecsieve; codecsieve.Client; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_without_httpx_it_says_what_to_install() -> None:
    program = "import sys; sys.modules['httpx'] = None; import codecsieve as cs; cs.Client"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stderr.strip().splitlines()[-1] == (
        "ImportError: codecsieve.Client needs httpx, which is not installed; pip install 'codecsieve[client]'"
    )


@pytest.mark.parametrize(
    "url", ["localhost:8000", "ftp://host", "http://", "http://me:secret@host", "http://h/?a=b", ""]
)
def test_a_url_that_cannot_be_is_refused_at_once(url: str) -> None:
    with pytest.raises(cs.ConfigError, match="must be http://HOST:PORT"):
        cs.Client(url)


def test_a_key_that_cannot_be_is_refused_and_one_that_can_is_not_shown() -> None:
    for key in ("", "a\nb", "a b", "ключ"):
        with pytest.raises(cs.ConfigError, match="key must be"):
            cs.Client("http://service", key=key)
    seen: list[str] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers["authorization"])
        return httpx.Response(200, json={"caches": ["one"]})

    with client_of(handler, key="cs_secret") as client:
        assert client.caches() == ["one"]
        assert "secret" not in repr(client)
    assert seen == ["Bearer cs_secret"]


def test_nothing_is_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    client = cs.Client("http://service")
    assert not client._connection._client._mounts


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_what_may_pass_is_tried_again(pauses: list[float], status: int) -> None:
    client = client_of(answers(httpx.Response(status), httpx.ConnectError("refused"), clip_answer()))
    assert client.sieve(path="videos/a.mp4").scores.shape == (3,)
    assert len(pauses) == 2
    assert 0.25 <= pauses[0] <= 0.5 <= pauses[1] <= 1.0


def test_a_service_says_when(pauses: list[float]) -> None:
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=40), usegmt=True)
    refusals = [httpx.Response(429, headers={"Retry-After": text}) for text in ("7", later, "soon", "-5")]
    assert client_of(answers(*refusals, clip_answer())).sieve(path="videos/a.mp4")
    assert pauses[0] == 7
    assert 35 < pauses[1] <= 40
    assert all(pause <= 30 for pause in pauses[2:])


@pytest.mark.parametrize("wait", ["3600", "999999999999", "Fri, 31 Dec 9999 23:59:59 GMT"])
def test_nobody_waits_longer_than_the_call_may_take(pauses: list[float], wait: str) -> None:
    refused = httpx.Response(429, json={"error": "key a may send 10 requests a minute"}, headers={"Retry-After": wait})
    with pytest.raises(cs.ServiceError, match=r"^key a may send 10 requests a minute$") as caught:
        client_of(answers(refused), retries=1).sieve(path="videos/a.mp4")
    assert caught.value.status == 429
    assert all(pause < 300 for pause in pauses)


def test_it_gives_up_in_one_line(pauses: list[float]) -> None:
    with pytest.raises(
        cs.ServiceError, match=r"^http://service: no answer \(Connection\\x1b refused\); is the"
    ) as caught:
        client_of(answers(httpx.ConnectError("Connection\x1b refused")), retries=3).caches()
    assert (caught.value.status, len(pauses)) == (0, 3)
    with pytest.raises(cs.ServiceError, match=r"^http://service answered 503 \('text/plain'\)$"):
        client_of(answers(httpx.Response(503, text="busy")), retries=0).caches()
    assert len(pauses) == 3


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 413, 415, 422, 500, 501, 504])
def test_what_will_not_pass_is_told_at_once(pauses: list[float], status: int) -> None:
    """A 504 too, where it is the service's own: it says that the clip takes too long."""
    with pytest.raises(cs.ServiceError, match=r"^k_keep \(0\) must be > 0$") as caught:
        client_of(answers(httpx.Response(status, json={"error": "k_keep (0) must be > 0"}))).caches()
    assert (caught.value.status, pauses) == (status, [])


def test_an_upload_is_sent_whole_each_time(tmp_path: Path, pauses: list[float]) -> None:
    video = tmp_path / "clip.mp4"
    video.write_bytes(np.random.default_rng(0).bytes(3_000_000))
    sent: list[tuple[bytes, str]] = []

    def handler(request: httpx.Request) -> httpx.Response:
        sent.append((request.read(), request.headers["content-length"]))
        return [httpx.Response(503), httpx.Response(429), clip_answer()][len(sent) - 1]

    assert client_of(handler).sieve(video, k_keep=3)
    assert sent == [(video.read_bytes(), "3000000")] * 3


def test_an_upload_that_was_refused_is_told_under_the_users_name(tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"no video")
    refused = httpx.Response(422, json={"error": "upload: not a readable video"})
    with pytest.raises(cs.ServiceError, match=r"clip\.mp4: not a readable video$"):
        client_of(answers(refused)).sieve(tmp_path / "clip.mp4")


def test_a_file_that_cannot_be_sent(tmp_path: Path) -> None:
    client = client_of(answers(clip_answer()))
    with pytest.raises(cs.VideoError, match=r"missing\.mp4: no such file$"):
        client.sieve(tmp_path / "missing.mp4")
    with pytest.raises(cs.VideoError, match="is a folder, not a file"):
        client.sieve(tmp_path)
    for arguments in ({}, {"path": "videos/a.mp4", "url": "https://host/a.mp4"}):
        with pytest.raises(cs.ConfigError, match="a clip must be one of"):
            client.sieve(**arguments)  # type: ignore[arg-type]
    with pytest.raises(cs.ConfigError, match=r"must end in \.png, \.gif, \.mp4"):
        client.inspect(path="videos/a.mp4", out="picture.bmp")


def other_positions(row: int) -> np.ndarray:
    return np.full((3, 3), row, np.uint16)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x80\x04K\x01.",  # a pickle
        clip_bytes()[:-1],
        clip_bytes()[:100],
        (2**63).to_bytes(8, "little") + b"{}",
        (2).to_bytes(8, "little") + b"{}",
        (2).to_bytes(8, "little") + b"[]",
        (400_000).to_bytes(8, "little") + b"[" * 400_000,
        clip_bytes(scores=None),
        clip_bytes(scores=np.zeros(2, np.int32)),
        clip_bytes(scores=np.zeros(3, np.int64)),
        clip_bytes(scores=np.zeros(3, np.float64)),
        clip_bytes(patches=np.zeros((3, 3, 14, 7), np.uint8)),
        clip_bytes(patches=np.zeros(3, np.uint8)),
        clip_bytes(positions=other_positions(2)),
        clip_bytes(facts={"grid": 10**9}),
        clip_bytes(facts={"grid": True}),
        clip_bytes(facts={}),
        clip_bytes(facts=[]),
    ],
)  # fmt: skip
def test_arrays_that_cannot_be_are_one_line(data: bytes, pauses: list[float]) -> None:
    with pytest.raises(
        cs.ServiceError, match=r"^http://service answered no clip \(.*\); is that a codecsieve service\?$"
    ):
        client_of(answers(clip_answer(data))).sieve(path="videos/a.mp4")
    assert pauses == []


def test_every_cut_of_an_answer_is_one_line() -> None:
    whole = clip_bytes(1)
    for length in range(0, len(whole), 7):
        with pytest.raises(ValueError, match=r"it is cut short|header"):
            read_safetensors(bytearray(whole[:length]))


def test_any_changed_byte_of_a_header_is_refused_or_read() -> None:
    whole = bytearray(clip_bytes(1))
    length = int.from_bytes(whole[:8], "little")
    for place in range(8 + length):
        for byte in (0, 0x22, 0x39, 0x7B, 0xFF):
            changed = bytearray(whole)
            changed[place] = byte
            try:
                arrays, _ = read_safetensors(changed)
            except ValueError:
                continue
            assert sum(array.nbytes for array in arrays.values()) <= len(whole)


def test_arrays_can_be_written_to_and_empty_ones_are_read() -> None:
    clip = client_of(answers(clip_answer())).sieve(path="videos/a.mp4")
    assert clip.patches is not None
    clip.patches[0] = 1
    none = client_of(answers(clip_answer(clip_bytes(0)))).sieve(path="videos/a.mp4")
    assert none.positions.shape == (0, 3)
    assert client_of(answers(clip_answer(clip_bytes(patches=None)))).sieve(path="videos/a.mp4").patches is None
    assert clip.show().size
    assert "uint8 [3, 3, 14, 14]" in repr(clip)


@pytest.mark.parametrize("kind", ["text/html", "application/octet-stream", "application/x-pickle", ""])
def test_an_answer_of_another_type_is_not_read(kind: str) -> None:
    with pytest.raises(cs.ServiceError, match=f"'{kind}' where application/vnd.safetensors was asked for"):
        client_of(answers(clip_answer(kind=kind))).sieve(path="videos/a.mp4")
    with pytest.raises(cs.ServiceError, match=f"'{kind}' where application/json was asked for"):
        client_of(answers(clip_answer(b"{}", kind=kind))).describe(path="videos/a.mp4")


def test_what_is_compressed_is_not_unpacked() -> None:
    import gzip

    body = gzip.compress(bytes(10**6))
    headers = {"Content-Type": SAFETENSORS, "Content-Encoding": "gzip"}
    with pytest.raises(cs.ServiceError, match="answered what is compressed"):
        client_of(answers(httpx.Response(200, content=body, headers=headers))).sieve(path="videos/a.mp4")


@pytest.mark.parametrize("body", [b"[]", b"{", b"[" * 100_000, b"\xff", b'{"caches": 3}', b"NaN"])
def test_json_that_cannot_be_is_one_line(body: bytes) -> None:
    answer = httpx.Response(200, content=body, headers={"Content-Type": "application/json"})
    with pytest.raises(cs.ServiceError, match=r"^http://service answered .*is that a codecsieve service\?$"):
        client_of(answers(answer)).caches()


@pytest.mark.parametrize("status", [301, 307, 308])
def test_a_redirect_is_not_followed(status: int) -> None:
    asked: list[str] = []

    def handler(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        return httpx.Response(status, headers={"Location": "http://elsewhere/"})

    with pytest.raises(cs.ServiceError, match=f"answered {status}"):
        client_of(handler, key="cs_secret").caches()
    assert asked == ["http://service/v1/caches"]


class Endless(httpx.SyncByteStream):
    """Bytes without an end, as they are asked for."""

    def __init__(self, part: bytes) -> None:
        self.part, self.given = part, 0

    def __iter__(self) -> Iterator[bytes]:
        while self.given < 10**9:
            self.given += len(self.part)
            yield self.part


def test_no_more_is_taken_than_was_agreed() -> None:
    stream = Endless(bytes(1 << 16))
    answer = httpx.Response(200, stream=stream, headers={"Content-Type": SAFETENSORS})
    tracemalloc.start()
    with pytest.raises(cs.ServiceError, match="the answer is over the 3000000 bytes that are taken"):
        client_of(answers(answer), most_bytes=3_000_000).sieve(path="videos/a.mp4")
    assert stream.given < 3_200_000
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()


def test_an_error_of_many_bytes_is_one_short_line() -> None:
    stream = Endless(b'{"error": "' + b"x" * 60_000)
    with pytest.raises(cs.ServiceError, match=r"^http://service answered 500 \('application/json'\)$"):
        client_of(answers(httpx.Response(500, stream=stream, headers={"Content-Type": "application/json"}))).caches()
    assert stream.given < 200_000
    long = httpx.Response(422, json={"error": "a\nb" + "x" * 50_000})
    with pytest.raises(cs.ServiceError) as caught:
        client_of(answers(long)).caches()
    assert len(str(caught.value)) < 1100
    assert str(caught.value).isprintable()


def test_an_answer_that_does_not_end_in_time() -> None:
    def slowly() -> Iterator[bytes]:
        import time

        while True:
            time.sleep(0.01)
            yield b"x"

    answer = httpx.Response(200, content=slowly(), headers={"Content-Type": SAFETENSORS})
    with pytest.raises(cs.ServiceError, match=r"took longer than 0\.1 s"):
        client_of(answers(answer), timeout=0.1).sieve(path="videos/a.mp4")


def event(**changed: Any) -> bytes:
    return f"event: job\ndata: {json.dumps({**JOB, **changed})}\n\n".encode()


def stream_of(*parts: bytes | Exception) -> Iterator[bytes]:
    for part in parts:
        if isinstance(part, Exception):
            raise part
        yield part


def test_events_survive_a_lost_connection(pauses: list[float]) -> None:
    streams = [
        stream_of(event(done=0), b": nothing new\n\n", httpx.ReadError("reset")),
        httpx.ConnectError("refused"),
        stream_of(event(done=0, eta=4.0), event(done=1)[:20], event(done=1)[20:]),
        httpx.Response(503, json={"error": "ending"}),
        stream_of(event(done=2, state="done", summary={"made": 2}, finished=3.0)),
    ]

    def handler(request: httpx.Request) -> httpx.Response:
        if not request.url.path.endswith("/events"):
            return httpx.Response(200, json=JOB)
        next_one = streams.pop(0)
        if isinstance(next_one, Exception):
            raise next_one
        if isinstance(next_one, httpx.Response):
            return next_one
        return httpx.Response(200, content=next_one, headers={"Content-Type": "text/event-stream"})

    seen: list[int] = []
    done = client_of(handler).job("ab12").wait(progress=lambda state: seen.append(state.done))
    assert seen == [0, 1, 2]
    assert (done.state, done.summary, len(pauses)) == ("done", {"made": 2}, 4)
    assert max(pauses) <= 1  # a sign of life, and patience is whole again


def test_events_that_stay_away_are_given_up(pauses: list[float]) -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/events"):
            raise httpx.ConnectError("refused")
        return httpx.Response(200, json=JOB)

    with pytest.raises(cs.ServiceError, match=r"no answer \(refused\)"):
        client_of(handler, retries=4).job("ab12").wait()
    assert len(pauses) == 4


def test_a_job_that_failed_raises_its_note() -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/events"):
            return httpx.Response(200, content=event(state="failed", note="no space is left"))
        return httpx.Response(200, json=JOB)

    with pytest.raises(cs.ServiceError, match=r"^job ab12: no space is left$"):
        client_of(handler).job("ab12").wait()


@pytest.mark.parametrize("line", [b"data: [\n", b"data: {}\n", b"data: " + b"[" * 100_000 + b"\n", b"x" * 17_000_000])
def test_events_that_cannot_be_are_one_line(line: bytes) -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/events"):
            return httpx.Response(200, content=line)
        return httpx.Response(200, json=JOB)

    with pytest.raises(cs.ServiceError, match=r"is that a codecsieve service\?$"):
        client_of(handler).job("ab12").wait()


def test_a_job_is_started_once_however_often_it_is_sent(pauses: list[float]) -> None:
    keys: list[str] = []

    def handler(request: httpx.Request) -> httpx.Response:
        keys.append(request.headers["idempotency-key"])
        if len(keys) < 3:
            raise httpx.ReadTimeout("timed out")
        return httpx.Response(202, json=JOB)

    client = client_of(handler)
    job = client.start_job("caches:one", inputs=["videos"], k_keep=6)
    assert (job.id, len(keys), len(set(keys))) == ("ab12", 3, 1)
    client.start_job("caches:one", inputs=["videos"], k_keep=6)
    assert len(set(keys)) == 2


@pytest.mark.parametrize("changed", [{"id": "../keys"}, {"id": ""}, {"done": "many"}, {"state": None}])
def test_a_job_that_cannot_be_is_one_line(changed: dict[str, Any]) -> None:
    with pytest.raises(cs.ServiceError, match="a job that cannot be"):
        client_of(answers(httpx.Response(202, json={**JOB, **changed}))).start_job("caches:one", inputs=["videos"])


def test_embeddings_must_be_of_the_clips_that_were_asked_for() -> None:
    body = tensors({"ids": ["a"], "model": "m"}, embedding=np.zeros((1, 4), np.float32))
    client = client_of(answers(clip_answer(body)))
    (one,) = client.embed_cached("caches:one", ["a"])
    assert (one.embedding.shape, one.tokens, one.id, one.model) == ((4,), None, "a", "m")
    with pytest.raises(cs.ServiceError, match="answered no embeddings"):
        client.embed_cached("caches:one", ["a", "b"])


def test_whether_it_is_ready_is_an_answer_and_no_error(pauses: list[float]) -> None:
    told = {"status": "not ready", "lacks": ["it is ending"], "gpus": []}
    ready = client_of(answers(httpx.Response(503, json=told))).ready()
    assert (bool(ready), list(ready.lacks), pauses) == (False, ["it is ending"], [])
    assert client_of(answers(httpx.Response(200, json={"status": "ready", "lacks": [], "gpus": []}))).ready()
