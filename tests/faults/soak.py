"""Hours of bad luck in minutes: thousands of small materials, watchers that come and go, and kill -9 of a random process every few seconds."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import uuid
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Annotated, Any

import asyncpg
import typer
from rich.console import Console
from rich.table import Table

from tests.faults.coming_and_going import Visitors
from tests.faults.fault_stack import FaultStack, Layout
from tests.faults.invariants import check
from tests.faults.resources import Sample, Trend, sample_for_ever, trends
from tests.faults.verdict import Verdict
from tests.faults.workload import Workload

OWNERS = 8
AT_ONCE = 4  # uploads of one owner
KILL_EVERY = (2.0, 5.0)  # seconds between two kills
SAMPLE_EVERY = 2.0
#: Uploads are spread over this part of the time; the rest is for what is still waiting.
UPLOADING = 0.85
#: From this part of the time on the second replicas are spared, so that there are lives long enough to see memory grow in.
SPARED_FROM = 0.4
WARM_UP = 0.1
MOST_GROWTH = 0.05
MOST_MORE_FILES = 8
DRAIN_SECONDS = 600.0

HELP = """Load the real stack for some minutes while processes are killed at random; then check that nothing was lost, stuck or done twice.

Two replicas of each service, eight owners with a course each, 200 watchers. Every few seconds
kill -9 of a random process: any replica, Postgres, the broker, the AI Brain. In the
later part of the run the second replicas are spared, so that their memory can be followed.

\b
Examples:
  python -m tests.faults.soak                              ten minutes, 10,000 materials
  python -m tests.faults.soak --minutes 2 --materials 1500
"""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@dataclass
class Soak:
    """What a run has come to."""

    verdict: Verdict = field(default_factory=Verdict)
    materials: int = 0
    kills: list[str] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    drained: float = 0.0


@app.command(help=HELP)
def soak(
    minutes: Annotated[float, typer.Option(min=0.5, help="How long to load.")] = 10.0,
    materials: Annotated[int, typer.Option(min=8, help="How many materials to upload in that time.")] = 10_000,
    watchers: Annotated[int, typer.Option(min=0, help="How many watchers there are at any moment.")] = 200,
    seed: Annotated[int | None, typer.Option(help="Kills the same parts in the same order again.")] = None,
) -> None:
    """Runs and tells."""
    chosen = seed if seed is not None else random.randrange(10**6)
    print(f"{materials} materials in {minutes:g} min, {watchers} watchers, seed {chosen}", flush=True)
    try:
        run = asyncio.run(_soak(minutes * 60, materials, watchers, random.Random(chosen)))
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    found = trends(run.samples, warm_up=minutes * 60 * WARM_UP)
    console = Console(soft_wrap=True)
    console.print(_table(found))
    for trend in found:
        if _service(trend.part) and trend.growth > MOST_GROWTH:
            run.verdict.wrong.append(f"{trend.part} grew by {trend.growth:.1%} in {trend.seconds:.0f} s")
        if trend.more_files > MOST_MORE_FILES:
            run.verdict.wrong.append(f"{trend.part} holds {trend.more_files} more files than at first")
    for line in run.verdict.lines():
        console.print(f"  {line}", highlight=False, markup=False)
    verdict = run.verdict
    print(f"{len(run.kills)} kills; the last material ended {run.drained:.0f} s after the last upload")
    rest = f", {len(verdict.wrong)} other promises broken" if verdict.wrong else ""
    print(
        f"soak: {run.materials} materials, {len(verdict.lost)} lost, {len(verdict.stuck)} stuck, "
        f"{len(verdict.doubled)} doubled{rest}"
    )
    sys.exit(0 if verdict.good else 1)


async def _soak(seconds: float, materials: int, watchers: int, chance: random.Random) -> Soak:
    run = Soak()
    stack = await FaultStack.start(Layout(replicas=2, proxied=False))
    clock = asyncio.get_running_loop().time
    try:
        async with AsyncExitStack() as clients:
            works = []
            for _ in range(OWNERS):
                owner = f"owner-{uuid.uuid4().hex[:10]}"
                works.append(Workload(stack, await clients.enter_async_context(stack.client(owner)), owner))
            for work in works:
                await work.watch_course()
            began = clock()
            sampling = sample_for_ever(stack, run.samples, SAMPLE_EVERY)
            async with _beside(sampling, "sampling"), _beside(_tell(works, run, began), "telling"):
                visitors = Visitors(works, watchers)
                await visitors.start()
                async with _beside(_kill_for_ever(stack, run, chance, began, seconds), "killing"):
                    async with asyncio.TaskGroup() as tasks:
                        for work in works:
                            tasks.create_task(_upload(work, materials // OWNERS, began, seconds * UPLOADING))
                    await asyncio.sleep(max(0.0, began + seconds - clock()))
                for work in works:
                    run.drained = max(run.drained, await work.settled(DRAIN_SECONDS))
                await visitors.stop()
            run.verdict.wrong += visitors.wrong
            await _check(works, run)
            for work in works:
                await work.close()
    finally:
        await stack.stop(keep_logs=not run.verdict.good or not run.materials)
    return run


@asynccontextmanager
async def _beside(endless: Coroutine[Any, Any, None], name: str) -> AsyncIterator[None]:
    """Goes on as long as the block. Raises what it has ended with, if it has."""
    task = asyncio.create_task(endless, name=name)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            task.result()


async def _upload(work: Workload, count: int, began: float, seconds: float) -> None:
    """Spread evenly; a client that is told to wait comes again, and what is late is made up for."""
    clock = asyncio.get_running_loop().time
    places = asyncio.Semaphore(AT_ONCE)

    async def one() -> None:
        try:
            await work.send(work.note(), seconds=300.0)
        finally:
            places.release()

    async with asyncio.TaskGroup() as tasks:
        for number in range(count):
            await asyncio.sleep(max(0.0, began + seconds * number / count - clock()))
            await places.acquire()
            tasks.create_task(one())


async def _kill_for_ever(stack: FaultStack, run: Soak, chance: random.Random, began: float, seconds: float) -> None:
    clock = asyncio.get_running_loop().time
    while True:
        await asyncio.sleep(chance.uniform(*KILL_EVERY))
        spared = clock() - began > seconds * SPARED_FROM
        part = chance.choice(sorted(part for part in stack.parts if not (spared and part.endswith("-2"))))
        try:
            os.kill(stack.pid(part), signal.SIGKILL)
        except (KeyError, ProcessLookupError):
            continue  # it is just being started again
        run.kills.append(part)


async def _tell(works: list[Workload], run: Soak, began: float) -> None:
    clock = asyncio.get_running_loop().time
    while True:
        await asyncio.sleep(15)
        accepted = sum(len(work.accepted) for work in works)
        try:
            rows = await works[0].stack.fetch("SELECT status, count(*) AS count FROM status.materials GROUP BY status")
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            continue  # Postgres was killed just now
        by_status = {row["status"]: row["count"] for row in rows}
        print(
            f"{clock() - began:5.0f} s  {accepted} accepted, {by_status.get(1, 0)} waiting, {by_status.get(2, 0)} working, "
            f"{by_status.get(3, 0)} completed, {by_status.get(4, 0)} failed, {len(run.kills)} kills",
            flush=True,
        )


async def _check(works: list[Workload], run: Soak) -> None:
    for work in works:
        # Each kill may cost each slot of each processor one attempt; none may cost the same material again and again.
        work.extra_attempts = 8
        work.extra_embeddings = 0
        work.calls_before = len(work.stack.brain.calls)
        found = await check(work)
        run.materials += len(work.accepted)
        for kind in ("lost", "stuck", "doubled"):
            getattr(run.verdict, kind).update(getattr(found, kind))
        run.verdict.wrong += found.wrong
    calls = [call.subject for call in works[0].stack.brain.calls if call.subject]
    explained = 4 * len(run.kills)
    if len(calls) - len(set(calls)) > explained:
        run.verdict.doubled["embeddings"] = (
            f"{len(calls) - len(set(calls))} texts were embedded again; {len(run.kills)} kills explain {explained}"
        )


def _service(part: str) -> bool:
    return part.partition("-")[0] in ("status", "ingest", "processor")


def _table(found: list[Trend]) -> Table:
    drawn = Table(
        "process", box=None, pad_edge=False, title="the longest life of each, after its warm-up", title_justify="left"
    )
    for name in ("followed", "MiB at start", "middle", "end", "growth", "files", "more files"):
        drawn.add_column(name, justify="right")
    for trend in found:
        drawn.add_row(
            trend.part,
            f"{trend.seconds:.0f} s",
            *(f"{memory / 2**20:.1f}" for memory in trend.memory),
            f"{trend.growth:+.1%}",
            str(trend.files[0]),
            f"{trend.more_files:+d}",
        )
    return drawn


if __name__ == "__main__":
    app()
