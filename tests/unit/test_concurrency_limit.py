"""How many calls at once: what simulated Brains of several kinds are given, after a while."""

from __future__ import annotations

import heapq
import random
from collections import Counter
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processor_service.brain.concurrency_limit import (
    FIRST_PATIENCE,
    MOST_PATIENCE,
    ConcurrencyLimit,
    answered,
    starting,
    troubled,
)


@dataclass
class SimulatedBrain:
    """Works on `lanes` calls at once, the others wait in it; refuses what is more than `refuses_above` at once. A page costs 1, or about that with a
    `spread`. All in numbers: `replies` are counted by the level at which they came."""

    lanes: int
    limit: ConcurrencyLimit
    refuses_above: int = 1_000
    spread: float = 0.0
    chance: random.Random = field(default_factory=lambda: random.Random(1))
    replies: Counter[int] = field(default_factory=Counter)
    refusals: int = 0
    most_at_once: int = 0
    now: float = 0.0
    _free_at: list[float] = field(default_factory=list)
    _under_way: list[tuple[float, int, float, int, int, bool]] = field(default_factory=list)
    _calls: int = 0

    def run(self, replies: int) -> None:
        """Keeps as many calls under way as the limit allows until so many were answered."""
        self._free_at = self._free_at or [0.0] * self.lanes
        wanted = self.replies.total() + replies
        while self.replies.total() < wanted:
            while len(self._under_way) < self.limit.level:
                self._begin()
            self._end()

    def _begin(self) -> None:
        self._calls += 1
        in_use = len(self._under_way) + 1
        self.most_at_once = max(self.most_at_once, in_use)
        good = in_use <= self.refuses_above
        end = self.now + 0.01
        if good:
            lane = self._free_at.index(min(self._free_at))
            end = max(self.now, self._free_at[lane]) + self.chance.lognormvariate(0.0, self.spread)
            self._free_at[lane] = end
        heapq.heappush(self._under_way, (end, self._calls, self.now, self.limit.era, in_use, good))

    def _end(self) -> None:
        self.now, _, begun, era, in_use, good = heapq.heappop(self._under_way)
        if good:
            self.replies[self.limit.level] += 1
            self.limit = answered(self.limit, self.now - begun, era=era, in_use=in_use)
        else:
            self.refusals += 1
            self.limit = troubled(self.limit, era=era)


@pytest.mark.parametrize(("lanes", "most"), [(1, 4), (2, 4), (3, 4), (4, 4), (9, 4), (6, 16), (1, 1)])
def test_a_brain_is_given_as_many_calls_as_it_has_lanes(lanes: int, most: int) -> None:
    brain = SimulatedBrain(lanes, starting(most))
    brain.run(600)
    brain.replies.clear()
    brain.run(600)
    [(usual, count)] = brain.replies.most_common(1)
    assert usual == min(lanes, most)
    assert count > 400, f"it tried other numbers too often: {brain.replies}"
    assert brain.most_at_once <= most


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("lanes", "throughput"), [(1, 0.9), (4, 0.65)])
def test_pages_of_very_different_cost_do_not_mislead_it_for_long(lanes: int, throughput: float, seed: int) -> None:
    brain = SimulatedBrain(lanes, starting(4), spread=1.0, chance=random.Random(seed))
    brain.run(1_500)
    mean = 2.718281828**0.5  # of the log-normal cost
    assert brain.replies.total() * mean / brain.now >= throughput * lanes
    average = sum(level * count for level, count in brain.replies.items()) / brain.replies.total()
    assert (average <= 2.0) if lanes == 1 else (average >= 2.5)


def test_a_brain_that_refuses_what_is_too_much_is_asked_less_and_less_often_for_more() -> None:
    brain = SimulatedBrain(8, starting(8), refuses_above=3)
    brain.run(300)
    first = brain.refusals
    brain.refusals = 0
    brain.replies.clear()
    brain.run(1_500)
    assert 0 < brain.refusals < 0.05 * 1_500
    assert brain.refusals / 1_500 < first / 300, "it learns nothing from refusals"
    assert sum(brain.replies[level] for level in (2, 3)) > 0.9 * 1_500
    assert brain.most_at_once <= 4


def test_a_brain_that_grows_and_shrinks_is_followed() -> None:
    brain = SimulatedBrain(4, starting(4))
    brain.run(300)
    assert brain.limit.level in (3, 4)
    smaller = SimulatedBrain(1, brain.limit)
    smaller.run(600)
    assert smaller.limit.level in (1, 2)
    larger = SimulatedBrain(4, smaller.limit)
    larger.run(1_200)
    assert larger.limit.level in (3, 4)


def test_a_brain_that_has_room_for_all_is_left_no_slot_idle_once_that_is_known() -> None:
    brain = SimulatedBrain(4, starting(4), spread=0.05)
    brain.run(200)
    brain.replies.clear()
    brain.run(2_000)
    assert set(brain.replies) == {4}


def test_many_calls_that_fail_together_halve_it_once() -> None:
    limit = starting(64)
    while limit.level < 16:
        limit = answered(limit, 1.0, era=limit.era, in_use=limit.level)
    after = limit
    for _ in range(16):
        after = troubled(after, era=limit.era)
    assert after.level == 8
    assert answered(after, 1.0, era=limit.era, in_use=16) == after, "a call of before says nothing about now"
    assert troubled(after, era=after.era).level == 4


def test_after_an_outage_it_grows_again_soon() -> None:
    limit = starting(4)
    for _ in range(20):
        limit = troubled(limit, era=limit.era)
    assert limit.level == 1
    assert limit.patience == FIRST_PATIENCE
    brain = SimulatedBrain(4, limit)
    brain.run(120)
    assert brain.limit.level >= 3


def test_replies_that_came_while_there_was_room_change_nothing() -> None:
    limit = starting(8)
    assert limit.level == 2
    for _ in range(1_000):
        limit = answered(limit, 0.01, era=limit.era, in_use=1)
    assert limit == starting(8)


@given(
    st.integers(1, 12),
    st.lists(st.tuples(st.booleans(), st.floats(0, 1_000), st.integers(0, 1), st.integers(1, 12)), max_size=400),
)
def test_whatever_is_seen_it_stays_within_its_bounds(most: int, events: list[tuple[bool, float, int, int]]) -> None:
    limit = starting(most)
    for good, seconds, behind, in_use in events:
        era = limit.era - behind
        used = limit.level if in_use > limit.level else in_use
        limit = answered(limit, seconds, era=era, in_use=used) if good else troubled(limit, era=era)
        assert 1 <= limit.level <= most
        assert FIRST_PATIENCE <= limit.patience <= MOST_PATIENCE
