"""A service's parts, put together: what it was started with, its workers, jobs, caches, model, keys.

What HTTP makes of it is left to `app` and the `routes_...`.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from codecsieve.errors import CacheError
from codecsieve.files import HeldError, lock, make_folder

from .access import Access
from .desk import Desk
from .fetch import Allowed, Fetcher, is_public
from .jobs import JobStore
from .keys import Keys
from .limits import Limits
from .local_parts import local_parts
from .manifests import Manifests
from .measures import Measures
from .parts import Parts
from .roots import Roots
from .runner import Runner
from .shelf import Shelf
from .studies import Studies

UPLOADS, JOBS, BASE = "uploads", "jobs", "jobs.sqlite"
_LOCK = ".lock"


@dataclass(frozen=True)
class Settings:
    """What a service is started with.

    roots: folders that it may touch; data: its own folder, for uploads, jobs, keys; model: folder or hub id of the
    encoder, None where nothing is embedded; limits; fetch_hosts: that URLs may name; insecure: whether anybody may ask;
    local_only: whether it is bound to loopback; allowed: of addresses that are fetched from.
    """

    roots: Roots
    data: Path
    model: str | None = None
    limits: Limits = field(default_factory=Limits)
    fetch_hosts: Collection[str] = ()
    insecure: bool = False
    local_only: bool = True
    allowed: Allowed = is_public

    def __post_init__(self) -> None:
        """Raises ConfigError where the data folder and a root do not lie apart."""
        self.roots.check_apart(self.data)


class Service:
    """Made before the event loop runs; `start` and `stop` are called in it."""

    def __init__(self, settings: Settings, parts: Parts = local_parts) -> None:
        """Take the data folder, and start workers. Raises CacheError where another service has it, EncoderError."""
        self.settings, self.limits, self.roots = settings, settings.limits, settings.roots
        self.data = settings.data.absolute()
        self.uploads = self.data / UPLOADS
        self._held = ExitStack()
        self._held.enter_context(held(self.data))
        shutil.rmtree(self.uploads, ignore_errors=True)  # of a service that was killed
        make_folder(self.uploads)
        make_folder(self.data / JOBS)
        self.measures = Measures()
        self.access = Access(Keys(self.data), self.limits.rate, settings.insecure, settings.local_only)
        self.shelf = Shelf(self.roots)
        self.studies = Studies(self.limits.studies)
        self.streams = 0
        """That are open."""
        self.store = JobStore(self.data / BASE)
        self.manifests = Manifests(self.data / JOBS, self.roots, self.store)
        crew, self.embedder = parts(self.limits, settings.model, self.measures)
        self.desk = Desk(crew, self.measures)
        self.draining = False

    async def start(self) -> None:
        """Begin to take requests and to do jobs."""
        self.fetcher = Fetcher(self.settings.fetch_hosts, self.limits, self.settings.allowed)
        self.runner = Runner(self.store, self.manifests, self.roots, self.limits, self.measures)
        await self.desk.start()
        await self.runner.start()
        if self.embedder is not None:
            await self.embedder.start()

    async def stop(self) -> None:
        """End: jobs publish what is done, workers are killed, the data folder is let go."""
        self.draining = True
        await self.runner.stop()
        if self.embedder is not None:
            await self.embedder.stop()
        await self.fetcher.close()
        await self.desk.close()
        self.store.close()
        self._held.close()

    def drain(self) -> None:
        """Say from now on that no more should come; what is here is finished."""
        self.draining = True
        if hasattr(self, "runner"):
            self.runner.stopping = True

    def lacks(self) -> list[str]:
        """Why this service is not ready, a line each; nothing where it is."""
        wrong = []
        if self.draining:
            wrong.append("it is ending")
        if not self.desk.ready:
            wrong.append("no worker has started yet")
        free = shutil.disk_usage(self.data).free
        if free < self.limits.free_disk:
            wrong.append(f"{free / 1e9:.1f} GB are free in the data folder, {self.limits.free_disk / 1e9:g} must be")
        return wrong


@contextmanager
def held(data: Path) -> Iterator[None]:
    """Hold a data folder, which is made. Raises CacheError where another service has it."""
    make_folder(data)
    with ExitStack() as stack:
        try:
            stack.enter_context(lock(data / _LOCK, data))
        except HeldError as error:
            who = str(error).partition("written by ")[2].partition(";")[0]
            raise CacheError(f"data folder {data} is another service's ({who}); give this one its own --data") from None
        yield
