"""HTTP requests that are too large, too slow or no requests at all: the gateway refuses them by its limits and in time, and serves everybody else meanwhile."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from contextlib import ExitStack

import httpx
import pytest

from gateway.request_layers import MAX_BODY_BYTES
from tests.fuzz.wire_bytes import PREFACE, SETTINGS
from tests.security.attacked import MIB, Attacked, World, peak_memory, pids
from tests.security.http1 import Http1, chunk

MAX_HEAD_BYTES = 16 * 1024
SLOW_CONNECTIONS = 200
#: How much the gateway may take for what it refuses, in MiB.
MOST_GROWTH_MIB = 64


@pytest.fixture(autouse=True)
def others_are_served(attacked: Attacked, world: World) -> Iterator[None]:
    """After each flood the same process serves everybody else, and has kept next to nothing of it."""
    memory = peak_memory(attacked, "gateway")
    yield
    serves(attacked, world)
    assert pids(attacked.stack) == attacked.pids_at_first
    assert memory.growth_mib() < MOST_GROWTH_MIB


def serves(attacked: Attacked, world: World) -> None:
    with attacked.http(world.reader.token) as http:
        assert http.get(f"/materials/{world.material.id}").status_code == 200


class TestHead:
    @pytest.mark.parametrize(
        "headers",
        [
            ["X-Filler: " + "x" * MAX_HEAD_BYTES],
            ["X-Filler: " + "x" * MIB],
            ["Cookie: " + "a=b; " * MAX_HEAD_BYTES],
            [f"X-{number}: x" for number in range(5_000)],
            ["x" * MAX_HEAD_BYTES + ": x"],
        ],
        ids=["large", "very large", "cookies", "many", "long name"],
    )
    def test_head_over_the_limit_is_refused(self, attacked: Attacked, headers: list[str]) -> None:
        with Http1(attacked) as connection:
            connection.head("GET", "/healthz", *headers)
            reply = connection.reply()
        assert reply.status in (0, 431), reply.body
        if reply.status:
            assert reply.reason == "REQUEST_TOO_LARGE"

    @pytest.mark.parametrize("size", [MAX_HEAD_BYTES, MIB])
    def test_target_over_the_limit_is_refused(self, attacked: Attacked, size: int) -> None:
        with Http1(attacked) as connection:
            connection.head("GET", "/materials/" + "x" * size)
            assert connection.reply().status in (0, 431)

    def test_header_without_end_is_refused_at_the_limit(self, attacked: Attacked) -> None:
        """What comes behind the refusal is thrown away for a while, so that the client gets to read it; nothing of it is kept."""
        with Http1(attacked) as connection:
            connection.send(b"GET / HTTP/1.1\r\nX-Filler: ")
            for _ in range(2 * MOST_GROWTH_MIB):
                if not connection.send(b"x" * MIB):
                    break
            assert connection.reply().status in (0, 431)

    @pytest.mark.parametrize(
        "data",
        [
            b"\r\n" * 1_000 + b"nonsense\r\n\r\n",
            b"GET / HTTP/9.9\r\n\r\n",
            b"GET /\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nBroken header\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\x0bchunked\r\n\r\n",
            b"POST /session HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
            b"POST /session HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n",
            b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03" + b"\0" * 200,
            bytes(range(256)) * 16,
            PREFACE + SETTINGS,
        ],
        ids=lambda data: repr(data)[2:40],
    )
    def test_what_is_no_request_is_refused(self, attacked: Attacked, data: bytes) -> None:
        with Http1(attacked) as connection:
            connection.send(data)
            connection.end()
            assert connection.reply().status in (0, 400, 411, 501, 505)

    def test_request_without_a_version_is_told_so(self, attacked: Attacked) -> None:
        with Http1(attacked) as connection:
            connection.send(b"GET /\r\n\r\n")
            assert connection.reply().status == 400

    @pytest.mark.parametrize("sent", [b"", b"GET", b"GET / HTTP/1.1\r\nHost: a\r\n", b"POST /session HTTP/1.1\r\nX: "])
    def test_head_that_does_not_come_in_time_is_let_go(self, attacked: Attacked, sent: bytes) -> None:
        with Http1(attacked) as connection:
            connection.send(sent)
            reply = connection.reply()
        assert reply.status in (0, 408)

    def test_many_slow_heads_keep_nobody_out(self, attacked: Attacked, world: World) -> None:
        with ExitStack() as connections:
            slow = [connections.enter_context(Http1(attacked)) for _ in range(SLOW_CONNECTIONS)]
            for connection in slow:
                connection.send(b"GET / HTTP/1.1\r\nHost: a\r\nX-Slow: ")
            serves(attacked, world)
            for connection in slow:
                assert connection.reply().status in (0, 408)


class TestBody:
    @pytest.mark.parametrize("framing", ["Content-Length: 100", "Transfer-Encoding: chunked"])
    @pytest.mark.parametrize("sent", [b"", b'{"query"'], ids=["nothing", "a part"])
    def test_body_that_does_not_come_in_time_is_let_go(
        self, attacked: Attacked, world: World, framing: str, sent: bytes
    ) -> None:
        with Http1(attacked) as connection:
            connection.head(
                "POST", f"/courses/{world.course}/search",
                f"Authorization: Bearer {world.reader.token}", "Content-Type: application/json", framing,
            )  # fmt: skip
            connection.send(chunk(sent) if sent and "chunked" in framing else sent)
            reply = connection.reply()
        assert (reply.status, reply.reason) == (408, "REQUEST_TOO_SLOW")

    @pytest.mark.parametrize("chunked", [False, True], ids=["declared", "chunked"])
    @pytest.mark.parametrize("size", [MAX_BODY_BYTES + 1, 32 * MIB])
    def test_body_over_the_limit_is_refused(self, attacked: Attacked, world: World, size: int, chunked: bool) -> None:
        body = b'{"query": "' + b"x" * size + b'"}'
        with attacked.http(world.reader.token) as http:
            try:
                response = http.post(
                    f"/courses/{world.course}/search",
                    content=(body[start : start + 65_536] for start in range(0, len(body), 65_536))
                    if chunked
                    else body,
                    headers={"Content-Type": "application/json"},
                )
            except httpx.TransportError:
                return  # hung up while it was still sent
        assert (response.status_code, response.json()["reason"]) == (413, "REQUEST_TOO_LARGE")

    def test_compressed_body_is_not_inflated(self, attacked: Attacked, world: World) -> None:
        bomb = gzip.compress(b" " * (32 * MIB) + b'{"query": "cells"}')
        assert len(bomb) < MAX_BODY_BYTES
        with attacked.http(world.reader.token) as http:
            response = http.post(
                f"/courses/{world.course}/search",
                content=bomb,
                headers={"Content-Type": "application/json", "Content-Encoding": "gzip"},
            )
        assert response.status_code in (400, 415, 422)

    @pytest.mark.parametrize(
        "body",
        [
            b"[" * 30_000,
            b'{"a":' * 10_000,
            b'{"query": "cells", "limit": ' + b"9" * 20_000 + b"}",
            b'{"query": "cells", "limit": NaN}',
            b'{"query": "cells", "limit": 1e400}',
            b'{"query": "cells", "limit": "3; DROP TABLE"}',
            b'{"query": {"$gt": ""}}',
            b'{"query": ["cells"]}',
            b'{"query": "cells", "__proto__": {"admin": true}}',
            b"\xff\xfe{\0}\0",
            b"",
            b"null",
        ],
        ids=lambda body: repr(body)[2:30],
    )
    def test_json_that_is_no_search_is_refused(self, attacked: Attacked, world: World, body: bytes) -> None:
        with attacked.http(world.reader.token) as http:
            response = http.post(
                f"/courses/{world.course}/search", content=body, headers={"Content-Type": "application/json"}
            )
        assert response.status_code in (400, 422), response.text
        assert response.headers["content-type"] == "application/problem+json"

    @pytest.mark.parametrize(
        ("path", "body"),
        [
            ("/courses/COURSE/search", b'{"query": "\\ud800"}'),
            ("/courses/COURSE/materials:retry-failed", b'{"failure_reason": "\\udfff"}'),
            ("/tickets", b'{"purpose": "events", "course_id": "\\ud800"}'),
            ("/tickets", b'{"purpose": "\\ud800"}'),
            ("/session", b'{"token": "\\ud800"}'),
            ("/session", b'{"ticket": "\\ud800"}'),
        ],
        ids=lambda value: value if isinstance(value, str) else "",
    )
    def test_half_a_surrogate_pair_is_no_text(self, attacked: Attacked, world: World, path: str, body: bytes) -> None:
        with attacked.http(None if path == "/session" else world.owner.token) as http:
            response = http.post(
                path.replace("COURSE", world.course), content=body, headers={"Content-Type": "application/json"}
            )
        assert response.status_code in (401, 422), response.text
