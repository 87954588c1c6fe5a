"""Connections to the gateway that ask for too much or go about it in an odd way: bounded in size and time, and answered so that the answer can be read."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import pytest

from gateway.request_layers import MAX_BODY_BYTES
from tests.contract.gateway_process import GatewayProcess, started_gateway
from tests.local_stack import LocalStack

HEAD_BYTES = 4096
SECONDS = 30.0
MIB = 1024 * 1024
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.fixture(scope="module")
async def gateway(stack: LocalStack) -> AsyncIterator[GatewayProcess]:
    """One with little patience."""
    async with started_gateway(
        stack, MAX_HEAD_BYTES=str(HEAD_BYTES), HEAD_SECONDS="0.5", KEEP_ALIVE_SECONDS="1", BODY_IDLE_SECONDS="30"
    ) as running:
        yield running


@dataclass(frozen=True)
class Answer:
    """One answer, whole."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def reason(self) -> str:
        """Of a problem."""
        return str(json.loads(self.body)["reason"])


class Connection:
    """A connection by hand."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, data: bytes) -> None:
        """Sends; also to a server that listens no more."""
        with suppress(ConnectionError):
            self.writer.write(data)
            await self.writer.drain()

    async def answer(self) -> Answer:
        """The next answer, which has a length. Raises IncompleteReadError when there is none."""
        async with asyncio.timeout(SECONDS):
            first, *lines = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines if line)}
            body = await self.reader.readexactly(int(headers["content-length"]))
        return Answer(int(first.split()[1]), headers, body)

    async def closed(self) -> bool:
        """Returns when the server has closed; whether it said nothing more before."""
        async with asyncio.timeout(SECONDS):
            return await self.reader.read(1) == b""


@asynccontextmanager
async def connected(gateway: GatewayProcess) -> AsyncIterator[Connection]:
    host, _, port = gateway.address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        yield Connection(reader, writer)
    finally:
        writer.transport.abort()


@pytest.fixture
async def connection(gateway: GatewayProcess) -> AsyncIterator[Connection]:
    async with connected(gateway) as opened:
        yield opened


def upload_head(size: int, close: bool) -> bytes:
    """Of an upload by nobody."""
    lines = ["POST /courses/c/materials HTTP/1.1", "Host: a", "Content-Type: multipart/form-data; boundary=b"]
    lines += [f"Content-Length: {size}", *(["Connection: close"] if close else []), "", ""]
    return "\r\n".join(lines).encode()


class TestHead:
    @pytest.mark.parametrize(
        "head",
        [
            b"GET /" + b"x" * HEAD_BYTES + b" HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nX-Filler: " + b"x" * HEAD_BYTES + b"\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: x\r\n" * HEAD_BYTES + b"\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nX-Filler: " + b"x" * (4 * MIB),
        ],
        ids=["target", "header", "headers", "header without end"],
    )
    async def test_head_that_is_too_large_is_refused_in_words_that_arrive(
        self, connection: Connection, head: bytes
    ) -> None:
        sending = asyncio.create_task(connection.send(head))
        answer = await connection.answer()
        assert (answer.status, answer.reason) == (431, "REQUEST_TOO_LARGE")
        assert answer.headers["connection"] == "close"
        assert await connection.closed()
        await sending

    async def test_head_of_the_largest_size_is_taken(self, connection: Connection) -> None:
        await connection.send(HEALTH[:-2] + b"X-Filler: " + b"x" * (HEAD_BYTES - 100) + b"\r\n\r\n")
        assert (await connection.answer()).status == 200

    @pytest.mark.parametrize("sent", [b"G", HEALTH[:-2], HEALTH + HEALTH[:-2]], ids=["first", "unfinished", "second"])
    async def test_head_that_is_too_slow_is_refused(self, connection: Connection, sent: bytes) -> None:
        await connection.send(sent)
        answer = await connection.answer()
        if sent.startswith(HEALTH):
            assert answer.status == 200
            answer = await connection.answer()
        assert (answer.status, answer.reason) == (408, "REQUEST_TOO_SLOW")
        assert await connection.closed()

    @pytest.mark.parametrize(
        "sent", [b"", b"\r\n", HEALTH, HEALTH + b"\r\n"], ids=["nothing", "line", "one", "and line"]
    )
    async def test_connection_on_which_nothing_is_asked_is_closed(self, connection: Connection, sent: bytes) -> None:
        await connection.send(sent)
        if sent.startswith(HEALTH):
            assert (await connection.answer()).status == 200
        with suppress(asyncio.IncompleteReadError):
            assert (await connection.answer()).status == 408
        assert await connection.closed()

    async def test_line_sent_to_an_idle_connection_does_not_keep_it(self, connection: Connection) -> None:
        await connection.send(HEALTH)
        assert (await connection.answer()).status == 200
        await connection.send(b"\r\n")
        with suppress(asyncio.IncompleteReadError):
            assert (await connection.answer()).status == 408
        assert await connection.closed()


class TestBody:
    async def test_trailers_without_end_are_refused(self, connection: Connection) -> None:
        await connection.send(
            b"POST /session HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n"
        )
        await connection.send(b"X: x\r\n" * HEAD_BYTES)
        answer = await connection.answer()
        assert answer.status in (401, 431)
        assert await connection.closed()

    async def test_trailers_are_no_headers(self, stack: LocalStack, connection: Connection) -> None:
        """Where a proxy has looked at the headers, nothing may be added to them."""
        await connection.send(
            b"GET /session HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"
            + f"Authorization: Bearer {stack.facts['token']}\r\n\r\n".encode()
        )
        answer = await connection.answer()
        assert (answer.status, answer.reason) == (401, "TOKEN_MISSING")

    @pytest.mark.parametrize("close", [False, True], ids=["keep-alive", "close"])
    async def test_refusal_is_readable_although_the_body_is_still_sent(
        self, connection: Connection, close: bool
    ) -> None:
        """The client reads only when it has sent all: where the connection is reset, the answer is lost with it."""
        await connection.send(upload_head(2 * MIB, close))
        await connection.send(b"x" * (2 * MIB))
        answer = await connection.answer()
        assert (answer.status, answer.reason) == (401, "TOKEN_MISSING")
        if close:
            assert await connection.closed()
        else:
            await connection.send(HEALTH)
            assert (await connection.answer()).status == 200

    async def test_refused_body_is_not_listened_to_for_ever(self, connection: Connection) -> None:
        await connection.send(upload_head(64 * MIB, close=False))
        await connection.send(b"x" * (2 * MIB))
        assert (await connection.answer()).status == 401
        assert await connection.closed()

    async def test_connection_whose_refused_body_has_ended_is_closed_when_idle(self, connection: Connection) -> None:
        await connection.send(b"POST /session HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (MAX_BODY_BYTES + 1))
        await connection.send(b"x" * (MAX_BODY_BYTES + 1))
        assert (await connection.answer()).status == 413
        assert await connection.closed()


class TestPipelining:
    async def test_requests_sent_at_once_are_answered_in_their_order(self, connection: Connection) -> None:
        paths = ["/healthz", "/nowhere", "/session", "/healthz"]
        await connection.send(b"".join(HEALTH.replace(b"/healthz", path.encode()) for path in paths))
        assert [(await connection.answer()).status for _ in paths] == [200, 404, 401, 200]

    async def test_more_requests_at_once_than_anybody_needs_end_the_connection(self, connection: Connection) -> None:
        await connection.send(HEALTH * 100_000)
        answers = 0
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while (await connection.answer()).status == 200:
                answers += 1
        assert answers < 1_000

    async def test_broken_request_behind_one_under_way_does_not_break_into_its_answer(
        self, stack: LocalStack, connection: Connection
    ) -> None:
        token = stack.user_token("reader", {"c": "reader"})
        request = f"GET /courses/c/events HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
        await connection.send(request)
        async with asyncio.timeout(SECONDS):
            head = await connection.reader.readuntil(b"snapshot_complete")
        assert head.startswith(b"HTTP/1.1 200")
        await connection.send(HEALTH + b"nonsense\r\n\r\n")
        async with asyncio.timeout(SECONDS):
            assert b"HTTP/1.1" not in await connection.reader.read()
