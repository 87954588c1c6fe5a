"""What a replica does after its object store failed: leaves it alone, tries it with one upload, goes on."""

from __future__ import annotations

import pytest
from materials.v1 import errors_pb2

from ingest_service.store_cooldown import COOLDOWN_SECONDS, StoreCooldown
from servicekit.errors import Unavailable
from servicekit.object_store_errors import store_full

COOLDOWN = 3.0


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0
        self.cooldown = StoreCooldown(clock=lambda: self.now, uniform=lambda low, high: COOLDOWN)

    def admits(self) -> bool:
        try:
            self.cooldown.check()
        except Unavailable:
            return False
        return True


@pytest.fixture
def clock() -> Clock:
    return Clock()


def away(retry_after: float = 2) -> Unavailable:
    return Unavailable(
        errors_pb2.ERROR_REASON_OBJECT_STORE_UNAVAILABLE, "the object store is away", retry_after=retry_after
    )


def test_a_store_that_works_is_never_in_the_way(clock: Clock) -> None:
    assert clock.admits()
    clock.cooldown.worked()
    assert clock.admits()


@pytest.mark.parametrize("failure", [away(), store_full()], ids=["away", "full"])
def test_after_a_failure_everybody_hears_what_the_store_said(clock: Clock, failure: Unavailable) -> None:
    clock.cooldown.failed(failure)
    with pytest.raises(Unavailable) as refusal:
        clock.cooldown.check()
    assert (refusal.value.reason, refusal.value.message) == (failure.reason, failure.message)


@pytest.mark.parametrize(("asked", "told"), [(0.5, COOLDOWN - 1), (60, 60)])
def test_nobody_is_told_to_come_back_before_the_cool_down_is_over(clock: Clock, asked: float, told: float) -> None:
    clock.cooldown.failed(away(asked))
    clock.now += 1
    with pytest.raises(Unavailable) as refusal:
        clock.cooldown.check()
    assert refusal.value.retry_after == told


def test_after_the_cool_down_one_upload_tries_and_the_others_wait(clock: Clock) -> None:
    clock.cooldown.failed(away())
    clock.now += COOLDOWN
    assert [clock.admits() for _ in range(3)] == [True, False, False]


def test_a_try_that_worked_lets_everybody_in(clock: Clock) -> None:
    clock.cooldown.failed(away())
    clock.now += COOLDOWN
    assert clock.admits()
    clock.cooldown.worked()
    assert all(clock.admits() for _ in range(3))


def test_a_try_that_failed_begins_another_cool_down(clock: Clock) -> None:
    clock.cooldown.failed(away())
    clock.now += COOLDOWN
    assert clock.admits()
    clock.now += COOLDOWN - 1
    clock.cooldown.failed(store_full())
    clock.now += COOLDOWN - 1
    assert not clock.admits()
    clock.now += 1
    assert clock.admits()


def test_a_try_without_an_outcome_is_followed_by_another(clock: Clock) -> None:
    clock.cooldown.failed(away())
    clock.now += COOLDOWN
    assert clock.admits()
    clock.now += COOLDOWN - 0.001
    assert not clock.admits()
    clock.now += 0.001
    assert [clock.admits() for _ in range(2)] == [True, False]


def test_cool_downs_of_replicas_end_at_different_times() -> None:
    ends = set()
    for _ in range(20):
        cooldown = StoreCooldown(clock=lambda: 0.0)
        cooldown.failed(away(0))
        with pytest.raises(Unavailable) as refusal:
            cooldown.check()
        ends.add(refusal.value.retry_after)
    assert len(ends) > 1
    assert all(COOLDOWN_SECONDS[0] <= end <= COOLDOWN_SECONDS[1] for end in ends)
