"""Requests made of the API's own description: none ends in an error of the service's."""

from __future__ import annotations

import pytest
from served import Running

schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed")


@pytest.mark.slow
def test_no_request_that_the_description_allows_ends_in_an_error_of_the_service(service: Running) -> None:
    import hypothesis
    from schemathesis.checks import not_a_server_error

    schema = schemathesis.openapi.from_url(f"{service.url}/openapi.json")
    tried = 0
    for operation in schema.get_all_operations():
        if operation.ok().path.endswith("/events"):
            continue  # it never ends

        @hypothesis.given(case=operation.ok().as_strategy())
        @hypothesis.settings(
            max_examples=12, deadline=None, suppress_health_check=list(hypothesis.HealthCheck), derandomize=True,
            database=None,
        )  # fmt: skip
        def ask(case: object) -> None:
            nonlocal tried
            response = case.call(timeout=30)  # type: ignore[attr-defined]
            tried += 1
            if response.status_code not in (501, 503):  # without a model; not ready
                case.validate_response(response, checks=(not_a_server_error,))  # type: ignore[attr-defined]

        ask()
    assert tried > 100
