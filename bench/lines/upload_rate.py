"""Uploads of 64 KiB, 32 at a time: what one Ingest and one Status take, each a process, beside the straight line in one process and beside peers.

Ours are the deployed services with their processor, whose Brain is slow: what is uploaded waits, for peers and floor as well. The reply comes, with
all of them but BackgroundTasks, when file, row and job are where a crash of the process does not reach them.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from statistics import median

from bench.bed import Bed
from bench.processes import spending
from bench.rounds import interleaved, ratios
from bench.rows import Row
from tests.local_stack import LocalStack, unique_course

FILE_BYTES = 64 * 1024
AT_ONCE = 32
#: One owner has no more unfinished materials than Status admits.
OWNERS = 32
#: Read by nobody before the line has ended.
BRAIN = ("--latency", "600", "--slots", "4")
PEERS = {
    "FastAPI + BackgroundTasks (not durable)": "fastapi_background",
    "FastAPI + taskiq-nats": "taskiq_nats",
    "FastAPI + Celery": "celery_redis",
    "FastAPI + procrastinate": "procrastinate",
}
TARGETS = {
    "straight line": 0.75,
    "FastAPI + taskiq-nats": 1.0,
    "FastAPI + Celery": 1.5,
    "FastAPI + procrastinate": 1.5,
}
LOAD_SECONDS = 120.0


@dataclass(frozen=True)
class Load:
    """One round of one contestant: uploads a second, percentiles of one in milliseconds, computing milliseconds of its own processes for one."""

    rate: float
    latencies_ms: list[float]
    cpu_ms: float


async def upload(count: int, pids: list[int], *arguments: str) -> Load:
    """The load from a process of its own. Raises RuntimeError when an upload fails: then nothing was measured."""
    command = [sys.executable, "-m", "bench.upload_clients", *arguments]
    sizes = ["--count", str(count), "--concurrency", str(AT_ONCE), "--bytes", str(FILE_BYTES)]
    with spending(pids) as spent:
        done = await asyncio.to_thread(
            subprocess.run, [*command, *sizes], capture_output=True, text=True, timeout=LOAD_SECONDS, check=False
        )
    if done.returncode:
        raise RuntimeError(f"the clients failed:\n{done.stderr[-2000:]}")
    told = json.loads(done.stdout)
    if told["failed"]:
        raise RuntimeError(f"{told['failed']} uploads failed, the first with {told['failure']}")
    return Load(told["per_second"], told["latencies_ms"], spent.seconds * 1000 / count)


def ours(stack: LocalStack, count: int) -> Callable[[], Awaitable[Load]]:
    """Our services, by gRPC."""
    course = unique_course()
    tokens = [f"--token={stack.user_token(f'owner-{number}', {course: 'editor'})}" for number in range(OWNERS)]
    pids = stack.current()["pids"]
    return partial(
        upload,
        count,
        [pids["ingest"], pids["status"]],
        *("grpc", "--target", stack.facts["endpoints"]["ingest"][0], "--course", course),
        *tokens,
    )


async def measure(bed: Bed) -> list[Row]:
    """A row for each target, and one for what an upload costs."""
    count = bed.sized(1_500, 500)
    async with AsyncExitStack() as exits:
        stack, brain = await exits.enter_async_context(bed.stack_with_brain(brain=BRAIN))
        # For the others: Postgres takes only so many connections, and they keep theirs.
        theirs, _ = await exits.enter_async_context(bed.stack_with_brain(brain=BRAIN))
        contestants = {"ours": ours(stack, count)}

        async def own(name: str) -> tuple[str, ...]:
            """Database and directory of a contestant."""
            database = await exits.enter_async_context(bed.database(theirs, name))
            directory = await exits.enter_async_context(bed.directory())
            return "--database", database, "--directory", str(directory), "--nats", theirs.facts["nats"]

        bed.say("starting the straight line and the peers")
        straight = await exits.enter_async_context(
            bed.child("-m", "bench.straight_line.upload_server", "--service", "full", *await own("straight_line"))
        )
        contestants["straight line"] = partial(
            upload, count, [straight.pid], "grpc", "--target", straight.facts["address"]
        )
        for name, module in PEERS.items():
            arguments = *await own(module), "--brain", brain.facts["url"], "--no-worker"
            peer = await exits.enter_async_context(bed.child("-m", f"bench.peers.{module}", *arguments))
            contestants[name] = partial(upload, count, [peer.pid], "http", "--url", peer.facts["url"])
        return rows_of(await interleaved(contestants, bed.rounds, order=bed.order, say=bed.say))


def rows_of(loads: Mapping[str, list[Load]]) -> list[Row]:
    """What the rounds say of each target."""
    rates = {name: [load.rate for load in rounds] for name, rounds in loads.items()}
    shown = {name: f"{median(each):.0f}/s" for name, each in rates.items()}
    details = {
        "throughput": rates,
        "throughput_unit": "uploads/s",
        "latencies_ms": {
            name: [median(each) for each in zip(*(load.latencies_ms for load in rounds), strict=True)]
            for name, rounds in loads.items()
        },
        "cpu_ms": {name: median(load.cpu_ms for load in rounds) for name, rounds in loads.items()},
    }
    rows = []
    for other, limit in TARGETS.items():
        beside = {"floor": shown[other]} if other == "straight line" else {"peers": {other: shown[other]}}
        ratio = ratios(rates["ours"], rates[other])
        rows.append(
            Row(f"uploads a second / {other}", ratio.median, "×", limit, spread=ratio, shown=shown["ours"], **beside)
        )
    costs = {name: f"{median(load.cpu_ms for load in rounds):.2f} ms" for name, rounds in loads.items()}
    own = median(load.cpu_ms for load in loads["ours"])
    p50 = median(load.latencies_ms[49] for load in loads["ours"])
    others = {name: f"{cost}, {shown[name]}" for name, cost in costs.items() if name in PEERS}
    rows.append(
        Row(
            "computing time of an upload",
            own,
            "ms",
            shown=f"Ingest and Status together; p50 {p50:.0f} ms",
            floor=costs["straight line"],
            peers=others,
            details=details,
        )
    )
    return rows
