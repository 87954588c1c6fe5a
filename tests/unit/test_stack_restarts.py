"""When a process of the stack that died is started again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from single_node.restart_policy import GiveUp, Restart, after_death


@given(
    deaths=st.integers(0, 10_000),
    lived=st.floats(0, 29.9),
    chance=st.floats(0, 1, exclude_max=True),
    was_ready=st.booleans(),
)
def test_the_delay_is_bounded_and_a_ready_process_is_never_given_up(
    deaths: int, lived: float, chance: float, was_ready: bool
) -> None:
    decision = after_death(deaths=deaths, lived=lived, was_ready=was_ready, chance=chance)
    if isinstance(decision, Restart):
        assert 0.1 <= decision.delay <= 10.0
        assert decision.deaths == deaths + 1
    else:
        assert not was_ready
        assert decision.deaths >= 5


def test_delays_double_up_to_ten_seconds_and_are_spread() -> None:
    def delay(deaths: int, chance: float) -> float:
        decision = after_death(deaths=deaths, lived=0.0, was_ready=True, chance=chance)
        assert isinstance(decision, Restart)
        return decision.delay

    assert [delay(deaths, 0.0) for deaths in range(8)] == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0])
    assert delay(0, 0.5) == pytest.approx(0.15)


def test_the_fifth_death_before_readiness_is_the_last() -> None:
    decisions = [after_death(deaths=deaths, lived=1.0, was_ready=False, chance=0.5) for deaths in range(5)]
    assert [isinstance(each, GiveUp) for each in decisions] == [False] * 4 + [True]


def test_thirty_seconds_of_life_forgive_earlier_deaths() -> None:
    assert after_death(deaths=9, lived=30.0, was_ready=True, chance=0.0) == Restart(delay=0.1, deaths=1)
