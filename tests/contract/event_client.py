"""Server-sent events as a client reads them, over a socket of its own: so that it can go away at any moment, in any way, or stop reading."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

from tests.fuzz.wire import RESET

SECONDS = 60.0


@dataclass(frozen=True)
class Event:
    """One event; `id` is "" for one that nothing can be resumed after."""

    name: str
    data: dict[str, Any]
    id: str = ""


class StreamEnded(Exception):
    """The server has ended the stream as HTTP has it: with the final chunk."""


class EventStream:
    """One answer being read; an event stream, unless `status` and `headers` say otherwise. Nothing is read in the background."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._unread = b""
        self.status, self.headers = 0, dict[str, str]()
        self.comments: list[str] = []
        self.retry: int | None = None

    async def head(self) -> None:
        """Reads the head of the answer."""
        async with asyncio.timeout(SECONDS):
            lines = (await self._reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        self.status = int(lines[0].split()[1])
        for line in filter(None, lines[1:]):
            name, _, value = line.partition(":")
            self.headers[name.lower()] = value.strip()

    async def next(self) -> Event:
        """The next event. Raises StreamEnded after the last, IncompleteReadError when the connection was cut."""
        async with asyncio.timeout(SECONDS):
            while True:
                if (event := self._parsed(await self._block())) is not None:
                    return event

    async def rest(self) -> list[Event]:
        """All events until the stream ends."""
        events = []
        with suppress(StreamEnded):
            while True:
                events.append(await self.next())
        return events

    async def until(self, is_it: Callable[[Event], bool]) -> list[Event]:
        """All events up to the first one that is it."""
        events = [await self.next()]
        while not is_it(events[-1]):
            events.append(await self.next())
        return events

    async def comment(self) -> str:
        """The next comment, where no event is due."""
        before = len(self.comments)
        async with asyncio.timeout(SECONDS):
            while len(self.comments) == before:
                event = self._parsed(await self._block())
                assert event is None, event
        return self.comments[-1]

    async def problem(self) -> dict[str, Any]:
        """The body of a refusal."""
        assert self.headers["content-type"] == "application/problem+json"
        async with asyncio.timeout(SECONDS):
            document: dict[str, Any] = json.loads(await self._reader.readexactly(int(self.headers["content-length"])))
        return document

    async def closed(self) -> None:
        """Returns when the server has closed the connection, in whatever way."""
        async with asyncio.timeout(SECONDS):
            with suppress(ConnectionError):
                while await self._reader.read(65_536):
                    pass

    def send(self, data: bytes) -> None:
        """Says something more."""
        self._writer.write(data)

    def reset(self) -> None:
        """Goes away with RST."""
        with suppress(OSError):  # closed already
            self._writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self._writer.transport.abort()

    def close(self) -> None:
        """Goes away with FIN."""
        self._writer.close()

    async def _block(self) -> str:
        """The next event or comment, without the empty line that ends it."""
        while b"\n\n" not in self._unread:
            size = int((await self._reader.readuntil(b"\r\n")).split(b";")[0], 16)
            self._unread += (await self._reader.readexactly(size + 2))[:-2]
            if not size:
                assert not self._unread, f"ended in the middle: {self._unread!r}"
                raise StreamEnded
        block, _, self._unread = self._unread.partition(b"\n\n")
        return block.decode()

    def _parsed(self, block: str) -> Event | None:
        fields: dict[str, str] = {}
        for line in block.split("\n"):
            name, _, value = line.partition(":")
            if not name:
                self.comments.append(value.strip())
            assert name not in fields, f"{name} twice in one event"
            fields[name] = value.removeprefix(" ")
        if "retry" in fields:
            self.retry = int(fields["retry"])
        return Event(fields["event"], json.loads(fields["data"]), fields.get("id", "")) if "data" in fields else None


@asynccontextmanager
async def request(
    address: str,
    path: str,
    *headers: str,
    token: str | None = None,
    receive_buffer: int | None = None,
    body: Mapping[str, Any] | None = None,
) -> AsyncIterator[EventStream]:
    """A GET whose head has gone out, or a POST with the JSON of `body`; no answer is awaited. `headers` are `Name: value`, `receive_buffer` is the socket's,
    in bytes."""
    host, _, port = address.rpartition(":")
    connection = socket.socket()
    connection.setblocking(False)
    if receive_buffer is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    await asyncio.get_running_loop().sock_connect(connection, (host, int(port)))
    # What is not taken by the test is to stay in the socket, so that the server feels it.
    reader, writer = await asyncio.open_connection(sock=connection, limit=65_536)
    authorization = [f"Authorization: Bearer {token}"] if token else []
    sent = json.dumps(body).encode() if body is not None else b""
    about = ["Content-Type: application/json", f"Content-Length: {len(sent)}"] if body is not None else []
    method = "GET" if body is None else "POST"
    lines = [f"{method} {path} HTTP/1.1", f"Host: {address}", *authorization, *headers, *about, "", ""]
    writer.write("\r\n".join(lines).encode("latin-1") + sent)
    stream = EventStream(reader, writer)
    try:
        yield stream
    finally:
        stream.reset()


@asynccontextmanager
async def opened(
    address: str,
    path: str,
    *headers: str,
    token: str | None = None,
    last_event_id: str | None = None,
    body: Mapping[str, Any] | None = None,
) -> AsyncIterator[EventStream]:
    """An answer whose head was read."""
    resuming = [f"Last-Event-ID: {last_event_id}"] if last_event_id is not None else []
    async with request(address, path, *headers, *resuming, token=token, body=body) as stream:
        await stream.head()
        yield stream
