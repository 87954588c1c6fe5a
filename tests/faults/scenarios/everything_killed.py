"""All processes die at one instant."""

from __future__ import annotations

import asyncio

from tests.faults.fault_stack import FaultStack
from tests.faults.scenario import scenario
from tests.faults.workload import Workload

TIMES = 5


@scenario("30", "everything killed -9 at one instant, five times, under load", recovery=60)
async def all_killed(stack: FaultStack, work: Workload) -> None:
    await work.watch_course()
    uploading = asyncio.Event()
    uploading.set()

    async def client() -> None:
        while uploading.is_set():
            work.watch_id((await work.send(work.note(), seconds=120)).id)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(3):
            tasks.create_task(client())
        for _ in range(TIMES):
            # Something has to be under way, and between two deaths something has to end.
            await stack.until_row("SELECT 1 FROM status.materials WHERE owner_id = $1 AND status = 2", work.owner)
            done = len(
                await stack.fetch("SELECT 1 FROM status.materials WHERE owner_id = $1 AND status = 3", work.owner)
            )
            await stack.restarted(stack.kill(*stack.parts))
            await stack.until_row(
                "SELECT count(*) FROM status.materials WHERE owner_id = $1 AND status = 3 HAVING count(*) > $2",
                work.owner,
                done,
            )
        uploading.clear()
    work.extra_attempts = TIMES
    work.extra_embeddings = TIMES * 4
