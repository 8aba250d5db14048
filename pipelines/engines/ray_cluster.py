"""Ray, as a service wants it: a cluster of this machine's own that ends with it, or one that is there already.

One of our own reports nothing to anybody, has no dashboard, and takes orders only from who has its token, which is made
for it and kept in memory. What runs in it is left to whoever starts it.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import secrets
import socket
from collections.abc import Callable, Iterator
from typing import Any

from codecsieve.errors import ConfigError, WorkerError
from codecsieve.text import one_line

_REACH_SECONDS = 10.0
OWN = "local"
"""The address that stands for a cluster of our own."""
_TRIES = 3
"""Ray gives its processes 30 s to start, which a busy machine may not keep to."""


def prepare(address: str, load: Callable[[], Any]) -> Any:
    """What `load` gives, `import_ray` or `import_serve`, for a process that will be a `cluster`'s, of this address.

    Raises ConfigError.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # read by Ray's processes, which inherit it
    if address == OWN and "RAY_AUTH_MODE" not in os.environ:
        # Ray listens on every address of the machine, and whoever may talk to it may run code. Read at the import.
        os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32))
    ray = load()
    for name in ("ray", "ray.serve"):
        logger = logging.getLogger(name)
        logger.handlers[:], logger.propagate = [], True
        logger.setLevel(logging.WARNING)
    return ray


def import_ray() -> Any:
    """The module `ray`. Raises ConfigError where it is not installed."""
    return _imported("ray")


def import_serve() -> Any:
    """The module `ray`, with `ray.serve`. Raises ConfigError where it is not installed."""
    _imported("ray.serve")
    return _imported("ray")


def _imported(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"engine ray needs {error.name}, which is not installed; pip install 'codecsieve[ray]'"
        ) from None


def _check_reachable(address: str) -> None:
    """Raise WorkerError where nobody listens at an address; Ray itself would go on asking for minutes."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if not (host and port.isdecimal()):
        return  # "auto" and the like
    try:
        socket.create_connection((host.strip("[]"), int(port)), _REACH_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise WorkerError(f"Ray is not at {address}: {error}; check the address, which `ray status` tells") from None


@contextlib.contextmanager
def cluster(ray: Any, address: str, cpus: float, gpus: float | None, store: int) -> Iterator[None]:
    """Have Ray, as `prepare` gave it, connected for as long as the block runs.

    address: of a cluster that runs, "auto" for the one of this machine, or `OWN`; of our own one, cpus: that it takes
    itself to have; gpus: likewise, None as many as there are; store: bytes that results may take on their way.
    Raises ConfigError, WorkerError.
    """
    told: dict[str, Any] = {"address": address}
    if address == OWN:
        told |= {"num_cpus": cpus, "num_gpus": gpus, "object_store_memory": store, "include_dashboard": False}
    _check_reachable(address)
    for left in reversed(range(_TRIES if address == OWN else 1)):
        try:
            ray.init(**told, log_to_driver=False, configure_logging=False)
            break
        except SystemExit:  # which its handler of SIGTERM raises, in place of the one that there was
            ray.shutdown()
            raise KeyboardInterrupt from None
        except Exception as error:  # Ray raises its own, Python's, and plain ones
            ray.shutdown()
            if not left:
                raise WorkerError(one_line(f"Ray does not start, or is not at {address}: {str(error)[:300]}")) from None
    try:
        yield
    finally:
        ray.shutdown()
