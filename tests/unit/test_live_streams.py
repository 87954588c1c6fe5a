"""Event streams as an HTTP server drives them: that each of them ends, whatever the moment."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
from starlette.types import Message, Receive, Scope

from gateway.event_streams import EventStreams
from gateway.server_sent_events import KEEP_ALIVE
from gateway.watches import Watch

SECONDS = 30.0
WHOLE: Message = {"type": "http.request", "body": b"", "more_body": False}
GONE: Message = {"type": "http.disconnect"}
SCOPE: Scope = {"type": "http"}


class QuietWatch:
    """A watch that brings nothing: what ends a stream here is never the record."""

    def __init__(self) -> None:
        self.ended = asyncio.Event()

    async def messages(self) -> AsyncIterator[str]:
        await self.ended.wait()
        return
        yield

    def end(self) -> None:
        self.ended.set()


class Client:
    """Sends the given messages, then nothing; keeps what it got."""

    def __init__(self, *messages: Message) -> None:
        self._messages = list(messages)
        self.got: list[Message] = []
        self.has_got = asyncio.Condition()

    async def receive(self) -> Message:
        if not self._messages:
            await asyncio.Event().wait()
        return self._messages.pop(0)

    async def send(self, message: Message) -> None:
        async with self.has_got:
            self.got.append(message)
            self.has_got.notify_all()

    async def until(self, body: bytes) -> None:
        """Returns when it has got that."""
        async with self.has_got:
            await self.has_got.wait_for(lambda: any(message.get("body") == body for message in self.got))


def response(streams: EventStreams, watch: QuietWatch) -> Any:
    return streams.response(cast("Watch[str]", watch), str.encode, lambda _: False)


async def serve(streams: EventStreams, watch: QuietWatch, client: Client, receive: Receive | None = None) -> None:
    async with asyncio.timeout(SECONDS):
        await response(streams, watch)(SCOPE, receive or client.receive, client.send)


async def test_stream_that_begins_while_the_replica_stops_ends_at_once() -> None:
    streams, watch, client = EventStreams(SECONDS, SECONDS), QuietWatch(), Client(WHOLE)
    streams.drain()
    await serve(streams, watch, client)
    assert client.got[0]["status"] == 200
    assert client.got[-1] == {"type": "http.response.body", "body": b"", "more_body": False}
    assert watch.ended.is_set()


async def test_drain_ends_a_stream_as_http_has_it() -> None:
    streams, watch, client = EventStreams(0.01, SECONDS), QuietWatch(), Client(WHOLE)
    serving = asyncio.create_task(serve(streams, watch, client))
    await client.until(KEEP_ALIVE)
    streams.drain()
    await serving
    assert client.got[-1] == {"type": "http.response.body", "body": b"", "more_body": False}


@pytest.mark.parametrize("said", [[WHOLE, GONE], [GONE, GONE]], ids=["after its request", "before its end"])
async def test_client_that_has_gone_before_the_first_byte_ends_the_watch(said: list[Message]) -> None:
    streams, watch = EventStreams(SECONDS, SECONDS), QuietWatch()
    await serve(streams, watch, Client(*said))
    assert watch.ended.is_set()


async def test_cancelled_stream_ends_the_watch() -> None:
    streams, watch, client = EventStreams(0.01, SECONDS), QuietWatch(), Client(WHOLE)
    serving = asyncio.create_task(serve(streams, watch, client))
    await client.until(KEEP_ALIVE)
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving
    assert watch.ended.is_set()


async def test_request_that_is_refused_while_it_is_read_ends_the_watch_before_any_byte() -> None:
    async def receive() -> Message:
        raise ValueError("the body is too large")

    streams, watch, client = EventStreams(SECONDS, SECONDS), QuietWatch(), Client()
    with pytest.raises(ValueError, match="too large"):
        await serve(streams, watch, client, receive)
    assert watch.ended.is_set()
    assert client.got == []
