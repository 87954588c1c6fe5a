"""Whether an upload may begin: asked before its bytes are taken, so that what cannot be recorded is not sent in vain."""

from __future__ import annotations

import time
from collections.abc import Callable

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

    async def check(self, owner_id: str, request_id: str) -> None:
        """Returns when the upload may begin. Raises Unavailable TOO_MANY_UNFINISHED, and DATABASE_UNAVAILABLE."""
        if self._writes.holds:
            raise _not_writable()
        row = await self._postgres.fetchrow(queue_store.ADMISSION, owner_id, request_id, self._max_unfinished)
        assert row is not None, "an aggregate is always one row"
        if row["read_only"]:
            raise _not_writable()
        if row["unfinished"] >= self._max_unfinished and not row["recorded"]:
            raise Unavailable(
                errors_pb2.ERROR_REASON_TOO_MANY_UNFINISHED,
                f"{self._max_unfinished} materials of this owner wait or are being read; wait until some are done, or cancel some",
                retry_after=UNFINISHED_RETRY_SECONDS,
            )
        # Last: the one that is let through to try must be one that goes on to write.
        if not self._writes.admits():
            raise _not_writable()


def _not_writable() -> Unavailable:
    return Unavailable(
        errors_pb2.ERROR_REASON_DATABASE_UNAVAILABLE,
        "the record cannot be written at the moment; try again shortly",
        retry_after=HOLD_SECONDS,
    )
