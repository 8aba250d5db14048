"""A service for tests: in a process of its own, as users have it, or in this one."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
from starlette.testclient import TestClient

from codecsieve.pipelines.engines.base import Lost
from codecsieve.pipelines.serve.app import make_app
from codecsieve.pipelines.serve.limits import Limits
from codecsieve.pipelines.serve.roots import Roots
from codecsieve.pipelines.serve.service import Service, Settings
from codecsieve.pipelines.serve.tasks import Done, Refused, ServeWorker, Task

START_SECONDS = 180


@dataclass
class Running:
    """A service in a process of its own. url: of it; log: the file that its standard error goes to."""

    process: subprocess.Popen[bytes]
    url: str
    log: Path

    def client(self, **options: object) -> httpx.Client:
        """A client of it."""
        return httpx.Client(base_url=self.url, timeout=60, trust_env=False, **options)  # type: ignore[arg-type]

    def stop(self) -> int:
        """End it as a supervisor does, and wait; its exit status."""
        self.process.terminate()
        return self.process.wait(60)


def free_port() -> int:
    """A port that nobody has, a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def running(folder: Path, *arguments: str, ready: bool = True) -> Iterator[Running]:
    """`codecsieve serve` with the roots `videos` and `caches` of a folder, its data in `data`, until the block ends.

    Of one worker, and one a job, unless `arguments` say otherwise.
    """
    for name in ("videos", "caches"):
        (folder / name).mkdir(exist_ok=True)
    port, log = free_port(), folder / "serve.log"
    roots = [f"--root={name}={folder / name}" for name in ("videos", "caches")]
    command = [sys.executable, "-m", "codecsieve", "serve", *roots, "--data", str(folder / "data"), "--port", str(port)]
    command += ["--decodes", "1", "--job-workers", "1"]  # each worker takes seconds to start
    with log.open("ab") as errors:
        process = subprocess.Popen([*command, *arguments], stderr=errors)
    service = Running(process, f"http://127.0.0.1:{port}", log)
    try:
        if ready:
            wait_until_ready(service)
        yield service
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(30)


def wait_until_ready(service: Running) -> None:
    """Wait for /readyz; AssertionError with the log where that does not come."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and service.process.poll() is None:
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(f"{service.url}/readyz", trust_env=False).status_code == 200:
                return
        time.sleep(0.1)
    raise AssertionError(f"the service is not ready: {service.log.read_text()}")


def write_long_work(folder: Path, make_video: Callable[..., Path]) -> None:
    """Fill a new folder with videos, each of another content, that take minutes: no job of them ends by itself."""
    folder.mkdir()
    video = make_video(folder / "0.mp4", frames=600)
    for number in range(1, 300):
        unused = (16).to_bytes(4, "big") + b"free" + number.to_bytes(8, "big")  # a box that nobody reads
        (folder / f"{number}.mp4").write_bytes(video.read_bytes() + unused)


class Here:
    """Does tasks in a thread of this process, and leaves its memory as it is."""

    workers, ready = 1, True

    async def start(self) -> None:
        """It needs no start."""

    async def do(self, task: Task) -> Done | Refused | Lost:
        """As of `Crew`."""
        return await asyncio.to_thread(ServeWorker(Limits(), _limited=True), task)

    async def close(self) -> None:
        """It has nothing to let go."""


@contextlib.contextmanager
def inside(folder: Path, **limits: int) -> Iterator[TestClient]:
    """A service in this process, with the roots `videos` and `caches` of a folder and its data in `data`."""
    for name in ("videos", "caches"):
        (folder / name).mkdir(exist_ok=True)
    roots = Roots({name: folder / name for name in ("videos", "caches")})
    settings = Settings(roots, folder / "data", limits=Limits(**limits))  # type: ignore[arg-type]
    app = make_app(Service(settings, lambda limits, model, measures: (Here(), None)))
    with TestClient(app, "http://localhost") as client:
        yield client
