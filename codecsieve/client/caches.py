"""Caches of a service, from outside: what is in one, its index, its clips."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

from codecsieve.client.connection import Connection
from codecsieve.client.tokens import SAFETENSORS, SievedTokens, sieved_tokens

_PAGE = 1000


class RemoteCache:
    """A cache that a service has: `ROOT:FOLDER`, or a root's name alone."""

    def __init__(self, connection: Connection, name: str) -> None:
        """Raises ServiceError 404 where there is none."""
        self._connection, self.name = connection, name
        facts = connection.ask_json("GET", self._path, query={"limit": 1})
        facts.pop("rows", None)
        facts.pop("offset", None)
        self.facts: Mapping[str, Any] = facts
        """As they were when this was made: clips, failed, total, labels, columns, clip_bytes, config."""

    def __repr__(self) -> str:
        return f"RemoteCache {self.name}: {self.facts.get('clips')} clips, {self.facts.get('failed')} failed"

    def rows(self, where: str | None = None) -> Iterator[dict[str, Any]]:
        """The rows of its index, those of failed clips too, a page at a time.

        where: a condition in SQL, such as "label = 'run' and fps > 25". Raises ServiceError 422 for one that cannot be.
        """
        offset = 0
        while True:
            page = self._connection.ask_json(
                "GET", self._path, query={"where": where, "offset": offset, "limit": _PAGE}
            )
            rows = page.get("rows")
            if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
                raise self._connection.strange("no rows")
            yield from rows
            offset += len(rows)
            if len(rows) < _PAGE:
                return

    def clip(self, clip: str) -> SievedTokens:
        """A clip's arrays: by id, the beginning of one, or file name. Raises ServiceError 404 where there is none."""
        path = f"{self._path}/clips/{quote(clip)}"
        answer = self._connection.ask("GET", path, SAFETENSORS, {"format": "safetensors"})
        try:
            return sieved_tokens(answer.body)
        except ValueError as error:
            raise self._connection.strange(f"no clip ({error})") from None

    def picture(self, clip: str, slots: int = 8) -> bytes:
        """The kept patches of a clip in their places, of so many slots: a PNG file's bytes. Raises ServiceError."""
        path = f"{self._path}/clips/{quote(clip)}/picture"
        return bytes(self._connection.ask("GET", path, "image/png", {"slots": slots}).body)

    @property
    def _path(self) -> str:
        return f"/v1/caches/{quote(self.name, safe=':')}"
