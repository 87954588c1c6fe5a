"""Promises of the gateway when something goes wrong that nobody thought of: a problem with an id that the log has, told with every header for browsers."""

from __future__ import annotations

from typing import Any, cast

import pytest
from starlette.testclient import TestClient
from structlog.testing import capture_logs

from gateway.app import build_app
from gateway.callers import Callers
from gateway.event_streams import EventStreams
from gateway.page_routes import Liveness
from gateway.sealing import Sealer
from gateway.services import Services
from gateway.settings import GatewaySettings
from gateway.tickets import Tickets

FRIEND = "https://learn.example.org"


class Broken:
    """Callers that cannot even be asked who is calling."""

    async def of(self, request: object) -> object:
        raise RuntimeError("the secret of the house")


@pytest.fixture
def http() -> TestClient:
    settings = GatewaySettings(
        service_token_secret="a secret of the services",  # type: ignore[arg-type]
        auth_hs256_secret="a secret of the users",  # type: ignore[arg-type]
        cors_allowed_origins=FRIEND,
    )
    nothing: Any = None
    app = build_app(
        settings,
        services=cast(Services, nothing),
        callers=cast(Callers, Broken()),
        tickets=cast(Tickets, nothing),
        cookies=Sealer("a secret of the services", "session cookies"),
        event_streams=cast(EventStreams, nothing),
        liveness=Liveness(),
    )
    return TestClient(app, raise_server_exceptions=False)


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/materials"), ("POST", "/courses/a/search"), ("GET", "/session")]
)
def test_what_is_unforeseen_is_a_problem_with_an_id_and_no_word_of_our_insides(
    http: TestClient, method: str, path: str
) -> None:
    with capture_logs() as lines:
        response = http.request(method, path, headers={"Origin": FRIEND})
    problem = response.json()
    assert (response.status_code, problem["status"], problem["reason"]) == (500, 500, "INTERNAL")
    assert response.headers["content-type"] == "application/problem+json"
    assert problem["error_id"] in problem["detail"]
    assert "secret" not in response.text
    assert [line["error_id"] for line in lines if line["event"] == "request failed"] == [problem["error_id"]]
    assert [line["status"] for line in lines if line["event"] == "request"] == [500]
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["content-security-policy"].startswith("default-src 'none'")
    assert response.headers["access-control-allow-origin"] == FRIEND, "a page of another site may read it too"
