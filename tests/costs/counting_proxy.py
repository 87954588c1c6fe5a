"""A TCP proxy between two parts of the stack that shows what goes through to a reader of the protocol."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

_CHUNK_BYTES = 64 * 1024


class WireReader(Protocol):
    """Reads one connection of a protocol, in pieces as they come."""

    def sent(self, data: bytes) -> None:
        """Takes in what the client sends, before the server has it."""

    def answered(self, data: bytes) -> None:
        """Takes in what the server answers, before the client has it."""


class CountingProxy:
    """Forwards connections on `port` to `target_port`, both on loopback; each has a reader of its own."""

    def __init__(self, target_port: int, reader: Callable[[], WireReader]) -> None:
        self._target_port, self._reader = target_port, reader
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._not_understood: Exception | None = None

    @property
    def port(self) -> int:
        """Where it listens."""
        assert self._server is not None
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def start(self) -> None:
        """Listens."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)

    async def stop(self) -> None:
        """Closes everything. Raises what a reader raised."""
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        self.check()

    def check(self) -> None:
        """Raises what a reader raised: what it did not understand it did not count."""
        if self._not_understood is not None:
            raise self._not_understood

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        writers = [to_client]
        wire = self._reader()
        try:
            server, to_server = await asyncio.open_connection("127.0.0.1", self._target_port)
            writers.append(to_server)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._pump(client, to_server, wire.sent))
                tasks.create_task(self._pump(server, to_client, wire.answered))
        except* OSError:
            pass
        finally:
            for writer in writers:
                writer.close()

    async def _pump(
        self, source: asyncio.StreamReader, target: asyncio.StreamWriter, show: Callable[[bytes], None]
    ) -> None:
        while chunk := await source.read(_CHUNK_BYTES):
            if self._not_understood is None:
                try:
                    show(chunk)
                except Exception as error:
                    self._not_understood = error
            target.write(chunk)
            await target.drain()
        if target.can_write_eof():
            target.write_eof()
