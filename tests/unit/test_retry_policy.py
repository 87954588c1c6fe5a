"""Promises of the back-off and of repeating one Brain call."""

import math
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processor_service.brain.errors import (
    BrainBusy,
    BrainError,
    BrainFailed,
    BrainInterrupted,
    BrainMisconfigured,
    BrainRefused,
    BrainTimedOut,
    BrainUnavailable,
    BreakerOpen,
)
from processor_service.brain.retry_policy import RetryPolicy, backoff, call_with_retries, pause_before_retry

QUICK = RetryPolicy(tries=4, base_seconds=0.001, cap_seconds=0.002)


def failing_with(*errors: Exception) -> tuple[Callable[[], Awaitable[str]], list[int]]:
    """A call that raises each of `errors` in turn, then answers; and the list of the calls made."""
    calls: list[int] = []

    async def call() -> str:
        calls.append(len(calls) + 1)
        if len(calls) <= len(errors):
            raise errors[len(calls) - 1]
        return "text"

    return call, calls


@given(
    attempt=st.integers(1, 10_000),
    base=st.floats(0.001, 100),
    cap=st.floats(0.001, 1000),
    retry_after=st.none() | st.floats(0, 3600),
    drawn=st.floats(0, 1, exclude_max=True),
)
def test_a_pause_is_at_least_what_the_server_asked_and_never_above_it_by_more_than_the_cap(
    attempt: int, base: float, cap: float, retry_after: float | None, drawn: float
) -> None:
    seconds = backoff(attempt, base=base, cap=cap, retry_after=retry_after, random=lambda: drawn)
    least = retry_after or 0.0
    assert least <= seconds <= least + cap
    assert math.isfinite(seconds)


def test_the_window_doubles_with_each_attempt_up_to_the_cap() -> None:
    windows = [backoff(attempt, base=1.0, cap=10.0, random=lambda: 1.0) for attempt in range(1, 7)]
    assert windows == [1.0, 2.0, 4.0, 8.0, 10.0, 10.0]


def test_the_jitter_is_full_so_that_clients_spread_over_the_whole_window() -> None:
    assert backoff(3, base=1.0, cap=10.0, random=lambda: 0.0) == 0.0
    assert backoff(3, base=1.0, cap=10.0, random=lambda: 0.25) == 1.0


@pytest.mark.parametrize(
    "error",
    [
        BrainRefused("no", reason="no"),
        BrainMisconfigured("no"),
        BreakerOpen("away"),
        BrainTimedOut("slow"),
        BrainBusy("later", retry_after=60.0),
        RuntimeError("a bug"),
    ],
)
async def test_what_no_quick_repeat_can_mend_is_raised_at_once(error: Exception) -> None:
    call, calls = failing_with(error)
    with pytest.raises(type(error)) as raised:
        await call_with_retries(call, QUICK)
    assert raised.value is error
    assert calls == [1]


@pytest.mark.parametrize(
    "error", [BrainUnavailable("away"), BrainInterrupted("reset"), BrainBusy("busy"), BrainFailed("broken")]
)
async def test_what_may_pass_is_repeated_until_it_succeeds(error: BrainError) -> None:
    call, calls = failing_with(error, error)
    assert await call_with_retries(call, QUICK) == "text"
    assert calls == [1, 2, 3]


async def test_tries_are_bounded_and_the_last_error_is_the_one_raised() -> None:
    errors = [BrainFailed(str(number)) for number in range(1, 10)]
    call, calls = failing_with(*errors)
    with pytest.raises(BrainFailed) as raised:
        await call_with_retries(call, QUICK)
    assert raised.value is errors[3]
    assert calls == [1, 2, 3, 4]


async def test_one_try_means_no_repeat() -> None:
    call, calls = failing_with(BrainFailed("broken"))
    with pytest.raises(BrainFailed):
        await call_with_retries(call, RetryPolicy(tries=1))
    assert calls == [1]


async def test_a_breaker_that_opens_between_two_tries_ends_the_repeats() -> None:
    call, calls = failing_with(BrainFailed("broken"), BreakerOpen("away"))
    with pytest.raises(BreakerOpen):
        await call_with_retries(call, QUICK)
    assert calls == [1, 2]


async def test_an_input_that_interrupts_the_brain_is_not_excused_by_the_breaker_it_opened() -> None:
    interruption = BrainInterrupted("reset")
    call, calls = failing_with(interruption, BreakerOpen("away"))
    with pytest.raises(BrainInterrupted) as raised:
        await call_with_retries(call, QUICK)
    assert raised.value is interruption
    assert calls == [1, 2]


def test_the_server_s_wish_is_kept_within_the_cap_and_else_ends_the_attempt() -> None:
    policy = RetryPolicy(tries=3, base_seconds=1.0, cap_seconds=20.0)
    assert pause_before_retry(BrainBusy("busy", retry_after=20.0), 1, policy, lambda: 0.5) == 20.5
    assert pause_before_retry(BrainBusy("busy", retry_after=20.1), 1, policy, lambda: 0.5) is None
