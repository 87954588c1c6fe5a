"""Circuit breaker for the AI Brain: an outage is the Brain's fault, so it must not burn the materials' attempts.

    state      event                                      next state
    CLOSED     call succeeded, or failed on its own       CLOSED, counts back to zero
    CLOSED     Brain unavailable, fewer than N in a row   CLOSED
    CLOSED     Brain unavailable, the Nth in a row        OPEN, cool-down drawn
    OPEN       cool-down over                             HALF_OPEN, the prober asks the Brain for its health
    HALF_OPEN  probe says healthy                         CLOSED, on trial: the next "unavailable" opens it at once
    HALF_OPEN  probe says unhealthy                       OPEN, longer cool-down
    CLOSED     the check at the start says unhealthy      OPEN, cool-down drawn

Outcomes of calls that were under way when it opened change nothing: the prober decides. The cool-down grows with each
opening until a real call has succeeded, because a Brain whose health page is up while its models are down would
otherwise be stormed every second. (States and names: Michael Nygard, "Release It!"; the jitter: Marc Brooker,
"Exponential Backoff And Jitter", the "equal jitter" form, since a cool-down of nearly zero would be none.)

The first half of this file is pure: values in, values out, the monotonic clock (seconds) and the random number passed
in. `BrainBreaker` carries the decisions out for the tasks of one process.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TypeVar

from processor_service.brain.errors import BrainError, BrainInterrupted, BrainUnavailable, BreakerOpen

Result = TypeVar("Result")


class BreakerState(StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True)
class BreakerPolicy:
    """Opens after `threshold` unavailable replies in a row; cool-downs grow from `base_seconds` to `cap_seconds`."""

    threshold: int = 3
    base_seconds: float = 1.0
    cap_seconds: float = 30.0


@dataclass(frozen=True)
class Breaker:
    """`failures` in a row while closed; `openings` since a call last succeeded; `probe_at` on the monotonic clock."""

    state: BreakerState = BreakerState.CLOSED
    failures: int = 0
    openings: int = 0
    probe_at: float = 0.0


def call_answered(breaker: Breaker) -> Breaker:
    """The Brain answered a call, be it with an error of that call alone."""
    return Breaker() if breaker.state is BreakerState.CLOSED else breaker


def call_unavailable(breaker: Breaker, policy: BreakerPolicy, *, now: float, random: float) -> Breaker:
    """The Brain was unavailable for a call; `random` in [0, 1) sets the cool-down."""
    if breaker.state is not BreakerState.CLOSED:
        return breaker
    if breaker.failures + 1 < policy.threshold:
        return replace(breaker, failures=breaker.failures + 1)
    return _opened(breaker, policy, now=now, random=random)


def probe_started(breaker: Breaker, *, now: float) -> Breaker:
    """Half-open once the cool-down is over; unchanged before."""
    if breaker.state is BreakerState.OPEN and now >= breaker.probe_at:
        return replace(breaker, state=BreakerState.HALF_OPEN)
    return breaker


def probe_ended(breaker: Breaker, policy: BreakerPolicy, *, healthy: bool, now: float, random: float) -> Breaker:
    """The prober's answer decides a half-open breaker; any other state is left alone."""
    if breaker.state is not BreakerState.HALF_OPEN:
        return breaker
    if healthy:
        return Breaker(failures=policy.threshold - 1, openings=breaker.openings)
    return _opened(breaker, policy, now=now, random=random)


def _opened(breaker: Breaker, policy: BreakerPolicy, *, now: float, random: float) -> Breaker:
    # The exponent is bounded since 2.0**1024 overflows; the cap is reached long before.
    window = min(policy.cap_seconds, policy.base_seconds * 2.0 ** min(breaker.openings, 63))
    cool_down = window / 2 + random * window / 2
    return Breaker(state=BreakerState.OPEN, openings=breaker.openings + 1, probe_at=now + cool_down)


class BrainBreaker:
    """The one breaker that all workers of a process share; `run` must be a task of the service's TaskGroup.

    `probe` tells whether the Brain is healthy and has its own deadline. `on_change` is called with the new value after
    each change of state, for logs, metrics and the health service. `clock` is monotonic, in seconds.
    """

    def __init__(
        self,
        probe: Callable[[], Awaitable[bool]],
        *,
        policy: BreakerPolicy | None = None,
        on_change: Callable[[Breaker], None] = lambda breaker: None,
        clock: Callable[[], float] = time.monotonic,
        random: Callable[[], float] = random.random,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._probe = probe
        self._policy = policy or BreakerPolicy()
        self._on_change = on_change
        self._clock = clock
        self._random = random
        self._sleep = sleep
        self._breaker = Breaker()
        self._closed = asyncio.Event()
        self._closed.set()
        self._opened = asyncio.Event()

    @property
    def state(self) -> BreakerState:
        return self._breaker.state

    async def wait_closed(self) -> None:
        """Returns at once while closed, else when the prober has closed it. Has no deadline of its own."""
        await self._closed.wait()

    async def call(self, call: Callable[[], Awaitable[Result]]) -> Result:
        """The result of one Brain call, whose outcome is counted.

        Raises BreakerOpen, without calling, while the breaker is not closed, and in place of the BrainUnavailable that
        opened it (its `__cause__`): the material is not at fault. Other errors pass through, BrainInterrupted too: it
        counts, but the input may have caused it.
        """
        if self.state is not BreakerState.CLOSED:
            raise BreakerOpen("waiting for the AI Brain")
        try:
            result = await call()
        except BrainUnavailable as error:
            self._become(call_unavailable(self._breaker, self._policy, now=self._clock(), random=self._random()))
            if self.state is not BreakerState.CLOSED and not isinstance(error, BrainInterrupted):
                raise BreakerOpen("waiting for the AI Brain", retry_after=error.retry_after) from error
            raise
        except BrainError:
            self._become(call_answered(self._breaker))
            raise
        self._become(call_answered(self._breaker))
        return result

    async def check(self) -> bool:
        """Asks for the Brain's health now, before any call, and opens when it is away. Returns the answer."""
        healthy = await self._probe()
        if not healthy and self.state is BreakerState.CLOSED:
            self._become(_opened(self._breaker, self._policy, now=self._clock(), random=self._random()))
        return healthy

    async def run(self) -> None:
        """The prober: while the breaker is open, asks for the Brain's health after each cool-down. Ends by cancellation."""
        while True:
            await self._opened.wait()
            await self._sleep(max(0.0, self._breaker.probe_at - self._clock()))
            self._become(probe_started(self._breaker, now=self._clock()))
            if self.state is BreakerState.HALF_OPEN:
                healthy = await self._probe()
                self._become(
                    probe_ended(self._breaker, self._policy, healthy=healthy, now=self._clock(), random=self._random())
                )

    def _become(self, breaker: Breaker) -> None:
        changed = breaker.state is not self._breaker.state
        self._breaker = breaker
        if not changed:
            return
        if breaker.state is BreakerState.CLOSED:
            self._opened.clear()
            self._closed.set()
        else:
            self._closed.clear()
            self._opened.set()
        self._on_change(breaker)
