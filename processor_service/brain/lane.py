"""One kind of call to the AI Brain: given out in fair turns, as many at once as the Brain takes well, and repeated where that may help.

A call keeps its slot through its retries and their pauses: a Brain that asks for fewer calls gets fewer. Each try tells the limit how it went.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from processor_service.brain import concurrency_limit
from processor_service.brain.breaker import BrainBreaker
from processor_service.brain.errors import BrainBusy, BrainUnavailable
from processor_service.brain.fair_slots import FairSlots
from processor_service.brain.retry_policy import RetryPolicy, call_with_retries

log = structlog.get_logger()

Result = TypeVar("Result")


class BrainLane:
    """`calls` names them in the log; `most` may be under way at once. `clock` is monotonic, in seconds."""

    def __init__(
        self,
        calls: str,
        breaker: BrainBreaker,
        policy: RetryPolicy,
        *,
        most: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._calls, self._breaker, self._policy, self._clock = calls, breaker, policy, clock
        self._limit = concurrency_limit.starting(most)
        self._slots = FairSlots(lambda: self._limit.level)

    @property
    def limit(self) -> int:
        """How many may be under way at once, right now."""
        return self._limit.level

    @property
    def under_way(self) -> int:
        """How many are under way."""
        return self._slots.held

    @property
    def waiting(self) -> int:
        """How many wait for their turn."""
        return self._slots.waiting

    async def call(self, call: Callable[[], Awaitable[Result]], *, owner_id: str, material_id: str) -> Result:
        """The call's result, in its owner's turn. Raises BrainError, and TurnOver when its material was evicted before it began."""
        async with self._slots.slot(owner_id, material_id):
            return await call_with_retries(lambda: self._breaker.call(lambda: self._tried(call)), self._policy)

    def evict(self, material_id: str) -> None:
        """What waits for this material raises TurnOver; what is under way is finished."""
        self._slots.evict(material_id)

    async def _tried(self, call: Callable[[], Awaitable[Result]]) -> Result:
        begun, era, in_use = self._clock(), self._limit.era, self._slots.held
        try:
            result = await call()
        except (BrainBusy, BrainUnavailable):
            self._become(concurrency_limit.troubled(self._limit, era=era))
            raise
        seconds = self._clock() - begun
        self._become(concurrency_limit.answered(self._limit, seconds, era=era, in_use=in_use))
        return result

    def _become(self, limit: concurrency_limit.ConcurrencyLimit) -> None:
        before, self._limit = self._limit, limit
        if limit.level != before.level:
            log.info("calls to the AI Brain at once", calls=self._calls, limit=limit.level, most=limit.most)
            self._slots.refill()
