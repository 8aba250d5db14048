"""What a service's roots hold, from outside: folders, videos and manifests, which requests may name."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from codecsieve.client.connection import Connection

_PAGE = 1000


@dataclass(frozen=True)
class RemoteFile:
    """One entry of a folder that a service has."""

    name: str
    path: str
    """As requests name it: `ROOT/sub/name`."""
    kind: str
    """`folder`, `video` or `manifest`."""
    bytes: int | None
    """Of a file; None of a folder."""


def files_of(connection: Connection, folder: str, begins: str) -> Iterator[RemoteFile]:
    """The entries of `ROOT/sub/...`, a page at a time. Raises ServiceError."""
    root, _, rest = folder.partition("/")
    offset: int | None = 0
    while offset is not None:
        query = {"folder": rest, "begins": begins, "offset": offset, "limit": _PAGE}
        page = connection.ask_json("GET", f"/v1/roots/{quote(root, safe='')}", query=query)
        entries, before, offset = page.get("entries"), offset, page.get("next")
        if not isinstance(entries, list) or not (offset is None or (type(offset) is int and offset > before)):
            raise connection.strange("no folder")
        yield from (_file(connection, entry) for entry in entries)


def _file(connection: Connection, told: Any) -> RemoteFile:
    match told:
        case {"name": str(name), "path": str(path), "kind": str(kind), "bytes": int() | None as size}:
            return RemoteFile(name, path, kind, size)
    raise connection.strange("a file that cannot be")
