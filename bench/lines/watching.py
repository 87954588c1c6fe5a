"""Watching: how soon a change of the record is with those who watch it.

Changes are reports of a processor on its stream to Status. When one becomes durable is known in Status alone. For one watcher the clock starts when the
change is dated by the database's clock, as it is decided and before anything is written; for many, when the report is sent, so that the report's own way
counts too. Many watchers are students with up to ten watches each, in a process of their own.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any

import nats
from materials.channels import bearer
from materials.v1 import status_service_pb2 as pb
from materials.v1 import status_service_pb2_grpc

from bench.bed import Bed
from bench.messages_alone import MessagesAlone
from bench.rounds import interleaved, ratios
from bench.rows import Row
from bench.watched_course import COURSE_OPENING, WATCHERS_PER_CHANNEL, WatchedCourse
from bench.watchers import FAN_OUT_SERVICE, Watchers
from servicekit.channels import open_channel

OURS, OTHER_REPLICA = "a watcher", "a watcher at another replica"
PARTS = ("commit", "core NATS", "gRPC message")
MATERIAL, COURSE, BARE = "of a material", "of a course", "bare fan-out"
LATENCY_LIMIT, FAN_OUT_LIMIT = 2.0, 1.3
WATCHERS = 1_000
WATCH_SECONDS = 10.0


async def measure(bed: Bed) -> list[Row]:
    """The rows of one watcher, of a thousand, and of event streams."""
    async with WatchedCourse.opened(bed) as watched:
        return [*await _one_watcher(bed, watched), *await _many_watchers(bed, watched), await _streams(bed, watched)]


# -- one watcher ----------------------------------------------------------------------------------------------------------


class _Watch:
    """One watch of the material, from this process."""

    def __init__(self, call: Any) -> None:
        self._call = call

    @classmethod
    @asynccontextmanager
    async def opened(cls, watched: WatchedCourse, address: str) -> AsyncIterator[_Watch]:
        """It stands: the first state has come."""
        async with open_channel(address) as channel:
            request = pb.WatchMaterialRequest(material_id=watched.changes.material.id)
            [token] = watched.students(1)
            call = status_service_pb2_grpc.StatusServiceStub(channel).WatchMaterial(request, metadata=bearer(token))
            try:
                watch = cls(call)
                await watch.next()
                yield watch
            finally:
                call.cancel()

    async def next(self) -> tuple[float, int]:
        """How long after the database dated it the next state came, in milliseconds of the machine's wall clock, which is the database's too; and when, in
        nanoseconds of the monotonic one."""
        async with asyncio.timeout(WATCH_SECONDS):
            message = await self._call.read()
        came = time.monotonic_ns()
        return (time.time_ns() - message.material.updated_at.ToNanoseconds()) / 1e6, came


async def _one_watcher(bed: Bed, watched: WatchedCourse) -> list[Row]:
    count = bed.sized(200, 60)
    from_report: dict[str, list[float]] = {OURS: [], OTHER_REPLICA: []}

    def told(name: str, address: str) -> Callable[[], Awaitable[float]]:
        async def measured() -> float:
            async with _Watch.opened(watched, address) as watch:

                async def sample() -> float:
                    receiving = asyncio.create_task(watch.next())
                    began = await watched.changes.make()
                    since_dated, came = await receiving
                    from_report[name].append((came - began) / 1e6)
                    return since_dated

                return await _p50(sample, count)

        return measured

    async with AsyncExitStack() as exits:
        database = await exits.enter_async_context(bed.database(watched.stack, "commits"))
        alone = await exits.enter_async_context(MessagesAlone.opened(bed, database, watched.stack.facts["nats"]))
        here, there = watched.addresses
        p50 = await interleaved(
            {
                OURS: told(OURS, here),
                OTHER_REPLICA: told(OTHER_REPLICA, there),
                "commit": lambda: _p50(alone.commit, count),
                "core NATS": lambda: _p50(alone.nats_message, count),
                "gRPC message": lambda: _p50(alone.grpc_message, count),
            },
            bed.rounds,
            order=bed.order,
            say=bed.say,
        )
    sums = [sum(parts) for parts in zip(*(p50[part] for part in PARTS), strict=True)]
    floor = f"{median(sums):.2f} ms: " + " + ".join(f"{part} {median(p50[part]):.2f}" for part in PARTS)
    rows = []
    for name in (OURS, OTHER_REPLICA):
        compared = ratios(p50[name], sums)
        reported = median(from_report[name])
        rows.append(
            Row(
                f"change of the record to {name}, beside the sum of its parts",
                compared.median,
                "×",
                LATENCY_LIMIT,
                "lower",
                spread=compared,
                shown=f"p50 {median(p50[name]):.2f} ms ({reported:.2f} from the report's sending)",
                floor=floor,
                details={
                    "note": "The clock starts when the change is dated, by the database's clock, as it is decided and before anything is written.",
                    "p50_ms": p50,
                    "from_the_report_ms": reported,
                },
            )
        )
    return rows


async def _p50(sample: Callable[[], Awaitable[float]], count: int) -> float:
    return median([await sample() for _ in range(count)])


# -- a thousand watchers --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Told:
    """When a change was with the median watcher and with the last one, in milliseconds."""

    middle: float
    last: float


async def _many_watchers(bed: Bed, watched: WatchedCourse) -> list[Row]:
    changes = bed.sized(8, 4)
    async with AsyncExitStack() as exits:
        bare = await exits.enter_async_context(Watchers.started(bed))
        publish = await exits.enter_async_context(_bare_fan_out(bed, watched, bare))
        measured = {}
        # One crowd of ours at a time: else the changes would be told to both, and each would pay for the other.
        for name in (MATERIAL, COURSE):
            async with Watchers.started(bed) as crowd:
                await watched.add_watchers(crowd, WATCHERS, of_course=name == COURSE)
                contestants = {
                    name: partial(_told, crowd, watched.changes.make, changes),
                    BARE: partial(_told, bare, publish, changes),
                }
                measured[name] = await interleaved(contestants, bed.rounds, order=bed.order, say=bed.say)
    rows = []
    for name, rounds in measured.items():
        lasts = {contestant: [each.last for each in told] for contestant, told in rounds.items()}
        middles = {contestant: median(each.middle for each in told) for contestant, told in rounds.items()}
        compared = ratios(lasts[name], lasts[BARE])
        rows.append(
            Row(
                f"change to the last of {WATCHERS:,} watchers {name}, beside a bare fan-out",
                compared.median,
                "×",
                FAN_OUT_LIMIT,
                "lower",
                spread=compared,
                shown=f"{median(lasts[name]):.0f} ms (the median one {middles[name]:.0f} ms)",
                floor=f"{median(lasts[BARE]):.0f} ms (the median one {middles[BARE]:.0f} ms)",
                details={"last_ms": lasts},
            )
        )
    return rows


@asynccontextmanager
async def _bare_fan_out(
    bed: Bed, watched: WatchedCourse, crowd: Watchers
) -> AsyncIterator[Callable[[], Awaitable[int]]]:
    """Its thousand watchers stand; what is yielded publishes as many bytes as a change has, and returns when."""
    broker, subject = watched.stack.facts["nats"], f"bench.{uuid.uuid4().hex}"
    payload = pb.WatchMaterialResponse(material=watched.changes.material).SerializeToString()
    server = bed.child("-m", "bench.straight_line.fan_out", "--nats", broker, "--subject", subject)
    async with server as child, await nats.connect(broker) as publisher:
        await crowd.open_grpc(
            child.facts["address"],
            f"/{FAN_OUT_SERVICE}/Watch",
            b"",
            tokens=watched.students(WATCHERS),
            count=WATCHERS,
            channels=WATCHERS // WATCHERS_PER_CHANNEL,
            opening=1,
        )

        async def happen() -> int:
            began = time.monotonic_ns()
            await publisher.publish(subject, payload)
            return began

        yield happen


async def _told(crowd: Watchers, happen: Callable[[], Awaitable[int]], changes: int) -> _Told:
    received = [await crowd.receive(happen) for _ in range(changes)]
    return _Told(median(median(times) for times in received), median(times[-1] for times in received))


# -- event streams --------------------------------------------------------------------------------------------------------


async def _streams(bed: Bed, watched: WatchedCourse) -> Row:
    count = bed.sized(WATCHERS, 250)
    async with Watchers.started(bed) as crowd:
        bed.say(f"opening {count} event streams")
        await crowd.open_sse(
            watched.stack.facts["gateway"],
            f"/courses/{watched.course}/events",
            tokens=watched.students(count),
            count=count,
            opening=COURSE_OPENING,
        )
        told = [await _told(crowd, watched.changes.make, 1) for _ in range(bed.sized(10, 5))]
    last = median(each.last for each in told)
    return Row(
        f"change to the last of {count:,} event streams through the gateway",
        last,
        "ms",
        shown=f"{last:.0f} ms (the median one {median(each.middle for each in told):.0f} ms)",
        details={"last_ms": [each.last for each in told]},
    )
