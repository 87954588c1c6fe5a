"""`python -m single_node` to ready, the second time on a data directory, beside its slowest part alone: embedded Postgres, or the local Brain.

The parts are started by the commands that the stack starts them by, and asked the same questions. The Brain answers while its models load, so two moments
of it are told: its first answer, and the first page that it has read, which is when it is of use.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from bench.bed import Bed
from bench.rounds import interleaved, ratios, spread
from bench.rows import Row
from bench.sample_files import page_image
from single_node import nats_server, ports, postgres
from single_node.credentials import load_or_create
from single_node.data_directory import DataDirectory
from single_node.postgres_account import current_account
from single_node.readiness import until_ready
from single_node.stack import SERVICES, ProcessSpec, Programs, part_names, plan_stack
from tests.local_stack import LocalStack

READY_SECONDS = 60.0
STACK, POSTGRES, BRAIN, PAGE = "ours", "Postgres", "the Brain's first answer", "the Brain's first page"


async def measure(bed: Bed) -> list[Row]:
    """Starts of the whole and of the parts, in turn, on one data directory."""
    async with bed.directory() as directory:
        bed.say("starting a stack for the first time")
        first = await _stack(bed, directory)
        parts = {spec.name: spec for spec in _foundation(bed, directory)}
        seconds = await interleaved(
            {
                STACK: lambda: _stack(bed, directory),
                POSTGRES: lambda: _part(parts["postgres"]),
                BRAIN: lambda: _part(parts["brain"]),
                PAGE: lambda: _first_page(parts["brain"]),
            },
            2 if bed.quick else bed.rounds,
            order=bed.order,
            say=bed.say,
        )
    return _rows(seconds, first)


async def _stack(bed: Bed, directory: Path) -> float:
    began = time.perf_counter()
    stack = await asyncio.to_thread(LocalStack.start, directory, python=bed.product_python)
    seconds = time.perf_counter() - began
    await asyncio.to_thread(stack.stop, keep=True)
    return seconds


def _foundation(bed: Bed, directory: Path) -> tuple[ProcessSpec, ...]:
    """What the services stand on, as the stack on this data directory would start it."""
    kept = DataDirectory(directory.resolve())
    programs = Programs(bed.product_python, postgres.binaries(), current_account(), nats_server.binary())
    names = set(part_names(SERVICES, {}, {}))
    return plan_stack(
        kept,
        programs=programs,
        definitions=SERVICES,
        replicas={},
        ports={name: port for name, port in ports.load_ports(kept.ports).items() if name in names},
        credentials=load_or_create(kept.secrets),
        environ={name: value for name, value in os.environ.items() if name != "AI_BRAIN_ENDPOINT"},
        via={},
    ).foundation


async def _part(spec: ProcessSpec) -> float:
    began = time.perf_counter()
    async with _running(spec):
        await until_ready(spec.readiness, READY_SECONDS)
        return time.perf_counter() - began


async def _first_page(spec: ProcessSpec) -> float:
    began = time.perf_counter()
    async with _running(spec), httpx.AsyncClient(trust_env=False, timeout=READY_SECONDS) as client:
        await until_ready(spec.readiness, READY_SECONDS)
        url = getattr(spec.readiness, "url", "")
        reply = await client.post(
            f"{url}/router",
            files={"image": ("page.png", page_image(), "image/png")},
            data={"prompt": "Read this page."},
        )
        reply.raise_for_status()
        return time.perf_counter() - began


@asynccontextmanager
async def _running(spec: ProcessSpec) -> AsyncIterator[None]:
    process = await asyncio.create_subprocess_exec(
        *spec.command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        env=dict(spec.environment),
        start_new_session=True,
    )
    try:
        yield
    finally:
        process.send_signal(spec.stop_signal)
        await process.wait()


def _rows(seconds: Mapping[str, list[float]], first: float) -> list[Row]:
    slowest = [max(pair) for pair in zip(seconds[POSTGRES], seconds[BRAIN], strict=True)]
    of_useful = [max(pair) for pair in zip(seconds[POSTGRES], seconds[PAGE], strict=True)]
    to_ready, to_useful = ratios(seconds[STACK], slowest), ratios(seconds[STACK], of_useful)
    shown = {name: f"{spread(values).median:.2f} s" for name, values in seconds.items()}
    floor = f"Postgres {shown[POSTGRES]}, Brain's answer {shown[BRAIN]}, its first page {shown[PAGE]}"
    details = {"seconds": dict(seconds), "first_start_seconds": first}
    return [
        Row("start, second time: ready, of the slower of Postgres and the Brain's first page", to_useful.median, "×",
            1.5, better="lower", spread=to_useful, shown=shown[STACK], floor=floor, details=details),
        Row("start, second time: ready, of the slower of Postgres and the Brain's first answer", to_ready.median, "×",
            better="lower", spread=to_ready, shown=shown[STACK], floor=floor),
    ]  # fmt: skip
