"""The broker forgets: its directory, the stream, a consumer, or the last of what it acknowledged. The record fills it again."""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import replace

from nats.js.api import ConsumerConfig

from tests.faults.fault_stack import FaultStack
from tests.faults.scenario import scenario
from tests.faults.workload import Upload, Workload

STREAM = "MATERIALS"
#: Seconds within which a stream that has lost something is filled again from the record and all that waited is done.
REFILLED = 10.0
#: What one processor works on at once, by its default.
SLOTS = 4


async def waiting(stack: FaultStack, work: Workload, count: int = 4) -> list[Upload]:
    """As many materials as are worked on at once (the Brain is held), and `count` whose events lie in the stream for later."""
    busy = await work.notes(SLOTS)
    await stack.until_row(
        "SELECT 1 FROM status.materials WHERE owner_id = $1 AND status = 2 HAVING count(*) = $2", work.owner, SLOTS
    )
    uploads = busy + await work.notes(count)
    await stack.until_row(
        "SELECT 1 FROM status.materials WHERE owner_id = $1 AND status = 1 AND announced_at IS NOT NULL HAVING count(*) = $2",
        work.owner,
        count,
    )
    for upload in uploads:
        work.watch(upload)
    return uploads


@scenario("6a", "NATS: killed and its whole directory wiped, materials waiting", quick=True, recovery=REFILLED)
async def directory_wiped(stack: FaultStack, work: Workload) -> None:
    with stack.brain.holding():
        await waiting(stack, work)
        async with stack.down("nats"):
            await asyncio.to_thread(shutil.rmtree, stack.local.data_dir / "nats")
    work.fault_over()
    await work.notes(2)


@scenario("6b", "NATS: the stream deleted, materials waiting", recovery=REFILLED)
async def stream_deleted(stack: FaultStack, work: Workload) -> None:
    async with stack.jetstream() as jetstream:
        with stack.brain.holding():
            await waiting(stack, work)
            await jetstream.delete_stream(STREAM)
    work.fault_over()
    await work.notes(2)


@scenario("6c", "NATS: all consumers deleted, at work and at rest", recovery=REFILLED)
async def consumers_deleted(stack: FaultStack, work: Workload) -> None:
    async with stack.jetstream() as jetstream:
        with stack.brain.holding():
            await waiting(stack, work)
            for consumer in await jetstream.consumers_info(STREAM):
                await jetstream.delete_consumer(STREAM, consumer.name)
        await work.settled(REFILLED)
        for consumer in await jetstream.consumers_info(STREAM):
            await jetstream.delete_consumer(STREAM, consumer.name)
    work.fault_over_at = None
    work.fault_over()
    await work.notes(2)


@scenario("6d", "NATS: a consumer changed by hand: max_deliver = 1, then another filter", recovery=REFILLED)
async def consumer_changed(stack: FaultStack, work: Workload) -> None:
    async with stack.jetstream() as jetstream:

        async def processor() -> ConsumerConfig | None:
            consumers = await jetstream.consumers_info(STREAM)
            return next((consumer.config for consumer in consumers if consumer.name == "processor"), None)

        async def until_set_right() -> None:
            async with asyncio.timeout(60):
                while (found := await processor()) is None or not _same(found, right):
                    await asyncio.sleep(0.05)

        right = await processor()
        assert right is not None
        await jetstream.add_consumer(STREAM, replace(right, max_deliver=1))
        # The only delivery there will be is spent on a claim that cannot be made.
        with stack.proxies["processor", "status"].refusing():
            await work.notes(1)
            await until_set_right()
        await work.settled(REFILLED)
        await jetstream.add_consumer(STREAM, replace(right, filter_subject="materials.v1.deleted"))
        await work.notes(2)
        await until_set_right()
    work.fault_over_at = None
    work.fault_over()


def _same(one: ConsumerConfig, other: ConsumerConfig) -> bool:
    return (one.max_deliver, one.filter_subject) == (other.max_deliver, other.filter_subject)


@scenario("7", "NATS: killed, and what it acknowledged last is lost", quick=True, recovery=REFILLED)
async def set_back(stack: FaultStack, work: Workload) -> None:
    store = stack.local.data_dir / "nats"
    earlier = stack.local.data_dir / "nats.earlier"
    try:
        async with stack.frozen("nats"):
            await asyncio.to_thread(shutil.copytree, store, earlier)
        with stack.brain.holding():
            await waiting(stack, work)
            async with stack.down("nats"):
                await asyncio.to_thread(shutil.rmtree, store)
                await asyncio.to_thread(shutil.copytree, earlier, store)
            # As many again at once: the stream's numbers soon pass those of the events that are lost.
            await work.notes(8)
    finally:
        await asyncio.to_thread(shutil.rmtree, earlier, ignore_errors=True)
    work.fault_over()
