"""Who writes a cache in an object store: several at once, or one alone, each by an object that it keeps putting anew.

Those who add clips write side by side: what they publish is conditional, see `bucket`. Whoever takes something away
(compact, drop, repair) must be alone. Each puts an object of its own name and only then looks who else is there, so
that of two at the same time at least one sees the other. One that is not put anew for a while is a dead process's: that
is told by the store's clock alone. A process that slept that long gives up before it writes again.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import threading
import time

from codecsieve.errors import CacheError
from codecsieve.files import HeldError
from codecsieve.objects import ChangedError, Objects, Stat

from .layout import LOCK

TTL = 90.0
"""Seconds after which one that was not put anew counts no more."""
BEAT = 10.0
"""Seconds between two puts."""
_GIVE_UP = 0.8  # of the TTL: then it is given up by its owner, before others may think so
_SLEEPLESS: int | None = getattr(time, "CLOCK_BOOTTIME", None)  # Linux has it
_LOOK = 1.0  # seconds between two looks whether what is in the way is alive


class Lease:
    """Permission to write, until it is closed, the process ends, or it could not be renewed in time."""

    def __init__(self, objects: Objects, alone: bool) -> None:
        """Use `take_lease`."""
        self._objects, self.alone = objects, alone
        self.name = f"{LOCK}-{_kind(alone)}-{secrets.token_hex(8)}"
        self._owner = f"process {os.getpid()} on {socket.gethostname()}".encode()
        self._lost = False
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._beat_on, name="cache-lease", daemon=True)
        if not objects.keeps_conditions(self.name):
            objects.remove([self.name])
            raise CacheError(
                f"cannot write {objects.url}: its store puts what it was told to put only if nobody else had, so that "
                "runs would lose each other's clips; make the cache in a folder, and copy it there"
            )
        self._beaten = _awake()
        self._version = objects.overwrite(self.name, [self._owner])

    def beat(self) -> None:
        """Put it anew. Raises ObjectsError."""
        at = _awake()
        self._version = self._objects.put(self.name, [self._owner], self._version)
        self._beaten = at

    def start(self) -> None:
        """Keep putting it anew from here on."""
        self._thread.start()

    def check(self) -> None:
        """Raise CacheError where others may think by now that nobody holds it."""
        if self._lost or _awake() - self._beaten > TTL * _GIVE_UP:
            raise CacheError(
                f"cache {self._objects.url}: this process was asleep, or the store out of reach, for too long, and "
                "others may be writing now; run it again"
            )

    def close(self) -> None:
        """Let others write."""
        self._end.set()
        if self._thread.is_alive():
            self._thread.join()
        with contextlib.suppress(OSError):  # it will be seen to be nobody's
            self._objects.remove([self.name])

    def _beat_on(self) -> None:
        while not self._end.wait(BEAT):
            try:
                self.beat()
            except (ChangedError, FileNotFoundError):
                # Removed as a dead process's; or put by ourselves, and the answer lost: then it is still there.
                try:
                    self._version = self._objects.stat(self.name).version
                except FileNotFoundError:
                    self._lost = True
                    return
                except OSError:
                    continue
            except OSError:
                continue  # `check` knows how long that has been so


def take_lease(objects: Objects, alone: bool) -> Lease:
    """Permission to write a cache: side by side with others, or alone.

    One that is in the way is waited for as long as it takes to see that its owner is dead. Raises HeldError where it
    is alive, OSError where the store cannot be written.
    """
    lease = Lease(objects, alone)
    lease.start()
    try:
        _wait_for_others(objects, lease)
        return lease
    except BaseException:
        lease.close()
        raise


def _wait_for_others(objects: Objects, lease: Lease) -> None:
    first: dict[str, Stat] = {}
    while True:
        entries = objects.entries("")
        now = entries[lease.name].modified if lease.name in entries else None
        others = {name: stat for name, stat in entries.items() if name.startswith(f"{LOCK}-") and name != lease.name}
        dead = [name for name, stat in others.items() if now and (now - stat.modified).total_seconds() > TTL]
        objects.remove(dead)
        ahead = {name: stat for name, stat in others.items() if name not in dead and _in_the_way(name, lease)}
        if now and not ahead:
            return
        alive = [name for name, stat in ahead.items() if first.setdefault(name, stat).version != stat.version
                 or first[name].modified != stat.modified]  # fmt: skip
        if alive:
            raise HeldError(f"cache {objects.url} is being written by {_owner(objects, alive[0])}; wait for it")
        lease.check()
        time.sleep(_LOOK)


def _in_the_way(name: str, lease: Lease) -> bool:
    return lease.alone or name.startswith(f"{LOCK}-{_kind(True)}-")


def _kind(alone: bool) -> str:
    return "alone" if alone else "shared"


def _owner(objects: Objects, name: str) -> str:
    try:
        told = bytes(objects.read(name)[0]).decode("ascii", "replace")
        return told if told.startswith("process ") else "another process"  # which is about to say so
    except OSError:
        return "another process"


def _awake() -> float:
    """Seconds of a clock that goes on while the machine sleeps, where there is one."""
    return time.clock_gettime(_SLEEPLESS) if _SLEEPLESS is not None else time.monotonic()
