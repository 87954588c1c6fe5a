"""Whether this processor may begin with another material: the AI Brain answers, and nobody has paused processing."""

from __future__ import annotations

import asyncio

import structlog

from processor_service.brain.breaker import BrainBreaker, BreakerState

log = structlog.get_logger()


class WorkGate:
    """Open until told otherwise. Work that is under way goes on behind a closed gate."""

    def __init__(self, breaker: BrainBreaker) -> None:
        self._breaker = self._embedding_breaker = breaker
        self._not_paused = asyncio.Event()
        self._not_paused.set()

    @property
    def is_open(self) -> bool:
        """Whether another material may be begun right now."""
        breakers = (self._breaker, self._embedding_breaker)
        return self._not_paused.is_set() and all(each.state is BreakerState.CLOSED for each in breakers)

    def embed_by(self, breaker: BrainBreaker) -> None:
        """Names the Brain that embeds for the index in use; it may be another than the one that reads pages."""
        self._embedding_breaker = breaker

    def set_paused(self, paused: bool) -> None:
        """Takes in what Status says of the pause; it stands until Status says otherwise."""
        if paused and self._not_paused.is_set():
            log.info("processing is paused; nothing more is begun")
            self._not_paused.clear()
        elif not paused and not self._not_paused.is_set():
            log.info("processing goes on")
            self._not_paused.set()

    async def wait_open(self) -> None:
        """Returns at once while open, else when it has opened. Has no deadline of its own."""
        while not self.is_open:
            await self._not_paused.wait()
            await self._breaker.wait_closed()
            await self._embedding_breaker.wait_closed()
