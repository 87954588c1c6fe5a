"""What the record writer has at hand, so that a report costs one round trip to the database: leased materials as this replica saw them last, and the time.

Both may be outdated, and are decided on all the same (optimistic concurrency control): the write names the version of each row, and the time of the decision,
and writes nothing where a row is another by now or the time is. Then the database is asked. So it is where a decision writes nothing, such as that a
report is stale: no write would check that. Nor are claims decided on what is at hand, since nothing here knows of a pause.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable
from datetime import UTC, datetime
from uuid import UUID

from status_service.batch_store import Reading
from status_service.record import PROCESSING, Record

MOST_LEASES = 2_000


class DatabaseClock:
    """The database's time, known from its answers. Each was given between two moments of our own clock, so the database's is ahead of ours by no less than if
    that was at the second, and by no more than if it was at the first. `monotonic` counts seconds."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._least, self._most = float("-inf"), float("inf")

    def told(self, now: datetime, sent: float) -> None:
        """The database has just said that it was `now`; the question was sent at that moment of our own clock."""
        least, most = now.timestamp() - self._monotonic(), now.timestamp() - sent
        self._least, self._most = max(self._least, least), min(self._most, most)
        if self._least > self._most:  # one of the two was set, or goes faster, or it is another server
            self._least, self._most = least, most

    def now(self) -> datetime:
        """What it is by now, right to half of the fastest answer's round trip. Raises ValueError where nothing was told yet."""
        return datetime.fromtimestamp(self._monotonic() + (self._least + self._most) / 2, UTC)


class AtHand:
    """The leased materials seen last, MOST_LEASES of them."""

    def __init__(self, clock: DatabaseClock) -> None:
        self._clock = clock
        self._records: dict[UUID, Record] = {}

    def take(self, material_ids: Collection[UUID]) -> Reading | None:
        """As if these had been read just now; None where one of them is not at hand. What is taken is at hand again when it is kept again, so not if its
        write failed or wrote nothing."""
        if not all(map(self._records.__contains__, material_ids)):
            return None
        records = {material_id: self._records.pop(material_id) for material_id in material_ids}
        return Reading(self._clock.now(), paused=False, records=records, asked=False)

    def keep(self, records: Iterable[Record]) -> None:
        """Takes note of records as they are in the database now."""
        for record in records:
            self._records.pop(record.material_id, None)
            if record.status == PROCESSING and record.deleted_at is None:
                self._records[record.material_id] = record
        while len(self._records) > MOST_LEASES:
            del self._records[next(iter(self._records))]
