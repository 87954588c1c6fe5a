"""The reaper takes no lease while workers may not have been heard: at the start, and after it had to wait itself."""

from __future__ import annotations

import asyncio
from typing import Any, cast
from uuid import UUID, uuid4

from prometheus_client import CollectorRegistry

from servicekit.postgres import Postgres
from status_service.lease_reaper import BLIND_SECONDS, LEAST_HOLD_SECONDS, MOST_HOLDS, LeaseReaper
from status_service.metrics import StatusMetrics
from status_service.record_writer import RecordWriter
from status_service.state_machine import Decision, Policy, Verdict

LEASE = 4.0
HOLD = LEAST_HOLD_SECONDS


class Clock:
    """Seconds, as the test says."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class LateDatabase:
    """One lease has always run out; the query is answered after `seconds`."""

    def __init__(self, clock: Clock, material_id: UUID) -> None:
        self._clock, self._material_id = clock, material_id
        self.seconds = 0.0

    async def fetch(self, query: str, *arguments: object) -> list[dict[str, UUID]]:
        self._clock.now += self.seconds
        return [{"material_id": self._material_id}]


class Ended:
    """Notes whose lease is asked to end, and answers that somebody was quicker."""

    def __init__(self) -> None:
        self.material_ids: list[UUID] = []

    def submit_nowait(self, material_id: UUID, event: object) -> asyncio.Future[Decision]:
        self.material_ids.append(material_id)
        done = asyncio.get_running_loop().create_future()
        done.set_result(Decision(Verdict.REPEATED, cast(Any, None)))
        return done


class Reaper:
    """A reaper that looks each second, of a clock of its own."""

    def __init__(self) -> None:
        self.clock, self._ended = Clock(), Ended()
        self.database = LateDatabase(self.clock, uuid4())
        self._reaper = LeaseReaper(
            cast(Postgres, self.database),
            cast(RecordWriter, self._ended),
            Policy(lease=LEASE),
            StatusMetrics(CollectorRegistry()),
            self.clock,
        )

    async def look(self) -> bool:
        """Whether a second later the lease was ended."""
        self.clock.now += 1.0
        before = len(self._ended.material_ids)
        await self._reaper.look()
        return len(self._ended.material_ids) > before

    async def until_it_takes(self) -> float:
        """Seconds until a lease is ended again."""
        began = self.clock.now
        while not await self.look():
            assert self.clock.now < began + 100
        return self.clock.now - began


async def test_it_holds_still_at_the_start() -> None:
    assert await Reaper().until_it_takes() == HOLD


async def test_it_holds_still_after_its_query_had_to_wait() -> None:
    reaper = Reaper()
    await reaper.until_it_takes()
    reaper.database.seconds = BLIND_SECONDS
    assert not await reaper.look(), "what it saw is from when nobody could renew"
    reaper.database.seconds = 0.0
    assert await reaper.until_it_takes() == HOLD


async def test_it_holds_still_after_it_was_stopped_for_long() -> None:
    reaper = Reaper()
    await reaper.until_it_takes()
    reaper.clock.now += BLIND_SECONDS
    assert not await reaper.look()


async def test_a_query_that_is_merely_slow_is_no_reason() -> None:
    reaper = Reaper()
    await reaper.until_it_takes()
    reaper.database.seconds = BLIND_SECONDS - 1.0
    assert await reaper.look()


async def test_it_holds_still_after_waiting_even_at_the_start() -> None:
    reaper = Reaper()
    reaper.database.seconds = 2 * HOLD
    assert not await reaper.look()
    reaper.database.seconds = 0.0
    assert await reaper.until_it_takes() == HOLD


async def test_a_database_that_is_slow_for_long_does_not_keep_leases_for_ever() -> None:
    reaper = Reaper()
    reaper.database.seconds = BLIND_SECONDS
    for _ in range(3):
        assert HOLD < await reaper.until_it_takes() < (MOST_HOLDS + 3) * HOLD
