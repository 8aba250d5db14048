"""Keys of a service: who may do what. Only their hashes are kept, in `keys.json` of the data folder.

A key is 256 random bits, so that a plain SHA-256 is as good as a slow hash. The file is read again when it changes: a
key that was added or removed holds at once. How often a key may ask is left to `access`.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from codecsieve.errors import ConfigError
from codecsieve.files import lock, make_folder, publish, read_regular
from codecsieve.text import quoted

FILE, _LOCK = "keys.json", ".keys.lock"
ROLES = ("read", "sieve", "jobs")
"""read: caches, what they hold, metrics; sieve: videos to tokens, embeddings, pictures; jobs: caches to be made."""
_PREFIX = "cs_"
_PATIENCE = 10.0
"""Seconds that another who changes the keys is waited for."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@-]{0,63}", re.ASCII)


@dataclass(frozen=True)
class Key:
    """name: whose it is; sha256: of the secret, in hexadecimal; roles: of `ROLES`; created: seconds since 1970."""

    name: str
    sha256: str
    roles: tuple[str, ...]
    created: float


class Keys:
    """The keys of a data folder, as its file has them now."""

    def __init__(self, data: Path) -> None:
        self._path = data / FILE
        self._seen: tuple[int, int] | None = None
        self._by_hash: dict[str, Key] = {}

    def all(self) -> list[Key]:
        """Every key. Raises ConfigError where the file is damaged: nobody gets in then."""
        self._refresh()
        return list(self._by_hash.values())

    def find(self, secret: str) -> Key | None:
        """The key with this secret."""
        self._refresh()
        return self._by_hash.get(_hash(secret))

    def add(self, name: str, roles: Iterable[str]) -> str:
        """Make a key, and return its secret, which is kept nowhere. Raises ConfigError for a name or role not to be."""
        wanted = tuple(role for role in ROLES if role in set(roles))
        if not _NAME.fullmatch(name):
            raise ConfigError(f"name ({quoted(name)}) must be letters, digits, and . _ @ -")
        if not wanted or set(roles) - set(ROLES):
            raise ConfigError(f"roles ({', '.join(roles)}) must be one or more of {', '.join(ROLES)}")
        secret = _PREFIX + secrets.token_urlsafe(32)
        with self._changing() as keys:
            if any(key.name == name for key in keys):
                raise ConfigError(f"name ({quoted(name)}) must be new; remove that key first")
            self._write([*keys, Key(name, _hash(secret), wanted, time.time())])
        return secret

    def remove(self, name: str) -> None:
        """Take a key away. Raises ConfigError where there is none of that name."""
        with self._changing() as keys:
            names = ", ".join(key.name for key in keys) or "none"
            if all(key.name != name for key in keys):
                raise ConfigError(f"name ({quoted(name)}) must be one of {names}")
            self._write([key for key in keys if key.name != name])

    @contextmanager
    def _changing(self) -> Iterator[list[Key]]:
        """Every key, and nobody else changes them until the block ends."""
        make_folder(self._path.parent)
        with lock(self._path.with_name(_LOCK), self._path.parent, patience=_PATIENCE):
            yield self.all()

    def _write(self, keys: Iterable[Key]) -> None:
        before = os.umask(0o077)
        try:
            publish(self._path, [json.dumps({"keys": [asdict(key) for key in keys]}, indent=1).encode()])
        finally:
            os.umask(before)

    def _refresh(self) -> None:
        try:
            status = self._path.stat()
        except FileNotFoundError:
            self._seen, self._by_hash = None, {}
            return
        except OSError as error:
            raise self._damaged() from error
        if (status.st_mtime_ns, status.st_ino) == self._seen:
            return
        try:
            listed = json.loads(read_regular(self._path))["keys"]
            keys = [
                Key(str(k["name"]), str(k["sha256"]), tuple(map(str, k["roles"])), float(k["created"])) for k in listed
            ]
        except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
            raise self._damaged() from error
        self._by_hash = {key.sha256: key for key in keys}
        self._seen = (status.st_mtime_ns, status.st_ino)

    def _damaged(self) -> ConfigError:
        return ConfigError(f"{self._path} is damaged or cannot be read; put it back, or remove it and make new keys")


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
