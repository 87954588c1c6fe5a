"""A connection that a test can cut."""

from __future__ import annotations

import asyncio
from contextlib import suppress


class Wire:
    """A TCP connection through the test, which may be cut. Use as a context."""

    def __init__(self, target: str) -> None:
        self._host, _, self._port = target.partition(":")
        self._writers: list[asyncio.StreamWriter] = []
        self._carried = 0
        self._more = asyncio.Condition()
        self.address = ""

    async def __aenter__(self) -> Wire:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.address = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._server.close()
        self.cut()

    def cut(self) -> None:
        """Resets both ends."""
        for writer in self._writers:
            writer.transport.abort()

    async def carried(self, count: int) -> None:
        """Returns when the client has sent at least so many bytes."""
        async with asyncio.timeout(20), self._more:
            await self._more.wait_for(lambda: self._carried >= count)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(self._host, int(self._port))
        self._writers += [writer, back]
        with suppress(OSError):
            await asyncio.gather(self._carry(reader, back, count=True), self._carry(there, writer, count=False))

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, count: bool) -> None:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
            if count:
                async with self._more:
                    self._carried += len(data)
                    self._more.notify_all()
        writer.close()
