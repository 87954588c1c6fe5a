"""What time alone brings: leases that run out; tombstones, processors and ended tickets that may be forgotten.

Which clock counts: the database's. A lease is asked for by the query, and once more by the state machine under the row's lock, so any number of reapers
on any number of replicas may run. While this service or the database was away, or could not be written, no worker could renew: after such a gap (and at the
start) the reaper holds still for half a lease, so that live workers come first. Without that, one pause of the database would cost every running attempt.
A database that is slow for long makes every look late: from time to time one ends leases all the same, else nothing of a dead worker would ever go on.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from uuid import UUID

import structlog

from servicekit.errors import ServiceError
from servicekit.postgres import Postgres
from status_service import queue_store, record_store, ticket_store
from status_service.events import ExpireLease
from status_service.metrics import StatusMetrics
from status_service.record_writer import RecordWriter, UnknownMaterial
from status_service.state_machine import Policy, Verdict

log = structlog.get_logger()

TICK_SECONDS = 1.0
BLIND_SECONDS = 3.0
#: A live worker may need this long to be heard again: its channel and the stream on it each wait up to 2 s before another try.
LEAST_HOLD_SECONDS = 5.0
#: A hold is prolonged for late looks by so many of its kind.
MOST_HOLDS = 3
MAX_EXPIRED = 200
TOMBSTONE_DAYS = 30
FORGET_EVERY_SECONDS = 3_600.0


class LeaseReaper:
    """A part: one query a second. `clock` counts seconds."""

    def __init__(
        self,
        postgres: Postgres,
        writer: RecordWriter,
        policy: Policy,
        metrics: StatusMetrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._postgres, self._writer, self._clock = postgres, writer, clock
        self._expired = metrics.leases_expired
        self._hold = max(policy.lease / 2, LEAST_HOLD_SECONDS)
        self._last_look = self._forget_at = clock()
        self._hold_still()
        self._task: asyncio.Task[None] | None = None

    async def start(self, tasks: asyncio.TaskGroup) -> None:
        """Begins to look."""
        self._task = tasks.create_task(self._run(), name="lease-reaper")

    async def stop(self) -> None:
        """Ends."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(TICK_SECONDS)
            try:
                await self.look()
                await self._forget()
            except ServiceError as error:
                self._hold_still()
                log.info("leases not looked at", error=error.message)

    def _hold_still(self) -> None:
        self._held_since: float | None = self._clock()
        self._hold_until = self._held_since + self._hold

    async def look(self) -> None:
        """Ends what has run out, unless workers may not have been heard lately. Raises Unavailable."""
        rows = await self._postgres.fetch(record_store.EXPIRED_LEASES, MAX_EXPIRED)
        now = self._clock()
        # Asked after the query: if that had to wait, for a lock or for a connection, so had what renews leases.
        late, self._last_look = now - self._last_look > BLIND_SECONDS, now
        if late:
            self._held_since = now if self._held_since is None else self._held_since
            self._hold_until = min(now, self._held_since + MOST_HOLDS * self._hold) + self._hold
        if now >= self._hold_until:
            self._held_since = None
            await self._expire([row["material_id"] for row in rows])

    async def _forget(self) -> None:
        if self._clock() < self._forget_at:
            return
        self._forget_at = self._clock() + FORGET_EVERY_SECONDS
        await self._postgres.execute(record_store.FORGET_TOMBSTONES, TOMBSTONE_DAYS)
        await self._postgres.execute(queue_store.FORGET_PROCESSORS, FORGET_EVERY_SECONDS)
        await self._postgres.execute(ticket_store.FORGET_TICKETS)

    async def _expire(self, material_ids: Sequence[UUID]) -> None:
        """All at once, so that they share commits. Raises Unavailable."""
        decisions = await asyncio.gather(
            *[self._writer.submit_nowait(material_id, ExpireLease()) for material_id in material_ids],
            return_exceptions=True,
        )
        for material_id, decision in zip(material_ids, decisions, strict=True):
            if isinstance(decision, UnknownMaterial):
                continue  # forgotten meanwhile
            if isinstance(decision, BaseException):
                raise decision
            if decision.verdict is Verdict.APPLIED:
                self._expired.inc()
                log.warning("lease expired", material_id=str(material_id))
