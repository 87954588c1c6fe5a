"""Many FAILED materials back to PENDING at once, each as if it had been retried by itself: with its history, its watchers and its announcement."""

from __future__ import annotations

import asyncio

from materials.v1 import errors_pb2, material_pb2
from materials.v1 import status_service_pb2 as pb

from servicekit.errors import ServiceError
from servicekit.identity import Caller
from servicekit.postgres import Postgres
from status_service import queue_store
from status_service.events import Retry
from status_service.record_writer import RecordWriter
from status_service.state_machine import Verdict


class BulkRetry:
    """Chooses by the index, retries through the writer."""

    def __init__(self, postgres: Postgres, writer: RecordWriter) -> None:
        self._postgres, self._writer = postgres, writer

    async def retry(
        self, caller: Caller, course_id: str, reason: material_pb2.FailureReason.ValueType, max_count: int
    ) -> pb.RetryFailedMaterialsResponse:
        """Retries the oldest ones. Raises COURSE_WRITE_DENIED and Unavailable; what was retried until then stays so."""
        scope, key = _scope(caller, course_id)
        rows = await self._postgres.fetch(queue_store.retryable(scope), key, reason, max_count)
        event = Retry(caller.subject, _message(reason))
        # All at once, so that they share commits.
        decisions = await asyncio.gather(*[self._writer.submit_nowait(row["material_id"], event) for row in rows])
        left = await self._postgres.fetchrow(queue_store.still_failed(scope), key, reason)
        assert left is not None, "an aggregate is always one row"
        return pb.RetryFailedMaterialsResponse(
            retried=sum(decision.verdict is Verdict.APPLIED for decision in decisions),
            remaining=left["remaining"],
            not_retryable=left["not_retryable"],
        )


def _scope(caller: Caller, course_id: str) -> tuple[str, str | None]:
    if not course_id:
        return (queue_store.EVERYWHERE, None) if caller.is_operator else (queue_store.OF_OWNER, caller.subject)
    if not caller.may_write_course(course_id):
        raise ServiceError(
            errors_pb2.ERROR_REASON_COURSE_WRITE_DENIED, "only an editor of the course may retry what others put there"
        )
    return queue_store.IN_COURSE, course_id


def _message(reason: material_pb2.FailureReason.ValueType) -> str:
    if not reason:
        return "retried with all others that failed"
    name = material_pb2.FailureReason.Name(reason).removeprefix("FAILURE_REASON_")
    return f"retried with all others that failed for {name}"
