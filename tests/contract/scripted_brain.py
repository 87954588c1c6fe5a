"""A Brain that does with each connection what the test says, in raw bytes over real sockets."""

import asyncio
import contextlib
import json
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

from processor_service.brain.client import BrainClient, open_http

PNG = b"\x89PNG\r\n\x1a\n" + bytes(200_000)
MAX_REPLY = 64 * 1024


@dataclass
class Request:
    method: str
    target: str
    headers: dict[str, str]
    body: bytes


async def read_request(reader: asyncio.StreamReader) -> Request | None:
    """The next request of a connection, read whole; None at its end. Raises IncompleteReadError."""
    if not (line := await reader.readline()):
        return None
    method, target, _ = line.decode().split(" ", 2)
    headers = {}
    while (header := await reader.readline()) not in (b"\r\n", b""):
        name, _, value = header.decode().partition(":")
        headers[name.lower()] = value.strip()
    return Request(method, target, headers, await reader.readexactly(int(headers.get("content-length", "0"))))


async def serve_json(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    answer: Callable[[Request], Awaitable[tuple[int, object]]],
) -> None:
    """One connection: each request gets the status and the JSON that `answer` gives it."""
    try:
        while (request := await read_request(reader)) is not None:
            status, body = await answer(request)
            content = json.dumps(body).encode()
            writer.write(f"HTTP/1.1 {status} Said So\r\nContent-Length: {len(content)}\r\n\r\n".encode() + content)
            await writer.drain()
    except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
        pass  # the client left, or the test is over
    finally:
        writer.close()


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
            while (request := await read_request(reader)) is not None:
                self.requests.append(request)
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
