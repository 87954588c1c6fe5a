"""What operators see and do: the queue as one picture, the pause of all processing, and the processors that tell of themselves.

Nothing of it is kept in the process: whatever one replica is told, every other one answers.
"""

from __future__ import annotations

import asyncpg
from materials.v1 import record_service_pb2
from materials.v1 import status_service_pb2 as pb

from servicekit.postgres import Postgres
from servicekit.timestamps import timestamp
from status_service import queue_store

#: A processor that has said nothing for this long is not shown.
SEEN_SECONDS = 15.0


class Operating:
    """The queue, pauses and heartbeats in the database. Each call raises Unavailable when that is away."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def pause(self, operator: str, reason: str) -> pb.ProcessingPause:
        """Pauses; answers the pause that stands, which may be an older one."""
        row = await self._postgres.fetchrow(queue_store.PAUSE, operator, reason)
        assert row is not None, "inserted, or updated to what it was"
        return _pause(row)

    async def resume(self, operator: str) -> pb.ProcessingPause | None:
        """Ends the pause that stands, and answers it."""
        row = await self._postgres.fetchrow(queue_store.RESUME, operator)
        return _pause(row) if row is not None else None

    async def heartbeat(self, report: record_service_pb2.ReportProcessorRequest) -> bool:
        """Records how a processor is, or that it is no more. Returns whether processing is paused."""
        if report.stopping:
            row = await self._postgres.fetchrow(queue_store.SIGN_OFF, report.worker_id)
        else:
            row = await self._postgres.fetchrow(
                queue_store.HEARTBEAT, report.worker_id, report.slots, report.busy, report.brain
            )
        assert row is not None
        return bool(row["paused"])

    async def queue(self) -> pb.GetQueueResponse:
        """Everything as of one moment: one snapshot for all statements."""
        async with (
            self._postgres.connection() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            unfinished = await connection.fetchrow(queue_store.UNFINISHED)
            oldest = await connection.fetchrow(queue_store.OLDEST_WAITING)
            purging = await connection.fetchval(queue_store.PURGING)
            failed = await connection.fetch(queue_store.FAILED)
            processors = await connection.fetch(queue_store.PROCESSORS, SEEN_SECONDS)
            pause = await connection.fetchrow(queue_store.STANDING_PAUSE)
        assert unfinished is not None, "an aggregate is always one row"
        response = pb.GetQueueResponse(
            waiting=unfinished["waiting"],
            delayed=unfinished["delayed"],
            unannounced=unfinished["unannounced"],
            working=unfinished["working"],
            purging=purging,
            failed=[pb.FailedCount(**row) for row in failed],
            processors=map(_processor, processors),
            pause=_pause(pause) if pause is not None else None,
        )
        if oldest is not None:
            response.oldest_waiting_material_id = str(oldest["material_id"])
            response.oldest_waiting_since.CopyFrom(timestamp(oldest["created_at"]))
        return response


def _pause(row: asyncpg.Record) -> pb.ProcessingPause:
    return pb.ProcessingPause(paused_by=row["paused_by"], reason=row["reason"], paused_at=timestamp(row["paused_at"]))


def _processor(row: asyncpg.Record) -> pb.ProcessorReplica:
    return pb.ProcessorReplica(
        worker_id=row["worker_id"],
        slots=row["slots"],
        busy=row["busy"],
        brain=row["breaker"],
        brain_since=timestamp(row["breaker_since"]),
        seen_at=timestamp(row["seen_at"]),
    )
