"""Runs a service under Ray: which replicas there are, what each may have, and how it all starts and ends.

The service itself is one replica, on the machine that the command is run on: it has the data folder. Ray's proxy is in
front of it, on that machine, too. Replicas that decode read uploads and roots by their paths.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
import os
import signal
import socket
import threading
from typing import Any

from codecsieve.errors import ConfigError, EncoderError, WorkerError
from codecsieve.machine import available_cores
from codecsieve.pipelines.engines.ray_cluster import OWN, cluster, import_serve, prepare
from codecsieve.pipelines.sieve.warm import warm_up
from codecsieve.text import one_line

from .keys import Keys
from .logs import event, log_to_stderr
from .ray_logs import listening
from .ray_options import RayOptions
from .ray_parts import APPLICATION, EMBED, INGRESS, SIEVE
from .ray_replicas import EmbedReplica, Ingress, SieveReplica
from .server import DRAIN_SECONDS, MOST_CONNECTIONS, check_binding
from .service import Settings, held

_STOP_SECONDS = 45
"""That the service may take to have jobs publish what is done."""
_LOOK_SECONDS = 0.2
_LOGS = {"enable_access_log": False, "log_level": "WARNING"}
"""Of what Ray writes to files of its own: what is asked is in the service's log."""
_AT_THE_MODEL = 32
"""Clips that a replica of the model has: one batch that runs, one that gathers."""
_FOR_THE_MODEL = 4096
"""Clips that wait for it: one request may bring 256."""


def run(settings: Settings, host: str, port: int, options: RayOptions) -> None:
    """Serve until SIGTERM. Raises ConfigError, CacheError, EncoderError, WorkerError where it cannot start."""
    check_binding(settings, host)
    ray = prepare(options.ray_address, import_serve)
    port = _free(host, port)
    settings = _absolute(settings)
    with held(settings.data):  # said here, in one line, where it is another's
        pass
    log_to_stderr()
    warm_up()  # once, before replicas do it side by side
    own = options.ray_address == OWN
    cores = available_cores()
    workers = settings.limits.decodes or max(1, cores // options.ray_sieve_replicas if own else cores)
    cpus = workers * options.ray_sieve_replicas + options.ray_embed_replicas
    stop = threading.Event()
    with listening() as log, cluster(ray, options.ray_address, cpus, None, options.ray_store), _told(stop):
        ray.serve.start(
            proxy_location="HeadOnly", http_options={"host": host, "port": port, "keep_alive_timeout_s": 30},
            logging_config=_LOGS,
        )  # fmt: skip
        try:
            _deploy(ray, settings, log, workers, options)
            if _started(ray, settings, stop):
                event("serving", engine="ray", host=host, port=port, roots=list(settings.roots.folders),
                      model=settings.model, workers=workers * options.ray_sieve_replicas,
                      keys=len(Keys(settings.data).all()))  # fmt: skip
                stop.wait()
                with contextlib.suppress(Exception):  # it ends, however it is
                    drained = ray.serve.get_deployment_handle(INGRESS, APPLICATION).drain.remote(DRAIN_SECONDS)
                    drained.result(timeout_s=DRAIN_SECONDS + 5)
        finally:
            ray.serve.delete(APPLICATION)


def _deploy(ray: Any, settings: Settings, log: str, workers: int, options: RayOptions) -> None:
    """Have Ray start the replicas; it does so in the background."""
    limits = settings.limits
    serve, deployment = ray.serve, functools.partial(ray.serve.deployment, logging_config=_LOGS)
    own = {"resources": {f"node:{ray.util.get_node_ip_address()}": 0.001}}  # this machine: it has the data folder
    sieve = deployment(
        name=SIEVE, num_replicas=options.ray_sieve_replicas, ray_actor_options={"num_cpus": workers},
        max_ongoing_requests=workers, max_queued_requests=max(1, limits.queue), graceful_shutdown_timeout_s=5,
    )(SieveReplica).bind(limits, workers)  # fmt: skip
    embed = None
    if settings.model is not None:
        fraction = gpu_share(options, int(ray.cluster_resources().get("GPU", 0)))
        threads = max(1, available_cores() // options.ray_embed_replicas)
        embed = deployment(
            name=EMBED, num_replicas=options.ray_embed_replicas,
            ray_actor_options={"num_cpus": 1, "num_gpus": fraction},
            max_ongoing_requests=_AT_THE_MODEL, max_queued_requests=_FOR_THE_MODEL, graceful_shutdown_timeout_s=5,
        )(EmbedReplica).bind(settings.model, threads)  # fmt: skip
    ingress = deployment(
        name=INGRESS, num_replicas=1, ray_actor_options={"num_cpus": 0, **own},
        max_ongoing_requests=MOST_CONNECTIONS, max_queued_requests=MOST_CONNECTIONS,
        graceful_shutdown_timeout_s=_STOP_SECONDS,
    )(serve.ingress()(Ingress)).bind(
        settings, log, workers * options.ray_sieve_replicas, sieve, embed
    )  # fmt: skip
    target = serve.RunTarget(ingress, name=APPLICATION, route_prefix="/")
    serve.run_many([target], wait_for_ingress_deployment_creation=False, wait_for_applications_running=False)


def gpu_share(options: RayOptions, gpus: int) -> float:
    """What a replica of the model takes of a GPU. Raises ConfigError where there is no room for all of them."""
    replicas, fraction = options.ray_embed_replicas, options.ray_gpu_fraction
    if fraction is None:
        return 1 / math.ceil(replicas / gpus) if gpus else 0.0
    if fraction and gpus * math.floor(1 / fraction) < replicas:
        raise ConfigError(f"ray_gpu_fraction ({fraction:g}) must leave room for {replicas} on {gpus} GPUs")
    return fraction


def _started(ray: Any, settings: Settings, stop: threading.Event) -> bool:
    """Wait until all replicas run; whether they do, and nobody has said to stop. Raises WorkerError, EncoderError."""
    while not stop.wait(_LOOK_SECONDS):
        application = ray.serve.status().applications.get(APPLICATION)
        state = "" if application is None else str(application.status).rpartition(".")[2]
        if state == "RUNNING":
            break
        if state in ("DEPLOY_FAILED", "UNHEALTHY"):
            told = " ".join(deployment.message for deployment in application.deployments.values())
            raise WorkerError(one_line(f"Ray cannot start the service: {(told or application.message)[-500:]}"))
    if not stop.is_set() and settings.model is not None:
        about = ray.serve.get_deployment_handle(EMBED, APPLICATION).about.remote().result()
        if about.error:
            raise EncoderError(about.error)
    return not stop.is_set()


@contextlib.contextmanager
def _told(stop: threading.Event) -> Any:
    """Have SIGTERM and SIGINT say so to `stop`, and nothing else; Ray has handlers of its own."""

    def handle(number: int, frame: Any) -> None:
        event("ending", signal=signal.Signals(number).name)
        stop.set()

    before = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _absolute(settings: Settings) -> Settings:
    """For processes with another working folder."""
    model = settings.model
    if model is not None and os.path.isdir(model):
        model = os.path.abspath(model)
    return dataclasses.replace(settings, data=settings.data.absolute(), model=model)


def _free(host: str, port: int) -> int:
    """The port, or one that nobody has in place of 0. Raises ConfigError where another program has it."""
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            return int(probe.getsockname()[1])
    except OSError as error:
        raise ConfigError(f"host and port ({host}, {port}) must be free: {error.strerror or error}") from None
