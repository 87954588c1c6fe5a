"""What the Brain client sends, and over which connections."""

import asyncio
import contextlib
import socket
from pathlib import Path
from urllib.parse import unquote_to_bytes, urlsplit

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from processor_service.brain.client import BrainClient, GeneratedText, fit_url, open_http
from processor_service.brain.errors import BrainBusy, BrainMisconfigured, BrainUnavailable
from tests.contract.scripted_brain import (
    PNG,
    Behaviour,
    client_of,
    close_without_reply,
    embeds,
    never_answer,
    reply,
    says,
    scripted,
)

# --- calls -------------------------------------------------------------------------------------------------------


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
        assert await client.generate("Why & how?") == GeneratedText("An answer", "m")
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


# --- health ------------------------------------------------------------------------------------------------------


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


# --- connections -------------------------------------------------------------------------------------------------


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


# --- the length of a URL -----------------------------------------------------------------------------------------


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
