"""A part that speaks HTTP is asked over HTTP, and the screen's link to the page signs in when the gateway makes one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from single_node import sign_in
from single_node.readiness import HttpServing, NotReadyYet, ask
from single_node.sign_in import PageLink, page_link


@asynccontextmanager
async def answering(status: str, body: bytes, heads: list[str] | None = None) -> AsyncIterator[str]:
    """A server on loopback, as host:port, that answers each request so and keeps its head."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        if heads is not None:
            heads.append(head)
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_an_http_part_is_ready_when_its_health_is_200() -> None:
    heads: list[str] = []
    async with answering("200 OK", b'{"status": "ok"}', heads) as part:
        await ask(HttpServing(f"http://{part}"))
    assert heads[0].startswith("GET /healthz HTTP/1.1\r\n")


async def test_an_http_part_that_stops_or_is_not_there_is_not_ready() -> None:
    async with answering("503 Service Unavailable", b"") as part:
        with pytest.raises(NotReadyYet, match="HTTP 503"):
            await ask(HttpServing(f"http://{part}"))
    with pytest.raises(NotReadyYet):
        await ask(HttpServing(f"http://{part}"))


async def test_the_link_is_the_gateway_s_for_the_demo_user() -> None:
    heads: list[str] = []
    body = json.dumps({"ticket": "t-1", "url": "/#sign-in=t-1"}).encode()
    async with answering("201 Created", body, heads) as gateway:
        assert await page_link(gateway, "the-token") == PageLink(f"http://{gateway}/#sign-in=t-1", signs_in=True)
    assert heads[0].startswith("POST /tickets HTTP/1.1\r\n")
    assert "Authorization: Bearer the-token\r\n" in heads[0]


@pytest.mark.parametrize(
    ("status", "body"),
    [
        ("503 Service Unavailable", b'{"url": "/#sign-in=t-1"}'),
        ("201 Created", b"<html>"),
        ("201 Created", b"[]"),
        ("201 Created", b"{}"),
        ("201 Created", b'{"url": "http://elsewhere.example/"}'),
    ],
)
async def test_without_a_ticket_the_link_is_the_plain_address(status: str, body: bytes) -> None:
    async with answering(status, body) as gateway:
        assert await page_link(gateway, "the-token") == PageLink(f"http://{gateway}/", signs_in=False)
    assert await page_link(gateway, "the-token") == PageLink(f"http://{gateway}/", signs_in=False), "nobody there"


async def test_a_gateway_that_is_slow_keeps_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sign_in, "SECONDS", 0.05)

    async def never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()  # Until the client has gone.
        writer.close()

    server = await asyncio.start_server(never, "127.0.0.1", 0)
    gateway = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        assert await page_link(gateway, "the-token") == PageLink(f"http://{gateway}/", signs_in=False)
    finally:
        server.close()
