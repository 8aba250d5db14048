"""Manifests that requests bring for their jobs: read, and kept as files for as long as a job is to read them.

A file is named for its content: a request that is sent again finds it there, and jobs of the same clips share it. Whose
job it is, and whether it is over, is for `jobs` to say.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from codecsieve.errors import ManifestError
from codecsieve.files import publish
from codecsieve.pipelines.inputs.manifest import read_rows
from codecsieve.pipelines.inputs.row import ColumnNames, Row

from .jobs import JobStore
from .refusal import RefusedError
from .roots import Roots

MOST_ROWS = 250_000
"""That come with a job: a row of a few bytes is hundreds in memory. A longer manifest is put below a root."""


class Manifests:
    """The files of a folder that is theirs alone; from any thread."""

    def __init__(self, folder: Path, roots: Roots, store: JobStore) -> None:
        self._folder, self._roots, self._store = folder, roots, store
        self._lock = threading.Lock()

    def lines_of(self, rows: Sequence[Mapping[str, Any]]) -> bytes:
        """Rows as JSON lines, with the real paths of what they name. Raises RefusedError for what is outside."""
        _check_length(len(rows), "manifest")
        lines = []
        for number, row in enumerate(rows, 1):
            path = row.get("path")
            if not isinstance(path, str):
                raise RefusedError(422, f"manifest row {number}: must have a path, ROOT/sub/clip.mp4")
            lines.append(json.dumps({**row, "path": os.fspath(self._roots.find(path))}))
        return "\n".join(lines).encode() + b"\n"

    def file_of(self, lines: bytes) -> Path:
        """Where such lines are kept."""
        return self._folder / f"{hashlib.sha256(lines).hexdigest()}.jsonl"

    @contextmanager
    def kept(self, lines: bytes | None) -> Iterator[None]:
        """Write the file of some lines; by the end of the block the store must have its job, or it may be swept."""
        with self._lock:
            if lines is not None and not self.file_of(lines).is_file():
                publish(self.file_of(lines), [lines])
            yield

    def sweep(self) -> None:
        """Remove what no job that waits or runs is to read."""
        with self._lock, suppress(OSError):  # it is tried again after the next job
            needed = {os.path.basename(path) for path in self._store.first_inputs()}
            for file in self._folder.iterdir():
                if file.name not in needed:
                    file.unlink(missing_ok=True)


def rows_of(text: str, columns: Mapping[str, str]) -> list[dict[str, Any]]:
    """The rows of a manifest that came as text, as `codecsieve precompute` reads a file of it: CSV, TSV, JSON lines.

    columns: what it calls our columns; the rows have our names. Raises ManifestError, ConfigError, RefusedError.
    """
    _check_length(max(text.count("\n"), text.count("\r")), "manifest_text")
    with tempfile.TemporaryDirectory(prefix="codecsieve-") as folder:
        suffix = ".jsonl" if text.lstrip("\ufeff \t\r\n").startswith("{") else ".csv"
        path = os.path.join(os.path.realpath(folder), f"manifest{suffix}")
        try:
            Path(path).write_bytes(text.encode())
            return [_fields(row, os.path.dirname(path)) for row in read_rows(path, ColumnNames(columns))]
        except UnicodeEncodeError:
            raise ManifestError("manifest_text: must be text") from None
        except ManifestError as error:
            raise ManifestError(str(error).replace(path, "manifest_text")) from None


def _check_length(rows: int, name: str) -> None:
    if rows > MOST_ROWS:
        raise RefusedError(
            422, f"{name} ({rows} rows) must have <= {MOST_ROWS}; put it below a root, and name it among inputs"
        )


def _fields(row: Row, folder: str) -> dict[str, Any]:
    inside = os.path.relpath(row.path, folder)
    own = {
        "path": row.path if inside.startswith("..") else inside,
        "label": row.label,
        "start": row.start,
        "end": row.end,
        "id": row.id,
    }
    return {**{name: value for name, value in own.items() if value is not None}, **dict(row.further)}
