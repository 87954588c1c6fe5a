"""Whether an upload may begin: asked before its bytes are taken, so that what cannot be recorded is not sent in vain."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from materials.v1 import errors_pb2

from servicekit.errors import Unavailable
from servicekit.postgres import Postgres
from status_service import queue_store

HOLD_SECONDS = 2.0
UNFINISHED_RETRY_SECONDS = 5.0


class WriteHealth:
    """What the last commit tells of the next one: a database that answers reads may be read-only, or its disk full. `clock` is monotonic, in seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._hold_until: float | None = None

    def committed(self) -> None:
        """The record can be written."""
        self._hold_until = None

    def failed(self) -> None:
        """A commit failed, and not for what was in it."""
        self._hold_until = self._clock() + HOLD_SECONDS

    @property
    def holds(self) -> bool:
        """Whether the last failure is too young for another try."""
        return self._hold_until is not None and self._clock() < self._hold_until

    def admits(self) -> bool:
        """Whether to go on: always, or once each HOLD_SECONDS after a failure, to try, until a commit succeeds."""
        if self.holds:
            return False
        if self._hold_until is not None:
            self._hold_until = self._clock() + HOLD_SECONDS
        return True


class Admission:
    """Admits uploads of owners who have not too many unfinished materials, while the record can be written."""

    def __init__(self, postgres: Postgres, writes: WriteHealth, *, max_unfinished: int) -> None:
        self._postgres, self._writes, self._max_unfinished = postgres, writes, max_unfinished

    async def check(self, uploads: Sequence[tuple[str, str]]) -> list[Unavailable | None]:
        """For each upload, of an owner and with a request id that may be empty: None when it may begin, else TOO_MANY_UNFINISHED.

        Raises Unavailable DATABASE_UNAVAILABLE when none may.
        """
        if self._writes.holds:
            raise _not_writable()
        owners, request_ids = [owner for owner, _ in uploads], [request_id for _, request_id in uploads]
        rows = await self._postgres.fetch(queue_store.ADMISSION, owners, request_ids, self._max_unfinished)
        if any(row["read_only"] for row in rows):
            raise _not_writable()
        refusals = [
            self._too_many() if row["unfinished"] >= self._max_unfinished and not row["recorded"] else None
            for row in rows
        ]
        # Last: the one that is let through to try must be one that goes on to write.
        if None in refusals and not self._writes.admits():
            raise _not_writable()
        return refusals

    def _too_many(self) -> Unavailable:
        return Unavailable(
            errors_pb2.ERROR_REASON_TOO_MANY_UNFINISHED,
            f"{self._max_unfinished} materials of this owner wait or are being read; wait until some are done, or cancel some",
            retry_after=UNFINISHED_RETRY_SECONDS,
        )


def _not_writable() -> Unavailable:
    return Unavailable(
        errors_pb2.ERROR_REASON_DATABASE_UNAVAILABLE,
        "the record cannot be written at the moment; try again shortly",
        retry_after=HOLD_SECONDS,
    )
