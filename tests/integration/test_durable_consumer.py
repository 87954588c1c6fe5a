"""A consumer on the real NATS keeps delivering, whatever is done to it by hand."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta

import nats
import pytest
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy, StreamConfig

from servicekit import durable_consumer
from servicekit.durable_consumer import Again, Deafness, Done, DurableConsumer, Gate, Outcome, Unreadable
from servicekit.nats_link import NatsLink
from tests.local_stack import LocalStack


class Bench:
    """A stream, a consumer on it, and what has arrived."""

    def __init__(self, jetstream: JetStreamContext, stream: str, subject: str) -> None:
        self.jetstream, self.stream, self.subject = jetstream, stream, subject
        self.durable = "worker"
        self.arrived: asyncio.Queue[str] = asyncio.Queue()
        self.handler: Callable[[Msg], Awaitable[Outcome]] = self.take

    async def take(self, message: Msg) -> Outcome:
        self.arrived.put_nowait(message.data.decode())
        return Done()

    async def publish(self, text: str) -> None:
        await self.jetstream.publish(self.subject, text.encode())

    async def next(self) -> str:
        async with asyncio.timeout(60):
            return await self.arrived.get()


@asynccontextmanager
async def consuming(
    bench: Bench, url: str, slots: int = 1, *, silence: float = 0.5, gate: Gate | None = None
) -> AsyncIterator[DurableConsumer]:
    link = NatsLink(url, name="test")
    consumer = DurableConsumer(
        link,
        stream=bench.stream,
        durable=bench.durable,
        subject=bench.subject,
        slots=slots,
        handler=bench.handler,
        gate=gate,
        silence=silence,
    )
    async with asyncio.TaskGroup() as tasks:
        await link.start(tasks)
        await consumer.start(tasks)
        yield consumer
        await consumer.stop()
        await link.stop()


@pytest.fixture
async def bench(stack: LocalStack) -> AsyncIterator[Bench]:
    connection = await nats.connect(stack.facts["nats"])
    name = f"TEST_{uuid.uuid4().hex[:8]}"
    jetstream = connection.jetstream()
    await jetstream.add_stream(StreamConfig(name=name, subjects=[f"{name}.event"]))
    yield Bench(jetstream, name, f"{name}.event")
    await jetstream.delete_stream(name)
    await connection.close()


async def test_messages_arrive_once_and_are_acknowledged(stack: LocalStack, bench: Bench) -> None:
    async with consuming(bench, stack.facts["nats"], slots=2):
        for number in range(5):
            await bench.publish(f"message {number}")
        assert {await bench.next() for _ in range(5)} == {f"message {number}" for number in range(5)}
        async with asyncio.timeout(30):
            while (await bench.jetstream.consumer_info(bench.stream, bench.durable)).num_ack_pending:
                pass  # each look is a round trip
    assert bench.arrived.empty()


async def test_a_consumer_deleted_by_hand_is_made_again(stack: LocalStack, bench: Bench) -> None:
    async with consuming(bench, stack.facts["nats"]):
        await bench.publish("before")
        assert await bench.next() == "before"
        await bench.jetstream.delete_consumer(bench.stream, bench.durable)
        await bench.publish("after")
        # It hears of everything again: what was done already is for the handler to know.
        assert {await bench.next(), await bench.next()} == {"before", "after"}


async def test_a_consumer_changed_by_hand_is_set_right(stack: LocalStack, bench: Bench) -> None:
    async with consuming(bench, stack.facts["nats"]):
        await bench.publish("before")
        assert await bench.next() == "before"
        await bench.jetstream.delete_consumer(bench.stream, bench.durable)
        wrong = ConsumerConfig(
            durable_name=bench.durable, deliver_policy=DeliverPolicy.NEW, filter_subject=f"{bench.stream}.nothing"
        )
        stream = await bench.jetstream.stream_info(bench.stream)
        stream.config.subjects = [bench.subject, f"{bench.stream}.nothing"]
        await bench.jetstream.update_stream(stream.config)
        await bench.jetstream.add_consumer(bench.stream, wrong)
        await bench.publish("after")
        assert "after" in {await bench.next(), await bench.next()}


async def test_a_paused_consumer_is_set_going(stack: LocalStack, bench: Bench) -> None:
    async with consuming(bench, stack.facts["nats"]):
        await bench.publish("before")
        assert await bench.next() == "before"
        await bench.jetstream.pause_consumer(
            bench.stream, bench.durable, (datetime.now(UTC) + timedelta(hours=1)).isoformat()
        )
        await bench.publish("after")
        assert "after" in {await bench.next(), await bench.next()}


async def test_a_message_asked_for_again_is_delivered_again_and_a_hopeless_one_is_not(
    stack: LocalStack, bench: Bench
) -> None:
    outcomes: list[Outcome] = [Again(0.1), Unreadable("junk")]

    async def handler(message: Msg) -> Outcome:
        bench.arrived.put_nowait(message.data.decode())
        return outcomes.pop(0) if outcomes else Done()

    bench.handler = handler
    async with consuming(bench, stack.facts["nats"]):
        await bench.publish("first")
        assert [await bench.next(), await bench.next()] == ["first", "first"]
        await bench.publish("second")
        assert await bench.next() == "second"


async def test_a_handler_that_fails_gets_its_message_again(stack: LocalStack, bench: Bench) -> None:
    failures = iter([RuntimeError("boom")])

    async def handler(message: Msg) -> Outcome:
        bench.arrived.put_nowait(message.data.decode())
        if (failure := next(failures, None)) is not None:
            raise failure
        return Done()

    bench.handler = handler
    async with consuming(bench, stack.facts["nats"]):
        await bench.publish("message")
        assert [await bench.next(), await bench.next()] == ["message", "message"]


async def deafen(bench: Bench) -> None:
    """The consumer has messages and delivers none: one is out with somebody who keeps it, and only one may be out."""
    await bench.jetstream.add_consumer(
        bench.stream,
        ConsumerConfig(
            durable_name=bench.durable,
            filter_subject=bench.subject,
            deliver_policy=DeliverPolicy.ALL,
            ack_policy=AckPolicy.EXPLICIT,
            ack_wait=600,
            max_deliver=-1,
            max_ack_pending=1,
        ),
    )
    for text in ("kept", "waiting"):
        await bench.publish(text)
    keeper = await bench.jetstream.pull_subscribe_bind(bench.durable, bench.stream)
    [kept] = await keeper.fetch(1)
    assert kept.data == b"kept"
    await keeper.unsubscribe()


async def test_a_deaf_consumer_is_made_anew_and_what_waited_arrives(
    stack: LocalStack, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(durable_consumer, "FETCH_SECONDS", 0.5)
    await deafen(bench)
    async with consuming(bench, stack.facts["nats"], slots=4, silence=30.0):
        while {"kept", "waiting"} != {await bench.next(), await bench.next()}:
            pass


async def test_what_one_slot_has_made_anew_another_that_found_it_deaf_leaves_alone(
    stack: LocalStack, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(durable_consumer, "FETCH_SECONDS", 2.0)
    # A second look decides, however soon it comes.
    monkeypatch.setattr(durable_consumer, "Deafness", lambda patience: Deafness(0.0))
    await deafen(bench)
    watcher = await nats.connect(stack.facts["nats"])
    fetches = await watcher.subscribe(f"$JS.API.CONSUMER.MSG.NEXT.{bench.stream}.{bench.durable}")
    deletions = await watcher.subscribe(f"$JS.EVENT.ADVISORY.CONSUMER.DELETED.{bench.stream}.{bench.durable}")
    await watcher.flush()
    async with consuming(bench, stack.facts["nats"], silence=30.0):
        for _ in range(2):  # between them lies the first look
            await fetches.next_msg(timeout=30)
        # What another slot does that has looked twice. It ends the fetch under way.
        await bench.jetstream.delete_consumer(bench.stream, bench.durable)
        assert [await bench.next(), await bench.next()] == ["kept", "waiting"]
    await watcher.flush()
    assert deletions.pending_msgs == 1
    await watcher.close()


class OftenClosed:
    """A gate that has to be waited for each time."""

    is_open = False

    def __init__(self) -> None:
        self.opened: asyncio.Queue[None] = asyncio.Queue()

    async def wait_open(self) -> None:
        self.opened.put_nowait(None)


async def test_time_at_a_closed_gate_does_not_make_a_consumer_deaf(
    stack: LocalStack, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(durable_consumer, "FETCH_SECONDS", 0.2)
    await deafen(bench)
    before = await bench.jetstream.consumer_info(bench.stream, bench.durable)
    gate = OftenClosed()
    async with consuming(bench, stack.facts["nats"], silence=30.0, gate=gate):
        async with asyncio.timeout(30):
            for _ in range(5):
                await gate.opened.get()
    after = await bench.jetstream.consumer_info(bench.stream, bench.durable)
    assert after.created == before.created


class LosesCancellation:
    """A gate that never opens, and whose waiting is only interrupted when it is cancelled: as with asyncio.wait_for, at the wrong moment."""

    is_open = False

    def __init__(self) -> None:
        self.reached = asyncio.Event()

    async def wait_open(self) -> None:
        self.reached.set()
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()


async def test_a_lost_cancellation_does_not_keep_the_consumer_from_stopping(stack: LocalStack, bench: Bench) -> None:
    gate = LosesCancellation()
    async with asyncio.timeout(60), consuming(bench, stack.facts["nats"], gate=gate):
        await gate.reached.wait()
