"""A TCP proxy between two parts of the stack that can be slow, cut, deaf or half-open."""

from __future__ import annotations

import asyncio
import re
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import Enum

_CHUNK_BYTES = 64 * 1024


class Direction(Enum):
    """Which way bytes go."""

    TO_SERVER = "to the server"
    TO_CLIENT = "to the client"


class TcpProxy:
    """Forwards connections on `port` to `target_port`, both on loopback."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._server: asyncio.Server | None = None
        self._connections: dict[asyncio.Task[None], tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = {}
        self._open = {direction: asyncio.Event() for direction in Direction}
        for gate in self._open.values():
            gate.set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._stranded: set[asyncio.Task[None]] = set()
        self._refusing = False
        self._delay = 0.0
        self._swallowed: re.Pattern[bytes] | None = None
        self._cut_after: dict[Direction, int] = {}
        self.accepted = 0
        self.forwarded = dict.fromkeys(Direction, 0)

    @property
    def port(self) -> int:
        """Where it listens."""
        assert self._server is not None
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    @property
    def connections(self) -> int:
        """How many are open now."""
        return len(self._connections)

    @property
    def armed(self) -> frozenset[Direction]:
        """The directions in which `cut_after` has not cut yet."""
        return frozenset(self._cut_after)

    def disarm(self) -> None:
        """Nothing is cut any more that was not yet."""
        self._cut_after.clear()

    async def start(self) -> None:
        """Listens."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)

    async def stop(self) -> None:
        """Closes everything."""
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def cut(self) -> None:
        """Resets every connection that is open now."""
        for task, writers in list(self._connections.items()):
            for writer in writers:
                _reset(writer)
            task.cancel()

    def strand(self) -> None:
        """Makes every connection that is open now half-open: it stands, and nothing comes through any more. New ones are as ever."""
        self._stranded |= set(self._connections)

    def cut_after(self, count: int, direction: Direction) -> None:
        """Resets, once, the connection that carries the `count`-th byte from now on in this direction, in the middle of whatever it is."""
        self._cut_after[direction] = count

    @contextmanager
    def refusing(self) -> Iterator[None]:
        """Nobody gets through: open connections are reset, new ones at once."""
        self._refusing = True
        self.cut()
        try:
            yield
        finally:
            self._refusing = False

    @contextmanager
    def diverting(self, port: int) -> Iterator[None]:
        """Everybody is led to another port of this machine; connections are cut at the beginning and at the end."""
        self._target_port, usual = port, self._target_port
        self.cut()
        try:
            yield
        finally:
            self._target_port = usual
            self.cut()

    @contextmanager
    def holding(self, *directions: Direction) -> Iterator[None]:
        """A black hole: connections stand and are made, and nothing comes through in these directions (both, when none is named) until the end."""
        held = directions or tuple(Direction)
        for direction in held:
            self._open[direction].clear()
        try:
            yield
        finally:
            for direction in held:
                self._open[direction].set()

    @contextmanager
    def delaying(self, seconds: float) -> Iterator[None]:
        """Each piece of at most 64 KiB comes so much later."""
        self._delay = seconds
        try:
            yield
        finally:
            self._delay = 0.0

    @contextmanager
    def swallowing(self, pattern: bytes) -> Iterator[None]:
        """What matches on its way to the server never arrives there, and all else does. For small messages, each written in one piece."""
        self._swallowed = re.compile(pattern)
        try:
            yield
        finally:
            self._swallowed = None

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        if self._refusing:
            _reset(writer)
            return
        self.accepted += 1
        try:
            server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
        except OSError:
            _reset(writer)
            return
        self._connections[task] = (writer, server_writer)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._pump(task, reader, server_writer, Direction.TO_SERVER))
                tasks.create_task(self._pump(task, server_reader, writer, Direction.TO_CLIENT))
        except* (OSError, _Cut):
            pass
        finally:
            del self._connections[task]
            self._stranded.discard(task)
            for each in (writer, server_writer):
                each.close()

    async def _pump(
        self,
        connection: asyncio.Task[None],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        direction: Direction,
    ) -> None:
        while chunk := await reader.read(_CHUNK_BYTES):
            if connection in self._stranded:
                continue
            if self._delay:
                await asyncio.sleep(self._delay)
            await self._open[direction].wait()
            if self._swallowed is not None and direction is Direction.TO_SERVER:
                chunk = self._swallowed.sub(b"", chunk)
            if (left := self._cut_after.get(direction)) is not None:
                self._cut_after[direction] = left - len(chunk)
                if left <= len(chunk):
                    del self._cut_after[direction]
                    writer.write(chunk[:left])
                    with suppress(OSError):
                        await writer.drain()
                    self.cut()
                    raise _Cut
            writer.write(chunk)
            await writer.drain()
            self.forwarded[direction] += len(chunk)
        if writer.can_write_eof():
            with suppress(OSError):
                writer.write_eof()


class _Cut(Exception):
    """This connection was reset on purpose."""


def _reset(writer: asyncio.StreamWriter) -> None:
    connection: socket.socket | None = writer.get_extra_info("socket")
    if connection is not None:
        with suppress(OSError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
