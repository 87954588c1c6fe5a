"""The model beside the real stack: the same uploads at the same moments, the same Brain, the same replicas; what came out of each."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from copy import copy
from dataclasses import asdict, dataclass
from typing import Any

import asyncpg
import psutil
from materials.channels import bearer

from bench.bed import Bed
from bench.paged_documents import picture_pdf
from bench.processes import cpu_seconds
from bench.simulate.brain import BrainScript
from bench.simulate.outcome import Outcome, Waiting, outcome_of, waiting_of
from bench.simulate.pipeline import Fleet, Pipeline
from bench.simulate.service_times import ServiceTimes
from bench.simulate.workload import Upload, burst, poisson, together
from tests.local_stack import Client, LocalStack

#: The model may be off by so much.
MOST_OFF_RATE, MOST_OFF_WAITING = 0.15, 0.30
CALL_SECONDS, LOOK_SECONDS, LONGEST = 10.0, 0.1, 100.0
SENTENCES = "40"
WAITED = """
    SELECT extract(epoch FROM processed_at - created_at)::float AS seconds, extract(epoch FROM created_at)::float AS began,
           extract(epoch FROM processed_at)::float AS ended
    FROM status.materials WHERE status = 3 AND course_id LIKE 'checked-%'
"""


@dataclass(frozen=True)
class Case:
    """What comes in, and what it meets."""

    name: str
    uploads: Sequence[Upload]
    script: BrainScript
    fleet: Fleet


@dataclass(frozen=True)
class Measured:
    """Of a run: completed materials a second, waiting, the share of the Brain's slots that was used, the cores that others than the stack kept busy."""

    rate: float
    waiting: Waiting
    brain_busy: float
    others: float


@dataclass(frozen=True)
class Compared:
    """One case, as it was and as the model has it, fed with the service times measured at `times_of`."""

    case: str
    materials: int
    times_of: str
    real: Measured
    model: Outcome

    def off(self) -> dict[str, float]:
        """The model's figure over the real one, less 1."""
        return {
            "rate": self.model.rate / self.real.rate - 1,
            "p50": self.model.waiting.p50 / self.real.waiting.p50 - 1,
            "p99": self.model.waiting.p99 / self.real.waiting.p99 - 1,
        }

    def as_json(self) -> dict[str, object]:
        """As the results file has it."""
        return {
            "case": self.case,
            "materials": self.materials,
            "holds": self.holds,
            "times_of": self.times_of,
            "others": self.real.others,
            "measured": {"rate": self.real.rate, **asdict(self.real.waiting), "brain": self.real.brain_busy},
            "model": {"rate": self.model.rate, **asdict(self.model.waiting), "brain": self.model.busy["the Brain"]},
            "off": self.off(),
        }

    @property
    def holds(self) -> bool:
        """Whether rate and median waiting are as near as they should be."""
        off = self.off()
        return abs(off["rate"]) <= MOST_OFF_RATE and abs(off["p50"]) <= MOST_OFF_WAITING


def cases(cores: int) -> list[Case]:
    """Two: a Brain that is the narrowest part, with a burst of one owner; and a backlog for a Brain that is quick, where computing is."""
    fleet = Fleet(ingest=1, status=2, processors=2, slots=5, brain_concurrency=4, machine_cores=cores)
    steady = poisson(2.4, 32.0, 4.0, owners=12, courses=4, seed=3)
    rush = burst(12.0, "owner-rush", "course-0", 4, 18, apart=0.05)
    backlog = [Upload(0.02 * n, f"owner-{n % 12}", f"course-{n % 4}", 3) for n in range(110)]
    return [
        Case("uploads at random, one owner's burst", together(steady, rush), BrainScript(6, 0.4, 0.3, 0.02), fleet),
        Case("a backlog, a quick Brain", backlog, BrainScript(50, 0.02, 0.3, 0.0), fleet),
    ]


async def compare(bed: Bed, times: ServiceTimes, case: Case) -> Compared:
    """Runs the case on a stack, then in the model on the machine that was left by others."""
    real = await _run(bed, case)
    pipeline = Pipeline(case.fleet, times.slower(_slowed(case.fleet, real.others)), case.script)
    pipeline.run(case.uploads)
    return Compared(case.name, len(case.uploads), times.measured_at, real, outcome_of(pipeline))


def _slowed(fleet: Fleet, others: float) -> float:
    """By how much work takes longer where others keep so many cores busy; a fair scheduler leaves us half of the machine at the worst."""
    cores = fleet.machine_cores or 1
    return min(2.0, cores / max(0.1, cores - others))


async def _run(bed: Bed, case: Case) -> Measured:
    contents = await asyncio.to_thread(lambda: [picture_pdf(upload.pages) for upload in case.uploads])
    script = case.script
    brain = (
        *("--slots", str(script.slots), "--latency", str(script.latency), "--jitter", str(script.jitter)),
        *("--embed-latency", str(script.embed_latency), "--sentences", SENTENCES),
    )
    fleet = case.fleet
    settings = {"PROCESSOR_SLOTS": str(fleet.slots), "AI_BRAIN_CONCURRENCY": str(fleet.brain_concurrency)}
    replicas = f"status={fleet.status},processor={fleet.processors},ingest={fleet.ingest}"
    async with AsyncExitStack() as exits:
        stack, _ = await exits.enter_async_context(
            bed.stack_with_brain("--replicas", replicas, brain=brain, environment=settings)
        )
        client = await exits.enter_async_context(stack.client(every_replica=True))
        database = await asyncpg.connect(stack.facts["postgres"], timeout=CALL_SECONDS)
        exits.push_async_callback(database.close, timeout=CALL_SECONDS)
        # Processes start, connections open, children are rehearsed: none of that is in the model.
        warm = [await client.upload(picture_pdf(2), course=f"warm-{number}") for number in range(6)]
        await asyncio.gather(*(client.watch_to_end(material.id) for material in warm))
        bed.say(f"{len(contents)} uploads")
        pids = list(stack.current()["pids"].values())
        before, ours, began = _all_busy(), cpu_seconds(pids), time.monotonic()
        rows = await _upload_and_wait(case, contents, stack, client, database)
        seconds = time.monotonic() - began
        others = (_all_busy() - before - (cpu_seconds(pids) - ours)) / seconds
    waits = [row["seconds"] for row in rows]
    lasted = max(row["ended"] for row in rows) - min(row["began"] for row in rows)
    pages = sum(upload.pages for upload in case.uploads)
    return Measured(len(rows) / lasted, waiting_of(waits), pages * script.latency / script.slots / lasted, others)


async def _upload_and_wait(
    case: Case,
    contents: Sequence[bytes],
    stack: LocalStack,
    client: Client,
    database: asyncpg.Connection[asyncpg.Record],
) -> list[Any]:
    began = time.monotonic()

    async def upload(planned: Upload, content: bytes) -> None:
        course = f"checked-{planned.course}"
        token = stack.user_token(planned.owner, {course: "editor"}, operator=True)
        own = copy(client)
        own.metadata = bearer(token)
        await asyncio.sleep(max(0.0, began + planned.at - time.monotonic()))
        await own.upload(content, course=course, name="pictures.pdf")

    async with asyncio.TaskGroup() as tasks:
        for planned, content in zip(case.uploads, contents, strict=True):
            tasks.create_task(upload(planned, content))
    async with asyncio.timeout(LONGEST):
        while len(rows := await database.fetch(WAITED, timeout=CALL_SECONDS)) < len(contents):
            await asyncio.sleep(LOOK_SECONDS)
    return list(rows)


def _all_busy() -> float:
    """Seconds that all cores have worked."""
    times = psutil.cpu_times()
    return float(times.user + times.nice + times.system + times.irq + times.softirq)
