"""The parts of a change's way to a watcher, each measured alone: a commit, a message over core NATS, a message of a gRPC stream."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg
import grpc
import nats
from nats.aio.client import Client
from nats.aio.subscription import Subscription

from bench.bed import Bed
from bench.watchers import FAN_OUT_SERVICE

SECONDS = 10.0
TABLE = "CREATE TABLE progress (id integer PRIMARY KEY, pages integer NOT NULL); INSERT INTO progress VALUES (1, 0)"
UPDATE = "UPDATE progress SET pages = pages + 1 WHERE id = 1"


@dataclass(frozen=True)
class MessagesAlone:
    """Each method is one sample, in milliseconds."""

    _database: asyncpg.Connection[asyncpg.Record]
    _publisher: Client
    _subscription: Subscription
    _stamps: Any

    @classmethod
    @asynccontextmanager
    async def opened(cls, bed: Bed, database: str, broker: str) -> AsyncIterator[MessagesAlone]:
        """Connections of its own to the database, the broker and a gRPC server. `database` is empty."""
        async with AsyncExitStack() as exits:
            connection = await asyncpg.connect(database, timeout=SECONDS)
            exits.push_async_callback(connection.close, timeout=SECONDS)
            await connection.execute(TABLE, timeout=SECONDS)
            publisher, subscriber = await nats.connect(broker), await nats.connect(broker)
            exits.push_async_callback(publisher.close)
            exits.push_async_callback(subscriber.close)
            subscription = await subscriber.subscribe(f"bench.{uuid.uuid4().hex}")
            await subscriber.flush()
            server = await exits.enter_async_context(
                bed.child("-m", "bench.straight_line.fan_out", "--nats", broker, "--subject", "bench.nothing")
            )
            channel = await exits.enter_async_context(grpc.aio.insecure_channel(server.facts["address"]))
            stamps: Any = channel.stream_stream(f"/{FAN_OUT_SERVICE}/Stamp")()
            exits.callback(stamps.cancel)
            yield cls(connection, publisher, subscription, stamps)

    async def commit(self) -> float:
        """One row changed, durable."""
        began = time.monotonic_ns()
        await self._database.execute(UPDATE, timeout=SECONDS)
        return (time.monotonic_ns() - began) / 1e6

    async def nats_message(self) -> float:
        """From the publish to the subscriber."""
        began = time.monotonic_ns()
        await self._publisher.publish(self._subscription.subject, b"x" * 300)
        await self._subscription.next_msg(SECONDS)
        return (time.monotonic_ns() - began) / 1e6

    async def grpc_message(self) -> float:
        """From the server's handler to the client's, one way, on a stream that stands."""
        async with asyncio.timeout(SECONDS):
            await self._stamps.write(b"x" * 300)
            stamp = await self._stamps.read()
        return (time.monotonic_ns() - int(stamp)) / 1e6
