"""Spans of requests: one a request with its id, one a stage within it, in the trace of whoever asks; or none at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from served import inside
from starlette.testclient import TestClient

from codecsieve.pipelines.serve import traces

TRACE = "0af7651916cd43dd8448eb211c80319c"


@pytest.fixture
def client(make_video: Callable[..., Path], tmp_path: Path) -> Iterator[TestClient]:
    with inside(tmp_path) as client:
        make_video(tmp_path / "videos" / "a.mp4")
        yield client


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Any:
    """What has ended of our spans, in memory."""
    sdk = pytest.importorskip("opentelemetry.sdk.trace", reason="pip install 'codecsieve[telemetry]'")
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter, provider = InMemorySpanExporter(), sdk.TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(traces.trace, "get_tracer", lambda name, *_, **__: provider.get_tracer(name))
    return exporter.get_finished_spans


def test_a_request_is_a_span_with_its_stages_in_the_trace_of_whoever_asks(client: TestClient, spans: Any) -> None:
    headers = {"X-Request-ID": "mine-1", "traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}
    assert client.post("/v1/describe", json={"path": "videos/a.mp4"}, headers=headers).status_code == 200
    assert client.post("/v1/describe", json={"path": "videos/none.mp4"}).status_code == 404
    stage, request, refused = (one for one in spans() if not one.name.startswith("fastapi."))
    assert (stage.name, request.name) == ("describe", "POST /v1/describe")
    assert stage.parent == request.context
    assert f"{request.context.trace_id:032x}" == TRACE
    assert request.attributes.items() >= {
        "codecsieve.request_id": "mine-1", "http.request.method": "POST", "http.route": "/v1/describe",
        "http.response.status_code": 200,
    }.items()  # fmt: skip
    assert 0 < stage.attributes["codecsieve.worker_seconds"] <= (stage.end_time - stage.start_time) / 1e9
    assert refused.attributes["http.response.status_code"] == 404
    assert f"{refused.context.trace_id:032x}" != TRACE


def test_a_span_that_another_has_opened_is_the_requests(spans: Any) -> None:
    with traces.stage_span("another's"), traces.request_span({}, {"codecsieve.request_id": "mine-1"}):
        traces.tell({"http.response.status_code": 200}, "GET /healthz")
    (request,) = spans()
    assert (request.name, request.attributes["codecsieve.request_id"]) == ("GET /healthz", "mine-1")


def test_without_opentelemetry_requests_are_answered_as_ever(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(traces, "trace", None)
    assert client.post("/v1/describe", json={"path": "videos/a.mp4"}).status_code == 200
