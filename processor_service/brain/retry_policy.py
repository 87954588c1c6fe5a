"""When to try again: pure back-off, and the loop that repeats one Brain call within an attempt at a material.

Only errors that may pass by themselves are repeated, a stated number of times. An open breaker is not repeated here:
its caller waits for the breaker instead, which costs no tries. Nor is a call that ran into its deadline, which took
minutes already, nor one for which the server asks for a longer pause than `cap_seconds`: the material gives its slot
back and comes again later.
"""

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

import stamina

from processor_service.brain.errors import BrainError, BrainInterrupted, BrainTimedOut, BreakerOpen

Result = TypeVar("Result")


@dataclass(frozen=True)
class RetryPolicy:
    """`tries` in all (1 means no retry); the pause before a further one grows from `base_seconds` to `cap_seconds`."""

    tries: int = 4
    base_seconds: float = 0.5
    cap_seconds: float = 20.0


def backoff(
    attempt: int,
    *,
    base: float,
    cap: float,
    retry_after: float | None = None,
    random: Callable[[], float] = random.random,
) -> float:
    """Seconds to wait after failed attempt number `attempt` (1 is the first).

    "Full jitter": uniform between 0 and min(cap, base * 2^(attempt - 1)), which spreads a crowd of clients best
    (Marc Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015). A `retry_after` is a lower bound set
    by the server, and the jitter comes on top of it, since all who were told the same would else return together.
    `random` gives numbers in [0, 1).
    """
    # The exponent is bounded since 2.0**1024 overflows; the cap is reached long before.
    window = min(cap, base * 2.0 ** min(attempt - 1, 63))
    return (retry_after or 0.0) + random() * window


def pause_before_retry(
    error: Exception, attempt: int, policy: RetryPolicy, random: Callable[[], float] = random.random
) -> float | None:
    """Seconds to wait before the call that failed with `error` on try `attempt` is made again; None: do not."""
    if not isinstance(error, BrainError) or not error.transient or isinstance(error, BreakerOpen | BrainTimedOut):
        return None
    if attempt >= policy.tries or (error.retry_after or 0.0) > policy.cap_seconds:
        return None
    return backoff(
        attempt, base=policy.base_seconds, cap=policy.cap_seconds, retry_after=error.retry_after, random=random
    )


async def call_with_retries(
    call: Callable[[], Awaitable[Result]],
    policy: RetryPolicy,
    *,
    random: Callable[[], float] = random.random,
) -> Result:
    """The result of `call`, repeated as `pause_before_retry` allows; raises the last error otherwise.

    A call that was interrupted and then finds the breaker open raises the interruption: its input is under suspicion,
    and waiting for the Brain would excuse it. Each pause is logged by stamina as `stamina.retry_scheduled`.
    """
    attempt = 0
    interruption: BrainInterrupted | None = None

    def pause(error: Exception) -> float | bool:
        seconds = pause_before_retry(error, attempt, policy, random)
        return False if seconds is None else seconds

    try:
        async for stamina_attempt in stamina.retry_context(on=pause, attempts=policy.tries, timeout=None):
            with stamina_attempt:
                attempt = stamina_attempt.num
                try:
                    return await call()
                except BrainInterrupted as error:
                    interruption = error
                    raise
    except BreakerOpen as error:
        if interruption is not None:
            raise interruption from error
        raise
    raise AssertionError("unreachable: stamina raises the last error")
