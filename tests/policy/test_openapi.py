"""The server keeps to its own OpenAPI description, whatever is sent to it. Runs where schemathesis is installed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.policy.conftest import needs_server, serving

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.policy.conftest import ServerProcess

pytestmark = needs_server


async def test_the_description_names_every_path() -> None:
    """/openapi.json describes the paths that the server answers."""
    async with serving(lambda request: [[1.0]]) as served:
        described = (await served.client.get("/openapi.json")).json()
        assert described["openapi"].startswith("3.")
        for path, methods in described["paths"].items():
            for method in methods:
                assert (await served.client.request(method, path, content=b"{}")).status_code == 200


@pytest.mark.filterwarnings("default")
def test_generated_requests_meet_the_description(
    server_process: Callable[..., ServerProcess], policy_module: Callable[[str], str]
) -> None:
    """Requests generated from the description never get an answer that it does not describe."""
    schemathesis = pytest.importorskip("schemathesis", reason="needs schemathesis")
    from hypothesis import HealthCheck, given, settings

    server = server_process(policy_module("def policy(request): return [[1.0, 2.0]]"))
    schema = schemathesis.openapi.from_url(f"{server.url}/openapi.json")
    for path, method in (("/act", "POST"), ("/health", "GET")):

        @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), database=None)
        @given(case=schema[path][method].as_strategy())
        def send(case: object) -> None:
            response = case.call()  # type: ignore[attr-defined]
            case.validate_response(response)  # type: ignore[attr-defined]

        send()
