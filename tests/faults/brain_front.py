"""Stands before the real local Brain: passes calls on, counts them, holds them up, and answers as only a sick Brain does."""

from __future__ import annotations

import asyncio
import hashlib
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from enum import Enum
from urllib.parse import parse_qs, urlsplit

import httpx

from tests.contract.scripted_brain import Behaviour, Request, read_request


class CallKind(Enum):
    """What is asked of the Brain."""

    HEALTH = "health"
    READ = "read"
    EMBED = "embed"


@dataclass(frozen=True)
class BrainCall:
    """One request. `subject`: the text to embed, or the SHA-256 of the request's body when a page is read."""

    kind: CallKind
    subject: str


Matches = Callable[[BrainCall], bool]


def every(call: BrainCall) -> bool:
    """Matches all calls, health included."""
    return True


def work(call: BrainCall) -> bool:
    """Matches reading and embedding: the Brain's models, not its health page."""
    return call.kind is not CallKind.HEALTH


def reading(call: BrainCall) -> bool:
    """Matches reading."""
    return call.kind is CallKind.READ


def embedding_of(mark: str) -> Matches:
    """Matches the embedding of texts that hold `mark`."""
    return lambda call: call.kind is CallKind.EMBED and mark in call.subject


@dataclass
class Hold:
    """Calls that wait. `arrived` is set with the first."""

    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    released: asyncio.Event = field(default_factory=asyncio.Event)
    waiting: int = 0

    def release(self) -> None:
        """Lets them and all later ones through."""
        self.released.set()


class BrainFront:
    """An HTTP/1.1 server on loopback. `upstream` is the local Brain's port."""

    def __init__(self, upstream_port: int) -> None:
        self._upstream = f"http://127.0.0.1:{upstream_port}"
        self._http = httpx.AsyncClient(timeout=300.0, trust_env=False, limits=httpx.Limits(max_connections=64))
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._rules: list[tuple[Matches, Behaviour]] = []
        self._holds: list[tuple[Matches, Hold]] = []
        self.calls: list[BrainCall] = []
        self.now = 0
        self.most_at_once = 0

    @property
    def port(self) -> int:
        """Where it listens."""
        assert self._server is not None
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    def count(self, matches: Matches = work) -> int:
        """How many calls of the kind came in."""
        return sum(1 for call in self.calls if matches(call))

    async def start(self) -> None:
        """Listens."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)

    async def stop(self) -> None:
        """Closes everything."""
        if self._server is not None:
            self._server.close()
        await self._end_tasks()
        await self._http.aclose()

    @asynccontextmanager
    async def away(self) -> AsyncIterator[None]:
        """Open connections are closed and new ones refused, as when nothing runs there, until the end of the block."""
        assert self._server is not None
        port = self.port
        self._server.close()
        # Bound and not listening: it refuses connections, and nobody else gets the port meanwhile.
        place = socket.socket()
        place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        place.bind(("127.0.0.1", port))
        await self._end_tasks()
        try:
            yield
        finally:
            self._server = await asyncio.start_server(self._accept, sock=place)

    async def _end_tasks(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    @contextmanager
    def answering(self, matches: Matches, behaviour: Behaviour) -> Iterator[None]:
        """Answers matching calls by `behaviour` in place of the Brain."""
        rule = (matches, behaviour)
        self._rules.append(rule)
        try:
            yield
        finally:
            self._rules.remove(rule)

    @contextmanager
    def holding(self, matches: Matches = work) -> Iterator[Hold]:
        """Holds matching calls up until released, at the latest at the end of the block; then they are answered by the Brain."""
        hold = Hold()
        self._holds.append((matches, hold))
        try:
            yield hold
        finally:
            self._holds.remove((matches, hold))
            hold.release()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while (request := await read_request(reader)) is not None:
                await self._answer(request, reader, writer)
        except (OSError, asyncio.IncompleteReadError, ValueError):
            pass  # the client has left
        finally:
            writer.close()

    async def _answer(self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        call = _call(request)
        self.calls.append(call)
        for matches, hold in self._holds:
            if matches(call):
                hold.waiting += 1
                hold.arrived.set()
                await hold.released.wait()
        behaviour = next((behaviour for matches, behaviour in self._rules if matches(call)), None)
        self.now += call.kind is not CallKind.HEALTH
        self.most_at_once = max(self.most_at_once, self.now)
        try:
            if behaviour is not None:
                await behaviour(reader, writer)
            else:
                await self._pass_on(request, writer)
        finally:
            self.now -= call.kind is not CallKind.HEALTH

    async def _pass_on(self, request: Request, writer: asyncio.StreamWriter) -> None:
        kept = {name: value for name, value in request.headers.items() if name in ("content-type", "accept")}
        with suppress(httpx.HTTPError):  # the Brain is away: so is its front
            answer = await self._http.request(
                request.method, self._upstream + request.target, headers=kept, content=request.body
            )
            head = f"HTTP/1.1 {answer.status_code} {answer.reason_phrase}\r\nContent-Length: {len(answer.content)}\r\n"
            head += f"Content-Type: {answer.headers.get('content-type', 'application/json')}\r\n\r\n"
            writer.write(head.encode() + answer.content)
            await writer.drain()
            return
        raise ConnectionResetError


def _call(request: Request) -> BrainCall:
    parts = urlsplit(request.target)
    if parts.path == "/utility/embed":
        return BrainCall(CallKind.EMBED, parse_qs(parts.query).get("text", [""])[0])
    if request.method == "POST":
        return BrainCall(CallKind.READ, hashlib.sha256(request.body).hexdigest())
    return BrainCall(CallKind.HEALTH, "")
