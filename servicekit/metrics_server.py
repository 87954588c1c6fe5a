"""`GET /metrics` on a port of its own: the registry of one service as Prometheus' text.

In the event loop, like all else: what is read when it is asked for needs no lock, and what must be asked elsewhere, such as the length of the queue, is
awaited before. Meant for the inside of a network: whoever reaches the port may read it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import structlog
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

log = structlog.get_logger()

REQUEST_SECONDS = 10.0
REFRESH_SECONDS = 3.0
MAX_HEAD_BYTES = 8 * 1024
MAX_CONNECTIONS = 16


class MetricsServer:
    """A part. `refresh` is awaited before each answer, for REFRESH_SECONDS at most; each keeps what it knows for a while, and does not raise."""

    def __init__(
        self, address: str, registry: CollectorRegistry, refresh: Sequence[Callable[[], Awaitable[None]]] = ()
    ) -> None:
        self._address, self._registry, self._refresh = address, registry, refresh
        self._server: asyncio.Server | None = None
        self._serving: set[asyncio.Task[None]] = set()

    async def start(self, tasks: asyncio.TaskGroup) -> None:
        """Listens. Raises RuntimeError when the address cannot be had."""
        host, _, port = self._address.rpartition(":")
        try:
            self._server = await asyncio.start_server(self._accept, host.strip("[]"), int(port), limit=MAX_HEAD_BYTES)
        except OSError as error:
            raise RuntimeError(f"cannot listen on {self._address} ({error.strerror}); set METRICS_ADDRESS") from error
        log.info("metrics", address=self._address)

    async def stop(self) -> None:
        """Closes the port, and cuts what is under way."""
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        for task in self._serving:
            task.cancel()
        if self._serving:
            await asyncio.wait(self._serving)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._serving) >= MAX_CONNECTIONS:
            writer.close()
            return
        task = asyncio.create_task(self._serve(reader, writer), name="metrics-request")
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(await self._answer(head.split(b"\r\n", 1)[0]))
                await writer.drain()
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # a client that went, or is none
        finally:
            writer.close()

    async def _answer(self, request_line: bytes) -> bytes:
        method, _, rest = request_line.partition(b" ")
        path = rest.partition(b" ")[0].partition(b"?")[0]
        if path != b"/metrics":
            return _response("404 Not Found", b"metrics are at /metrics\n")
        if method != b"GET":
            return _response("405 Method Not Allowed", b"GET alone\n")
        try:
            async with asyncio.timeout(REFRESH_SECONDS):
                await asyncio.gather(*[refresh() for refresh in self._refresh])
        except TimeoutError:
            log.info("metrics without what takes too long to ask for")
        return _response("200 OK", generate_latest(self._registry), CONTENT_TYPE_LATEST)


def _response(status: str, body: bytes, content_type: str = "text/plain; charset=utf-8") -> bytes:
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body
