"""A pause on the real stack: nothing more is begun, what is under way is finished, and after it all goes on as if nothing had been."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
from materials.v1 import material_pb2
from materials.v1 import status_service_pb2 as pb

from tests.contract.person import Person
from tests.contract.scripted_brain import ScriptedBrain, reply, scripted
from tests.local_stack import Client, LocalStack, unique_course

PENDING = material_pb2.PROCESSING_STATUS_PENDING
COMPLETED = material_pb2.PROCESSING_STATUS_COMPLETED
REPLICAS = 2
SECONDS = 20.0


@dataclass
class Paused:
    """A stack of this test's own, since a pause stops everybody's work. Its Brain embeds once `may_embed` is set."""

    client: Client
    brain: ScriptedBrain
    may_embed: asyncio.Event = field(default_factory=asyncio.Event)

    async def pause(self) -> None:
        await self.client.status.PauseProcessing(
            pb.PauseProcessingRequest(reason="a new model"), metadata=self.client.metadata, timeout=SECONDS
        )

    async def resume(self) -> None:
        await self.client.status.ResumeProcessing(
            pb.ResumeProcessingRequest(), metadata=self.client.metadata, timeout=SECONDS
        )

    async def queue(self) -> pb.GetQueueResponse:
        return await self.client.status.GetQueue(pb.GetQueueRequest(), metadata=self.client.metadata, timeout=SECONDS)

    async def heard_again(self) -> pb.GetQueueResponse:
        """The queue once each processor has told of itself twice more: by then it has heard of a pause made before."""
        async with asyncio.timeout(60):
            seen: dict[str, set[int]] = {}
            while True:
                queue = await self.queue()
                for processor in queue.processors:
                    seen.setdefault(processor.worker_id, set()).add(processor.seen_at.ToNanoseconds())
                if len(seen) == REPLICAS and all(len(moments) > 2 for moments in seen.values()):
                    return queue
                await asyncio.sleep(0.2)


@pytest.fixture(scope="module")
async def paused() -> AsyncIterator[Paused]:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if brain.requests[-1].method == "GET":
            return await reply(200, json.dumps({"status": "Active"}))(reader, writer)
        await world.may_embed.wait()
        return await reply(200, json.dumps({"embedding": [1.0] * 1024}))(reader, writer)

    async with scripted(answer) as brain:
        stack = await asyncio.to_thread(
            LocalStack.start,
            None,
            "--replicas",
            f"processor={REPLICAS}",
            environment={"AI_BRAIN_ENDPOINT": brain.endpoint},
        )
        try:
            async with stack.client() as client:
                world = Paused(client, brain)
                yield world
        finally:
            await asyncio.to_thread(stack.stop)


async def test_what_is_uploaded_in_a_pause_waits_untouched_and_is_read_at_the_first_attempt_after_it(
    paused: Paused,
) -> None:
    paused.may_embed.set()
    await paused.pause()
    # At once: no processor may have heard of it yet.
    materials = [await paused.client.upload(f"note {n}".encode(), course=unique_course()) for n in range(6)]
    queue = await paused.heard_again()
    assert (queue.waiting, queue.working, queue.pause.reason) == (6, 0, "a new model")
    assert {(processor.slots, processor.busy) for processor in queue.processors} == {(4, 0)}
    assert {processor.brain for processor in queue.processors} == {pb.BREAKER_STATE_CLOSED}
    for material in materials:
        now = await paused.client.get(material.id)
        assert (now.processing_status, now.attempt) == (PENDING, 0)
        assert await Person(paused.client).events(material.id) == ["created"]
    await paused.resume()
    for material in materials:
        last = (await paused.client.watch_to_end(material.id))[-1]
        assert (last.processing_status, last.attempt) == (COMPLETED, 1)


async def test_what_is_under_way_when_a_pause_begins_is_finished_in_it(paused: Paused) -> None:
    paused.may_embed.clear()
    paused.brain.received.clear()
    under_way = await paused.client.upload(b"under way", course=unique_course())
    while (await paused.client.get(under_way.id)).processing_status == PENDING:
        await asyncio.wait_for(paused.brain.received.wait(), SECONDS)
    await paused.pause()
    waiting = await paused.client.upload(b"waiting", course=unique_course())
    queue = await paused.heard_again()
    assert sorted(processor.busy for processor in queue.processors) == [0, 1]
    paused.may_embed.set()
    last = (await paused.client.watch_to_end(under_way.id))[-1]
    assert (last.processing_status, last.attempt) == (COMPLETED, 1)
    now = await paused.client.get(waiting.id)
    assert (now.processing_status, now.attempt) == (PENDING, 0)
    await paused.resume()
    assert (await paused.client.watch_to_end(waiting.id))[-1].processing_status == COMPLETED
