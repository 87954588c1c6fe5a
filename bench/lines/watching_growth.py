"""What a watcher costs, as they become five thousand: computing time of Status for each change, memory, and queries while all of them wait.

Costs are marginal: what the watchers from the first to the thousandth cost a piece, beside those from there to the five thousandth. So what a change
costs by itself, however many watch, is in neither.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass

import asyncpg

from bench.bed import Bed
from bench.processes import memory_mib, spending
from bench.rows import Row
from bench.watched_course import WatchedCourse
from bench.watchers import Watchers

GROWTH_LIMIT, QUERIES_LIMIT = 1.3, 0.001
CALL_SECONDS = 10.0
LOOK_SECONDS = 0.02
#: The newest statement of each connection of Status. Looked at often, these are all of them but for those that followed each other at once; what
#: Postgres counts by itself it tells only when a connection has rested for seconds.
STATEMENTS = "SELECT pid, query_start FROM pg_stat_activity WHERE usename = 'status' AND query_start IS NOT NULL"


@dataclass(frozen=True)
class _Cost:
    """Of Status with so many watchers: computing time of one change, in milliseconds, and memory that is its own, in MiB."""

    watchers: int
    change_ms: float
    memory_mib: float


async def measure(bed: Bed) -> list[Row]:
    """The rows of computing time, of memory, and of queries."""
    sizes = [1, bed.sized(1_000, 200), bed.sized(5_000, 1_000)]
    async with AsyncExitStack() as exits:
        watched = await exits.enter_async_context(WatchedCourse.opened(bed))
        crowd = await exits.enter_async_context(Watchers.started(bed))
        database = await asyncpg.connect(watched.stack.facts["postgres"], timeout=CALL_SECONDS)
        exits.push_async_callback(database.close, timeout=CALL_SECONDS)
        costs: list[_Cost] = []
        queries: list[float] = []
        for size in sizes:
            await watched.add_watchers(crowd, size - (costs[-1].watchers if costs else 0))
            bed.say(f"changes for {size} watchers")
            costs.append(await _cost(bed, watched, crowd, size))
            if size != sizes[-1]:
                bed.say(f"queries while {size} watchers wait")
                queries.append(await _queries_per_second(database, bed.sized(10, 3)))
    return [*_growth(costs), _queries(sizes[1], queries)]


async def _cost(bed: Bed, watched: WatchedCourse, crowd: Watchers, size: int) -> _Cost:
    # Enough for the kernel's clock, which counts in hundredths of a second.
    changes = max(10, min(200, bed.sized(30_000, 10_000) // size))
    await crowd.receive(watched.changes.make)  # warms up
    with spending([watched.status_pid]) as spent:
        for _ in range(changes):
            await crowd.receive(watched.changes.make)
    return _Cost(size, spent.seconds / changes * 1000, memory_mib([watched.status_pid]))


async def _queries_per_second(database: asyncpg.Connection[asyncpg.Record], seconds: float) -> float:
    """Statements of Status, both replicas."""
    seen: set[tuple[object, ...]] = set()
    began = time.monotonic()
    before = {tuple(row) for row in await database.fetch(STATEMENTS, timeout=CALL_SECONDS)}
    while time.monotonic() < began + seconds:
        await asyncio.sleep(LOOK_SECONDS)
        seen |= {tuple(row) for row in await database.fetch(STATEMENTS, timeout=CALL_SECONDS)}
    return len(seen - before) / (time.monotonic() - began)


def _growth(costs: list[_Cost]) -> list[Row]:
    few, some, many = costs
    first, further = some.watchers - few.watchers, many.watchers - some.watchers
    cpu = [(some.change_ms - few.change_ms) / first * 1000, (many.change_ms - some.change_ms) / further * 1000]
    memory = [(some.memory_mib - few.memory_mib) / first * 1024, (many.memory_mib - some.memory_mib) / further * 1024]
    sizes = f"watchers {some.watchers:,} to {many.watchers:,}, beside the first {some.watchers:,}"
    return [
        Row(
            f"computing time a watcher and change: {sizes}",
            cpu[1] / cpu[0],
            "×",
            GROWTH_LIMIT,
            "lower",
            shown=f"{cpu[1]:.0f} µs",
            floor=f"{cpu[0]:.0f} µs",
            details={
                "growth": [[some.watchers, cpu[0]], [many.watchers, cpu[1]]],
                "growth_of": "watchers",
                "growth_unit": "µs of CPU a watcher and change",
            },
        ),
        Row(
            f"memory a watcher: {sizes}",
            memory[1] / memory[0],
            "×",
            GROWTH_LIMIT,
            "lower",
            shown=f"{memory[1]:.0f} KiB",
            floor=f"{memory[0]:.0f} KiB",
            details={
                "growth": [[some.watchers, memory[0]], [many.watchers, memory[1]]],
                "growth_of": "watchers",
                "growth_unit": "KiB a watcher",
            },
        ),
    ]


def _queries(watchers: int, rates: list[float]) -> Row:
    one, many = rates
    return Row(
        f"queries of a waiting watcher, of {watchers:,}",
        max(0.0, many - one) / (watchers - 1),
        "/s",
        QUERIES_LIMIT,
        "lower",
        shown=f"{many:.1f}/s of Status with {watchers:,} watchers, {one:.1f}/s with one",
        details={
            "note": "What is left of a difference are the timers of Status: a query of each watcher a minute would be 0.017/s."
        },
    )
