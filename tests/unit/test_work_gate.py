"""No other material is begun while the Brain is away or processing is paused."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from processor_service.brain.breaker import BrainBreaker
from processor_service.work_gate import WorkGate


class BrainOnDemand:
    """A breaker whose Brain is healthy when the test says so, and whose prober waits for that."""

    def __init__(self) -> None:
        self.back = asyncio.Event()
        self.breaker = BrainBreaker(self.probe, sleep=self.sleep, clock=lambda: self.now)
        self.now = 0.0

    async def probe(self) -> bool:
        return self.back.is_set()

    async def sleep(self, seconds: float) -> None:
        await self.back.wait()
        self.now += seconds


@pytest.fixture
async def brain() -> AsyncIterator[BrainOnDemand]:
    brain = BrainOnDemand()
    async with asyncio.TaskGroup() as tasks:
        prober = tasks.create_task(brain.breaker.run())
        yield brain
        prober.cancel()


async def settled(task: asyncio.Task[None]) -> bool:
    """Whether the task has ended after every other task has had its turn."""
    for _ in range(20):
        await asyncio.sleep(0)
    return task.done()


async def test_it_is_open_at_first(brain: BrainOnDemand) -> None:
    gate = WorkGate(brain.breaker)
    assert gate.is_open
    await asyncio.wait_for(gate.wait_open(), 10)


async def test_a_pause_closes_it_until_it_is_taken_back(brain: BrainOnDemand) -> None:
    gate = WorkGate(brain.breaker)
    gate.set_paused(True)
    gate.set_paused(True)
    assert not gate.is_open
    waiting = asyncio.create_task(gate.wait_open())
    assert not await settled(waiting)
    gate.set_paused(False)
    await asyncio.wait_for(waiting, 10)
    assert gate.is_open


async def test_it_opens_only_when_the_brain_is_back_and_the_pause_is_over(brain: BrainOnDemand) -> None:
    gate = WorkGate(brain.breaker)
    gate.set_paused(True)
    await brain.breaker.check()
    waiting = asyncio.create_task(gate.wait_open())
    gate.set_paused(False)
    assert not await settled(waiting)
    assert not gate.is_open
    gate.set_paused(True)
    brain.back.set()
    assert not await settled(waiting)
    assert not gate.is_open
    gate.set_paused(False)
    await asyncio.wait_for(waiting, 10)
    assert gate.is_open


async def test_a_pause_that_comes_while_the_brain_is_away_holds_those_who_wait_for_it(brain: BrainOnDemand) -> None:
    gate = WorkGate(brain.breaker)
    await brain.breaker.check()
    waiting = asyncio.create_task(gate.wait_open())
    assert not await settled(waiting)
    gate.set_paused(True)
    brain.back.set()
    await asyncio.wait_for(brain.breaker.wait_closed(), 10)
    assert not await settled(waiting)
    gate.set_paused(False)
    await asyncio.wait_for(waiting, 10)


async def test_brain_that_embeds_is_waited_for_too(brain: BrainOnDemand) -> None:
    reads = BrainBreaker(brain.probe)
    gate = WorkGate(reads)
    await brain.breaker.check()
    assert gate.is_open, "the index in use does not need it"
    gate.embed_by(brain.breaker)
    assert not gate.is_open
    waiting = asyncio.create_task(gate.wait_open())
    assert not await settled(waiting)
    brain.back.set()
    await waiting
    assert gate.is_open
