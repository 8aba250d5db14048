"""Spans of requests and of their stages, for OpenTelemetry: where they go is for whoever starts the service to say.

Only OpenTelemetry's API is used, which does nothing until something listens; where it is not installed, neither does
this.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

try:
    from opentelemetry import propagate, trace
except ModuleNotFoundError:
    trace = propagate = None  # type: ignore[assignment]

_OURS = "codecsieve"


def request_span(headers: Mapping[bytes, bytes], attributes: Mapping[str, str]) -> AbstractContextManager[Any]:
    """A span around a request, which goes on with the trace that its `traceparent` names.

    Where FastAPI has opened one itself, as of late it does, that one is told the attributes, and there is no second.
    """
    if trace is None:
        return nullcontext()
    if trace.get_current_span().is_recording():
        tell(attributes)
        return nullcontext()
    carried = {name.decode("latin-1"): value.decode("latin-1") for name, value in headers.items()}
    return trace.get_tracer(_OURS).start_as_current_span(
        "request", propagate.extract(carried), trace.SpanKind.SERVER, attributes
    )


def stage_span(stage: str) -> AbstractContextManager[Any]:
    """A span around a stage of the request that is at hand, by the name that its seconds are measured under."""
    return nullcontext() if trace is None else trace.get_tracer(_OURS).start_as_current_span(stage)


def tell(attributes: Mapping[str, str | int | float], name: str | None = None) -> None:
    """Say more of the span that is at hand. name: in place of its own."""
    if trace is None:
        return
    span = trace.get_current_span()
    span.set_attributes(attributes)
    if name is not None:
        span.update_name(name)
