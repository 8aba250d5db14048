"""What a service allows of its users: every limit, its default and its rule, in one place.

Where a limit is held is said where it acts; one that was met is a refusal with the status that HTTP has for it.
"""

from __future__ import annotations

from dataclasses import dataclass

from codecsieve.machine import MAX_MEMORY
from codecsieve.options import check_options, option


@dataclass(frozen=True)
class Limits:
    """Raises ConfigError."""

    max_upload: int = option(2 * 10**9, "Bytes of one upload, or of one file that a URL names.", size=True, at_least=1)
    max_seconds: float = option(3600.0, "Seconds that one clip may last, by its header.", above=0)
    max_side: int = option(8192, "Pixels of the longer side of a picture.", at_least=16)
    max_samples: float = option(1e12, "Pixels of a picture times frames of the clip.", above=0)
    max_memory: int = option(MAX_MEMORY, "Memory that one clip may take in its worker, such as 2 GB.", size=True)
    decodes: int | None = option(None, "Clips decoded at a time.", new="one a core", at_least=1)
    queue: int = option(64, "Requests that may wait for a worker; more are told to come again (429).", at_least=0)
    request_seconds: float = option(120.0, "Seconds that one request may take, upload and waiting included.", above=0)
    patience: float = option(20.0, "Seconds of silence in the midst of a request that end it.", above=0)
    rate: int = option(6000, "Requests that one key may send in a minute.", at_least=1)
    most_jobs: int = option(100, "Jobs of one key that wait or run.", at_least=1)
    kept_jobs: int = option(1000, "Jobs of one key that have ended and are still told of.", at_least=1)
    job_workers: int | None = option(None, "Clips that a job makes at a time.", new="one a core", at_least=1)
    free_disk: int = option(10**9, "Bytes that must be free where data lies, or the service says it is not ready.",
                            size=True)  # fmt: skip
    streams: int = option(4, "Streams at a time, each with a process of its own.", at_least=1)
    stream_seconds: float = option(3600.0, "Seconds that one stream may last.", above=0)
    studies: int = option(16, "Clips that the page keeps at hand, to change the selection of at once.", at_least=1)
    max_json: int = option(16 * 10**6, "Bytes of a request's JSON, such as a job's manifest.", size=True, at_least=1)

    def __post_init__(self) -> None:
        check_options(self)
