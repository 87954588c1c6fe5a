"""A long queue, and a start from cold."""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from materials.v1 import record_service_pb2, status_service_pb2

from tests.faults.documents import new_mark, note
from tests.faults.fault_stack import SERVICES, FaultStack
from tests.faults.scenario import scenario
from tests.faults.workload import Workload
from tests.local_stack import Client

WAITING = 10_000
MIB = 2**20


@scenario("27", "10,000 materials waiting, then a start from cold", recovery=60, spoils_stack=True)
async def cold_start(stack: FaultStack, work: Workload) -> None:
    crowd = f"{work.owner}-crowd"
    async with _paused(stack), stack.peer() as peer:
        await _record(peer, stack, crowd)
        usual = {service: stack.memory(service) for service in SERVICES}
        await stack.restarted(stack.kill(*stack.parts))
    await stack.until_row(
        "SELECT count(*) FROM status.materials WHERE owner_id = $1 AND status = 3 HAVING count(*) >= 60", crowd
    )
    rows = await stack.fetch(
        "SELECT status, rank() OVER (ORDER BY created_at) AS place FROM status.materials WHERE owner_id = $1", crowd
    )
    begun = [row["place"] for row in rows if row["status"] != 1]
    # The oldest first; announcements go out in batches of a few hundred.
    assert max(begun) <= len(begun) + 500, f"{len(begun)} begun, and number {max(begun)} among them"
    grown = {service: (stack.memory(service) - usual[service]) / MIB for service in SERVICES}
    assert max(grown.values()) < 40, f"MiB more than before, with 10,000 waiting: {grown}"
    async with _paused(stack):
        await _forget(stack, crowd)
    # They all held the same text.
    work.calls_before = len(stack.brain.calls)
    await work.notes(2)


@asynccontextmanager
async def _paused(stack: FaultStack) -> AsyncIterator[None]:
    """No processor begins with anything before the end of the block."""
    async with stack.client("operator", operator=True) as operator:
        await operator.status.PauseProcessing(status_service_pb2.PauseProcessingRequest(), metadata=operator.metadata)
        yield
        await operator.status.ResumeProcessing(
            status_service_pb2.ResumeProcessingRequest(), metadata=operator.metadata, wait_for_ready=True
        )


async def _record(peer: Client, stack: FaultStack, owner: str) -> None:
    """Records the crowd as Ingest does once the bytes are stored; the bytes are put there by hand."""
    content = note(new_mark())
    places = asyncio.Semaphore(64)

    async def one() -> None:
        material_id = str(uuid.uuid4())
        path = stack.object_path(material_id)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        request = record_service_pb2.CreateMaterialRequest(
            material_id=material_id,
            owner_id=owner,
            course_id=owner,
            name="one of many.txt",
            file_path=str(path.relative_to(stack.objects)),
            file_type="text",
            media_type="text/plain",
            file_size=len(content),
            sha256=hashlib.sha256(content).hexdigest(),
        )
        async with places:
            await peer.record.CreateMaterial(request, metadata=peer.metadata, timeout=30)

    await asyncio.gather(*[one() for _ in range(WAITING)])


async def _forget(stack: FaultStack, owner: str) -> None:
    """Takes the crowd away again, once none of it is worked on: to read all of it would take minutes and show nothing more."""
    await stack.until_row(
        "SELECT 1 WHERE NOT EXISTS (SELECT FROM status.materials WHERE owner_id = $1 AND status = 2)", owner
    )
    async with stack.jetstream() as jetstream:
        await jetstream.purge_stream("MATERIALS")
    await stack.fetch(
        "DELETE FROM processor.documents WHERE material_id IN (SELECT material_id FROM status.materials WHERE owner_id = $1)",
        owner,
    )
    await stack.fetch("DELETE FROM status.materials WHERE owner_id = $1", owner)
