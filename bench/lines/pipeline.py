"""Materials a second through the whole pipeline, from a backlog of one-page pictures and with a Brain that answers at once.

Each contestant reads the page (one Brain call), embeds it (another), and writes its rows. Counted is the middle of each round, between a tenth and
nine tenths of its materials: neither how the backlog came about nor how the last ones trickle in. Only the services check the file's digest, and decode
and turn the picture, in a process of its own; the others hand it on as it came.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import asyncpg
import httpx
from materials.v1 import status_service_pb2 as pb

from bench.bed import Bed, Child
from bench.page_images import page_png
from bench.processes import spending
from bench.rounds import interleaved, ratios
from bench.rows import Row
from bench.straight_pipeline import StraightPipeline
from tests.local_stack import Client, LocalStack, unique_course

OURS, STRAIGHT = "the services", "straight line"
PEERS = {"Celery": "celery_redis", "procrastinate": "procrastinate"}
SERVICES = ("ingest", "status", "processor", "nats")
LEAST_OF_PEERS = 1.5
FIRST, LAST = 0.1, 0.9
LOOK_SECONDS = 0.02
ROUND_SECONDS = 120.0
CALL_SECONDS = 10.0
UPLOADS_AT_ONCE = 16

COMPLETED = "SELECT count(*) FROM status.materials WHERE course_id = $1 AND status = 3"


@dataclass(frozen=True)
class Drained:
    """Materials a second, and what each cost the contestant's own processes, in milliseconds of computing time; Postgres and the Brain apart."""

    rate: float
    cpu_ms: float


async def middle_rate(count: int, completed: Callable[[], Awaitable[int]]) -> float:
    """Jobs a second between a tenth and nine tenths of `count`, while `completed` tells how many are done. Raises TimeoutError."""
    clock = time.monotonic
    began: tuple[float, int] | None = None
    async with asyncio.timeout(ROUND_SECONDS):
        while True:
            done, now = await completed(), clock()
            if began is None and done >= FIRST * count:
                began = now, done
            if began is not None and done >= LAST * count:
                ended = now, done
                break
            await asyncio.sleep(LOOK_SECONDS)
        while await completed() < count:
            await asyncio.sleep(LOOK_SECONDS)
    return (ended[1] - began[1]) / (ended[0] - began[0])


class OurBacklog:
    """The services: uploaded while processing is paused, counted from when it goes on."""

    def __init__(self, stack: LocalStack, client: Client, database: asyncpg.Connection[asyncpg.Record]) -> None:
        self._stack, self._client, self._database = stack, client, database

    async def drain(self, count: int) -> Drained:
        """Uploads and reads so many materials."""
        course = unique_course()
        await self._pause()
        pages = iter([page_png() for _ in range(count)])

        async def upload() -> None:
            for page in pages:
                await self._client.upload(page, course=course, name="page.png")

        await asyncio.gather(*(upload() for _ in range(UPLOADS_AT_ONCE)))
        pids = self._stack.current()["pids"]
        with spending([pids[name] for name in SERVICES]) as spent:
            await self._client.status.ResumeProcessing(
                pb.ResumeProcessingRequest(), metadata=self._client.metadata, timeout=CALL_SECONDS
            )
            rate = await middle_rate(count, lambda: self._completed(course))
        return Drained(rate, spent.seconds / count * 1000)

    async def _completed(self, course: str) -> int:
        return int(await self._database.fetchval(COMPLETED, course, timeout=CALL_SECONDS))

    async def _pause(self) -> None:
        """Pauses, and waits until the processor has told of itself after that: the answer tells it of the pause."""
        status, metadata = self._client.status, self._client.metadata
        paused = await status.PauseProcessing(pb.PauseProcessingRequest(), metadata=metadata, timeout=CALL_SECONDS)
        since, told = paused.pause.paused_at.ToNanoseconds(), 0
        async with asyncio.timeout(ROUND_SECONDS):
            while told <= since:
                await asyncio.sleep(0.1)
                queue = await status.GetQueue(pb.GetQueueRequest(), metadata=metadata, timeout=CALL_SECONDS)
                told = min((each.seen_at.ToNanoseconds() for each in queue.processors), default=0)


@dataclass(frozen=True)
class Peer:
    """A task queue that does the same job: `python -m bench.peers.NAME`."""

    child: Child
    http: httpx.AsyncClient
    file: Path

    async def drain(self, count: int) -> Drained:
        """Enqueues and works off so many jobs."""
        before = await self._completed()
        with spending(self.child.facts["pids"].values()) as spent:
            enqueued = asyncio.create_task(
                self.http.post("/enqueue", json={"count": count, "file": str(self.file)}, timeout=ROUND_SECONDS)
            )
            rate = await middle_rate(count, lambda: self._since(before))
            (await enqueued).raise_for_status()
        return Drained(rate, spent.seconds / count * 1000)

    async def _since(self, before: int) -> int:
        return await self._completed() - before

    async def _completed(self) -> int:
        return int((await self.http.get("/done", timeout=CALL_SECONDS)).raise_for_status().json()["completed"])


async def measure(bed: Bed) -> list[Row]:
    """Two rows: beside Celery, beside procrastinate."""
    count = bed.sized(200, 80)
    async with AsyncExitStack() as exits:
        stack, brain = await exits.enter_async_context(bed.stack_with_brain())
        client = await exits.enter_async_context(stack.client())
        directory = await exits.enter_async_context(bed.directory())
        page = directory / "page.png"
        page.write_bytes(page_png())
        watching = await asyncpg.connect(stack.facts["postgres"], timeout=CALL_SECONDS)
        exits.push_async_callback(watching.close, timeout=CALL_SECONDS)
        ours = OurBacklog(stack, client, watching)
        straight_database = await exits.enter_async_context(bed.database(stack, "straight_pipeline"))
        straight = await exits.enter_async_context(StraightPipeline.open(straight_database, brain.facts["url"]))
        contestants: dict[str, Callable[[], Awaitable[Drained]]] = {
            OURS: lambda: ours.drain(count),
            STRAIGHT: lambda: _drain_straight(straight, page, count),
        }
        for name, module in PEERS.items():
            peer = await _peer(bed, exits, module, stack, brain, directory, page)
            contestants[name] = lambda peer=peer: peer.drain(count)  # type: ignore[misc]
        measured = await interleaved(contestants, bed.rounds, order=bed.order, say=bed.say)
    return _rows(measured)


async def _peer(
    bed: Bed, exits: AsyncExitStack, module: str, stack: LocalStack, brain: Child, directory: Path, page: Path
) -> Peer:
    database = await exits.enter_async_context(bed.database(stack, module))
    own = directory / module
    own.mkdir()
    child = await exits.enter_async_context(
        bed.child(
            *("-m", f"bench.peers.{module}", "--database", database, "--nats", stack.facts["nats"]),
            *("--directory", str(own), "--brain", brain.facts["url"]),
        )
    )
    http = await exits.enter_async_context(httpx.AsyncClient(base_url=child.facts["url"]))
    return Peer(child, http, page)


async def _drain_straight(straight: StraightPipeline, page: Path, count: int) -> Drained:
    async def completed() -> int:
        return straight.completed

    straight.completed, began = 0, time.process_time()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(straight.drain(page, count))
        rate = await middle_rate(count, completed)
    return Drained(rate, (time.process_time() - began) / count * 1000)


def _rows(measured: Mapping[str, Sequence[Drained]]) -> list[Row]:
    rates = {name: [each.rate for each in rounds] for name, rounds in measured.items()}
    cpu = {name: round(median(each.cpu_ms for each in rounds), 2) for name, rounds in measured.items()}
    shown = {name: f"{median(rates[name]):.0f}/s ({cpu[name]:.1f} ms CPU each)" for name in measured}
    rows = []
    for name in PEERS:
        compared = ratios(rates[OURS], rates[name])
        rows.append(
            Row(
                f"pipeline of one-page pictures, beside {name}",
                compared.median,
                "×",
                LEAST_OF_PEERS,
                spread=compared,
                shown=shown[OURS],
                floor=shown[STRAIGHT],
                peers={name: shown[name]},
                details={"throughput": rates, "throughput_unit": "materials/s", "cpu_ms": cpu},
            )
        )
    return rows
