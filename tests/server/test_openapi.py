"""Schemathesis against our own OpenAPI description: whatever fits it, and much that does not, never breaks the server."""

from typing import Any

import hypothesis
import pytest
import schemathesis
from hypothesis import HealthCheck
from schemathesis import GenerationMode
from schemathesis.core.result import Ok

from server.live import Live

TRIES = 30
"""Requests for each operation, of those that fit the description and of those that do not."""
OPERATIONS = [
    ("POST", "/v1/chat/completions"),
    ("POST", "/v1/completions"),
    ("POST", "/v1/responses"),
    ("POST", "/v1/responses/input_tokens"),
    ("GET", "/v1/responses/{response_id}"),
    ("DELETE", "/v1/responses/{response_id}"),
    ("GET", "/v1/models"),
    ("GET", "/v1/models/{model}"),
    ("POST", "/v1/messages"),
    ("POST", "/v1/messages/count_tokens"),
    ("GET", "/health"),
    ("GET", "/ready"),
    ("GET", "/metrics"),
]


@pytest.fixture(scope="module")
def description(shared_live: Live) -> schemathesis.BaseSchema:
    return schemathesis.openapi.from_url(f"{shared_live.url}/openapi.json")


def test_every_operation_is_listed_here(description: schemathesis.BaseSchema) -> None:
    offered = [result.ok() for result in description.get_all_operations() if isinstance(result, Ok)]
    found = {(operation.method.upper(), operation.path) for operation in offered}
    assert set(OPERATIONS) <= found


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_nothing_breaks_the_server(
    description: schemathesis.BaseSchema, shared_live: Live, method: str, path: str, mode: GenerationMode
) -> None:
    operation = description[path][method]

    @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
    @hypothesis.settings(
        max_examples=TRIES, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None
    )
    def check(case: "schemathesis.Case[Any]") -> None:  # the lowest version's takes no argument
        response = case.call(timeout=240)
        assert response.status_code < 500, response.text
        if response.status_code >= 400:
            assert response.json()["error"]["message"]

    try:
        check()
    except hypothesis.errors.Unsatisfiable:
        assert mode is GenerationMode.NEGATIVE, "an operation without a body or parameter cannot be called wrongly"
    assert shared_live.service.unavailable is None
