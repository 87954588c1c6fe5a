"""Behind a closed gate no material is claimed, no message is lost, and however long it was closed, work goes on."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass

import nats
import pytest
from materials.v1 import events_pb2
from materials.v1 import record_service_pb2 as pb
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import StreamConfig

from processor_service.brain.breaker import BrainBreaker, BreakerState
from processor_service.turn_taking import TurnTaking
from processor_service.work_gate import WorkGate
from processor_service.worker import Worker
from servicekit.durable_consumer import Again, Done, DurableConsumer, Outcome
from servicekit.nats_link import NatsLink
from tests.integration.scripted_record import ScriptedRecord, scripted_record
from tests.local_stack import LocalStack

SILENCE_SECONDS = 0.3


async def away() -> bool:
    return False


class WatchedGate:
    """A gate that tells when so many slots stand before it."""

    def __init__(self, gate: WorkGate) -> None:
        self._gate = gate
        self._waiting = 0
        self._changed = asyncio.Condition()

    @property
    def is_open(self) -> bool:
        return self._gate.is_open

    async def wait_open(self) -> None:
        async with self._changed:
            self._waiting += 1
            self._changed.notify_all()
        await self._gate.wait_open()
        self._waiting -= 1

    async def all_wait(self, slots: int) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: self._waiting == slots)


@dataclass
class Bench:
    worker: Worker
    record: ScriptedRecord
    breaker: BrainBreaker
    gate: WorkGate


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    """A worker that gets no further than its claim: what comes after that is never called."""
    breaker = BrainBreaker(away)
    gate = WorkGate(breaker)
    async with scripted_record() as (record, peer):
        nobody: object = None
        turns = TurnTaking(lambda _: None)
        worker = Worker(peer, nobody, nobody, gate, turns, worker_id="worker-1", attempt_timeout=60)  # type: ignore[arg-type]
        yield Bench(worker, record, breaker, gate)


def uploaded(material_id: str) -> Msg:
    event = events_pb2.MaterialUploaded(material_id=material_id)
    return Msg(_client=None, subject="materials.v1.uploaded", data=event.SerializeToString())  # type: ignore[arg-type]


async def test_a_claim_refused_for_a_pause_closes_the_gate_and_keeps_the_message(bench: Bench) -> None:
    bench.record.paused = True
    first, second = str(uuid.uuid4()), str(uuid.uuid4())
    assert isinstance(await bench.worker.handle(uploaded(first)), Again)
    assert not bench.gate.is_open
    assert isinstance(await bench.worker.handle(uploaded(second)), Again)
    assert bench.record.claims == [first]


async def test_a_message_that_comes_when_the_brain_has_just_gone_is_kept_and_not_claimed(bench: Bench) -> None:
    await bench.breaker.check()
    assert bench.breaker.state is BreakerState.OPEN
    assert isinstance(await bench.worker.handle(uploaded(str(uuid.uuid4()))), Again)
    assert bench.record.claims == []


async def test_other_refusals_are_done_with_and_leave_the_gate_open(bench: Bench) -> None:
    assert isinstance(await bench.worker.handle(uploaded(str(uuid.uuid4()))), Done)
    assert bench.gate.is_open


async def test_a_refusal_that_only_a_newer_status_knows_keeps_the_message_and_leaves_the_gate_open(
    bench: Bench,
) -> None:
    bench.record.refusal = max(pb.ClaimRefusal.values()) + 1
    assert isinstance(await bench.worker.handle(uploaded(str(uuid.uuid4()))), Again)
    assert bench.gate.is_open


@pytest.fixture
async def jetstream(stack: LocalStack) -> AsyncIterator[JetStreamContext]:
    connection = await nats.connect(stack.facts["nats"])
    yield connection.jetstream()
    await connection.close()


@pytest.mark.parametrize("deleted", [False, True], ids=["consumer kept", "consumer deleted meanwhile"])
async def test_after_a_pause_longer_than_any_silence_the_consumer_goes_on(
    stack: LocalStack, jetstream: JetStreamContext, bench: Bench, deleted: bool
) -> None:
    arrived: asyncio.Queue[str] = asyncio.Queue()

    async def take(message: Msg) -> Outcome:
        arrived.put_nowait(message.data.decode())
        return Done()

    stream = f"TEST_{uuid.uuid4().hex[:8]}"
    await jetstream.add_stream(StreamConfig(name=stream, subjects=[stream]))
    link = NatsLink(stack.facts["nats"], name="test")
    gate = WatchedGate(bench.gate)
    consumer = DurableConsumer(
        link, stream=stream, durable="worker", subject=stream, slots=2, handler=take,
        gate=gate, silence=SILENCE_SECONDS,
    )  # fmt: skip
    async with asyncio.TaskGroup() as tasks, asyncio.timeout(60):
        await link.start(tasks)
        await consumer.start(tasks)
        await jetstream.publish(stream, b"before")
        assert await arrived.get() == "before"
        bench.gate.set_paused(True)
        # Fetches that were on their way when the gate closed end by themselves: here first, then at the server.
        await gate.all_wait(2)
        while (await jetstream.consumer_info(stream, "worker")).num_waiting:
            pass  # each look is a round trip
        await jetstream.publish(stream, b"after")
        if deleted:
            await jetstream.delete_consumer(stream, "worker")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(arrived.get(), 5 * SILENCE_SECONDS)
        bench.gate.set_paused(False)
        while await arrived.get() != "after":
            pass  # a consumer made anew hears of everything again
        await consumer.stop()
        await link.stop()
    await jetstream.delete_stream(stream)
