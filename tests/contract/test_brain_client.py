"""Promises of the Brain client, against a scripted Brain that speaks raw bytes over real sockets."""

import asyncio
import contextlib
import json
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from urllib.parse import unquote_to_bytes, urlsplit

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from processor_service.brain import BrainClient, fit_url, open_http, retry_after_seconds, storable_text
from processor_service.brain_errors import (
    BrainBusy,
    BrainError,
    BrainFailed,
    BrainInterrupted,
    BrainMisconfigured,
    BrainRefused,
    BrainTimedOut,
    BrainUnavailable,
    one_line,
)

PNG = b"\x89PNG\r\n\x1a\n" + bytes(200_000)
MAX_REPLY = 64 * 1024
NOW = datetime(2030, 1, 1, tzinfo=UTC)


@dataclass
class Request:
    method: str
    target: str
    headers: dict[str, str]
    body: bytes


Behaviour = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class ScriptedBrain:
    """A TCP server that reads each request whole, then does what the test says with the connection."""

    behaviour: Behaviour
    requests: list[Request] = field(default_factory=list)
    received: asyncio.Event = field(default_factory=asyncio.Event)
    connections_ended: asyncio.Event = field(default_factory=asyncio.Event)
    endpoint: str = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                method, target, _ = line.decode().split(" ", 2)
                headers = {}
                while (header := await reader.readline()) not in (b"\r\n", b""):
                    name, _, value = header.decode().partition(":")
                    headers[name.lower()] = value.strip()
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                self.requests.append(Request(method, target, headers, body))
                self.received.set()
                await self.behaviour(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client left, or the test is over
        finally:
            self.connections_ended.set()
            writer.close()


@contextlib.asynccontextmanager
async def scripted(behaviour: Behaviour) -> AsyncIterator[ScriptedBrain]:
    brain = ScriptedBrain(behaviour)
    server = await asyncio.start_server(brain.serve, "127.0.0.1", 0)
    brain.endpoint = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield brain


@contextlib.asynccontextmanager
async def client_of(endpoint: str, *, seconds: float = 20.0, token: str | None = None) -> AsyncIterator[BrainClient]:
    async with open_http(token=token) as http:
        yield BrainClient(
            http,
            endpoint=endpoint,
            timeout_seconds=seconds,
            embedding_dimensions=4,
            max_reply_bytes=MAX_REPLY,
            health_seconds=seconds,
        )


def reply(status: int, body: bytes | str, **headers: str) -> Behaviour:
    encoded = body.encode() if isinstance(body, str) else body

    async def behaviour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines = [f"HTTP/1.1 {status} Said So", f"Content-Length: {len(encoded)}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        writer.write("\r\n".join([*lines, "", ""]).encode() + encoded)
        await writer.drain()

    return behaviour


def says(value: object) -> Behaviour:
    return reply(200, json.dumps({"response": value, "model": "m"}))


def embeds(text: str) -> Behaviour:
    return reply(200, '{"embedding": ' + text + "}")


async def reset_mid_body(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{"response": "half')
    await writer.drain()
    connection: socket.socket = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # close with RST
    writer.close()


async def close_mid_body(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{"response": "half')
    writer.close()


async def close_without_reply(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def never_answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()  # until the client gives up


async def one_byte_at_a_time(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 50000\r\n\r\n")
    for _ in range(50_000):
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.02)


async def endless_reply(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"10000\r\n" + b"x" * 65_536 + b"\r\n")
        await writer.drain()


async def huge_headers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        writer.write(b"X-Filler: " + b"x" * 60_000 + b"\r\n")
        await writer.drain()


# --- what a well Brain gets and gives ---------------------------------------------------------------------------


async def test_a_page_is_sent_as_the_contract_asks_and_its_text_comes_back_trimmed() -> None:
    async with scripted(says("  Photosynthèse 光\n")) as brain, client_of(brain.endpoint + "/") as client:
        assert await client.read_page(PNG, prompt="Read it") == "Photosynthèse 光"

    [request] = brain.requests
    assert (request.method, request.target) == ("POST", "/router")
    assert request.headers["content-type"].startswith("multipart/form-data; boundary=")
    assert b'name="prompt"\r\n\r\nRead it\r\n' in request.body
    assert b'name="image"; filename="page.png"\r\nContent-Type: image/png\r\n\r\n' + PNG in request.body
    assert request.headers["accept-encoding"] == "identity"
    assert "authorization" not in request.headers


async def test_a_prompt_alone_is_sent_as_a_form_without_a_file() -> None:
    async with scripted(says("An answer")) as brain, client_of(brain.endpoint) as client:
        assert await client.generate("Why & how?") == "An answer"
    assert brain.requests[0].body == b"prompt=Why+%26+how%3F"


async def test_a_passage_is_embedded_by_query_parameter_whatever_its_characters() -> None:
    text = "50% of A&B = ? + #1 %41 é 光合\n作用 🙂"
    async with scripted(embeds("[0.5, -1, 2, 0]")) as brain, client_of(brain.endpoint) as client:
        vector = await client.embed(f"  {text} ")

    assert vector.dtype == np.float32
    assert vector.tolist() == [0.5, -1.0, 2.0, 0.0]
    [request] = brain.requests
    path, _, query = request.target.partition("?")
    assert (request.method, path) == ("POST", "/utility/embed")
    assert unquote_to_bytes(query.removeprefix("text=")).decode() == text


async def test_the_token_is_sent_as_a_bearer_token() -> None:
    async with scripted(says("text")) as brain, client_of(brain.endpoint, token="s3cret") as client:
        await client.read_page(PNG)
    assert brain.requests[0].headers["authorization"] == "Bearer s3cret"


@pytest.mark.parametrize("blank", ["", " ", "\n\t ", "\x00"])
async def test_a_blank_page_is_success(blank: str) -> None:
    async with scripted(says(blank)) as brain, client_of(brain.endpoint) as client:
        assert await client.read_page(PNG) == ""


async def test_text_that_postgres_would_refuse_is_mended() -> None:
    async with (
        scripted(reply(200, b'{"response": "a\\u0000b\\ud800c \\ud83d\\ude42"}')) as brain,
        client_of(brain.endpoint) as client,
    ):
        assert await client.read_page(PNG) == "ab\ufffdc 🙂"


async def test_a_connection_is_used_again() -> None:
    ends: list[bool] = []
    async with scripted(says("text")) as brain, client_of(brain.endpoint) as client:
        for _ in range(3):
            await client.read_page(PNG)
            ends.append(brain.connections_ended.is_set())
    assert ends == [False, False, False]


async def test_blank_text_is_not_sent_to_be_embedded() -> None:
    async with scripted(embeds("[1, 2, 3, 4]")) as brain, client_of(brain.endpoint) as client:
        with pytest.raises(ValueError, match="blank"):
            await client.embed(" \n")
    assert brain.requests == []


# --- health -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("behaviour", "healthy"),
    [
        (reply(200, '{"status": "Active", "core_model": "m", "mode": "gpu"}'), True),
        (reply(200, '{"status": "Loading"}'), False),
        (reply(200, "<html>It works</html>"), False),
        (reply(200, "[]"), False),
        (reply(503, '{"status": "Active"}'), False),
        (reply(302, "", Location="http://127.0.0.1:1/"), False),
        (close_without_reply, False),
        (never_answer, False),
    ],
)
async def test_only_an_active_brain_is_healthy(behaviour: Behaviour, healthy: bool) -> None:
    async with scripted(behaviour) as brain, client_of(brain.endpoint, seconds=0.5) as client:
        assert await client.healthy() is healthy


# --- broken replies ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("behaviour", "error"),
    [
        (reply(200, '{"response": "half'), BrainFailed),
        (reply(200, "<html>Bad gateway</html>"), BrainFailed),
        (reply(200, ""), BrainFailed),
        (reply(200, b"\xff\xfe\x00"), BrainFailed),
        (reply(200, "[" * 60_000), BrainFailed),
        (reply(200, '"text"'), BrainFailed),
        (reply(200, "{}"), BrainFailed),
        (says(None), BrainFailed),
        (says(["text"]), BrainFailed),
        (says(7), BrainFailed),
        (reply(200, "x" * (MAX_REPLY + 1)), BrainFailed),
        (endless_reply, BrainFailed),
        (reply(200, b"\x1f\x8b" + bytes(100), Content_Encoding="gzip"), BrainFailed),
        (reply(204, ""), BrainFailed),
        (reply(500, '{"detail": "model fell over"}'), BrainFailed),
        (reply(500, "<html>"), BrainFailed),
        (reply(501, ""), BrainFailed),
        (reply(502, "<html>Bad gateway</html>"), BrainUnavailable),
        (reply(503, ""), BrainUnavailable),
        (reply(504, ""), BrainTimedOut),
        (reset_mid_body, BrainInterrupted),
        (close_mid_body, BrainInterrupted),
        (close_without_reply, BrainInterrupted),
        (huge_headers, BrainInterrupted),
        (reply(429, ""), BrainBusy),
        (reply(413, "<html>too large</html>"), BrainRefused),
        (reply(422, '{"detail": [{"loc": ["body", "prompt"], "msg": "Field required"}]}'), BrainRefused),
        (reply(400, ""), BrainRefused),
        (reply(401, ""), BrainMisconfigured),
        (reply(403, ""), BrainMisconfigured),
        (reply(404, '{"detail": "Not Found"}'), BrainMisconfigured),
    ],
)
async def test_a_broken_reply_to_a_page_is_never_text_and_gives_its_error(
    behaviour: Behaviour, error: type[BrainError]
) -> None:
    async with scripted(behaviour) as brain, client_of(brain.endpoint) as client:
        with pytest.raises(BrainError) as raised:
            await client.read_page(PNG)
    assert type(raised.value) is error
    assert raised.value.message == one_line(raised.value.message)
    assert "127.0.0.1" not in raised.value.message


async def test_an_endless_reply_is_cut_and_its_connection_closed() -> None:
    async with scripted(endless_reply) as brain, client_of(brain.endpoint) as client:
        with pytest.raises(BrainFailed, match="larger than 65536 bytes"):
            await client.read_page(PNG)
        await asyncio.wait_for(brain.connections_ended.wait(), timeout=10)


@pytest.mark.parametrize("behaviour", [never_answer, one_byte_at_a_time])
async def test_one_deadline_holds_for_the_whole_reply(behaviour: Behaviour) -> None:
    async with scripted(behaviour) as brain, client_of(brain.endpoint, seconds=0.3) as client:
        with pytest.raises(BrainTimedOut, match=r"within 0\.3 s"):
            await client.read_page(PNG)
        await asyncio.wait_for(brain.connections_ended.wait(), timeout=10)


async def test_a_refused_connection_is_unavailable() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound and not listening: nobody else can answer there
        async with client_of(f"http://127.0.0.1:{unused.getsockname()[1]}") as client:
            with pytest.raises(BrainUnavailable) as raised:
                await client.read_page(PNG)
            assert type(raised.value) is BrainUnavailable
            assert await client.healthy() is False


@pytest.mark.parametrize("endpoint", ["ftp://127.0.0.1", "127.0.0.1", "http://[::1"])
async def test_an_endpoint_that_is_no_http_url_is_a_configuration_error(endpoint: str) -> None:
    async with client_of(endpoint) as client:
        with pytest.raises(BrainMisconfigured, match="AI_BRAIN_ENDPOINT"):
            await client.read_page(PNG)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(status: int) -> None:
    async with scripted(says("stolen")) as elsewhere, scripted(never_answer) as brain:
        brain.behaviour = reply(status, "", Location=f"{elsewhere.endpoint}/router")
        async with client_of(brain.endpoint) as client:
            with pytest.raises(BrainMisconfigured, match="redirect"):
                await client.read_page(PNG)
    assert elsewhere.requests == []


async def test_a_full_pool_is_busy_and_not_an_outage() -> None:
    async with scripted(never_answer) as brain, open_http(max_connections=1) as http:
        client = BrainClient(http, endpoint=brain.endpoint, timeout_seconds=20.0)
        hurried = BrainClient(http, endpoint=brain.endpoint, timeout_seconds=0.2)
        holder = asyncio.create_task(client.read_page(PNG))
        await brain.received.wait()
        with pytest.raises(BrainBusy):
            await hurried.read_page(PNG)
        holder.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await holder


async def test_cancelling_a_call_closes_its_connection() -> None:
    async with scripted(never_answer) as brain, client_of(brain.endpoint) as client:
        call = asyncio.create_task(client.read_page(PNG))
        await brain.received.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await asyncio.wait_for(brain.connections_ended.wait(), timeout=10)


# --- reasons ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        ("Error processing file: cannot identify image", "cannot identify image"),
        ("  Error processing file:\nline\r\n\x1b[31m two \u202e", "line [31m two"),
        ("Error processing file", "no reason given"),
        ("Error processing file: ", "no reason given"),
    ],
)
async def test_an_unreadable_file_is_a_refusal_with_its_reason_in_one_line(response: str, reason: str) -> None:
    async with scripted(says(response)) as brain, client_of(brain.endpoint) as client:
        with pytest.raises(BrainRefused) as raised:
            await client.read_page(PNG)
    assert raised.value.reason == reason


async def test_a_long_reason_is_cut() -> None:
    async with scripted(says("Error processing file: " + "why " * 500)) as brain, client_of(brain.endpoint) as client:
        with pytest.raises(BrainRefused) as raised:
            await client.read_page(PNG)
    assert len(raised.value.reason) <= 300


@pytest.mark.parametrize(
    "text", ["Error processing files is a chapter of this book.", "How to: Error processing file: an example"]
)
async def test_a_page_about_errors_is_text(text: str) -> None:
    async with scripted(says(text)) as brain, client_of(brain.endpoint) as client:
        assert await client.read_page(PNG) == text


async def test_the_reason_of_a_failed_call_is_the_brain_s_own_detail() -> None:
    async with scripted(reply(500, '{"detail": "CUDA out of\\nmemory"}')) as brain, client_of(brain.endpoint) as client:
        with pytest.raises(BrainFailed, match="500: CUDA out of memory"):
            await client.read_page(PNG)


# --- embeddings -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("numbers", "error"),
    [
        ("[NaN, 1, 1, 1]", BrainFailed),
        ("[1, Infinity, 1, 1]", BrainFailed),
        ("[1, 1, -1e400, 1]", BrainFailed),
        ("[1, 1, 1e39, 1]", BrainFailed),  # finite, but not as a 32-bit number
        ("[1, 1, " + "9" * 400 + ", 1]", BrainFailed),
        ("[0, 0.0, -0.0, 0]", BrainFailed),
        ("null", BrainFailed),
        ('"0.1"', BrainFailed),
        ('["1", 1, 1, 1]', BrainFailed),
        ("[true, 1, 1, 1]", BrainFailed),
        ("[[1], [1], [1], [1]]", BrainFailed),
        ("[null, 1, 1, 1]", BrainFailed),
        ("[]", BrainMisconfigured),
        ("[1, 1, 1]", BrainMisconfigured),
        ("[1, 1, 1, 1, 1]", BrainMisconfigured),
    ],
)
async def test_a_broken_embedding_is_never_returned(numbers: str, error: type[BrainError]) -> None:
    async with scripted(embeds(numbers)) as brain, client_of(brain.endpoint) as client:
        with pytest.raises(BrainError) as raised:
            await client.embed("text")
    assert type(raised.value) is error


async def test_a_wrong_embedding_length_names_both_numbers() -> None:
    async with scripted(embeds("[1, 1, 1]")) as brain, client_of(brain.endpoint) as client:
        with pytest.raises(BrainMisconfigured, match=r"of 3 numbers, but EMBEDDING_DIMENSIONS is 4"):
            await client.embed("text")


# --- Retry-After ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "header", "seconds"),
    [(429, "7", 7.0), (503, "7", 7.0), (429, None, None), (429, "soon", None), (429, "999999", 3600.0)],
)
async def test_the_pause_that_a_server_asks_for_is_kept(status: int, header: str | None, seconds: float | None) -> None:
    behaviour = reply(status, "", **({"Retry-After": header} if header else {}))
    async with scripted(behaviour) as brain, client_of(brain.endpoint) as client:
        with pytest.raises(BrainError) as raised:
            await client.read_page(PNG)
    assert raised.value.retry_after == seconds


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (format_datetime(NOW + timedelta(seconds=90), usegmt=True), 90.0),
        (format_datetime(NOW - timedelta(hours=1), usegmt=True), 0.0),
        (format_datetime(NOW + timedelta(days=9), usegmt=True), 3600.0),
        ("Tue, 01 Jan 2030 00:00:30 -0000", 30.0),
        ("0", 0.0),
        (" 12 ", 12.0),
        ("-5", None),
        ("1.5", None),
        ("", None),
        ("٣", None),
        ("9" * 5000, None),
        (None, None),
    ],
)
def test_retry_after_is_seconds_or_a_date_and_nothing_else(header: str | None, seconds: float | None) -> None:
    assert retry_after_seconds(header, NOW) == seconds


# --- pure parts -------------------------------------------------------------------------------------------------


@given(text=st.text(min_size=1, max_size=3000).filter(str.strip), most=st.integers(100, 9000))
def test_a_fitted_url_stays_below_the_request_line_limit_and_carries_a_prefix(text: str, most: int) -> None:
    url = fit_url("http://brain:8001/v1/", text, max_bytes=most)
    assert len(f"POST {url} HTTP/1.1") < most
    sent = unquote_to_bytes(urlsplit(url).query.removeprefix("text=")).decode()
    assert sent
    assert text.strip().startswith(sent)
    following = text.strip()[len(sent) : len(sent) + 1]
    if following:  # it was cut, so not one character more would have fitted
        assert len(f"POST {url} HTTP/1.1") + 3 * len(following.encode()) >= most or following.isascii()


def test_a_long_chinese_text_is_cut_between_characters() -> None:
    url = fit_url("http://localhost:8001", "光" * 2000)
    sent = unquote_to_bytes(urlsplit(url).query.removeprefix("text=")).decode()
    assert sent == "光" * len(sent)
    assert 870 < len(sent) < 889


def test_an_endpoint_that_leaves_no_room_is_refused() -> None:
    with pytest.raises(ValueError, match="AI_BRAIN_ENDPOINT"):
        fit_url("http://" + "x" * 100, "text", max_bytes=100)


@given(text=st.text(st.characters(codec=None)))
def test_storable_text_is_valid_utf_8_without_nul(text: str) -> None:
    assert b"\x00" not in storable_text(text).encode()


@given(text=st.text(st.characters(codec=None), max_size=2000))
def test_one_line_is_printable_and_short(text: str) -> None:
    line = one_line(text)
    assert len(line) <= 300
    assert line.isprintable()


async def test_the_client_takes_no_proxy_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    async with scripted(says("stolen")) as proxy, scripted(says("text")) as brain:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.endpoint)
        async with client_of(brain.endpoint) as client:
            assert await client.read_page(PNG) == "text"
    assert proxy.requests == []


async def test_an_unreadable_ca_file_is_found_at_the_start() -> None:
    with pytest.raises(OSError, match="No such file"):
        open_http(ca_file=Path("/nonexistent/ca.pem"))
