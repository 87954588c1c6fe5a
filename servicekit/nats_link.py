"""The connection to NATS: made in the background, kept for ever, allowed to be away.

A service starts, serves and stops without NATS. `jetstream()` raises NatsAway at once while there is no connection, so that nobody waits on the broker in a
request; `wait_connected()` is for loops that have nothing to do without it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import nats
import structlog
from nats.aio.client import Client
from nats.js import JetStreamContext

log = structlog.get_logger()


class NatsAway(Exception):
    """There is no connection to NATS at the moment."""


class NatsLink:
    """A part that holds one NATS connection. What it publishes is not delivered to its own subscriptions."""

    def __init__(self, url: str, *, name: str) -> None:
        self._servers = [server.strip() for server in url.split(",") if server.strip()]
        self._name = name
        self._client = Client()
        self._connected = asyncio.Event()
        self._on_connect: list[Callable[[Client], Awaitable[None]]] = []
        self._task: asyncio.Task[None] | None = None
        self._stopping = False

    def on_first_connect(self, callback: Callable[[Client], Awaitable[None]]) -> None:
        """Registers what is to be done once when the first connection is made (subscriptions survive reconnects by themselves)."""
        self._on_connect.append(callback)

    @property
    def connected(self) -> bool:
        """Whether the connection stands right now."""
        return self._connected.is_set()

    async def check(self) -> bool:
        """Whether the connection stands right now."""
        return self.connected

    async def wait_connected(self) -> None:
        """Returns when the connection stands."""
        await self._connected.wait()

    def client(self) -> Client:
        """The live client. Raises NatsAway."""
        if not self.connected:
            raise NatsAway
        return self._client

    def jetstream(self, timeout: float = 5.0) -> JetStreamContext:
        """A JetStream context whose calls time out after `timeout` seconds. Raises NatsAway."""
        return self.client().jetstream(timeout=timeout)

    async def start(self, tasks: asyncio.TaskGroup) -> None:
        """Begins to connect; does not wait."""
        self._task = tasks.create_task(self._connect(), name="nats-connect")

    async def stop(self) -> None:
        """Flushes what was published, and closes."""
        self._stopping = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        if self._client.is_connected:
            try:
                await self._client.flush(timeout=2)
            except (TimeoutError, nats.errors.Error):
                log.warning("messages to NATS not flushed")
        await self._client.close()
        self._connected.clear()

    async def _connect(self) -> None:
        async def disconnected() -> None:
            self._connected.clear()
            if not self._stopping:
                log.warning("NATS connection lost", servers=len(self._servers))

        async def reconnected() -> None:
            self._connected.set()
            log.info("NATS connection is back")

        async def quiet(_: Exception) -> None:
            """nats-py calls this for every failed try; the two events above say it once."""

        await self._client.connect(
            servers=list(self._servers),
            name=self._name,
            connect_timeout=2,
            reconnect_time_wait=0.25,  # type: ignore[arg-type]  # seconds; nats-py sleeps this long as it is
            max_reconnect_attempts=-1,
            # A half-open connection is found in 15 s at most: the third ping without an answer.
            ping_interval=5,
            max_outstanding_pings=2,
            pending_size=4 * 1024 * 1024,
            no_echo=True,
            disconnected_cb=disconnected,
            reconnected_cb=reconnected,
            error_cb=quiet,
        )
        for callback in self._on_connect:
            await callback(self._client)
        self._connected.set()
        log.info("NATS connected")
