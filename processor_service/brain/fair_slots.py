"""So many calls at once, given out by the fair queue. A slot is never lost, whenever its taker is cancelled, and a taker that left leaves no hole."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from processor_service.brain.fair_queue import FairQueue, Waiting


class TurnOver(Exception):
    """Others wait and this material has had its turn: it is to be handed back. It goes on later at the page it had come to."""


class FairSlots:
    """`limit` says how many may be held right now; call `refill` when it has grown. What is held above a limit that has shrunk is not taken away."""

    def __init__(self, limit: Callable[[], int]) -> None:
        self._limit = limit
        self._queue = FairQueue()
        self._takers: dict[Waiting, asyncio.Future[None]] = {}
        self._held = 0

    @property
    def held(self) -> int:
        """How many are held."""
        return self._held

    @property
    def waiting(self) -> int:
        """How many takers wait."""
        return len(self._queue)

    @asynccontextmanager
    async def slot(self, owner_id: str, material_id: str) -> AsyncIterator[None]:
        """A slot, held within the block. Waits as long as it takes. Raises TurnOver when it was evicted while it waited."""
        await self._take(owner_id, material_id)
        try:
            yield
        finally:
            self._held -= 1
            self.refill()

    def evict(self, material_id: str) -> None:
        """Ends the waiting of this material's takers: they raise TurnOver. What holds a slot keeps it."""
        for request, taker in list(self._takers.items()):
            if request.material_id == material_id and not taker.done():
                self._withdraw(request)
                taker.set_exception(TurnOver())

    def refill(self) -> None:
        """Gives out what is free."""
        while self._held < self._limit() and (request := self._queue.first()) is not None:
            if self._takers[request].cancelled():  # its task has not come to know yet
                self._withdraw(request)
                continue
            self._queue.next()
            self._held += 1
            self._takers.pop(request).set_result(None)

    async def _take(self, owner_id: str, material_id: str) -> None:
        request = self._queue.add(owner_id, material_id)
        taker = self._takers[request] = asyncio.get_running_loop().create_future()
        self.refill()
        try:
            await taker
        except asyncio.CancelledError:
            if taker.cancelled():
                self._withdraw(request)
            elif taker.exception() is None:  # given at the very moment
                self._held -= 1
                self.refill()
            raise

    def _withdraw(self, request: Waiting) -> None:
        self._takers.pop(request, None)
        self._queue.remove(request)
