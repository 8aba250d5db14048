"""Jobs of a service, in SQLite: what was asked for, how far it is, what became of it; and they outlive the process.

Only one service has a data folder, so that what the file says is running was, and is begun again, when it starts.
Doing jobs is left to `runner`.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

QUEUED, RUNNING, DONE, FAILED, CANCELLED = "queued", "running", "done", "failed", "cancelled"
STATES = (QUEUED, RUNNING, DONE, FAILED, CANCELLED)
OPEN = (QUEUED, RUNNING)
ENDED = (DONE, FAILED, CANCELLED)
_TABLE = """
CREATE TABLE IF NOT EXISTS jobs (
  id TEXT PRIMARY KEY,
  owner TEXT NOT NULL,
  cache TEXT NOT NULL,
  wanted TEXT NOT NULL,
  state TEXT NOT NULL,
  note TEXT NOT NULL DEFAULT '',
  done INTEGER NOT NULL DEFAULT 0,
  total INTEGER NOT NULL DEFAULT 0,
  failed INTEGER NOT NULL DEFAULT 0,
  summary TEXT NOT NULL DEFAULT '{}',
  created REAL NOT NULL,
  started REAL,
  finished REAL
)
"""


@dataclass(frozen=True)
class Job:
    """One job.

    owner: name of the key that asked; cache: `ROOT:FOLDER`; wanted: `inputs` (real paths) and `options`; state: of
    `STATES`; note: why it waits or failed, in one line; done, total, failed: clips of the run that is at it, or was;
    summary: counts and failures, once it is done; created, started, finished: seconds since 1970.
    """

    id: str
    owner: str
    cache: str
    wanted: Mapping[str, Any]
    state: str
    note: str
    done: int
    total: int
    failed: int
    summary: Mapping[str, Any]
    created: float
    started: float | None
    finished: float | None

    @property
    def eta(self) -> float | None:
        """Seconds until it is done, by its pace; None where that cannot be told."""
        if self.state != RUNNING or not self.done or self.started is None:
            return None
        return (time.time() - self.started) / self.done * (self.total - self.done)


class JobStore:
    """The jobs in a file; from any thread."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._base = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._base.row_factory = sqlite3.Row
        self._base.execute("PRAGMA journal_mode=WAL")
        self._base.execute("PRAGMA synchronous=FULL")
        self._base.execute(_TABLE)

    def close(self) -> None:
        """Let the file go."""
        self._base.close()

    def add(self, owner: str, cache: str, wanted: Mapping[str, Any], job_id: str | None = None) -> Job:
        """A new job, queued; or the one that has this id already, as it is."""
        job_id = job_id or uuid.uuid4().hex
        self._do(
            "INSERT OR IGNORE INTO jobs (id, owner, cache, wanted, state, created) VALUES (?, ?, ?, ?, ?, ?)",
            (job_id, owner, cache, json.dumps(wanted), QUEUED, time.time()),
        )
        job = self.get(job_id)
        assert job is not None
        return job

    def get(self, job_id: str) -> Job | None:
        """The job with an id."""
        rows = self._do("SELECT * FROM jobs WHERE id = ?", (job_id,))
        return _job(rows[0]) if rows else None

    def page(self, owner: str | None = None, state: str | None = None, limit: int = 100, offset: int = 0) -> list[Job]:
        """Jobs, the newest first: all, or those of an owner, in a state."""
        rows = self._do(
            "SELECT * FROM jobs WHERE (?1 IS NULL OR owner = ?1) AND (?2 IS NULL OR state = ?2) "
            "ORDER BY created DESC, rowid DESC LIMIT ?3 OFFSET ?4",
            (owner, state, limit, offset),
        )
        return [_job(row) for row in rows]

    def counts(self, owner: str | None = None) -> dict[str, int]:
        """How many jobs are in each state."""
        query = "SELECT state, COUNT(*) AS n FROM jobs WHERE ?1 IS NULL OR owner = ?1 GROUP BY state"
        found = {row["state"]: row["n"] for row in self._do(query, (owner,))}
        return {state: found.get(state, 0) for state in STATES}

    def waiting(self) -> list[Job]:
        """Those that wait, the oldest first."""
        return [_job(row) for row in self._do("SELECT * FROM jobs WHERE state = ? ORDER BY created, rowid", (QUEUED,))]

    def change(self, job_id: str, **values: Any) -> None:
        """Set columns of a job."""
        if "summary" in values:
            values["summary"] = json.dumps(values["summary"])
        names = ", ".join(f"{name} = ?" for name in values)
        self._do(f"UPDATE jobs SET {names} WHERE id = ?", (*values.values(), job_id))

    def first_inputs(self) -> list[str]:
        """What each job that waits or runs reads first; of one that brought a manifest, that is it."""
        rows = self._do("SELECT json_extract(wanted, '$.inputs[0]') AS path FROM jobs WHERE state IN (?, ?)", OPEN)
        return [row["path"] for row in rows if row["path"] is not None]

    def forget(self, most: int) -> None:
        """Keep so many of each owner's jobs that have ended; those that ended longest ago go."""
        self._do(
            "DELETE FROM jobs WHERE id IN (SELECT id FROM (SELECT id, ROW_NUMBER() OVER (PARTITION BY owner "
            "ORDER BY finished DESC, rowid DESC) AS place FROM jobs WHERE state IN (?, ?, ?)) WHERE place > ?)",
            (*ENDED, most),
        )

    def begin_again(self) -> int:
        """Queue what was running when a service ended; how many that were."""
        running = self.counts()[RUNNING]
        self._do("UPDATE jobs SET state = ?, note = 'the service was ended; it goes on' WHERE state = ?",
                 (QUEUED, RUNNING))  # fmt: skip
        return running

    def _do(self, query: str, values: tuple[Any, ...]) -> list[sqlite3.Row]:
        with self._lock:
            return self._base.execute(query, values).fetchall()


def _job(row: sqlite3.Row) -> Job:
    values = {name: row[name] for name in row.keys()}  # noqa: SIM118  # a Row's iterator gives values
    return Job(**{**values, "wanted": json.loads(row["wanted"]), "summary": json.loads(row["summary"])})
