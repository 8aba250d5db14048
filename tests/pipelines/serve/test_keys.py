"""Keys and who may ask: what is kept of a key, what lets in, what does not, and how often."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from starlette.requests import HTTPConnection

from codecsieve.errors import ConfigError
from codecsieve.pipelines.serve import access
from codecsieve.pipelines.serve.access import Access, Buckets, is_loopback
from codecsieve.pipelines.serve.keys import FILE, Keys
from codecsieve.pipelines.serve.refusal import RefusedError


def request(headers: Mapping[str, str], peer: str = "192.0.2.7") -> HTTPConnection:
    listed = {"host": "localhost:8000", **headers}
    return HTTPConnection({
        "type": "http", "client": (peer, 5), "path": "/", "query_string": b"",
        "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in listed.items()],
    })  # fmt: skip


def told(door: Access, headers: Mapping[str, str], role: str = "read", peer: str = "192.0.2.7") -> str:
    """Who is let in, or the status that the request is refused with."""
    try:
        return door.caller(request(headers, peer), role).name
    except RefusedError as error:
        return str(error.status)


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


# --- what is kept


def test_a_secret_is_kept_nowhere_and_the_file_is_its_owners(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        secret = Keys(tmp_path / "data").add("me", ["sieve", "read"])
    finally:
        os.umask(before)
    kept = tmp_path / "data" / FILE
    assert kept.stat().st_mode & 0o777 == 0o600
    assert secret not in kept.read_text()
    assert secret.removeprefix("cs_") not in kept.read_text()
    assert len(secret) >= 40
    found = Keys(tmp_path / "data").find(secret)
    assert found is not None
    assert (found.name, found.roles) == ("me", ("read", "sieve"))


@pytest.mark.parametrize("name", ["", " ", "a b", "a\nb", "../a", "-a", "é", "x" * 65, 'a"', "a\0", "local\u202e"])
def test_names_that_cannot_be(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="must be letters"):
        Keys(tmp_path).add(name, ["read"])
    assert not (tmp_path / FILE).exists()


@pytest.mark.parametrize("roles", [[], ["root"], ["read", "admin"], [""]])
def test_roles_that_cannot_be(tmp_path: Path, roles: list[str]) -> None:
    with pytest.raises(ConfigError, match="must be one or more of read, sieve, jobs"):
        Keys(tmp_path).add("me", roles)


def test_a_name_is_given_once_and_a_key_that_is_not_there_cannot_be_removed(tmp_path: Path) -> None:
    keys = Keys(tmp_path)
    keys.add("me", ["read"])
    with pytest.raises(ConfigError, match="must be new"):
        keys.add("me", ["sieve"])
    with pytest.raises(ConfigError, match="must be one of me"):
        keys.remove("you")


def test_keys_that_are_made_and_removed_at_the_same_time_are_all_heard(tmp_path: Path) -> None:
    Keys(tmp_path).add("gone", ["read"])
    threads = [threading.Thread(target=Keys(tmp_path).add, args=(f"k{number}", ["read"])) for number in range(8)]
    threads.append(threading.Thread(target=Keys(tmp_path).remove, args=("gone",)))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(key.name for key in Keys(tmp_path).all()) == [f"k{number}" for number in range(8)]


# --- who is let in


def test_only_a_whole_key_that_there_is_lets_in_and_only_to_what_it_may(tmp_path: Path) -> None:
    keys = Keys(tmp_path)
    secret = keys.add("me", ["read"])
    door = Access(keys, rate=1000)
    assert told(door, bearer(secret)) == "me"
    assert told(door, {"authorization": f"bearer   {secret} "}) == "me"
    assert told(door, bearer(secret), "sieve") == "403"
    key = json.loads((tmp_path / FILE).read_text())["keys"][0]
    for headers in (
        {}, {"Authorization": ""}, {"Authorization": "Bearer"}, {"Authorization": f"Basic {secret}"},
        {"Authorization": secret}, {"X-Api-Key": secret}, {"Cookie": secret}, bearer(secret[:-1]), bearer(secret + "x"),
        bearer(secret.upper()), bearer(key["sha256"]), bearer("me"), bearer("\xff\xfe"), bearer("x" * 60_000),
        bearer(f"{secret} {secret}"),
    ):  # fmt: skip
        assert told(door, headers) == "401", headers


def test_a_key_that_is_removed_lets_nobody_in_any_more_and_one_that_is_made_does_at_once(tmp_path: Path) -> None:
    keys = Keys(tmp_path)
    first = keys.add("first", ["read"])
    door = Access(Keys(tmp_path), rate=1000)
    second = keys.add("second", ["read"])
    assert told(door, bearer(second)) == "second"
    keys.remove("first")
    assert told(door, bearer(first)) == "401"
    keys.remove("second")
    assert told(door, bearer(second)) == "401"


@pytest.mark.parametrize(("local_only", "open_"), [(True, False), (False, False), (False, True)])
def test_a_service_that_has_had_keys_stays_closed_without_them(tmp_path: Path, local_only: bool, open_: bool) -> None:
    keys = Keys(tmp_path)
    door = Access(keys, rate=1000, open=open_, local_only=local_only)
    assert told(door, {}) == ("local" if local_only or open_ else "401")
    keys.add("me", ["read"])
    assert told(door, {}) == "401"
    keys.remove("me")
    assert told(door, {}) == "401"
    (tmp_path / FILE).unlink()
    assert told(door, {}) == "401"


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", "{}", '{"keys": 3}', '{"keys": [3]}', '{"keys": [{}]}', '{"keys": {"a": 1}}', "\xff\xfe\0",
     '{"keys": [{"name": "a", "sha256": "b", "roles": 3, "created": 1}]}', "[" * 100_000,
     '{"keys": [{"name": "a", "sha256": "b", "roles": [], "created": 1%s}]}' % ("0" * 400)],
    ids=range(13),
)  # fmt: skip
def test_damaged_keys_let_nobody_in_until_they_are_whole_again(tmp_path: Path, text: str) -> None:
    keys = Keys(tmp_path)
    secret = keys.add("me", ["read"])
    door = Access(keys, rate=1000)
    whole = (tmp_path / FILE).read_bytes()
    (tmp_path / FILE).write_text(text, "latin-1")
    with pytest.raises(ConfigError, match=f"{FILE} is damaged or cannot be read; "):
        Keys(tmp_path).all()
    with pytest.raises(ConfigError, match="is damaged"):
        keys.add("you", ["read"])
    for headers in (bearer(secret), bearer("x"), {}):
        with pytest.raises(RefusedError, match="keys of this service cannot be read; ask") as refusal:
            door.caller(request(headers), "read")
        assert refusal.value.status == 503
        assert str(tmp_path) not in str(refusal.value)
    (tmp_path / FILE).write_bytes(whole)
    assert told(door, bearer(secret)) == "me"


def test_keys_that_cannot_be_reached_let_nobody_in(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    door = Access(Keys(tmp_path / "data"), rate=1000)
    (tmp_path / "data").rmdir()
    (tmp_path / "data").write_text("now a file")
    assert told(door, {}) == "503"
    (tmp_path / "data").unlink()
    (tmp_path / "data" / FILE).mkdir(parents=True)
    assert told(door, {}) == "503"
    (tmp_path / "data" / FILE).rmdir()
    os.mkfifo(tmp_path / "data" / FILE)
    assert told(door, {}) == "503"


# --- from where


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8000", "127.0.0.1", "127.0.0.2:80", "[::1]:8000"])
def test_without_keys_this_machine_may_ask_under_its_own_names(tmp_path: Path, host: str) -> None:
    assert told(Access(Keys(tmp_path), rate=1000), {"host": host}) == "local"


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "localhost@evil.example", "", "[", "0",
             "0.0.0.0", "[::]", "192.168.0.1", "2130706433", "localhost.", "\xff"],
)  # fmt: skip
def test_without_keys_no_other_name_leads_here(tmp_path: Path, host: str) -> None:
    """A page of another site whose name leads to this machine is one of that name still."""
    assert told(Access(Keys(tmp_path), rate=1000), {"host": host}) == "403"
    assert told(Access(Keys(tmp_path), rate=1000, open=True, local_only=False), {"host": host}) == "local"


FOREIGN = [
    {"Origin": "http://evil.example"}, {"Origin": "null"}, {"Origin": ""}, {"Origin": "http://localhost:9000"},
    {"Origin": "http://["}, {"Origin": "http://localhost:8000.evil.example"}, {"Origin": "http://evil@localhost:8000"},
    {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Sec-Fetch-Site": "\xff"},
]  # fmt: skip


@pytest.mark.parametrize("headers", FOREIGN)
def test_no_page_of_another_site_may_ask_not_even_with_a_key(tmp_path: Path, headers: dict[str, str]) -> None:
    for options in ({}, {"open": True, "local_only": False}):
        assert told(Access(Keys(tmp_path), rate=1000, **options), headers) == "403"
    secret = Keys(tmp_path).add("me", ["read"])
    assert told(Access(Keys(tmp_path), rate=1000), {**headers, **bearer(secret)}) == "403"


@pytest.mark.parametrize(
    "headers",
    [{"Origin": "http://localhost:8000"}, {"Origin": "HTTP://LOCALHOST:8000"}, {"Sec-Fetch-Site": "same-origin"},
     {"Sec-Fetch-Site": "none"}],
)  # fmt: skip
def test_its_own_page_may(tmp_path: Path, headers: dict[str, str]) -> None:
    assert told(Access(Keys(tmp_path), rate=1000), headers) == "local"


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("127.8.8.8", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("::", False),
     ("", False), ("example.org", False), ("192.168.0.1", False), ("localhost.example", False)],
)  # fmt: skip
def test_which_addresses_are_this_machines_own(host: str, loopback: bool) -> None:
    assert is_loopback(host) == loopback


# --- how often


def test_a_key_may_ask_so_often_a_minute_and_others_are_not_held_up(tmp_path: Path) -> None:
    keys = Keys(tmp_path)
    one, two = keys.add("one", ["read"]), keys.add("two", ["read"])
    door = Access(keys, rate=5)
    assert [told(door, bearer(one)) for _ in range(7)] == ["one"] * 5 + ["429"] * 2
    assert told(door, bearer(two)) == "two"
    with pytest.raises(RefusedError, match="key one may send 5 requests a minute; wait") as refusal:
        door.caller(request(bearer(one)), "read")
    assert 1 <= int(refusal.value.headers["Retry-After"]) <= 12
    assert told(door, bearer(two), "jobs") == "403"


def test_whoever_tries_keys_is_told_to_wait_and_whoever_has_one_is_not(tmp_path: Path) -> None:
    """Also where they come from the same address, as behind one proxy."""
    secret = Keys(tmp_path).add("me", ["read"])
    door = Access(Keys(tmp_path), rate=1000)
    statuses = [told(door, bearer(f"cs_{number}")) for number in range(access._WRONG_KEYS + 20)]
    assert statuses == ["401"] * access._WRONG_KEYS + ["429"] * 20
    with pytest.raises(RefusedError) as refusal:
        door.caller(request(bearer("cs_x")), "read")
    assert int(refusal.value.headers["Retry-After"]) >= 1
    assert told(door, bearer("cs_x"), peer="192.0.2.8") == "401"
    assert told(door, bearer(secret)) == "me"


def test_all_addresses_of_a_network_of_ipv6_are_one(tmp_path: Path) -> None:
    Keys(tmp_path).add("me", ["read"])
    door = Access(Keys(tmp_path), rate=1000)
    for number in range(access._WRONG_KEYS):
        assert told(door, bearer("x"), peer=f"2001:db8::{number:x}") == "401"
    assert told(door, bearer("x"), peer="2001:db8::ffff:1") == "429"
    assert told(door, bearer("x"), peer="2001:db8:0:1::1") == "401"
    assert told(door, bearer("x"), peer="a unix socket") == "401"


def test_what_is_counted_comes_back_and_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    buckets = Buckets(rate=60)
    assert [buckets.take("a") for _ in range(61)] == [0] * 60 + [1]
    now[0] = 2.0
    assert [buckets.take("a") for _ in range(3)] == [0, 0, 1]
    now[0] = 1e6
    assert [buckets.take("a") for _ in range(61)] == [0] * 60 + [1]
    for number in range(access._REMEMBERED + 5):
        buckets.take(str(number))
    assert len(buckets._kept) == access._REMEMBERED
