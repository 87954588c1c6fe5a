"""Admission after a failed commit: refused for a while, then one is let through to try."""

from __future__ import annotations

from status_service.admission import HOLD_SECONDS, WriteHealth


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def admitted(health: WriteHealth, calls: int = 5) -> int:
    return sum(health.admits() for _ in range(calls))


def test_nothing_is_held_back_while_nothing_has_failed() -> None:
    health = WriteHealth(Clock())
    assert admitted(health) == 5
    health.committed()
    assert admitted(health) == 5


def test_after_a_failure_nobody_is_let_through_until_the_hold_is_over_and_then_one_alone() -> None:
    clock = Clock()
    health = WriteHealth(clock)
    health.failed()
    clock.now = HOLD_SECONDS - 0.01
    assert admitted(health) == 0
    clock.now = HOLD_SECONDS
    assert admitted(health) == 1


def test_one_whose_attempt_was_never_heard_of_again_is_followed_by_another() -> None:
    clock = Clock()
    health = WriteHealth(clock)
    health.failed()
    for _ in range(3):
        clock.now += HOLD_SECONDS
        assert admitted(health) == 1


def test_a_failed_try_holds_back_again_and_a_commit_lets_all_through() -> None:
    clock = Clock()
    health = WriteHealth(clock)
    health.failed()
    clock.now = HOLD_SECONDS
    assert health.admits()
    clock.now += HOLD_SECONDS / 2
    health.failed()
    clock.now += HOLD_SECONDS / 2
    assert admitted(health) == 0
    health.committed()
    assert admitted(health) == 5
