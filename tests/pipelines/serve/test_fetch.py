"""What URLs may name: hosts that were allowed, at public addresses, and bounded answers; nothing else is asked."""

from __future__ import annotations

import asyncio
import gzip
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from codecsieve.pipelines.serve.fetch import Allowed, Fetcher, is_public
from codecsieve.pipelines.serve.limits import Limits
from codecsieve.pipelines.serve.refusal import RefusedError

PUBLIC, HERE = "93.184.216.34", "127.0.0.1"
HELLO = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
Answer = bytes | Callable[[socket.socket], None]


class Host:
    """A server on loopback that answers each path, and says what it was asked."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {"/a": HELLO}
        self.asked: list[str] = []
        self._socket = socket.create_server((HERE, 0))
        self.port = self._socket.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection:
            request = connection.recv(65536).decode("latin-1")
            self.asked.append(request)
            answer = self.answers.get(request.split(" ")[1], b"HTTP/1.1 404 None\r\nContent-Length: 0\r\n\r\n")
            try:
                connection.sendall(answer) if isinstance(answer, bytes) else answer(connection)
            except OSError:
                return

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def host() -> Iterator[Host]:
    host = Host()
    yield host
    host.close()


class Names:
    """What a name leads to, lookup by lookup, and which addresses were connected to: all of them are `host` here."""

    def __init__(self, host: Host, *lookups: Sequence[str]) -> None:
        self.lookups, self.connected = iter(lookups), list[str]()
        self._port = host.port

    def rule(self, fetcher: Fetcher) -> None:
        async def found(name: str, port: int, **_: object) -> list[object]:
            return [
                (socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
                for address in next(self.lookups)
            ]

        asyncio.get_running_loop().getaddrinfo = found  # type: ignore[assignment, method-assign]
        backend = fetcher._client._transport._pool._network_backend._backend  # type: ignore[attr-defined]
        connect = backend.connect_tcp

        async def noted(address: str, port: int, *rest: object) -> object:
            self.connected.append(address)
            return await connect(HERE, self._port, *rest)

        backend.connect_tcp = noted


def status_of(refusal: RefusedError) -> int:
    assert "\n" not in str(refusal)
    assert len(str(refusal)) < 1000
    return refusal.status


def fetch(
    folder: Path, names: Names, *urls: str, hosts: Sequence[str] = ("good.example",), allowed: Allowed = is_public
) -> list[bytes | int]:
    """What one fetcher brings of each URL, or the status that it refuses with."""
    got: list[bytes | int] = []

    async def do() -> None:
        fetcher = Fetcher(hosts, Limits(max_upload=1000, patience=0.5), allowed)
        names.rule(fetcher)
        for url in urls:
            try:
                async with fetcher.fetched(url, folder) as upload:
                    got.append(upload.path.read_bytes())
            except RefusedError as error:
                got.append(status_of(error))
        await fetcher.close()

    asyncio.run(do())
    assert list(folder.iterdir()) == []
    return got


# --- addresses


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "127.255.255.254", "10.0.0.1", "172.16.3.4", "192.168.1.1", "169.254.169.254", "0.0.0.0", "::1", "::",
     "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254",
     "::127.0.0.1", "::ffff:0:127.0.0.1", "64:ff9b::7f00:1", "64:ff9b:1::7f00:1", "2002:7f00:1::", "2001::7f00:1",
     "fec0::1", "224.0.0.1", "ff02::1", "100.64.0.1", "240.0.0.1", "255.255.255.255", "198.18.0.1", "192.0.2.1",
     "2001:db8::1", "100::1"],
)  # fmt: skip
def test_addresses_that_are_not_the_open_internets(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", [PUBLIC, "1.1.1.1", "::ffff:1.1.1.1", "2606:4700:4700::1111"])
def test_addresses_that_are(address: str) -> None:
    assert is_public(address)


# --- which URLs


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1/a", "http://2130706433/", "http://0x7f.1/", "http://0177.0.0.1/", "http://127.1/", "http://0/",
     "http://[::1]/a", "http://[::ffff:127.0.0.1]/a", "http://localhost/a", "http://169.254.169.254/latest/meta-data/",
     "http://evil.example/a", "http://good.example@evil.example/a", "http://evil.example\\@good.example/a",
     "http://user:pw@good.example/a", "http://good.example.evil.example/",
     "http://evil-good.example/", "http://ggood.example/", "http://good.example%2eevil.example/",
     "http://good.example%00.evil.example/", "http://good。example.evil/", "http://xn--good.example/",
     "ftp://good.example/a", "file:///etc/passwd", "file://good.example/etc/passwd", "gopher://good.example/",
     "data:video/mp4,x", "http://good.example:22/", "http://good.example:8080/", "http://good.example:0/",
     "http://good.example:99999/", "//good.example/a", "good.example/a", "/a", "", "http://", "http:///a", "http://[",
     "http://good.example\r\nHost: x/a", "http://good.example\ud800/a", "javascript:alert(1)", "x" * 100_000],
)  # fmt: skip
def test_urls_that_may_not_be_asked(url: str, host: Host, tmp_path: Path) -> None:
    names = Names(host)
    assert fetch(tmp_path, names, url) == [403]
    assert names.connected == []


@pytest.mark.parametrize(
    ("allowed", "named"),
    [("good.example", "http://GOOD.Example/a"), ("Good.Example.", "http://good.example/a"),
     ("good.example", "http://good.example./a"), ("good.example", "http://good.example:80/a"),
     ("bücher.example", "http://xn--bcher-kva.example/a"), ("xn--bcher-kva.example", "http://bücher.example/a"),
     ("BÜCHER.example", "http://BÜCHER.example/a")],
)  # fmt: skip
def test_a_host_is_the_same_however_it_is_written(allowed: str, named: str, host: Host, tmp_path: Path) -> None:
    assert fetch(tmp_path, Names(host, [PUBLIC]), named, hosts=[allowed]) == [b"hello"]


def test_no_url_is_read_where_no_host_was_allowed(host: Host, tmp_path: Path) -> None:
    assert fetch(tmp_path, Names(host), "http://good.example/a", hosts=[]) == [403]


# --- where names lead


@pytest.mark.parametrize(
    "lookup", [[HERE], ["::1"], ["169.254.169.254"], [PUBLIC, HERE], [HERE, PUBLIC], [PUBLIC, "::ffff:10.0.0.1"], []]
)
def test_a_name_is_not_asked_if_any_of_its_addresses_is_not_public(
    lookup: list[str], host: Host, tmp_path: Path
) -> None:
    names = Names(host, lookup)
    assert fetch(tmp_path, names, "http://good.example/a") == [502]
    assert (names.connected, host.asked) == ([], [])


def test_the_address_that_was_looked_at_is_the_one_that_is_connected_to(host: Host, tmp_path: Path) -> None:
    """A name that leads here from the second time on gains nothing: it is looked up once a connection."""
    names = Names(host, [PUBLIC], [HERE])
    assert fetch(tmp_path, names, "http://good.example/a", "http://good.example/a") == [b"hello", 502]
    assert names.connected == [PUBLIC]


def test_an_address_of_ones_own_can_be_allowed(host: Host, tmp_path: Path) -> None:
    names = Names(host, [HERE])
    assert fetch(tmp_path, names, "http://good.example/a", allowed=lambda address: True) == [b"hello"]


# --- redirects


@pytest.mark.parametrize(
    ("location", "status"),
    [("http://evil.example/a", 403), ("//evil.example/a", 403), ("http://127.0.0.1/a", 403),
     ("https://evil.example/", 403), ("file:///etc/passwd", 403), ("ftp://good.example/a", 403),
     ("http://good.example:6379/", 403), ("http://good.example@evil.example/", 403), ("http://[", 403), ("/on", 502),
     ("", 502), ("/none", 502)],
)  # fmt: skip
def test_a_redirect_leads_to_nothing_that_could_not_be_asked_itself(
    location: str, status: int, host: Host, tmp_path: Path
) -> None:
    host.answers["/on"] = f"HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode()
    names = Names(host, *[[PUBLIC]] * 8)
    assert fetch(tmp_path, names, "http://good.example/on") == [status]
    assert set(names.connected) == {PUBLIC}


def test_a_redirect_is_followed_and_looked_up_anew(host: Host, tmp_path: Path) -> None:
    host.answers["/on"] = b"HTTP/1.1 301 Moved\r\nLocation: /a\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    assert fetch(tmp_path, Names(host, [PUBLIC], [PUBLIC]), "http://good.example/on") == [b"hello"]
    names = Names(host, [PUBLIC], [HERE])
    assert fetch(tmp_path, names, "http://good.example/on") == [502]
    assert names.connected == [PUBLIC]


# --- answers


def endless(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        connection.sendall(bytes(65536))


def silent(connection: socket.socket) -> None:
    time.sleep(60)


def silent_half_way(connection: socket.socket) -> None:
    connection.sendall(HELLO[:-2])
    time.sleep(60)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("answer", "status"),
    [(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n" + bytes(5000), 413), (endless, 413), (silent, 502),
     (silent_half_way, 502), (HELLO[:-2], 502), (b"", 502), (b"\x16\x03\x01\n" * 1000, 502),
     (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 500_000 + b"\r\n\r\n", 502), (b"HTTP/1.1 500 No\r\n\r\n", 502),
     (b"HTTP/1.1 206 Partly\r\nContent-Length: 1\r\n\r\nx", 502), (b"HTTP/1.1 204 None\r\n\r\n", 502)],
)  # fmt: skip
def test_answers_that_cannot_be_had_or_are_too_large(answer: Answer, status: int, host: Host, tmp_path: Path) -> None:
    host.answers["/a"] = answer
    began = time.monotonic()
    assert fetch(tmp_path, Names(host, [PUBLIC]), "http://good.example/a") == [status]
    assert time.monotonic() - began < 30


def test_what_is_compressed_stays_so(host: Host, tmp_path: Path) -> None:
    packed = gzip.compress(bytes(100_000))
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(packed)}\r\n\r\n"
    host.answers["/a"] = head.encode() + packed
    assert fetch(tmp_path, Names(host, [PUBLIC]), "http://good.example/a") == [packed]
    assert "accept-encoding: identity" in host.asked[0].lower()


def test_what_one_answer_says_is_not_told_with_the_next_request(host: Host, tmp_path: Path) -> None:
    host.answers["/a"] = HELLO.replace(b"\r\n\r\n", b"\r\nSet-Cookie: who=me\r\nConnection: close\r\n\r\n")
    names = Names(host, [PUBLIC], [PUBLIC])
    assert fetch(tmp_path, names, *["http://good.example/a"] * 2) == [b"hello"] * 2
    assert not any("cookie" in asked.lower() or "authorization" in asked.lower() for asked in host.asked)


def test_nothing_is_read_from_the_environment(host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    names = Names(host, [PUBLIC])
    assert fetch(tmp_path, names, "http://good.example/a") == [b"hello"]
    assert names.connected == [PUBLIC]


def test_a_full_disk_is_said_to_be_one(host: Host, tmp_path: Path) -> None:
    async def do() -> int:
        fetcher = Fetcher(["good.example"], Limits())
        Names(host, [PUBLIC]).rule(fetcher)
        try:
            async with fetcher.fetched("http://good.example/a", tmp_path / "none"):
                return 200
        except RefusedError as error:
            return error.status
        finally:
            await fetcher.close()

    assert asyncio.run(do()) == 507
