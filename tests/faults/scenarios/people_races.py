"""People change their minds while the system works: cancel, retry and delete at every step. Each time there is one outcome."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from materials.v1 import material_pb2

from tests.faults.brain_front import embedding_of, reading
from tests.faults.endings import completed
from tests.faults.fault_stack import FaultStack
from tests.faults.halting_upload import HaltingUpload
from tests.faults.people_calls import cancel, delete, retry, stays_deleted
from tests.faults.row_locks import material_locked, until_status_waits
from tests.faults.scenario import PAIR, scenario
from tests.faults.scenarios.killed_ingest import BY_REQUEST_ID, record_of
from tests.faults.scenarios.killed_processor import FINISHED_PAGES
from tests.faults.scenarios.object_store import MIB, images_read_at_once, large_image, until_part
from tests.faults.tcp_proxy import Direction
from tests.faults.workload import Upload, Workload

CANCELLED = material_pb2.FAILURE_REASON_CANCELLED


@scenario("22a", "an upload given up half-way; another deleted while its reply is on its way", recovery=10)
async def while_uploading(stack: FaultStack, work: Workload) -> None:
    async with images_read_at_once(stack):
        given_up, deleted = large_image(work), large_image(work)
        half = HaltingUpload(work, given_up, 4 * MIB)
        [part] = await until_part(stack.objects, 2 * MIB)
        half.give_up()
        async with asyncio.timeout(20):
            while part.exists():
                await asyncio.sleep(0.02)
        assert not await record_of(work, given_up), "an upload that was given up is in the record"

        half = HaltingUpload(work, deleted, 4 * MIB)
        await until_part(stack.objects, 2 * MIB)
        with stack.proxies["ingest", "status"].holding(Direction.TO_CLIENT):
            half.go_on()
            row = await stack.until_row(BY_REQUEST_ID, work.owner, deleted.request_id)
            deleted.material = material_pb2.Material(id=str(row["material_id"]))
            await delete(work, deleted)
        # Its reply tells of what was made, and its event, published only now, is of a material that is gone.
        await half.reply()
        await stays_deleted(work, deleted)


@scenario("22b", "cancelled and deleted while waiting", quick=True, recovery=10)
async def while_waiting(stack: FaultStack, work: Workload) -> None:
    work.true_reasons = {"CANCELLED"}
    asked = stack.brain.count()
    with stack.proxies["processor", "nats"].holding(Direction.TO_CLIENT):
        cancelled, deleted = await work.notes(2)
        await work.watch_course()
        work.watch(cancelled)
        assert (await cancel(work, cancelled)).failure_reason == CANCELLED
        await delete(work, deleted)
        assert (await cancel(work, cancelled)).failure_reason == CANCELLED, "cancelled twice is not as once"
    await stays_deleted(work, deleted)
    await stack.until_all_acknowledged()
    assert stack.brain.count() == asked, "the Brain was asked for what nobody wants"


@scenario("22c", "cancelled and deleted while the Brain reads a page; then retried", quick=True, recovery=20)
async def mid_page(stack: FaultStack, work: Workload) -> None:
    work.extra_attempts = work.extra_reads = 1  # the retry's
    cancelled, deleted = work.scan(1), work.scan(1)
    async with images_read_at_once(stack):
        with stack.brain.holding(reading) as pages:
            await work.send_all([cancelled, deleted])
            await work.watch_course()
            async with asyncio.timeout(30):
                while pages.waiting < 2:
                    await asyncio.sleep(0.02)
            assert (await cancel(work, cancelled)).failure_reason == CANCELLED
            await delete(work, deleted)
            # Both stop while the Brain has not answered, and their places are free.
            async with asyncio.timeout(30):
                while stack.children("processor"):
                    await asyncio.sleep(0.02)
            await completed(work, await work.notes(2))
        await stays_deleted(work, deleted)
        await retry(work, cancelled)
        work.fault_over()
        await completed(work, [cancelled], attempts=2)


@scenario("22d", "cancelled and deleted at the very moment of completing, two replicas", layout=PAIR, recovery=15)
async def while_completing(stack: FaultStack, work: Workload) -> None:
    work.true_reasons = {"CANCELLED"}
    cancelled, deleted = work.note(), work.note()
    await work.watch_course()
    async with at_its_end(stack, work, cancelled):
        cancelling = asyncio.gather(*[cancel(work, cancelled) for _ in range(2)])
        await until_status_waits(stack, 2)
    first, second = await cancelling
    now = await work.client.get(cancelled.id)
    assert first.processing_status == second.processing_status == now.processing_status, "it ended in two ways"
    async with at_its_end(stack, work, deleted):
        deleting = asyncio.gather(*[delete(work, deleted) for _ in range(2)], return_exceptions=True)
        await until_status_waits(stack, 2)
    assert None in await deleting, "no delete was answered well"
    await stays_deleted(work, deleted)


@scenario("22e", "ten retries of one cancelled material at once", recovery=10)
async def retried_by_many(stack: FaultStack, work: Workload) -> None:
    await work.watch_course()
    with stack.proxies["processor", "nats"].holding(Direction.TO_CLIENT):
        note = work.note()
        await work.send(note)
        assert (await cancel(work, note)).failure_reason == CANCELLED
        waiting = await asyncio.gather(*[retry(work, note) for _ in range(10)])
    work.fault_over()
    assert all(each.processing_status == material_pb2.PROCESSING_STATUS_PENDING for each in waiting), waiting
    retried = await stack.fetch(
        "SELECT 1 FROM status.transitions WHERE material_id = $1::uuid AND event = 'retried'", note.id
    )
    assert len(retried) == 1, f"retried {len(retried)} times"
    await completed(work, [note])


@scenario("22f", "deleted with its last report on the way: the report comes late", quick=True, recovery=10)
async def late_report(stack: FaultStack, work: Workload) -> None:
    note = work.note()
    await work.watch_course()
    with stack.brain.holding(embedding_of(note.mark)) as last_call:
        await work.send(note)
        await last_call.arrived.wait()
        with stack.proxies["processor", "status"].holding(Direction.TO_SERVER):
            last_call.release()
            await stack.until_row(FINISHED_PAGES, note.id, 1)
            await delete(work, note)
    work.fault_over()
    await stays_deleted(work, note)


@asynccontextmanager
async def at_its_end(stack: FaultStack, work: Workload, note: Upload) -> AsyncIterator[None]:
    """The note is in the index, and its record's row is held: whoever changes it in the block races with its completion."""
    with stack.brain.holding(embedding_of(note.mark)) as last_call:
        await work.send(note)
        await last_call.arrived.wait()
        async with material_locked(stack, note.id):
            last_call.release()
            await stack.until_row(FINISHED_PAGES, note.id, 1)
            await until_status_waits(stack)
            yield
