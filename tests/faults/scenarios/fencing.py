"""The same work for two: events delivered twice, workers given up for dead that come back, retries while the old worker still runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from materials.v1 import material_pb2
from nats.aio.msg import Msg
from nats.js.api import DeliverPolicy

from tests.faults.brain_front import reading
from tests.faults.endings import completed
from tests.faults.fault_stack import FaultStack
from tests.faults.people_calls import PURGED, cancel, delete, retry, stays_deleted
from tests.faults.scenario import PAIR, scenario
from tests.faults.scenarios.broker_amnesia import STREAM
from tests.faults.scenarios.killed_processor import COMPLETED, FINISHED_PAGES, IN_STATE, reading_from
from tests.faults.scenarios.object_store import images_read_at_once
from tests.faults.workload import Workload

UPLOADED = "materials.v1.uploaded"
ONCE_MORE = ":once-more"
PROCESSORS = {"processor", "processor-2"}
ATTEMPT = "SELECT lease_worker FROM status.materials WHERE material_id = $1::uuid AND attempt = $2 AND status = 2"


@scenario("8a", "every event delivered twice at once, to two replicas", layout=PAIR, recovery=15)
async def delivered_twice(stack: FaultStack, work: Workload) -> None:
    work.extra_embeddings = 1  # both pages of the scan say the same; nothing is embedded twice
    async with images_read_at_once(stack), every_event_again(stack) as repeated:
        notes, scan = [work.note() for _ in range(10)], work.scan(2)
        await work.send_all([*notes, scan])
        for upload in work.uploads:
            work.watch(upload)
        await until_repeated(repeated, len(work.uploads))
        work.fault_over()
        await completed(work, work.uploads, attempts=1)


@scenario("8b", "every event delivered again after completion", quick=True, recovery=5)
async def delivered_again_later(stack: FaultStack, work: Workload) -> None:
    async with stack.jetstream() as jetstream:
        before = await jetstream.stream_info(STREAM)
        await work.notes(5)
        await completed(work, work.uploads)
        as_they_were = [await work.client.get(upload.id) for upload in work.uploads]
        asked = stack.brain.count()
        last = (await jetstream.stream_info(STREAM)).state.last_seq
        for sequence in range(before.state.last_seq + 1, last + 1):
            raw = await jetstream.get_msg(STREAM, sequence)
            assert raw.subject is not None
            assert raw.data is not None
            headers = dict(raw.headers or {})
            await jetstream.publish(
                raw.subject, raw.data, headers=headers | {"Nats-Msg-Id": headers["Nats-Msg-Id"] + ONCE_MORE}
            )
        work.fault_over()
    await stack.until_all_acknowledged()
    assert [await work.client.get(upload.id) for upload in work.uploads] == as_they_were, (
        "a second delivery did something"
    )
    assert stack.brain.count() == asked, "a second delivery reached the Brain"


@scenario("9", "zombie: SIGSTOP a processor past its lease, another one finishes, SIGCONT", layout=PAIR, recovery=20)
async def zombie(stack: FaultStack, work: Workload) -> None:
    work.extra_attempts = 1
    work.extra_reads = 1  # the page that the zombie was at
    work.extra_embeddings = 2  # what it was about to write; and both pages say the same
    scan = work.scan(2)
    async with images_read_at_once(stack):
        with stack.brain.holding(reading_from(2)) as second_page:
            await work.send(scan)
            work.watch(scan)
            await second_page.arrived.wait()
            await stack.until_row(FINISHED_PAGES, scan.id, 1)
            async with zombie_at_work(stack):
                await stack.until_row(ATTEMPT, scan.id, 2)
                second_page.release()
                await stack.until_row(IN_STATE, scan.id, COMPLETED)
                finished, index = await work.client.get(scan.id), await index_of(stack, scan.id)
        work.fault_over()
        assert await index_of(stack, scan.id) == index, "the zombie has written"
        await stack.until_all_acknowledged()  # so its report has been answered
    assert await work.client.get(scan.id) == finished, "the zombie's report was taken"


@scenario("22g", "deleted and purged while a zombie is at it, which comes back", layout=PAIR, recovery=20)
async def purged_under_a_zombie(stack: FaultStack, work: Workload) -> None:
    scan = work.scan(1)
    await work.watch_course()
    async with images_read_at_once(stack):
        with stack.brain.holding(reading) as page:
            await work.send(scan)
            await page.arrived.wait()
            async with zombie_at_work(stack):
                await delete(work, scan)
                await stack.until_row(PURGED, scan.id)
                page.release()
        work.fault_over()
        assert not await index_of(stack, scan.id), "the zombie has written"
        await stack.until_all_acknowledged()
        await stays_deleted(work, scan)


@scenario("33", "cancelled and retried at once 50 times while the old worker still runs", quick=True, recovery=20)
async def retried_at_once(stack: FaultStack, work: Workload) -> None:
    rounds = 50
    # As many as there were claims; each asked the Brain for the page at most once.
    work.extra_attempts = work.extra_reads = rounds
    scan = work.scan(1)
    async with images_read_at_once(stack):
        with stack.brain.holding(reading) as page:
            await work.watch_course()
            await work.send(scan)
            await page.arrived.wait()
            for _ in range(rounds):
                ended = await cancel(work, scan)
                assert ended.failure_reason == material_pb2.FAILURE_REASON_CANCELLED, ended
                waiting = await retry(work, scan)
                assert waiting.processing_status != material_pb2.PROCESSING_STATUS_FAILED, waiting
            await stack.until_row(IN_STATE, scan.id, 2)
            # All others have stopped, though the Brain has not answered one of them.
            async with asyncio.timeout(30):
                while len(stack.children("processor")) != 1:
                    await asyncio.sleep(0.02)
        work.fault_over()
        await completed(work, [scan], attempts=1 + rounds)


@asynccontextmanager
async def zombie_at_work(stack: FaultStack) -> AsyncIterator[None]:
    """The one processor that is at work is stopped and taken for dead; at the end it goes on, until it has dropped what it was at.

    No word of its lease's end may wait for it when it wakes up, or it would stop for that: what stops it is the index alone. So its connections to
    Status lead nowhere, and the other processor, which shares the proxy, is started afresh.
    """
    links = [stack.proxies["processor", name] for name in ("status", "status-2")]
    [dead] = [name for name in PROCESSORS if stack.children(name)]
    async with stack.frozen(dead):
        for link in links:
            link.strand()
        stack.proxies["processor", "nats"].cut()  # nothing is delivered to it any more
        await stack.restarted(stack.kill(*PROCESSORS - {dead}))
        yield
    async with asyncio.timeout(60):
        while stack.children(dead):
            await asyncio.sleep(0.05)
    for link in links:
        link.cut()  # it connects anew, and reports


@asynccontextmanager
async def every_event_again(stack: FaultStack) -> AsyncIterator[list[str]]:
    """Publishes each uploaded event once more as soon as it is in the stream, under another message id; the ids of those repeated, as they come."""
    repeated: list[str] = []
    async with stack.jetstream() as jetstream:

        async def again(message: Msg) -> None:
            headers = message.headers or {}
            if not headers["Nats-Msg-Id"].endswith(ONCE_MORE):
                repeat = headers | {"Nats-Msg-Id": headers["Nats-Msg-Id"] + ONCE_MORE}
                await jetstream.publish(UPLOADED, message.data, headers=repeat)
                repeated.append(headers["Nats-Msg-Id"])

        subscription = await jetstream.subscribe(
            UPLOADED, cb=again, ordered_consumer=True, deliver_policy=DeliverPolicy.NEW
        )
        try:
            yield repeated
        finally:
            await subscription.unsubscribe()


async def until_repeated(repeated: list[str], count: int) -> None:
    """Returns when so many events are in the stream twice."""
    async with asyncio.timeout(30):
        while len(repeated) < count:
            await asyncio.sleep(0.02)


async def index_of(stack: FaultStack, material_id: str) -> list[tuple[object, ...]]:
    """Every row of the material, with the transaction that wrote it."""
    rows = await stack.fetch(
        "SELECT page_number, -1 AS ordinal, attempt, xmin::text FROM processor.pages WHERE material_id = $1::uuid"
        " UNION ALL SELECT page_number, ordinal, attempt, xmin::text FROM processor.passages WHERE material_id = $1::uuid"
        " ORDER BY 1, 2",
        material_id,
    )
    return [tuple(row) for row in rows]
