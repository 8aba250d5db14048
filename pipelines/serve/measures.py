"""What a service measures of itself, as Prometheus reads it: `/metrics`.

A registry of its own, so that two services in one process, as tests have them, do not count together.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)


class Measures:
    """Counters, gauges and histograms; `text` is what `/metrics` answers."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        registry = self.registry
        self.requests = Counter(
            "codecsieve_requests", "Requests answered.", ["route", "method", "status"], registry=registry
        )
        self.seconds = Histogram(
            "codecsieve_stage_seconds", "Seconds by stage.", ["stage"], buckets=_SECONDS, registry=registry
        )
        self.decodes = Counter("codecsieve_decodes", "Clips given to a worker.", ["task", "outcome"], registry=registry)
        self.bytes = Counter("codecsieve_bytes", "Bytes of uploads and of answers.", ["direction"], registry=registry)
        self.waiting = Gauge(
            "codecsieve_waiting", "Requests that wait for a worker, or are with one.", registry=registry
        )
        self.streams = Gauge("codecsieve_streams", "Streams that are open.", registry=registry)
        self.jobs = Gauge("codecsieve_jobs", "Jobs by state.", ["state"], registry=registry)
        self.batch = Histogram("codecsieve_embed_batch", "Clips that were embedded at once.",
                               buckets=(1, 2, 4, 8, 16, 32, 64), registry=registry)  # fmt: skip
        self.gpu = Gauge("codecsieve_gpu_memory_bytes", "Memory in use on each GPU.", ["gpu"], registry=registry)

    def text(self) -> bytes:
        """All of it, in Prometheus' text format."""
        return generate_latest(self.registry)


TEXT = "text/plain; version=0.0.4; charset=utf-8"
