"""StatusService over gRPC: translates, checks who may, decides nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any
from uuid import UUID

from materials.v1 import errors_pb2, material_pb2, status_service_pb2_grpc
from materials.v1 import status_service_pb2 as pb

from servicekit import validation
from servicekit.errors import FieldInvalid, ServiceError
from servicekit.identity import Caller, current_caller
from servicekit.opaque_tokens import OpaqueTokens
from servicekit.postgres import Postgres
from servicekit.response_headers import send_response_headers
from servicekit.timestamps import timestamp
from status_service import record_store
from status_service.bulk_retry import BulkRetry
from status_service.events import Cancel, Delete, Event, Retry
from status_service.material_view import to_material
from status_service.operating import Operating
from status_service.record import Record
from status_service.record_writer import RecordWriter
from status_service.state_machine import Verdict
from status_service.watching import Watching, find, not_found, visible

DEFAULT_PAGE, MAX_PAGE = 50, 1_000
DEFAULT_HISTORY = 100
MAX_BATCH = 1_000
MAX_REASON_CHARACTERS = 500


class StatusApi(status_service_pb2_grpc.StatusServiceServicer):
    """Everybody's view of the record."""

    def __init__(
        self,
        postgres: Postgres,
        writer: RecordWriter,
        watching: Watching,
        tokens: OpaqueTokens,
        bulk_retry: BulkRetry,
        operating: Operating,
    ) -> None:
        self._postgres, self._writer, self._watching, self._tokens = postgres, writer, watching, tokens
        self._bulk_retry, self._operating = bulk_retry, operating

    async def GetMaterial(self, request: pb.GetMaterialRequest, context: Any) -> pb.GetMaterialResponse:
        """See the contract."""
        return pb.GetMaterialResponse(material=to_material(await self._visible(request.material_id)))

    async def BatchGetMaterials(
        self, request: pb.BatchGetMaterialsRequest, context: Any
    ) -> pb.BatchGetMaterialsResponse:
        """See the contract."""
        if len(request.material_ids) > MAX_BATCH:
            raise FieldInvalid("material_ids", f"must have at most {MAX_BATCH} items")
        ids = [parsed for item in request.material_ids if (parsed := validation.parse_uuid(item)) is not None]
        caller = current_caller()
        records = map(record_store.to_record, await self._postgres.fetch(record_store.GET, ids))
        return pb.BatchGetMaterialsResponse(
            materials=[
                to_material(record)
                for record in records
                if caller.may_read(owner_id=record.owner_id, course_id=record.course_id)
            ]
        )

    async def ListMaterials(self, request: pb.ListMaterialsRequest, context: Any) -> pb.ListMaterialsResponse:
        """See the contract."""
        caller = current_caller()
        if request.course_id:
            validation.course_id(request.course_id)
        if not set(request.processing_statuses) <= set(material_pb2.ProcessingStatus.values()):
            raise FieldInvalid("processing_statuses", "has a state that this service does not know")
        _check_failure_reason(request.failure_reason)
        size = _limit("page_size", request.page_size, DEFAULT_PAGE)
        query: dict[str, Any] = {
            "list": request.course_id, "status": sorted(set(request.processing_statuses)),
            "reason": request.failure_reason, "caller": caller.subject,
        }  # fmt: skip
        after_time, after_id = self._position(request.page_token, query)
        arguments = [after_time, after_id, query["status"], request.failure_reason, size + 1]
        if not request.course_id:
            rows = await self._postgres.fetch(record_store.LIST_OWNER, caller.subject, *arguments)
        elif caller.may_read_course(request.course_id):
            rows = await self._postgres.fetch(record_store.LIST_COURSE, request.course_id, *arguments)
        else:
            rows = await self._postgres.fetch(
                record_store.LIST_OWNER_IN_COURSE, caller.subject, *arguments, request.course_id
            )
        records = [record_store.to_record(row) for row in rows]
        token = ""
        if len(records) > size:
            records = records[:size]
            last = records[-1]
            token = self._tokens.seal(query | {"time": last.created_at.isoformat(), "id": str(last.material_id)})
        return pb.ListMaterialsResponse(materials=map(to_material, records), next_page_token=token)

    async def WatchMaterial(
        self, request: pb.WatchMaterialRequest, context: Any
    ) -> AsyncIterator[pb.WatchMaterialResponse]:
        """See the contract."""
        record = await self._visible(request.material_id)
        async with self._watching.material(current_caller(), record, request.after_revision) as responses:
            await send_response_headers(context)
            async for response in responses:
                yield response

    async def WatchCourse(self, request: pb.WatchCourseRequest, context: Any) -> AsyncIterator[pb.WatchCourseResponse]:
        """See the contract."""
        validation.course_id(request.course_id)
        async with self._watching.course(current_caller(), request.course_id, request.resume_token) as responses:
            await send_response_headers(context)
            async for response in responses:
                yield response

    async def RetryMaterial(self, request: pb.RetryMaterialRequest, context: Any) -> pb.RetryMaterialResponse:
        """See the contract."""
        caller, record = await self._writable(request.material_id)
        return pb.RetryMaterialResponse(material=await self._change(record, Retry(caller.subject)))

    async def CancelMaterial(self, request: pb.CancelMaterialRequest, context: Any) -> pb.CancelMaterialResponse:
        """See the contract."""
        caller, record = await self._writable(request.material_id)
        return pb.CancelMaterialResponse(material=await self._change(record, Cancel(caller.subject)))

    async def DeleteMaterial(self, request: pb.DeleteMaterialRequest, context: Any) -> pb.DeleteMaterialResponse:
        """See the contract."""
        caller, record = await self._writable(request.material_id)
        await self._change(record, Delete(caller.subject))
        return pb.DeleteMaterialResponse()

    async def ListMaterialTransitions(
        self, request: pb.ListMaterialTransitionsRequest, context: Any
    ) -> pb.ListMaterialTransitionsResponse:
        """See the contract."""
        record = await self._visible(request.material_id)
        size = _limit("page_size", request.page_size, DEFAULT_HISTORY)
        query: dict[str, Any] = {"history": request.material_id}
        after = 0
        if request.page_token:
            after = int(self._open(request.page_token, query)["after"])
        rows = await self._postgres.fetch(record_store.TRANSITIONS, record.material_id, after, size + 1)
        transitions = [
            material_pb2.MaterialTransition(
                material_id=request.material_id,
                revision=row["revision"],
                from_status=row["from_status"],
                to_status=row["to_status"],
                event=row["event"],
                actor=row["actor"],
                failure_reason=row["failure_reason"],
                message=row["message"],
                attempt=row["attempt"],
                created_at=timestamp(row["created_at"]),
            )
            for row in rows[:size]
        ]
        token = self._tokens.seal(query | {"after": transitions[-1].revision}) if len(rows) > size else ""
        return pb.ListMaterialTransitionsResponse(transitions=transitions, next_page_token=token)

    async def RetryFailedMaterials(
        self, request: pb.RetryFailedMaterialsRequest, context: Any
    ) -> pb.RetryFailedMaterialsResponse:
        """See the contract."""
        if request.course_id:
            validation.course_id(request.course_id)
        _check_failure_reason(request.failure_reason)
        count = _limit("max_count", request.max_count, MAX_PAGE)
        return await self._bulk_retry.retry(current_caller(), request.course_id, request.failure_reason, count)

    async def GetQueue(self, request: pb.GetQueueRequest, context: Any) -> pb.GetQueueResponse:
        """See the contract."""
        current_caller().require_operator()
        return await self._operating.queue()

    async def PauseProcessing(self, request: pb.PauseProcessingRequest, context: Any) -> pb.PauseProcessingResponse:
        """See the contract."""
        caller = current_caller()
        caller.require_operator()
        if request.reason:
            validation.visible_text("reason", request.reason, max_length=MAX_REASON_CHARACTERS)
        return pb.PauseProcessingResponse(pause=await self._operating.pause(caller.subject, request.reason))

    async def ResumeProcessing(self, request: pb.ResumeProcessingRequest, context: Any) -> pb.ResumeProcessingResponse:
        """See the contract."""
        caller = current_caller()
        caller.require_operator()
        return pb.ResumeProcessingResponse(pause=await self._operating.resume(caller.subject))

    async def _visible(self, material_id: str) -> Record:
        return visible(await find(self._postgres, validation.parse_uuid(material_id)), current_caller())

    async def _writable(self, material_id: str) -> tuple[Caller, Record]:
        caller = current_caller()
        record = await self._visible(material_id)
        if not caller.may_write(owner_id=record.owner_id, course_id=record.course_id):
            raise ServiceError(
                errors_pb2.ERROR_REASON_COURSE_WRITE_DENIED,
                "only the owner or an editor of the course may change this material",
            )
        return caller, record

    async def _change(self, record: Record, event: Event) -> material_pb2.Material:
        decision = await self._writer.submit(record.material_id, event)
        match decision.verdict:
            case Verdict.NOT_FOUND:
                raise not_found()
            case Verdict.NOT_RETRYABLE:
                raise ServiceError(
                    errors_pb2.ERROR_REASON_MATERIAL_NOT_RETRYABLE,
                    f"another attempt cannot mend this: {decision.record.error_message}; upload a mended file",
                )
            case _:
                return to_material(decision.record)

    def _position(self, token: str, query: dict[str, Any]) -> tuple[datetime | None, UUID | None]:
        if not token:
            return None, None
        content = self._open(token, query)
        return datetime.fromisoformat(content["time"]), UUID(content["id"])

    def _open(self, token: str, query: dict[str, Any]) -> dict[str, Any]:
        content = self._tokens.open(token)
        if content is None or any(content.get(key) != value for key, value in query.items()):
            raise ServiceError(
                errors_pb2.ERROR_REASON_PAGE_TOKEN_INVALID,
                "this page token belongs to another caller or query; start again without one",
            )
        return content


def _limit(field: str, asked: int, default: int) -> int:
    if asked < 0:
        raise FieldInvalid(field, "must not be negative")
    return min(asked or default, MAX_PAGE)


def _check_failure_reason(reason: int) -> None:
    if reason not in material_pb2.FailureReason.values():
        raise FieldInvalid("failure_reason", "is none that this service knows")
