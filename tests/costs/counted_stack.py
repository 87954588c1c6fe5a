"""A real stack whose services reach Postgres, NATS and each other through proxies that count, and a scripted Brain that counts itself."""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from uuid import UUID

import asyncpg
import httpx
import nats
from nats.js import JetStreamContext

from bench.bed import Bed
from tests.costs.counting_proxy import CountingProxy
from tests.costs.ledger import Bill, Ledger
from tests.local_stack import Client, LocalStack, free_ports

EDGES = {
    "ingest": ("status", "nats"),
    "status": ("postgres", "nats"),
    "processor": ("status", "postgres", "nats"),
    "gateway": ("ingest", "status", "processor"),
}
PARTS = ("status", "ingest", "processor", "postgres", "nats")
SECONDS = 60.0
_ANNOUNCED = "SELECT count(*) = cardinality($1::uuid[]) FROM status.materials WHERE material_id = ANY($1) AND announced_at IS NOT NULL"
_ENDED = (
    "SELECT count(*) = cardinality($1::uuid[]) FROM status.materials WHERE material_id = ANY($1) AND status IN (3, 4)"
)


@dataclass
class CountedStack:
    """`database` and `jetstream` go past the proxies."""

    local: LocalStack
    client: Client
    ledger: Ledger
    proxies: list[CountingProxy]
    http: httpx.AsyncClient
    database: asyncpg.Connection[asyncpg.Record]
    jetstream: JetStreamContext
    _brain: str

    @asynccontextmanager
    async def billed(self) -> AsyncIterator[Bill]:
        """The bill of the block: complete when the block has been left."""
        before = await self._brain_calls()
        with self.ledger.billed() as bill:
            yield bill
        bill.brain = await self._brain_calls() - before
        for proxy in self.proxies:
            proxy.check()

    async def announced(self, *material_ids: str) -> None:
        """Returns when the events of these materials are published, the record knows, and nothing is under way."""
        await self._until(_ANNOUNCED, material_ids)

    async def read(self, *material_ids: str) -> None:
        """Returns when the processor is done with these materials and with their messages."""
        await self._until(_ENDED, material_ids)
        await self.announced(*material_ids)

        async def acknowledged() -> bool:
            consumer = await self.jetstream.consumer_info("MATERIALS", "processor")
            return not (consumer.num_pending or consumer.num_ack_pending) and self.ledger.answered

        async with asyncio.timeout(SECONDS):
            await self.ledger.until(acknowledged)

    async def no_pull_waits(self) -> None:
        """Returns when no slot of the processor waits for a message: in a pause, a few seconds after its beginning."""

        async def none_waits() -> bool:
            return not (await self.jetstream.consumer_info("MATERIALS", "processor")).num_waiting

        async with asyncio.timeout(SECONDS):
            await self.ledger.until(none_waits)

    async def told_of_pause(self) -> None:
        """Returns when the processor has heard anew whether there is a pause."""
        # The second time from now on it has asked after it was answered for the first.
        async with self.seen("processor → status", "RecordService.ReportProcessor", 2):
            pass

    @asynccontextmanager
    async def seen(self, edge: str, what: str, times: int = 1) -> AsyncIterator[None]:
        """Goes on behind the block when this has gone over the edge so often since its beginning."""
        before = self.ledger.count(edge, what)
        yield

        async def often_enough() -> bool:
            return self.ledger.count(edge, what) >= before + times

        async with asyncio.timeout(SECONDS):
            await self.ledger.until(often_enough)

    @asynccontextmanager
    async def writes_held(self) -> AsyncIterator[None]:
        """Nothing is written into the record before the end of the block."""
        async with self.database.transaction():
            await self.database.execute("LOCK TABLE status.materials IN EXCLUSIVE MODE", timeout=SECONDS)
            yield

    async def stored(self, *, more: int) -> None:
        """Returns when the bytes of so many more uploads are stored whole."""
        objects = self.local.data_dir / "objects"

        def count() -> int:
            return sum(path.is_file() and "#" not in path.name for path in objects.rglob("*"))

        before = count()

        async def all_stored() -> bool:
            return count() >= before + more

        async with asyncio.timeout(SECONDS):
            await self.ledger.until(all_stored)

    async def _until(self, query: str, material_ids: tuple[str, ...]) -> None:
        ids = [UUID(each) for each in material_ids]

        async def so_it_is() -> bool:
            return self.ledger.answered and bool(await self.database.fetchval(query, ids, timeout=SECONDS))

        async with asyncio.timeout(SECONDS):
            await self.ledger.until(so_it_is)

    async def _brain_calls(self) -> int:
        counts: dict[str, int] = (await self.http.get(f"{self._brain}/counts")).json()
        return sum(counts.values())


@asynccontextmanager
async def counted_stack() -> AsyncIterator[CountedStack]:
    """Up and ready, with one replica of each service."""
    ports = dict(zip(PARTS, free_ports(len(PARTS)), strict=True))
    ledger, proxies = Ledger(), []
    async with AsyncExitStack() as exits:
        bed = Bed(quick=True, rounds=1, order=random.Random(1), say=print)
        brain: str = (await exits.enter_async_context(bed.brain())).facts["url"]
        via = []
        for client, parts in EDGES.items():
            for part in parts:
                proxy = CountingProxy(ports[part], partial(ledger.reader, client, part))
                await proxy.start()
                exits.push_async_callback(proxy.stop)
                proxies.append(proxy)
                via.append(f"--via={client}:{part}={proxy.port}")
        local = await asyncio.to_thread(
            LocalStack.start,
            Path(tempfile.mkdtemp(prefix="materials-costs-")),
            *(f"--port={part}={port}" for part, port in ports.items()),
            *via,
            # One owner stands for a crowd.
            environment={"AI_BRAIN_ENDPOINT": brain, "OWNER_REQUESTS_PER_SECOND": "0", "MAX_WATCHES_PER_OWNER": "200"},
        )
        exits.push_async_callback(asyncio.to_thread, local.stop)
        client = await exits.enter_async_context(local.client())
        http = await exits.enter_async_context(
            httpx.AsyncClient(headers={"authorization": f"Bearer {local.facts['token']}"}, timeout=SECONDS)
        )
        database = await asyncpg.connect(local.facts["postgres"], ssl=False, timeout=SECONDS)
        exits.push_async_callback(database.close, timeout=SECONDS)
        connection = await nats.connect(local.facts["nats"], connect_timeout=10, max_reconnect_attempts=0)
        exits.push_async_callback(connection.close)
        yield CountedStack(local, client, ledger, proxies, http, database, connection.jetstream(timeout=10), brain)
