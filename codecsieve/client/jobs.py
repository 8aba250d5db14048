"""Jobs of a service, from outside: how far one is, waiting for it, ending it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from codecsieve.client.connection import Connection, TryAgainError
from codecsieve.errors import ServiceError

_SILENCE = 60.0
"""Seconds without a sign after which a stream of events is asked for anew; a service gives one every 15."""
_ENDED = ("done", "failed", "cancelled")


@dataclass(frozen=True)
class JobState:
    """A job at one moment."""

    id: str
    cache: str
    state: str
    """`queued`, `running`, `done`, `failed` or `cancelled`."""
    note: str
    """Why it waits or failed, in one line."""
    done: int
    """Clips of the run that is at it, or was."""
    total: int
    failed: int
    eta: float | None
    """Seconds until it is done, by its pace; None where that cannot be told."""
    summary: Mapping[str, Any] | None
    """Once it is done: counts (made, skipped, failed, ...), `failures`, and whether it is `complete`."""
    created: float
    """Seconds since 1970, as of the next two."""
    started: float | None
    finished: float | None

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.state in _ENDED


class RemoteJob:
    """A job that a service does."""

    def __init__(self, connection: Connection, state: JobState) -> None:
        self._connection, self._state = connection, state

    @property
    def id(self) -> str:
        """Of the job."""
        return self._state.id

    @property
    def state(self) -> JobState:
        """As it was last seen; `refresh` looks again."""
        return self._state

    def __repr__(self) -> str:
        seen = self._state
        return f"RemoteJob {seen.id}: {seen.cache}, {seen.state}, {seen.done} of {seen.total} clips"

    def refresh(self) -> JobState:
        """The job as it is now. Raises ServiceError."""
        return self._take(self._connection.ask_json("GET", self._path))

    def cancel(self) -> JobState:
        """End it; what it has made stays in the cache. Raises ServiceError 409 where it has ended already."""
        return self._take(self._connection.ask_json("DELETE", self._path))

    def events(self) -> Iterator[JobState]:
        """The job as it is, and after each change, until it has ended.

        A connection that is lost, or a service that is started anew, is asked again, as often and as long as any
        request. Raises ServiceError.
        """
        last: JobState | None = None
        patience = self._connection.patience()
        while True:
            try:
                for line in self._connection.lines(f"{self._path}/events", _SILENCE):
                    if not line.startswith("data:"):
                        continue
                    state = self._take(_object(self._connection, line.removeprefix("data:")))
                    patience = self._connection.patience()
                    if last is None or dataclasses.replace(state, eta=last.eta) != last:
                        last = state
                        yield state
                    if state.ended:
                        return
                failed = TryAgainError(ServiceError(f"{self._connection.url}: job {self.id}: its events ended early"))
            except TryAgainError as error:
                failed = error
            patience.wait(failed)

    def wait(self, progress: Callable[[JobState], None] | None = None) -> JobState:
        """Wait until it has ended: done or cancelled.

        progress: called with the job as it is, and after each change. Raises ServiceError with the job's note where it
        failed. Clips that failed are in `summary`, as `codecsieve.precompute` has them.
        """
        for state in self.events():
            if progress is not None:
                progress(state)
        if self._state.state == "failed":
            raise ServiceError(f"job {self.id}: {self._state.note}", 200)
        return self._state

    @property
    def _path(self) -> str:
        return f"/v1/jobs/{self.id}"

    def _take(self, told: Mapping[str, Any]) -> JobState:
        self._state = job_state(self._connection, told)
        return self._state


def job_state(connection: Connection, told: Mapping[str, Any]) -> JobState:
    """A job as a service tells it; what this version does not know is passed over. Raises ServiceError."""
    try:
        state = JobState(**{field.name: told[field.name] for field in dataclasses.fields(JobState)})
    except KeyError as error:
        raise connection.strange(f"a job without {error}") from None
    words = (state.id, state.cache, state.state, state.note)
    if not all(isinstance(word, str) for word in words) or not state.id.isalnum() or not state.id.isascii():
        raise connection.strange("a job that cannot be")
    if not all(type(count) is int for count in (state.done, state.total, state.failed)):
        raise connection.strange("a job that cannot be")
    return state


def _object(connection: Connection, text: str) -> Mapping[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise connection.strange("events that cannot be read")
    return value
