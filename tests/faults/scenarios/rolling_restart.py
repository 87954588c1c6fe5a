"""A new version is rolled out: every replica gets SIGTERM in turn while clients go on."""

from __future__ import annotations

import asyncio

from materials.v1 import status_service_pb2

from tests.faults.fault_stack import SERVICES, FaultStack
from tests.faults.scenario import PAIR, scenario
from tests.faults.workload import Workload


@scenario("21", "SIGTERM rolling restart of every replica of every service under load", layout=PAIR, recovery=60)
async def rolling_restart(stack: FaultStack, work: Workload) -> None:
    await work.watch_course()
    going = asyncio.Event()
    going.set()
    answered = 0

    async def uploads() -> None:
        while going.is_set():
            work.watch_id((await work.send(work.note())).id)
            await asyncio.sleep(0.2)

    async def reads() -> None:
        # Only what the channel's own settings retry: an error here is one that users see.
        nonlocal answered
        while going.is_set():
            request = status_service_pb2.ListMaterialsRequest(course_id=work.course, page_size=5)
            await work.client.status.ListMaterials(request, metadata=work.client.metadata, timeout=20)
            answered += 1
            await asyncio.sleep(0.02)

    scans = [work.scan(2) for _ in range(2)]
    await work.send_all(scans)
    async with asyncio.TaskGroup() as tasks:
        for load in (uploads, uploads, reads, reads):
            tasks.create_task(load())
        for service in SERVICES:
            for replica in (service, f"{service}-2"):
                await stack.restarted(stack.terminate(replica))
        going.clear()
    assert answered > 0
    # Handed back and read on by another one, once for each of the two restarts of processors and of Status.
    work.extra_attempts = 4
    work.extra_reads = 4
    work.extra_embeddings = 12
    left = await stack.fetch(
        "SELECT t.material_id FROM status.transitions t JOIN status.materials m USING (material_id)"
        " WHERE m.owner_id = $1 AND t.event = 'lease_expired'",
        work.owner,
    )
    assert not left, f"leases ran out instead of being handed back: {left}"
