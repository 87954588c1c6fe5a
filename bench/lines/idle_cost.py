"""What a stack costs that has nothing to do, with the local Brain beside it and somebody watching; and what it holds after a hundred uploads."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import asyncpg
from materials.v1 import material_pb2, status_service_pb2

from bench.bed import Bed
from bench.processes import cpu_seconds, memory_mib, resident_mib
from bench.rows import Row
from bench.sample_files import page_image
from bench.scripted_brain import SENTENCES
from tests.local_stack import ENDED, Client, LocalStack

SERVICES = ("ingest", "status", "processor", "gateway")
COURSE = "course-idle"
#: One, and then so many more.
WATCHERS = 20
#: After its start a service is busy for a while with what only happens then, and Postgres counts an idle connection's last transactions up to ten seconds late.
SETTLE_SECONDS = 10.5
CALL_SECONDS = 10.0
PROCESSED_SECONDS = 90.0
SERVICE_MIB, PROCESSOR_MIB = 90.0, 160.0
STATEMENTS = "SELECT sum(xact_commit + xact_rollback)::bigint FROM pg_stat_database WHERE datname = 'materials'"


@dataclass(frozen=True)
class Idle:
    """A stretch of time in which nothing was to be done: shares of a core by service, and transactions a second in the database."""

    shares: dict[str, float]
    transactions: float


async def measure(bed: Bed) -> list[Row]:
    """With a watcher, with more, then after a hundred uploads."""
    seconds = float(bed.sized(30, 8))
    async with bed.stack() as stack, stack.client() as client:
        await asyncio.sleep(SETTLE_SECONDS)
        async with _watchers(client, 1):
            bed.say("an idle stack with a watcher")
            one = await _idle(stack, seconds)
            rows = _costs(stack, one)
            async with _watchers(client, WATCHERS):
                bed.say(f"an idle stack with {WATCHERS} more watchers")
                await asyncio.sleep(SETTLE_SECONDS)
                rows.append(_queries(one, await _idle(stack, max(8.0, seconds / 2))))
        count = bed.sized(100, 20)
        bed.say(f"{count} uploads")
        await _process(client, count)
        return rows + _loaded(stack, count)


async def _idle(stack: LocalStack, seconds: float) -> Idle:
    database = await asyncpg.connect(stack.facts["postgres"], timeout=CALL_SECONDS)
    try:
        pids = {name: stack.facts["pids"][name] for name in SERVICES}
        transactions = await database.fetchval(STATEMENTS, timeout=CALL_SECONDS)
        spent, began = {name: cpu_seconds([pid]) for name, pid in pids.items()}, time.monotonic()
        await asyncio.sleep(seconds)
        took = time.monotonic() - began
        shares = {name: (cpu_seconds([pid]) - spent[name]) / took * 100 for name, pid in pids.items()}
        more = await database.fetchval(STATEMENTS, timeout=CALL_SECONDS) - transactions
        return Idle(shares, more / took)
    finally:
        await database.close(timeout=CALL_SECONDS)


@asynccontextmanager
async def _watchers(client: Client, count: int) -> AsyncIterator[None]:
    """All of one course; they stand when the block begins."""
    request = status_service_pb2.WatchCourseRequest(course_id=COURSE)
    calls = [client.status.WatchCourse(request, metadata=client.metadata) for _ in range(count)]
    try:
        async with asyncio.timeout(CALL_SECONDS):
            await asyncio.gather(*(call.read() for call in calls))
        yield
    finally:
        for call in calls:
            call.cancel()


async def _process(client: Client, count: int) -> None:
    """Uploads, one after another, of which every fifth is a picture, for the child that renders; returns when all have been read."""
    request = status_service_pb2.WatchCourseRequest(course_id=COURSE)
    call = client.status.WatchCourse(request, metadata=client.metadata)
    try:
        async with asyncio.timeout(PROCESSED_SECONDS):
            waiting = {(await _upload(client, number)).id for number in range(count)}
            while waiting:
                response = await call.read()
                assert isinstance(response, status_service_pb2.WatchCourseResponse), "a watch of a course does not end"
                if response.material.processing_status in ENDED:
                    waiting.discard(response.material.id)
    finally:
        call.cancel()


async def _upload(client: Client, number: int) -> material_pb2.Material:
    """No two alike."""
    if number % 5 == 0:
        return await client.upload(page_image(number), course=COURSE, name=f"page-{number}.png")
    text = f"# Lecture {number}\n\n{' '.join(random.Random(number).choices(SENTENCES, k=40))}\n"
    return await client.upload(text.encode(), course=COURSE, name=f"lecture-{number}.md")


def _costs(stack: LocalStack, idle: Idle) -> list[Row]:
    pids = stack.facts["pids"]
    return [
        row
        for name in SERVICES
        for row in (
            Row(f"idle, one watcher: {name}'s share of a core", idle.shares[name], "%", 1.0, better="lower",
                shown=f"{idle.shares[name]:.2f} %"),
            _memory(f"idle: {name}'s memory, RSS", name, pids[name]),
        )
    ]  # fmt: skip


def _queries(one: Idle, more: Idle) -> Row:
    """A replica looks at the record once in a while, whoever watches; what counts is what one watcher more adds."""
    return Row(
        "idle: database transactions a second that a further watcher adds",
        max(0.0, more.transactions - one.transactions) / WATCHERS,
        "/s",
        0.05,
        better="lower",
        shown=f"{one.transactions:.1f}/s with one watcher, {more.transactions:.1f}/s with {WATCHERS + 1}",
    )


def _loaded(stack: LocalStack, count: int) -> list[Row]:
    pids = stack.facts["pids"]
    return [_memory(f"after {count} uploads: {name}'s memory, RSS", name, pids[name]) for name in SERVICES]


def _memory(what: str, name: str, pid: int) -> Row:
    """Resident, as `ps` shows it, with what is the process's alone beside it; of the processor with its rendering child."""
    resident = resident_mib([pid])
    limit = PROCESSOR_MIB if name == "processor" else SERVICE_MIB
    return Row(what, resident, "MiB", limit, better="lower", shown=f"{resident:.0f} MiB (USS {memory_mib([pid]):.0f})")
