"""Slots given out in turn: never one too many, never one lost, whoever is cancelled when."""

from __future__ import annotations

import asyncio
import random

import pytest

from processor_service.brain.fair_slots import FairSlots, TurnOver


class Bench:
    """Takers by name; each holds its slot until it is told to let go."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.slots = FairSlots(lambda: self.limit)
        self.holding: list[str] = []
        self.tasks: dict[str, asyncio.Task[None]] = {}
        self._let_go: dict[str, asyncio.Event] = {}

    async def take(self, name: str, owner: str = "ann", material: str = "book") -> None:
        self._let_go[name] = asyncio.Event()
        self.tasks[name] = asyncio.create_task(self._hold(name, owner, material))
        await settled()

    async def let_go(self, name: str) -> None:
        self._let_go[name].set()
        await asyncio.wait([self.tasks[name]])
        await settled()

    async def end(self) -> None:
        for task in self.tasks.values():
            task.cancel()
        await asyncio.wait(self.tasks.values())
        assert (self.slots.held, self.slots.waiting) == (0, 0)

    async def _hold(self, name: str, owner: str, material: str) -> None:
        async with self.slots.slot(owner, material):
            self.holding.append(name)
            try:
                await self._let_go[name].wait()
            finally:
                self.holding.remove(name)


async def settled() -> None:
    """Each task that can go on has done so."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_another_owner_is_next_however_many_pages_wait() -> None:
    bench = Bench(1)
    for number in range(5):
        await bench.take(f"page {number}")
    await bench.take("note", owner="bob", material="note")
    assert (bench.holding, bench.slots.waiting) == (["page 0"], 5)
    await bench.let_go("page 0")
    assert bench.holding == ["note"]
    await bench.let_go("note")
    assert bench.holding == ["page 1"]
    await bench.end()


async def test_a_limit_that_grows_gives_more_and_one_that_shrinks_takes_nothing_away() -> None:
    bench = Bench(1)
    for number in range(4):
        await bench.take(f"page {number}")
    bench.limit = 3
    bench.slots.refill()
    await settled()
    assert len(bench.holding) == 3
    bench.limit = 1
    await bench.let_go("page 0")
    assert bench.holding == ["page 1", "page 2"]
    await bench.let_go("page 1")
    await bench.let_go("page 2")
    assert bench.holding == ["page 3"]
    await bench.end()


async def test_a_taker_cancelled_while_it_waits_leaves_no_hole() -> None:
    bench = Bench(1)
    for name in ("first", "cancelled", "last"):
        await bench.take(name)
    bench.tasks["cancelled"].cancel()
    await bench.let_go("first")
    assert bench.holding == ["last"]
    await bench.end()


async def test_a_taker_cancelled_at_the_moment_of_its_slot_passes_it_on() -> None:
    bench = Bench(0)
    for name in ("cancelled", "last"):
        await bench.take(name)
    bench.limit = 1
    bench.slots.refill()  # given, and not known to its task yet
    bench.tasks["cancelled"].cancel()
    await settled()
    assert bench.holding == ["last"]
    await bench.end()


async def test_a_taker_cancelled_just_before_a_slot_is_free_is_passed_over() -> None:
    bench = Bench(0)
    for name in ("cancelled", "last"):
        await bench.take(name)
    bench.tasks["cancelled"].cancel()  # and not known to its task yet
    bench.limit = 1
    bench.slots.refill()
    await settled()
    assert bench.holding == ["last"]
    await bench.end()


async def test_what_waits_of_an_evicted_material_hears_that_its_turn_is_over_and_what_is_under_way_goes_on() -> None:
    bench = Bench(1)
    await bench.take("under way", material="book")
    await bench.take("waiting", material="book")
    await bench.take("other", material="note")
    bench.slots.evict("book")
    await settled()
    with pytest.raises(TurnOver):
        await bench.tasks["waiting"]
    assert bench.holding == ["under way"]
    await bench.let_go("under way")
    assert bench.holding == ["other"]
    await bench.let_go("other")
    assert (bench.slots.held, bench.slots.waiting) == (0, 0)


async def test_a_call_that_fails_gives_its_slot_back() -> None:
    slots = FairSlots(lambda: 1)
    with pytest.raises(ValueError, match="the call's own"):
        async with slots.slot("ann", "book"):
            raise ValueError("the call's own")
    assert slots.held == 0


@pytest.mark.parametrize("seed", range(20))
async def test_whatever_happens_in_whatever_order_no_slot_is_lost_and_none_is_given_twice(seed: int) -> None:
    chance = random.Random(seed)
    bench = Bench(3)
    for number in range(60):
        await bench.take(str(number), owner=chance.choice("abc"), material=chance.choice("xyz"))
        for _ in range(chance.randrange(3)):
            match chance.randrange(4):
                case 0:
                    chance.choice(list(bench.tasks.values())).cancel()
                case 1:
                    bench.slots.evict(chance.choice("xyz"))
                case 2:
                    if bench.holding:
                        bench._let_go[chance.choice(bench.holding)].set()
                case 3:
                    bench.limit = chance.randrange(1, 5)
                    bench.slots.refill()
        assert bench.slots.held <= 5
    bench.limit = 3
    while bench.holding or bench.slots.waiting:
        assert bench.holding, "takers wait although nothing is held"
        await bench.let_go(bench.holding[0])
    assert (bench.slots.held, bench.slots.waiting) == (0, 0)
    await asyncio.gather(*bench.tasks.values(), return_exceptions=True)
