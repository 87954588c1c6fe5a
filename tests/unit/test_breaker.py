"""Promises of the circuit breaker: its pure transitions, and the tasks that share it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processor_service.brain.breaker import (
    BrainBreaker,
    Breaker,
    BreakerPolicy,
    BreakerState,
    call_answered,
    call_unavailable,
    probe_ended,
    probe_started,
)
from processor_service.brain.errors import (
    BrainBusy,
    BrainFailed,
    BrainInterrupted,
    BrainMisconfigured,
    BrainRefused,
    BrainUnavailable,
    BreakerOpen,
)

POLICY = BreakerPolicy(threshold=3, base_seconds=1.0, cap_seconds=30.0)


def unavailable(breaker: Breaker, times: int = 1, now: float = 0.0) -> Breaker:
    for _ in range(times):
        breaker = call_unavailable(breaker, POLICY, now=now, random=0.5)
    return breaker


def test_three_unavailable_replies_in_a_row_open_it() -> None:
    assert unavailable(Breaker(), 2).state is BreakerState.CLOSED
    assert unavailable(Breaker(), 3).state is BreakerState.OPEN


def test_an_answer_in_between_starts_the_count_again() -> None:
    breaker = unavailable(call_answered(unavailable(Breaker(), 2)), 2)
    assert breaker.state is BreakerState.CLOSED


def test_outcomes_of_calls_under_way_when_it_opened_change_nothing() -> None:
    breaker = unavailable(Breaker(), 3)
    assert call_answered(breaker) == breaker
    assert unavailable(breaker, now=100.0) == breaker


def test_no_probe_before_the_cool_down_is_over() -> None:
    breaker = unavailable(Breaker(), 3, now=10.0)
    assert breaker.probe_at == 10.75
    assert probe_started(breaker, now=10.74).state is BreakerState.OPEN
    assert probe_started(breaker, now=10.75).state is BreakerState.HALF_OPEN


def test_after_a_healthy_probe_it_is_on_trial_until_a_call_succeeds() -> None:
    half_open = probe_started(unavailable(Breaker(), 3), now=1.0)
    closed = probe_ended(half_open, POLICY, healthy=True, now=1.0, random=0.5)
    assert closed.state is BreakerState.CLOSED
    assert unavailable(closed).state is BreakerState.OPEN
    assert unavailable(call_answered(closed), 2).state is BreakerState.CLOSED


def test_a_brain_whose_health_lies_is_asked_ever_more_rarely() -> None:
    breaker, waits = unavailable(Breaker(), 3), []
    for _ in range(7):
        now = breaker.probe_at
        healthy = probe_ended(probe_started(breaker, now=now), POLICY, healthy=True, now=now, random=0.5)
        breaker = unavailable(healthy, now=now)
        waits.append(breaker.probe_at - now)
    assert waits == [1.5, 3.0, 6.0, 12.0, 22.5, 22.5, 22.5]


@given(openings=st.integers(0, 10_000), drawn=st.floats(0, 1, exclude_max=True))
def test_a_cool_down_lies_between_half_and_the_whole_of_its_window(openings: int, drawn: float) -> None:
    half_open = Breaker(state=BreakerState.HALF_OPEN, openings=openings)
    breaker = probe_ended(half_open, POLICY, healthy=False, now=0.0, random=drawn)
    window = min(30.0, 2.0 ** min(openings, 10))
    assert window / 2 <= breaker.probe_at <= window


EVENTS = st.sampled_from(["answered", "unavailable", "probe", "healthy", "unhealthy"])


@given(events=st.lists(EVENTS, max_size=60), step=st.floats(0, 40))
def test_only_a_healthy_probe_closes_it_and_only_unavailability_opens_it(events: list[str], step: float) -> None:
    breaker, now = Breaker(), 0.0
    for event in events:
        now += step
        before = breaker
        if event == "answered":
            breaker = call_answered(breaker)
        elif event == "unavailable":
            breaker = call_unavailable(breaker, POLICY, now=now, random=0.5)
        elif event == "probe":
            breaker = probe_started(breaker, now=now)
        else:
            breaker = probe_ended(breaker, POLICY, healthy=event == "healthy", now=now, random=0.5)
        if breaker.state is not before.state:
            assert (before.state, event, breaker.state) in {
                (BreakerState.CLOSED, "unavailable", BreakerState.OPEN),
                (BreakerState.OPEN, "probe", BreakerState.HALF_OPEN),
                (BreakerState.HALF_OPEN, "healthy", BreakerState.CLOSED),
                (BreakerState.HALF_OPEN, "unhealthy", BreakerState.OPEN),
            }


class Outage:
    """A breaker whose clock runs only while its prober waits, and a Brain whose health a test sets."""

    def __init__(self) -> None:
        self.now = 0.0
        self.healthy = False
        self.probes = 0
        self.probed = asyncio.Event()
        self.may_probe = asyncio.Event()
        self.seen: list[BreakerState] = []
        self.breaker = BrainBreaker(
            self.probe,
            policy=POLICY,
            on_change=lambda breaker: self.seen.append(breaker.state),
            clock=lambda: self.now,
            random=lambda: 0.5,
            sleep=self.sleep,
        )

    async def sleep(self, seconds: float) -> None:
        await self.may_probe.wait()
        self.now += seconds

    async def probe(self) -> bool:
        self.probes += 1
        if self.probes == 3:
            self.healthy = True
        self.probed.set()
        return self.healthy


async def fails_with(error: Exception) -> str:
    raise error


async def answers() -> str:
    return "text"


@pytest.fixture
async def outage() -> AsyncIterator[Outage]:
    outage = Outage()
    async with asyncio.TaskGroup() as tasks:
        prober = tasks.create_task(outage.breaker.run())
        yield outage
        prober.cancel()


async def open_it(outage: Outage) -> None:
    for _ in range(2):
        with pytest.raises(BrainUnavailable):
            await outage.breaker.call(lambda: fails_with(BrainUnavailable("away")))
    with pytest.raises(BreakerOpen):
        await outage.breaker.call(lambda: fails_with(BrainUnavailable("away")))


async def test_the_call_that_opens_it_and_those_after_cost_no_attempt_and_are_not_sent(outage: Outage) -> None:
    await open_it(outage)
    sent: list[str] = []

    async def record() -> None:
        sent.append("sent")

    with pytest.raises(BreakerOpen):
        await outage.breaker.call(record)
    assert sent == []
    assert outage.breaker.state is BreakerState.OPEN


async def test_workers_that_wait_go_on_when_the_prober_finds_the_brain_well(outage: Outage) -> None:
    await open_it(outage)
    waiting = [asyncio.create_task(outage.breaker.wait_closed()) for _ in range(20)]
    await asyncio.sleep(0)
    assert not any(task.done() for task in waiting)

    outage.may_probe.set()
    await asyncio.wait_for(asyncio.gather(*waiting), timeout=10)
    assert await outage.breaker.call(answers) == "text"
    assert outage.probes == 3
    assert outage.seen == [
        BreakerState.OPEN,
        *(BreakerState.HALF_OPEN, BreakerState.OPEN) * 2,
        BreakerState.HALF_OPEN,
        BreakerState.CLOSED,
    ]


async def test_waiting_on_a_closed_breaker_returns_at_once_and_nothing_is_probed(outage: Outage) -> None:
    await asyncio.wait_for(outage.breaker.wait_closed(), timeout=10)
    assert outage.probes == 0


@pytest.mark.parametrize(
    "error", [BrainBusy("429"), BrainFailed("500"), BrainRefused("no", reason="no"), BrainMisconfigured("302")]
)
async def test_errors_of_one_call_pass_through_and_never_open_it(outage: Outage, error: Exception) -> None:
    for _ in range(10):
        with pytest.raises(type(error)):
            await outage.breaker.call(lambda: fails_with(error))
    assert outage.breaker.state is BreakerState.CLOSED


async def test_an_interruption_opens_it_but_is_told_to_its_own_caller(outage: Outage) -> None:
    for _ in range(3):
        with pytest.raises(BrainInterrupted):
            await outage.breaker.call(lambda: fails_with(BrainInterrupted("reset")))
    assert outage.breaker.state is BreakerState.OPEN


async def test_a_cancelled_call_says_nothing_about_the_brain(outage: Outage) -> None:
    async def hang() -> None:
        await asyncio.Event().wait()

    tasks: list[asyncio.Task[None]] = [asyncio.create_task(call_of(outage.breaker, hang)) for _ in range(5)]
    await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    assert all(task.cancelled() for task in tasks)
    assert outage.breaker.state is BreakerState.CLOSED


async def call_of(breaker: BrainBreaker, call: Callable[[], Awaitable[None]]) -> None:
    await breaker.call(call)
