"""A slot that is given other work than its message asked for: the message goes to whoever has time for it, at once."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator

import nats
import pytest
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import StreamConfig

from servicekit.durable_consumer import Again, Done, DurableConsumer, Outcome
from servicekit.nats_link import NatsLink
from tests.local_stack import LocalStack


@pytest.fixture
async def jetstream(stack: LocalStack) -> AsyncIterator[JetStreamContext]:
    connection = await nats.connect(stack.facts["nats"])
    yield connection.jetstream()
    await connection.close()


class Slots:
    """Handles messages: the first time a message comes, other work is done in its place, which ends when the test says."""

    def __init__(self) -> None:
        self.comes: asyncio.Queue[str] = asyncio.Queue()
        self.other_work: asyncio.Queue[str] = asyncio.Queue()
        self.end = asyncio.Event()
        self.fails = False
        self._seen: set[str] = set()

    async def handle(self, message: Msg) -> Outcome:
        text = message.data.decode()
        if text in self._seen:
            self.comes.put_nowait(text)
            return Done()
        self._seen.add(text)
        return Again(0.0, meanwhile=self._work)

    async def _work(self) -> None:
        self.other_work.put_nowait("begun")
        try:
            await self.end.wait()
            if self.fails:
                raise RuntimeError("a slip of ours")
            self.other_work.put_nowait("done")
        except asyncio.CancelledError:
            self.other_work.put_nowait("cancelled")
            raise


class Running:
    """A consumer on a stream of its own."""

    def __init__(self, stack: LocalStack, jetstream: JetStreamContext, slots: int) -> None:
        self.stream = f"TEST_{uuid.uuid4().hex[:8]}"
        self.slots = Slots()
        self._jetstream = jetstream
        self._link = NatsLink(stack.facts["nats"], name="test")
        self.consumer = DurableConsumer(
            self._link,
            stream=self.stream,
            durable="worker",
            subject=self.stream,
            slots=slots,
            handler=self.slots.handle,
        )

    async def start(self, tasks: asyncio.TaskGroup) -> None:
        await self._jetstream.add_stream(StreamConfig(name=self.stream, subjects=[self.stream]))
        await self._link.start(tasks)
        await self.consumer.start(tasks)

    async def stop(self) -> None:
        await self.consumer.stop()
        await self._link.stop()
        await self._jetstream.delete_stream(self.stream)


async def test_the_message_is_dealt_with_by_another_slot_while_the_other_work_goes_on(
    stack: LocalStack, jetstream: JetStreamContext
) -> None:
    running = Running(stack, jetstream, slots=2)
    async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
        await running.start(tasks)
        await jetstream.publish(running.stream, b"note")
        assert await running.slots.other_work.get() == "begun"
        assert await running.slots.comes.get() == "note"
        assert running.slots.other_work.empty(), "the other work did not go on"
        while (await jetstream.consumer_info(running.stream, "worker")).num_ack_pending:
            pass  # each look is a round trip
        running.slots.end.set()
        assert await running.slots.other_work.get() == "done"
        await running.stop()


async def test_a_slot_whose_other_work_fails_goes_on(stack: LocalStack, jetstream: JetStreamContext) -> None:
    running = Running(stack, jetstream, slots=1)
    running.slots.fails = True
    async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
        await running.start(tasks)
        await jetstream.publish(running.stream, b"note")
        assert await running.slots.other_work.get() == "begun"
        running.slots.end.set()
        assert await running.slots.comes.get() == "note"
        await running.stop()


async def test_a_stop_cancels_the_other_work_and_waits_for_it(stack: LocalStack, jetstream: JetStreamContext) -> None:
    running = Running(stack, jetstream, slots=1)
    async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
        await running.start(tasks)
        await jetstream.publish(running.stream, b"note")
        assert await running.slots.other_work.get() == "begun"
        await running.stop()
        assert running.slots.other_work.get_nowait() == "cancelled"
