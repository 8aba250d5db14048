"""Bodies of requests: how they reach the disk, what is no body, what is too much of one; and clients that go away."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import pytest
from starlette.requests import Request
from starlette.types import Message

from codecsieve.pipelines.serve.app import Listening
from codecsieve.pipelines.serve.limits import Limits
from codecsieve.pipelines.serve.receive import read_json, received
from codecsieve.pipelines.serve.refusal import RefusedError

LIMITS = Limits(max_upload=100_000, max_json=10_000, patience=0.2)
FORM = "multipart/form-data; boundary=x"
GONE: Message = {"type": "http.disconnect"}


def request(kind: str | None, parts: Sequence[bytes | Message | None], **headers: str) -> Request:
    """A request whose body comes in these parts; None is where nothing more comes."""
    coming = iter(parts)
    left = len(parts)

    async def receive() -> Message:
        nonlocal left
        left -= 1
        part = next(coming, b"")
        if part is None:
            await asyncio.sleep(60)
        if isinstance(part, dict):
            return part
        return {"type": "http.request", "body": part, "more_body": left > 0}

    listed = {**headers, **({} if kind is None else {"content-type": kind})}
    raw = [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in listed.items()]
    return Request({"type": "http", "method": "POST", "path": "/", "query_string": b"", "headers": raw}, receive)


def status_of(refusal: RefusedError) -> int:
    assert "\n" not in str(refusal)
    assert len(str(refusal)) < 500
    return refusal.status


def bring(folder: Path, asked: Request) -> tuple[str, bytes] | int:
    """The name and the content of what a request brings, or the status that it is refused with."""

    async def do() -> tuple[str, bytes] | int:
        try:
            async with received(asked, folder, LIMITS) as upload:
                assert upload.nbytes == upload.path.stat().st_size
                return upload.name, upload.path.read_bytes()
        except RefusedError as error:
            return status_of(error)

    found = asyncio.run(do())
    assert list(folder.iterdir()) == []
    return found


def form(*parts: tuple[str, bytes], end: bytes = b"--x--\r\n") -> bytes:
    made = [b"--x\r\n" + head.encode() + b"\r\n\r\n" + data + b"\r\n" for head, data in parts]
    return b"".join(made) + end


FILE = 'Content-Disposition: form-data; name="file"; filename="a.mp4"'
TEXT = 'Content-Disposition: form-data; name="text"'


@pytest.mark.parametrize("kind", ["video/mp4", "VIDEO/x-matroska; codecs=1", "application/octet-stream",
                                  "application/mp4"])  # fmt: skip
def test_a_body_that_is_the_video(tmp_path: Path, kind: str) -> None:
    assert bring(tmp_path, request(kind, [b"ab", b"", b"c"])) == ("upload", b"abc")


@pytest.mark.parametrize("kind", [None, "", "text/html", "image/png", "video", "video/", "video/mp4x/y", "x" * 5000,
                                  "application/x-www-form-urlencoded", "multipart/mixed; boundary=x", "\xff",
                                  "multipart/form-data-x", ";video/mp4"])  # fmt: skip
def test_a_body_of_another_kind_is_not_read(tmp_path: Path, kind: str | None) -> None:
    assert bring(tmp_path, request(kind, [None])) == 415


@pytest.mark.parametrize("step", [1, 2, 7, 50, 1000])
def test_a_form_however_it_is_cut(tmp_path: Path, step: int) -> None:
    data = bytes(range(256)) + b"\r\n--y\r\n--\r\n-\r--"
    body = form((TEXT, b"no"), (FILE, data), (FILE.replace("a.mp4", "b.mp4"), b"another"))
    parts = [body[first : first + step] for first in range(0, len(body), step)]
    assert bring(tmp_path, request(FORM, parts)) == ("a.mp4", data)


@pytest.mark.parametrize(
    ("name", "told"),
    [("../../etc/passwd", "../../etc/passwd"), ("C:\\\\a.mp4", "a.mp4"), ("", "upload"), ("\x1b[2J", r"\x1b[2J"),
     ("видео\u202e.mp4", r"видео\u202e.mp4"), ("\ud800", "\ufffd\ufffd\ufffd")],
)  # fmt: skip
def test_a_files_name_is_only_ever_shown(tmp_path: Path, name: str, told: str) -> None:
    head = b'Content-Disposition: form-data; name="f"; filename="' + name.encode("utf-8", "surrogatepass") + b'"'
    body = b"--x\r\n" + head + b"\r\n\r\nabc\r\n--x--"
    assert bring(tmp_path, request(FORM, [body])) == (told, b"abc")


def test_a_long_name_is_shown_shortened(tmp_path: Path) -> None:
    found = bring(tmp_path, request(FORM, [form((FILE.replace("a.mp4", "n" * 3000), b"abc"))]))
    assert isinstance(found, tuple)
    assert len(found[0]) <= 100


BROKEN = {
    "nothing": b"", "no file": form((TEXT, b"abc")), "an empty file": form((FILE, b"")), "no boundary in it": b"abc",
    "another boundary": b"--y\r\n\r\nabc\r\n--y--\r\n", "broken off in the file": form((FILE, b"abc"), end=b""),
    "broken off in the boundary": form((FILE, b"abc"), end=b"--x"), "broken off in a header": b"--x\r\nContent-Dis",
    "only an end": b"--x--\r\n", "a header without a colon": b"--x\r\nabc\r\n\r\nabc\r\n--x--",
    "a header of control characters": b"--x\r\n\0\x01: a\r\n\r\nabc\r\n--x--",
    "a long header": form((FILE + "; a=" + "b" * 50_000, b"abc")),
    "a long name of a header": form(("a" * 50_000 + ": b", b"abc")),
    "many headers": form(("\r\n".join([f"a{number}: b" for number in range(3000)]), b"abc")),
    "many parts": form(*[(TEXT, b"")] * 300, (FILE, b"abc")),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_a_form_that_is_broken_is_said_to_be(tmp_path: Path, case: str) -> None:
    assert bring(tmp_path, request(FORM, [BROKEN[case]])) == 400
    body = BROKEN[case]
    assert bring(tmp_path, request(FORM, [body[first : first + 99] for first in range(0, len(body), 99)])) == 400


@pytest.mark.parametrize(
    "boundary",
    ["", "; boundary=", "; boundary=" + "x" * 3000, "; Boundary", "; boundary*=utf-8''x", ";;;", '; boundary=""'],
)
def test_a_form_without_a_boundary_that_can_be_is_refused(tmp_path: Path, boundary: str) -> None:
    assert bring(tmp_path, request(f"multipart/form-data{boundary}", [form((FILE, b"abc"))])) == 400


def test_forms_with_bytes_flipped_are_taken_or_refused(tmp_path: Path) -> None:
    draw = random.Random(3)
    whole = form((TEXT, b"no"), (FILE, b"abc" * 20))
    for _ in range(300):
        body = bytearray(whole)
        for _ in range(draw.choice([1, 3, 20])):
            body[draw.randrange(len(body))] = draw.choice(b'\r\n-x:;"=\0\xff a')
        found = bring(tmp_path, request(FORM, [bytes(body)]))
        assert found == 400 or isinstance(found, tuple)


@pytest.mark.parametrize("kind", ["video/mp4", FORM])
def test_a_body_is_not_read_past_what_is_allowed(tmp_path: Path, kind: str) -> None:
    head = form((FILE, b""), end=b"")[:-2] if kind == FORM else b""
    assert bring(tmp_path, request(kind, [head, *[bytes(10_000)] * 11, None])) == 413
    assert bring(tmp_path, request(kind, [None], content_length="100001")) == 413
    assert bring(tmp_path, request(kind, [None], content_length="9" * 5000)) == 413


@pytest.mark.parametrize("parts", [[], [b""], [b"", b""]])
def test_a_body_that_is_empty(tmp_path: Path, parts: list[bytes]) -> None:
    assert bring(tmp_path, request("video/mp4", parts)) == 400


def test_a_body_that_stops_coming_or_is_broken_off(tmp_path: Path) -> None:
    assert bring(tmp_path, request("video/mp4", [b"abc", None])) == 408
    assert bring(tmp_path, request("video/mp4", [b"abc", GONE])) == 400
    assert bring(tmp_path, request(FORM, [form((FILE, b"abc"), end=b""), GONE])) == 400


def test_a_full_disk_is_said_to_be_one(tmp_path: Path) -> None:
    async def do() -> None:
        with pytest.raises(RefusedError, match="cannot be kept here") as refusal:
            async with received(request("video/mp4", [b"abc"]), tmp_path / "none", LIMITS):
                raise AssertionError
        assert refusal.value.status == 507

    asyncio.run(do())


def test_what_goes_wrong_with_a_video_later_is_not_taken_for_the_disks(tmp_path: Path) -> None:
    async def do() -> None:
        with pytest.raises(OSError, match="elsewhere"):
            async with received(request("video/mp4", [b"abc"]), tmp_path, LIMITS):
                raise OSError("elsewhere")

    asyncio.run(do())
    assert list(tmp_path.iterdir()) == []


# --- JSON


def parse(*parts: bytes | None, kind: str | None = "application/json") -> dict[str, object] | int:
    async def do() -> dict[str, object] | int:
        try:
            return await read_json(request(kind, parts), LIMITS)
        except RefusedError as error:
            return status_of(error)

    return asyncio.run(do())


@pytest.mark.parametrize(
    ("body", "value"),
    [(b"{}", {}), (b' {"a": [1, null, "\xc3\xa9"]}\n', {"a": [1, None, "é"]}), (b'{"a": 1, "a": 2}', {"a": 2}),
     (b'\xff\xfe{\0}\0', {}), (b'{"a": "NaN"}', {"a": "NaN"})],
)  # fmt: skip
def test_json_is_read(body: bytes, value: object) -> None:
    assert parse(body) == parse(body[:3], body[3:]) == value


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"3", b"null", b'"a"', b"{'a': 1}", b"{}{}", b'{"a": NaN}', b'{"a": -Infinity}', b"\xff",
     b'{"a": "\xff"}', b"[" * 9000, b'{"a":' * 1000, b'{"a": ' + b"9" * 9000 + b"}", b"\0", b'{"a": 01}', b"x" * 9000],
)  # fmt: skip
def test_json_that_is_none_is_said_to_be(body: bytes) -> None:
    assert parse(body) == 400


def test_json_is_bounded_and_waited_for_as_videos_are() -> None:
    assert parse(b'{"a": "', *[b"x" * 1000] * 10, None) == 413
    assert parse(b'{"a": ', None) == 408
    for kind in (None, "text/json", "video/mp4", "application/jsonx"):
        assert parse(b"{}", kind=kind) == 415
    assert parse(b"{}", kind="Application/JSON; charset=utf-8") == {}


# --- clients that go away


def listen(
    coming: Sequence[Message | float], ask: Callable[[Listening], Awaitable[object]]
) -> tuple[list[str], object]:
    """What was called as messages and pauses came, and what `ask` found."""
    left = iter(coming)

    async def receive() -> Message:
        for step in left:
            if not isinstance(step, float):
                return step
            await asyncio.sleep(step)
        await asyncio.sleep(60)
        raise AssertionError

    async def do() -> tuple[list[str], object]:
        called: list[str] = []
        listening = Listening(receive, lambda: called.append("gone"))
        async with listening:
            found = await ask(listening)
        await asyncio.sleep(0.05)
        assert len(asyncio.all_tasks()) == 1
        return called, found

    return asyncio.run(do())


def body(more: bool) -> Message:
    return {"type": "http.request", "body": b"a", "more_body": more}


def test_whoever_goes_away_after_a_whole_request_is_noticed() -> None:
    async def wait(listening: Listening) -> list[str]:
        kinds = [(await listening.receive())["type"] for _ in range(2)]
        await asyncio.sleep(0.1)
        return [*kinds, (await listening.receive())["type"]]

    called, kinds = listen([body(True), body(False), 0.05, GONE], wait)
    assert (called, kinds) == (["gone"], ["http.request", "http.request", "http.disconnect"])


def test_whoever_stays_or_goes_when_all_is_said_is_not_told_of() -> None:
    async def read(listening: Listening) -> None:
        await listening.receive()

    async def read_nothing(listening: Listening) -> None:
        await asyncio.sleep(0.02)

    assert listen([body(False), 60.0], read)[0] == []
    assert listen([body(False), GONE], read)[0] == []
    assert listen([body(True), GONE], read)[0] == []
    assert listen([GONE], read_nothing)[0] == []
