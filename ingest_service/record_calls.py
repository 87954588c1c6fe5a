"""What Ingest asks of the record for each upload: may it begin, and the record itself. Uploads at the same time share the calls.

A Status of before the gathered calls, in the middle of a rolling upgrade, admits everybody and makes the records one by one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import grpc
import structlog
from materials.v1 import errors_pb2, record_service_pb2_grpc
from materials.v1 import record_service_pb2 as pb

from ingest_service.gathered_calls import GatheredCalls
from servicekit.channels import Peer
from servicekit.errors import ServiceError, Unavailable, reason_of_call

log = structlog.get_logger()

ADMIT_DEADLINE_SECONDS = 5.0
CREATE_DEADLINE_SECONDS = 15.0
#: Refusals of the record that are the uploader's to know; others mean that it cannot be reached.
_TOLD = (
    errors_pb2.ERROR_REASON_TOO_MANY_UNFINISHED,
    errors_pb2.ERROR_REASON_REQUEST_ID_REUSED,
    errors_pb2.ERROR_REASON_FIELD_INVALID,
)


class RecordCalls:
    """A part. What cannot be asked or answered is Unavailable RECORD_UNAVAILABLE: a record may have been made then, and its answer lost."""

    def __init__(self, status: Peer) -> None:
        self._status = status
        self._admissions = GatheredCalls(self._admit, full=record_unavailable)
        self._creations = GatheredCalls(self._create, full=record_unavailable)

    async def start(self, tasks: asyncio.TaskGroup) -> None:
        """Begins to send."""
        await self._admissions.start(tasks)
        await self._creations.start(tasks)

    async def stop(self) -> None:
        """Ends."""
        await self._admissions.stop()
        await self._creations.stop()

    async def admit(self, owner_id: str, request_id: str) -> None:
        """Returns when the upload may begin. Raises Unavailable TOO_MANY_UNFINISHED, RECORD_UNAVAILABLE."""
        await self._admissions.ask(pb.AdmitUploadRequest(owner_id=owner_id, request_id=request_id))

    async def create(self, request: pb.CreateMaterialRequest) -> pb.CreateMaterialResponse:
        """The record. Raises ServiceError REQUEST_ID_REUSED, FIELD_INVALID: nothing was made; and Unavailable RECORD_UNAVAILABLE."""
        return await self._creations.ask(request)

    async def _admit(self, uploads: Sequence[pb.AdmitUploadRequest]) -> list[ServiceError | None]:
        try:
            response = await self._stub().AdmitUploads(
                pb.AdmitUploadsRequest(uploads=uploads),
                metadata=self._status.metadata(),
                timeout=ADMIT_DEADLINE_SECONDS,
            )
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.UNIMPLEMENTED:
                return [None] * len(uploads)
            raise _not_reached(error) from error
        return [_refusal(refusal) if refusal.reason else None for refusal in response.refusals]

    async def _create(
        self, materials: Sequence[pb.CreateMaterialRequest]
    ) -> list[pb.CreateMaterialResponse | ServiceError]:
        try:
            response = await self._stub().CreateMaterials(
                pb.CreateMaterialsRequest(materials=materials),
                metadata=self._status.metadata(),
                timeout=CREATE_DEADLINE_SECONDS,
            )
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.UNIMPLEMENTED:
                return await asyncio.gather(*map(self._create_alone, materials))
            raise _not_reached(error) from error
        return [
            outcome.created if outcome.HasField("created") else _refusal(outcome.refusal)
            for outcome in response.outcomes
        ]

    async def _create_alone(self, request: pb.CreateMaterialRequest) -> pb.CreateMaterialResponse | ServiceError:
        try:
            return await self._stub().CreateMaterial(
                request, metadata=self._status.metadata(), timeout=CREATE_DEADLINE_SECONDS
            )
        except grpc.aio.AioRpcError as error:
            reason = getattr(errors_pb2, f"ERROR_REASON_{reason_of_call(error)}", None)
            return ServiceError(reason, error.details() or "") if reason in _TOLD else _not_reached(error)

    def _stub(self) -> record_service_pb2_grpc.RecordServiceAsyncStub:
        return record_service_pb2_grpc.RecordServiceStub(self._status.channel)


def record_unavailable() -> Unavailable:
    """RECORD_UNAVAILABLE, to a client that uploads."""
    return Unavailable(
        errors_pb2.ERROR_REASON_RECORD_UNAVAILABLE,
        "the record of materials cannot be reached; try again with the same request id",
    )


def _refusal(refusal: pb.RecordRefusal) -> ServiceError:
    if refusal.reason not in _TOLD:
        return record_unavailable()
    if refusal.HasField("retry_delay"):
        return Unavailable(refusal.reason, refusal.message, retry_after=refusal.retry_delay.ToMilliseconds() / 1000)
    return ServiceError(refusal.reason, refusal.message)


def _not_reached(error: grpc.aio.AioRpcError) -> Unavailable:
    log.warning("record not reached", code=error.code().name, reason=reason_of_call(error), details=error.details())
    return record_unavailable()
