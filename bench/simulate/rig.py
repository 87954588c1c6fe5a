"""A stack under measurement: what its parts compute, from the kernel; what Postgres and NATS write, from themselves."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from statistics import median
from typing import TypeAlias

import asyncpg
import nats
import psutil
from materials.v1 import status_service_pb2 as pb

from bench.bed import Bed
from bench.processes import cpu_seconds
from bench.simulate.service_times import Demand, Stored
from ingest_service.event_stream import STREAM
from status_service import turn_store
from status_service.claiming import MOST_OWNERS
from tests.local_stack import Client, LocalStack, unique_course

Database: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

CALL_SECONDS, ROUND_SECONDS, LOOK_SECONDS = 10.0, 90.0, 0.05
#: Reading takes longer than reports are gathered, so that each page is a report, as with a real Brain; and a page has as much text as one of print.
BRAIN = ("--latency", "0.12", "--sentences", "40")
SETTINGS = {"PROCESSOR_SLOTS": "6", "AI_BRAIN_CONCURRENCY": "12", "LEASE_SECONDS": "600"}
UPLOADS_AT_ONCE, OWNERS = 16, 16
COMMITS = 300
FEW_LEASES, MANY_LEASES, LOOKS = 100, 5_000, 15
#: Materials of 200 owners, made as they are while they are read (2) or wait (1).
MADE = """
    INSERT INTO status.materials (material_id, owner_id, course_id, name, file_path, file_type, media_type, file_size, sha256, created_at, updated_at, status,
                                  revision, course_revision, lease_worker, lease_claim_id, lease_expires_at, claimed_at, announced_at)
    SELECT gen_random_uuid(), 'made-' || number % 200, 'made', 'a', 'a', 'PDF', 'application/pdf', 1, '', now(), now(), $2::smallint, 1, number, 'made', '',
           now() + interval '1 hour', now(), now()
    FROM generate_series(1, $1::integer) number
"""
WAL = "SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn"
COMPLETED = "SELECT count(*) FROM status.materials WHERE status = 3"
SIZES = """
    SELECT sum(pg_table_size(c.oid))::float AS tables, sum(pg_indexes_size(c.oid))::float AS indexes
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relkind = 'r'
"""


@dataclass(frozen=True)
class Spent:
    """Computing time and bytes of the write-ahead log, of so many pieces of work together."""

    demand: Demand
    wal: float

    def each(self, count: int) -> Spent:
        """Of one of them."""
        return Spent(self.demand * (1 / count), self.wal / count)

    def further(self, other: Spent, count: int = 1) -> Spent:
        """What each of `count` pieces costs by which `other` is less."""
        return Spent((self.demand - other.demand) * (1 / count), max(0.0, self.wal - other.wal) / count)


class Meter:
    """Reads what a stack has computed and written so far."""

    def __init__(self, stack: LocalStack, database: Database) -> None:
        self._pids, self._database = stack.current()["pids"], database

    async def read(self) -> Spent:
        """Since the stack began."""
        wal = float(await self._database.fetchval(WAL, timeout=CALL_SECONDS))
        processor = psutil.Process(self._pids["processor"]).cpu_times()
        alone = processor.user + processor.system
        of = {name: cpu_seconds([self._pids[name]]) for name in ("ingest", "status", "processor", "postgres", "nats")}
        children = of["processor"] - alone
        return Spent(Demand(of["ingest"], of["status"], alone, children, of["postgres"], of["nats"]), wal)

    async def of(self, work: Callable[[], Awaitable[object]]) -> Spent:
        """What some work costs, from its beginning to its end."""
        before = await self.read()
        await work()
        return (await self.read()).further(before)


@dataclass(frozen=True)
class Rig:
    """A stack under measurement."""

    bed: Bed
    stack: LocalStack
    client: Client
    database: Database
    meter: Meter

    @classmethod
    @asynccontextmanager
    async def started(cls, bed: Bed) -> AsyncIterator[Rig]:
        """With a scripted Brain; all of it goes at the end."""
        async with AsyncExitStack() as exits:
            stack, _ = await exits.enter_async_context(bed.stack_with_brain(brain=BRAIN, environment=SETTINGS))
            client = await exits.enter_async_context(stack.client())
            database = await asyncpg.connect(stack.facts["postgres"], timeout=CALL_SECONDS)
            exits.push_async_callback(database.close, timeout=CALL_SECONDS)
            yield cls(bed, stack, client, database, Meter(stack, database))

    async def pause(self) -> None:
        """Ends when the processor has told of itself after the pause began: the answer told it of the pause."""
        status, metadata = self.client.status, self.client.metadata
        paused = await status.PauseProcessing(pb.PauseProcessingRequest(), metadata=metadata, timeout=CALL_SECONDS)
        since, told = paused.pause.paused_at.ToNanoseconds(), 0
        async with asyncio.timeout(ROUND_SECONDS):
            while told <= since:
                await asyncio.sleep(LOOK_SECONDS)
                queue = await status.GetQueue(pb.GetQueueRequest(), metadata=metadata, timeout=CALL_SECONDS)
                told = min((each.seen_at.ToNanoseconds() for each in queue.processors), default=0)

    async def read_all(self, total: int) -> None:
        """Resumes, and ends when so many are completed in all."""
        await self.client.status.ResumeProcessing(
            pb.ResumeProcessingRequest(), metadata=self.client.metadata, timeout=CALL_SECONDS
        )
        async with asyncio.timeout(ROUND_SECONDS):
            while int(await self.database.fetchval(COMPLETED, timeout=CALL_SECONDS)) < total:
                await asyncio.sleep(LOOK_SECONDS)

    async def upload(self, contents: Iterable[bytes], name: str = "pictures.pdf") -> None:
        """One after another, into a course of their own."""
        course = unique_course()
        for content in contents:
            await self.client.upload(content, course=course, name=name)

    async def upload_many(self, count: int, size: int) -> None:
        """So many of so many bytes, and UPLOADS_AT_ONCE that warm the clients up, from a process of their own."""
        course = unique_course()
        tokens = [self.stack.user_token(f"owner-{n}", {course: "editor"}, operator=True) for n in range(OWNERS)]
        arguments = (
            *("-m", "bench.upload_clients", "grpc", "--course", course, "--bytes", str(size)),
            *("--target", self.stack.facts["endpoints"]["ingest"][0], "--count", str(count)),
            *("--concurrency", str(UPLOADS_AT_ONCE), *(a for token in tokens for a in ("--token", token))),
        )
        async with self.bed.child(*arguments) as clients:
            if clients.facts["failed"]:
                raise RuntimeError(clients.facts["failure"])

    async def commit_seconds(self) -> tuple[float, float]:
        """The time of a commit beside that of a statement that writes nothing, and the latter: the round trip."""
        await self.database.execute("CREATE TABLE IF NOT EXISTS public.commits (n integer)", timeout=CALL_SECONDS)
        seconds = []
        for statement in ("INSERT INTO public.commits VALUES (1)", "SELECT 1"):
            prepared = await self.database.prepare(statement, timeout=CALL_SECONDS)
            began = time.monotonic()
            for _ in range(COMMITS):
                await prepared.fetch(timeout=CALL_SECONDS)
            seconds.append((time.monotonic() - began) / COMMITS)
        return max(0.0, seconds[0] - seconds[1]), seconds[1]

    async def sizes(self, schema: str, count: int) -> Stored:
        """Of a schema, for each of so many."""
        sizes = await self.database.fetchrow(SIZES, schema, timeout=CALL_SECONDS)
        assert sizes is not None, "an aggregate is one row"
        return Stored(sizes["tables"] / count, sizes["indexes"] / count)

    async def picks(self) -> tuple[float, float, float]:
        """Seconds to look whose turn it is, without leases and for each; and for each that is read."""
        await self.pause()
        await self.database.execute("SET search_path TO status", timeout=CALL_SECONDS)
        await self.database.execute(MADE, 200, 1, timeout=CALL_SECONDS)
        asked = await self.database.fetchval("SELECT material_id FROM materials WHERE owner_id = 'made-7' LIMIT 1")
        times = []
        for more in (FEW_LEASES, MANY_LEASES - FEW_LEASES):
            await self.database.execute(MADE, more, 2, timeout=CALL_SECONDS)
            await self.database.execute("ANALYZE materials", timeout=CALL_SECONDS)
            pick = await self._seconds(turn_store.PICK, asked, MOST_OWNERS, "w", "c")
            times.append((pick, await self._seconds(turn_store.LEASES)))
        (few, few_read), (many, many_read) = times
        further = MANY_LEASES - FEW_LEASES
        each = max(0.0, many - few) / further
        return max(0.0, few - each * FEW_LEASES), each, max(0.0, many_read - few_read) / further

    async def _seconds(self, statement: str, *values: object) -> float:
        """The median of some runs, the round trip included."""
        seconds = []
        for _ in range(LOOKS):
            began = time.monotonic()
            await self.database.fetch(statement, *values, timeout=CALL_SECONDS)
            seconds.append(time.monotonic() - began)
        return median(seconds)

    async def event_bytes(self) -> float:
        """What JetStream keeps of one event."""
        link = await nats.connect(self.stack.facts["nats"], connect_timeout=CALL_SECONDS)
        try:
            state = (await link.jetstream().stream_info(STREAM)).state
            return state.bytes / state.messages
        finally:
            await link.close()
