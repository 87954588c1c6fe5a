"""The outbox: which events are due to be published, and to whom they are leased.

The rows of `materials` are the outbox. A row is due when it waits (PENDING and its time has come, or deleted and not purged) and
* it was never announced since it began to wait, and no announcer holds it; or
* the stream cannot deliver its announcement any more: the stream is another incarnation than the one that acknowledged it, or its last sequence lies below the
  acknowledged one (its directory was set back), or it has given that sequence to another announcement since; or
* it was announced long ago and nobody has come for it: whatever became of the message, another one is cheap, and a claim of what is claimed already is a no-op.

Handing out an announcement gives it a new number, part of the message id, so that the broker's duplicate window can never swallow it. An announcer that
dies with announcements in hand loses them to the next one after a few seconds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from uuid import UUID

import structlog
from google.protobuf.timestamp_pb2 import Timestamp
from materials.v1 import record_service_pb2 as pb

from servicekit.postgres import Postgres
from servicekit.timestamps import timestamp
from status_service import record_store
from status_service.record import PENDING, Record
from status_service.record_writer import Change
from status_service.state_machine import Policy

log = structlog.get_logger()

#: A waiting announcer looks at least this often: some rows become due by time alone.
LOOK_SECONDS = 1.0
#: An announcement younger than this is not held against a stream's position, which was read a moment before: what other announcers have published since
#: would all seem lost.
SETTLE_SECONDS = 3.0
#: An announcement this old that nobody has claimed is repeated.
REPEAT_SECONDS = 600.0


class Announcing:
    """Hands out due announcements and records what was published."""

    def __init__(self, postgres: Postgres, policy: Policy) -> None:
        self._postgres, self._policy = postgres, policy
        self._due = asyncio.Event()
        self._draining = asyncio.Event()

    def drain(self) -> None:
        """Answers waiting announcers at once."""
        self._draining.set()
        self._due.set()

    def committed(self, changes: Sequence[Change]) -> None:
        """Wakes waiting announcers when a commit made something due. A new material is not: its Ingest publishes it."""
        if any(
            change.record.announced_at is None
            and change.record.announce_lease_expires_at is None
            and (change.record.status == PENDING or change.record.deleted_at is not None)
            for change in changes
        ):
            self._due.set()

    async def lease(self, max_count: int, wait: float, position: pb.StreamPosition) -> list[pb.Announcement]:
        """Up to `max_count` announcements, leased; waits up to `wait` seconds for the first. Raises Unavailable."""
        deadline = asyncio.get_running_loop().time() + wait
        # Once, at the beginning: the position grows old while the call waits.
        rows = await self._postgres.fetch(
            record_store.LEASE_LOST,
            max_count,
            self._policy.announce_lease,
            position.incarnation,
            position.last_sequence,
            REPEAT_SECONDS,
            SETTLE_SECONDS,
        )
        while True:
            self._due.clear()
            if not rows:
                rows = await self._postgres.fetch(
                    record_store.LEASE_UNANNOUNCED, max_count, self._policy.announce_lease
                )
            remaining = deadline - asyncio.get_running_loop().time()
            if rows or remaining <= 0 or self._draining.is_set():
                return [to_announcement(record_store.to_record(row)) for row in rows]
            try:
                async with asyncio.timeout(min(LOOK_SECONDS, remaining)):
                    await self._due.wait()
            except TimeoutError:
                pass

    async def mark(self, published: Sequence[pb.PublishedAnnouncement]) -> None:
        """Records what the stream acknowledged; outdated numbers match no row. Raises Unavailable."""
        ids = [UUID(item.material_id) for item in published]
        incarnations = [item.position.incarnation for item in published]
        sequences = [item.position.last_sequence for item in published]
        rows = await self._postgres.fetch(
            record_store.MARK_ANNOUNCED, ids, [item.number for item in published], incarnations, sequences
        )
        if lost := sum(row["lost"] for row in rows):
            log.warning("the stream was set back; what it lost is announced again", count=lost)
            self._due.set()


def to_announcement(record: Record) -> pb.Announcement:
    """The event that is due for a record."""
    deleted = record.deleted_at is not None
    moment: Timestamp = timestamp(record.deleted_at or record.created_at)
    return pb.Announcement(
        kind=pb.ANNOUNCEMENT_KIND_DELETED if deleted else pb.ANNOUNCEMENT_KIND_UPLOADED,
        material_id=str(record.material_id),
        number=record.announcement,
        course_id=record.course_id,
        owner_id=record.owner_id,
        media_type=record.media_type,
        file_size=record.file_size,
        sha256=record.sha256,
        traceparent=record.traceparent,
        occurred_at=moment,
    )
