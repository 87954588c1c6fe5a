"""One, two and three replicas of each service on this one machine: what an upload and a material cost then, and how many there are a second.

The replicas share the machine's cores, so rates cannot rise with their number as they would on machines of their own. What can be seen here is whether replicas
get in each other's way: work done twice, claims that fail, queries that look at what another replica has. It would show as computing time a material.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from statistics import median

import asyncpg
from materials.channels import target_of
from materials.v1 import status_service_pb2 as pb

from bench.bed import Bed
from bench.lines.pipeline import COMPLETED, middle_rate
from bench.processes import spending
from bench.rounds import interleaved, ratios
from bench.rows import Row
from tests.local_stack import Client, LocalStack, unique_course

REPLICAS = ("one replica", "two replicas", "three replicas")
SERVICES = ("ingest", "status", "processor")
MOST_DEARER = 1.5
ROUNDS = 3
OWNERS = 16
#: Uploads at once while they are read meanwhile; and for each replica while nothing else goes on: those that are at one replica together are written together,
#: so that the same load on more replicas would be dearer only for being spread thinner.
FEW_AT_ONCE, AT_ONCE_EACH = 8, 16
FILE_BYTES = 64 * 1024
LOOK_SECONDS = 0.02
ROUND_SECONDS = 60.0
CALL_SECONDS = 10.0
#: A processor has heard of a pause by the second time that it tells of itself after it.
TOLD_TIMES = 3


@dataclass(frozen=True)
class Round:
    """So many a second, and milliseconds of computing time each: of all replicas, Postgres and NATS."""

    rate: float
    cpu_ms: float


@dataclass(frozen=True)
class Fleet:
    """A stack with so many replicas of each service, its clients spread over all of them."""

    bed: Bed
    replicas: int
    stack: LocalStack
    client: Client
    database: asyncpg.Connection[asyncpg.Record]

    @classmethod
    async def start(cls, bed: Bed, exits: AsyncExitStack, replicas: int, brain_url: str) -> Fleet:
        """All of it goes with `exits`."""
        arguments = ("--replicas", ",".join(f"{service}={replicas}" for service in SERVICES))
        environment = {"AI_BRAIN_ENDPOINT": brain_url}
        stack = await exits.enter_async_context(bed.stack(*arguments, environment=environment))
        client = await exits.enter_async_context(stack.client(every_replica=True))
        database = await asyncpg.connect(stack.facts["postgres"], timeout=CALL_SECONDS)
        exits.push_async_callback(database.close, timeout=CALL_SECONDS)
        return cls(bed, replicas, stack, client, database)

    async def materials(self, count: int) -> Round:
        """Uploaded and read at once; the rate is that of the reading."""
        course, all_of_them = unique_course(), count + FEW_AT_ONCE

        async def completed() -> int:
            return int(await self.database.fetchval(COMPLETED, course, timeout=CALL_SECONDS))

        with spending(self._pids()) as spent:
            _, rate = await asyncio.gather(
                self._upload(course, count, FEW_AT_ONCE), middle_rate(all_of_them, completed)
            )
        return Round(rate, spent.seconds * 1000 / all_of_them)

    async def uploads(self, count: int) -> Round:
        """To be called while processing is paused: nothing else goes on."""
        at_once = AT_ONCE_EACH * self.replicas
        with spending(self._pids()) as spent:
            rate = await self._upload(unique_course(), count, at_once)
        return Round(rate, spent.seconds * 1000 / (count + at_once))

    async def pause(self) -> None:
        """Processing; ends when every processor has heard of it."""
        status, metadata = self.client.status, self.client.metadata
        await status.PauseProcessing(pb.PauseProcessingRequest(), metadata=metadata, timeout=CALL_SECONDS)
        told: dict[str, set[int]] = {}
        async with asyncio.timeout(ROUND_SECONDS):
            while len(told) < self.replicas or min(map(len, told.values())) < TOLD_TIMES:
                queue = await status.GetQueue(pb.GetQueueRequest(), metadata=metadata, timeout=CALL_SECONDS)
                for processor in queue.processors:
                    told.setdefault(processor.worker_id, set()).add(processor.seen_at.ToNanoseconds())
                await asyncio.sleep(LOOK_SECONDS * 10)

    async def _upload(self, course: str, count: int, at_once: int) -> float:
        """Uploads a second, after one for each of those at once that is not counted. Raises RuntimeError when one has failed."""
        owners = [self.stack.user_token(f"owner-{n}", {course: "editor"}, operator=True) for n in range(OWNERS)]
        arguments = (
            *("-m", "bench.upload_clients", "grpc", "--course", course, "--bytes", str(FILE_BYTES)),
            *("--target", target_of(",".join(self.stack.facts["endpoints"]["ingest"]))),
            *("--count", str(count), "--concurrency", str(at_once)),
            *(argument for token in owners for argument in ("--token", token)),
        )
        async with self.bed.child(*arguments) as clients:
            if clients.facts["failed"]:
                raise RuntimeError(clients.facts["failure"])
            return float(clients.facts["per_second"])

    def _pids(self) -> list[int]:
        """Of all replicas, and of what they stand on."""
        parts = {*SERVICES, "postgres", "nats"}
        return [pid for name, pid in self.stack.current()["pids"].items() if name.partition("-")[0] in parts]


async def measure(bed: Bed) -> list[Row]:
    """Rows of materials and of uploads."""
    rounds = bed.sized(min(bed.rounds, ROUNDS), 1)
    async with AsyncExitStack() as exits:
        brain = await exits.enter_async_context(bed.brain())
        fleets = {
            name: await Fleet.start(bed, exits, number, brain.facts["url"])
            for number, name in enumerate(REPLICAS, start=1)
        }
        count = bed.sized(24, 12)
        reading = {name: partial(fleet.materials, count) for name, fleet in fleets.items()}
        materials = await interleaved(reading, rounds, order=bed.order, say=bed.say)
        bed.say("pausing")
        await asyncio.gather(*(fleet.pause() for fleet in fleets.values()))
        sending = {name: partial(fleet.uploads, bed.sized(240, 80)) for name, fleet in fleets.items()}
        uploads = await interleaved(sending, rounds, order=bed.order, say=bed.say)
    return [*_rows("material", materials), *_rows("upload", uploads)]


def _rows(what: str, measured: Mapping[str, Sequence[Round]]) -> list[Row]:
    """What one costs with most replicas beside one of each, and how many there are a second."""
    costs = {name: [each.cpu_ms for each in rounds] for name, rounds in measured.items()}
    rates = {name: [each.rate for each in rounds] for name, rounds in measured.items()}
    one, most = REPLICAS[0], REPLICAS[-1]
    dearer, faster = ratios(costs[most], costs[one]), ratios(rates[most], rates[one])
    return [
        Row(
            f"cost of {_a(what)} with {most}, beside {one}",
            dearer.median,
            "×",
            MOST_DEARER,
            better="lower",
            spread=dearer,
            shown=f"{median(costs[most]):.1f} ms CPU, {median(costs[one]):.1f} ms with {one}",
            details={
                "growth": [[number, median(costs[name])] for number, name in enumerate(REPLICAS, start=1)],
                "growth_of": "replicas of each service",
                "growth_unit": f"CPU ms {_a(what)}",
            },
        ),
        Row(
            f"{what}s a second with {most}, beside {one}",
            faster.median,
            "×",
            spread=faster,
            shown=f"{median(rates[most]):.0f}/s, {median(rates[one]):.0f}/s with {one}",
            details={"throughput": rates, "throughput_unit": f"{what}s/s"},
        ),
    ]


def _a(what: str) -> str:
    return f"{'an' if what[0] in 'aeiou' else 'a'} {what}"
