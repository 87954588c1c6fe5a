"""What holds for every answer of the gateway: problems for what is not there, headers for browsers, methods, pages of other sites, services that are away."""

from __future__ import annotations

import httpx
import pytest

from tests.contract.rest import FRIEND, TEXT, Rest, assert_blank_problem, connection
from tests.local_stack import LocalStack

SAFE_HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
#: What a browser asks with before it sends another site's request.
PREFLIGHT = {
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization,idempotency-key",
}
#: One request of each kind, and the status of its answer.
REQUESTS = [
    ("GET", "/healthz", 200), ("GET", "/openapi.json", 200), ("GET", "/", 200), ("GET", "/static/app.js", 200),
    ("GET", "/session", 200), ("DELETE", "/session", 204), ("GET", "/materials?page_size=x", 422),
    ("GET", "/materials/unknown", 404), ("GET", "/nowhere", 404), ("GET", "/static/nowhere", 404),
    ("PUT", "/materials", 405), ("POST", "/tickets", 422), ("GET", "/materials?token=x", 400), ("HEAD", "/materials", 200),
]  # fmt: skip


@pytest.fixture
async def alone(lonely_gateway: str, stack: LocalStack) -> Rest:
    """Before a gateway whose services are all away."""
    async with Rest(lonely_gateway, stack.facts["token"]) as caller:
        yield caller  # type: ignore[misc]


class TestEveryAnswer:
    @pytest.mark.parametrize(("method", "path", "status"), REQUESTS)
    async def test_browsers_are_told_to_be_careful(self, rest: Rest, method: str, path: str, status: int) -> None:
        response = await rest.http.request(method, path)
        assert response.status_code == status
        assert {name: response.headers.get(name) for name in SAFE_HEADERS} == SAFE_HEADERS
        policy = response.headers["content-security-policy"]
        assert policy.startswith("default-src 'none';")
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        is_page = path == "/" or path.startswith("/static")
        assert response.headers["cache-control"] == ("no-cache" if is_page else "no-store")
        assert "strict-transport-security" not in response.headers, "not without https"
        assert "server" not in response.headers

    @pytest.mark.parametrize(
        "path", ["/nowhere", "/materials/a/b", "/courses", "/courses/a%2Fb/materials", "/materials/"]
    )
    async def test_an_address_that_is_none_is_a_problem(self, rest: Rest, path: str) -> None:
        assert_blank_problem(await rest.http.get(path), 404)

    @pytest.mark.parametrize(
        ("path", "allow"),
        [
            ("/materials", "GET, HEAD"),
            ("/materials/x", "DELETE, GET, HEAD"),
            ("/materials/x:retry", "DELETE, GET, HEAD, POST"),
            ("/courses/x/materials", "GET, HEAD, POST"),
            ("/courses/x/search", "GET, HEAD, POST"),
            ("/courses/x/events", "GET"),
            ("/session", "DELETE, GET, HEAD, POST"),
            ("/tickets", "POST"),
            ("/healthz", "GET, HEAD"),
            ("/static/app.js", "GET, HEAD"),
        ],
    )
    async def test_a_method_that_is_not_for_an_address_is_told_which_are(
        self, rest: Rest, path: str, allow: str
    ) -> None:
        for method in ("PUT", "PATCH", "OPTIONS", "TRACE"):
            response = await rest.http.request(method, path)
            assert_blank_problem(response, 405)
            assert response.headers["allow"] == allow

    @pytest.mark.parametrize(
        "path",
        [
            "/",
            "/healthz",
            "/session",
            "/materials",
            "/courses/x/materials",
            "/courses/x/search?query=a",
            "/static/app.js",
        ],
    )
    async def test_head_is_get_without_the_body(self, rest: Rest, path: str) -> None:
        get, head = [await rest.http.request(method, path) for method in ("GET", "HEAD")]
        assert (head.status_code, head.content) == (200, b"")
        assert {**head.headers, "date": ""} == {**get.headers, "date": ""}

    async def test_what_cannot_be_answered_is_not_told_of_by_head_either(self, rest: Rest) -> None:
        response = await rest.http.head("/materials/unknown")
        assert (response.status_code, response.content) == (404, b"")
        assert response.headers["content-type"] == "application/problem+json"


class TestServicesAway:
    @pytest.mark.parametrize(
        ("method", "path", "service", "sent"),
        [
            ("GET", "/materials", "status", {}),
            ("GET", "/courses/a/materials", "status", {}),
            ("GET", "/materials/x", "status", {}),
            ("DELETE", "/materials/x", "status", {}),
            ("GET", "/materials/x/history", "status", {}),
            ("POST", "/materials/x:retry", "status", {}),
            ("POST", "/courses/a/materials:retry-failed", "status", {"json": {}}),
            ("GET", "/materials/x/content", "status", {}),
            ("GET", "/courses/a/events", "status", {}),
            ("GET", "/materials/x/events", "status", {}),
            ("GET", "/materials/x/text", "processor", {}),
            ("GET", "/courses/a/search?query=cells", "processor", {}),
            ("POST", "/courses/a/materials", "ingest", {"files": {"file": ("a.md", TEXT)}}),
            ("POST", "/courses/a/materials", "ingest", {"files": {"file": ("a.md", TEXT * 50_000)}}),
        ],
    )
    async def test_it_is_said_which_and_when_to_come_again_and_nothing_else(
        self, alone: Rest, method: str, path: str, service: str, sent: dict[str, object]
    ) -> None:
        response = await alone.http.request(method, path, **sent)  # type: ignore[arg-type]
        problem = assert_blank_problem(response, 503)
        assert problem["detail"] == f"the {service} service cannot be reached"
        assert int(response.headers["retry-after"]) >= problem["retry_after"] > 0
        assert "127.0.0.1" not in response.text
        assert {name: response.headers.get(name) for name in SAFE_HEADERS} == SAFE_HEADERS

    async def test_what_needs_no_service_goes_on(self, alone: Rest) -> None:
        assert (await alone.get("/healthz")) == {"status": "ok"}
        assert (await alone.get("/session"))["subject"] == "demo-user"
        assert (await alone.http.get("/")).status_code == 200


class TestOtherSites:
    async def test_by_default_no_page_of_another_site_may_call(self, rest: Rest) -> None:
        for response in (
            await rest.http.get("/materials", headers={"Origin": FRIEND}),
            await rest.http.options("/materials", headers={"Origin": FRIEND, **PREFLIGHT}),
        ):
            assert not [name for name in response.headers if name.startswith("access-control-")]

    async def test_pages_of_a_listed_site_may_call_with_a_bearer_token(self, alone: Rest) -> None:
        preflight = await alone.http.options("/materials", headers={"Origin": FRIEND, **PREFLIGHT})
        assert preflight.status_code == 200
        assert preflight.headers["access-control-allow-origin"] == FRIEND
        assert "POST" in preflight.headers["access-control-allow-methods"]
        allowed = preflight.headers["access-control-allow-headers"].lower()
        assert all(name in allowed for name in ("authorization", "idempotency-key", "last-event-id", "range"))
        for path in ("/session", "/materials", "/nowhere"):  # 200, 503, 404: a page may read errors too
            response = await alone.http.get(path, headers={"Origin": FRIEND})
            assert response.headers["access-control-allow-origin"] == FRIEND
            assert "Retry-After" in response.headers["access-control-expose-headers"]
            assert "access-control-allow-credentials" not in response.headers, "the cookie is for our own pages"

    @pytest.mark.parametrize(
        "origin", ["https://evil.example", f"{FRIEND}.evil.example", "null", FRIEND.replace("https", "http")]
    )
    async def test_pages_of_any_other_may_not(self, alone: Rest, origin: str) -> None:
        for response in (
            await alone.http.get("/session", headers={"Origin": origin}),
            await alone.http.options("/session", headers={"Origin": origin, **PREFLIGHT}),
        ):
            assert "access-control-allow-origin" not in response.headers


@pytest.mark.parametrize(
    "path", [b"/materials/%ff", b"/materials/%00", b"/courses/%ff%fe/materials", b"/static/%00", b"/%"]
)
async def test_an_address_of_any_bytes_is_answered(rest: Rest, path: bytes) -> None:
    url = httpx.URL(f"http://{rest.address}").copy_with(raw_path=path)
    response = await rest.http.get(url)
    assert response.status_code in (200, 404, 422)


@pytest.mark.parametrize("path", [b"/materials/\xff", b"/materials/a b", "/materials/€".encode(), b"materials", b"*"])
async def test_an_address_that_http_does_not_have_is_answered_too(rest: Rest, path: bytes) -> None:
    async with connection(rest) as wire:
        await wire.send(b"GET " + path + b" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        response = await wire.answer()
    assert response.status_code in (400, 401, 404)
    assert response.headers["content-type"] == "application/problem+json"
