"""Materials that kill whoever reads them: the rendering child, or the Processor itself."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from tests.faults.brain_front import embedding_of
from tests.faults.endings import completed, ends, failed
from tests.faults.fault_stack import FaultStack
from tests.faults.scenario import HASTY, scenario
from tests.faults.workload import Workload

DEATHS = 3  # MAX_CRASHES


@scenario("16a", "a material whose rendering child is killed each time", layout=HASTY, quick=True)
async def child_killed(stack: FaultStack, work: Workload) -> None:
    work.true_reasons = {"RENDERING_FAILED"}
    work.extra_attempts = 1
    poison, others = work.scan(), [work.note() for _ in range(6)]
    processor = stack.pid("processor")
    with killing_children(stack):
        await work.send_all([poison, *others])
        await failed(work, poison, "RENDERING_FAILED", saying="(SIGKILL)", attempts=2, retryable=True)
        await completed(work, others)
    assert stack.pid("processor") == processor, "the processor died with its child"


@contextmanager
def killing_children(stack: FaultStack) -> Iterator[None]:
    """kill -9 for each rendering child as it appears. They live for some ten milliseconds: a thread of its own looks for them, and makes no list of all
    processes."""
    lists = [
        Path(f"/proc/{server.pid}/task/{server.pid}/children")
        for server in psutil.Process(stack.pid("processor")).children()
    ]
    assert lists, "no forkserver"
    over = threading.Event()

    def kill_all() -> None:
        while not over.wait(0.001):
            for pid in (int(pid) for each in lists for pid in each.read_text().split()):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    killer = threading.Thread(target=kill_all)
    killer.start()
    try:
        yield
    finally:
        over.set()
        killer.join()


@scenario("16b", "a material that kills the Processor each time it is embedded", recovery=45.0)
async def processor_killed(stack: FaultStack, work: Workload) -> None:
    work.true_reasons = {"PROCESSOR_CRASHED"}
    work.extra_attempts = work.extra_embeddings = DEATHS - 1
    poison = work.note()
    fatal = embedding_of(poison.mark)
    await work.send(poison)
    work.watch(poison)
    for _ in range(DEATHS):
        with stack.brain.holding(fatal) as call:
            async with asyncio.timeout(60):
                await call.arrived.wait()
            # The other slot works on; nobody else is under way when it dies.
            await completed(work, await work.notes(3))
            pids = stack.kill("processor")
            await stack.restarted(pids)
    work.fault_over()
    await failed(work, poison, "PROCESSOR_CRASHED", saying=f"died {DEATHS} times", attempts=DEATHS, retryable=True)
    await completed(work, await work.notes(3))
    [material] = await ends(work, [poison])
    assert material.attempt == DEATHS, "it was begun again after it had been given up"
