"""RecordService over gRPC, for peers: translates, decides nothing."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import structlog
from google.protobuf.duration_pb2 import Duration
from materials.v1 import errors_pb2, record_service_pb2_grpc
from materials.v1 import record_service_pb2 as pb

from servicekit import validation
from servicekit.errors import FieldInvalid, ServiceError, Unavailable
from servicekit.timestamps import timestamp
from servicekit.tracing import context_of, current_links, span
from status_service.admission import Admission
from status_service.announcing import Announcing, to_announcement
from status_service.change_feed import ChangeFeed
from status_service.claiming import Claiming
from status_service.events import Claim, Purged
from status_service.material_view import to_material
from status_service.operating import Operating
from status_service.record import OBJECT_PURGED, PASSAGES_PURGED, Record
from status_service.record_writer import RecordWriter, UnknownMaterial
from status_service.report_stream import ReportStream
from status_service.state_machine import Decision, Policy, Verdict
from status_service.ticket_store import Ticket, TicketStore

log = structlog.get_logger()

_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_REFUSALS = {
    Verdict.NOT_FOUND: pb.CLAIM_REFUSAL_NOT_FOUND,
    Verdict.LEASED: pb.CLAIM_REFUSAL_LEASED,
    Verdict.ENDED: pb.CLAIM_REFUSAL_ENDED,
    Verdict.NOT_DUE: pb.CLAIM_REFUSAL_NOT_DUE,
    Verdict.PAUSED: pb.CLAIM_REFUSAL_PAUSED,
}
SHA256_BYTES = 32
MAX_AT_ONCE = 200
MAX_TICKET_USE = 2_048
MAX_TICKET_BYTES = 16 * 1024
MAX_TICKET_SECONDS = 24 * 3600
_PARTS = {pb.PURGED_PART_OBJECT: OBJECT_PURGED, pb.PURGED_PART_PASSAGES: PASSAGES_PURGED}


class RecordApi(record_service_pb2_grpc.RecordServiceServicer):
    """The record as peers change it."""

    def __init__(
        self,
        writer: RecordWriter,
        claiming: Claiming,
        announcing: Announcing,
        feed: ChangeFeed,
        policy: Policy,
        admission: Admission,
        operating: Operating,
        tickets: TicketStore,
    ) -> None:
        self._writer, self._announcing, self._feed, self._policy = writer, announcing, feed, policy
        self._claiming = claiming
        self._admission, self._operating, self._tickets = admission, operating, tickets
        self._draining = asyncio.Event()

    def drain(self) -> None:
        """Ends the report streams once what they brought is acknowledged: workers go on at another replica."""
        self._draining.set()

    async def AdmitUpload(self, request: pb.AdmitUploadRequest, context: Any) -> pb.AdmitUploadResponse:
        """See the contract."""
        [refusal] = await self._admission.check([_asked(request)])
        if refusal is not None:
            raise refusal
        return pb.AdmitUploadResponse()

    async def AdmitUploads(self, request: pb.AdmitUploadsRequest, context: Any) -> pb.AdmitUploadsResponse:
        """See the contract."""
        if not 1 <= len(request.uploads) <= MAX_AT_ONCE:
            raise FieldInvalid("uploads", f"must have 1 to {MAX_AT_ONCE} items")
        refusals = await self._admission.check([_asked(upload) for upload in request.uploads])
        return pb.AdmitUploadsResponse(
            refusals=[pb.RecordRefusal() if refusal is None else _to_refusal(refusal) for refusal in refusals]
        )

    async def CreateMaterial(self, request: pb.CreateMaterialRequest, context: Any) -> pb.CreateMaterialResponse:
        """See the contract."""
        return _to_created(request, await self._writer.create(_new_record(request)))

    async def CreateMaterials(self, request: pb.CreateMaterialsRequest, context: Any) -> pb.CreateMaterialsResponse:
        """See the contract."""
        if not 1 <= len(request.materials) <= MAX_AT_ONCE:
            raise FieldInvalid("materials", f"must have 1 to {MAX_AT_ONCE} items")
        outcomes = await asyncio.gather(*map(self._create, request.materials))
        return pb.CreateMaterialsResponse(outcomes=outcomes)

    async def _create(self, request: pb.CreateMaterialRequest) -> pb.CreateMaterialOutcome:
        try:
            with span("record material", context=context_of(request.traceparent), links=current_links()):
                created = await self._writer.create(_new_record(request))
        except ServiceError as error:
            return pb.CreateMaterialOutcome(refusal=_to_refusal(error))
        except Exception as error:  # of this one alone: the others are not to fail with it
            log.error("record not made", material_id=request.material_id, exc_info=error)
            unforeseen = ServiceError(errors_pb2.ERROR_REASON_INTERNAL, "something unforeseen went wrong")
            return pb.CreateMaterialOutcome(refusal=_to_refusal(unforeseen))
        return pb.CreateMaterialOutcome(created=_to_created(request, created))

    async def ClaimMaterial(self, request: pb.ClaimMaterialRequest, context: Any) -> pb.ClaimMaterialResponse:
        """See the contract."""
        for field in ("worker_id", "request_id"):
            validation.visible_text(field, getattr(request, field), max_length=255)
        material_id = validation.parse_uuid(request.material_id)
        if material_id is None:
            return pb.ClaimMaterialResponse(refusal=pb.CLAIM_REFUSAL_NOT_FOUND)
        try:
            decision = await self._claiming.claim(
                material_id, Claim(request.worker_id, request.request_id), in_turn=request.in_turn
            )
        except UnknownMaterial:
            return pb.ClaimMaterialResponse(refusal=pb.CLAIM_REFUSAL_NOT_FOUND)
        if decision.verdict in _REFUSALS:
            return pb.ClaimMaterialResponse(refusal=_REFUSALS[decision.verdict])
        lease = Duration()
        lease.FromMilliseconds(int(self._policy.lease * 1000))
        return pb.ClaimMaterialResponse(
            material=to_material(decision.record), lease_duration=lease, traceparent=decision.record.traceparent
        )

    async def ReportStatus(
        self, request_iterator: AsyncIterator[pb.ReportStatusRequest], context: Any
    ) -> AsyncIterator[pb.ReportStatusResponse]:
        """See the contract."""
        stream = ReportStream(self._writer, self._feed, self._draining)
        reader = asyncio.create_task(stream.read(request_iterator))
        try:
            async for response in stream.responses():
                yield response
        finally:
            stream.close()
            reader.cancel()
            await asyncio.wait([reader])

    async def ReportProcessor(self, request: pb.ReportProcessorRequest, context: Any) -> pb.ReportProcessorResponse:
        """See the contract."""
        validation.visible_text("worker_id", request.worker_id, max_length=255)
        for field in ("slots", "busy"):
            if getattr(request, field) < 0:
                raise FieldInvalid(field, "must not be negative")
        paused = await self._operating.heartbeat(request)
        response = pb.ReportProcessorResponse(paused=paused)
        # Nothing is begun in a pause, so nobody gains by what is given up. A processor with a free slot has no need to.
        if not paused and not request.stopping and request.busy >= request.slots:
            response.yield_material_ids.extend(map(str, await self._claiming.to_yield(request.worker_id)))
        return response

    async def LeaseAnnouncements(
        self, request: pb.LeaseAnnouncementsRequest, context: Any
    ) -> pb.LeaseAnnouncementsResponse:
        """See the contract."""
        if not 1 <= request.max_count <= 500:
            raise FieldInvalid("max_count", "must be from 1 to 500")
        wait = min(30.0, max(0.0, request.wait.ToMilliseconds() / 1000))
        return pb.LeaseAnnouncementsResponse(
            announcements=await self._announcing.lease(request.max_count, wait, request.stream)
        )

    async def MarkAnnounced(self, request: pb.MarkAnnouncedRequest, context: Any) -> pb.MarkAnnouncedResponse:
        """See the contract."""
        if len(request.published) > 1_000:
            raise FieldInvalid("published", "must have at most 1000 items")
        for item in request.published:
            if validation.parse_uuid(item.material_id) is None:
                raise FieldInvalid("published.material_id", "must be a UUID in lower case")
        await self._announcing.mark(request.published)
        return pb.MarkAnnouncedResponse()

    async def ConfirmPurged(self, request: pb.ConfirmPurgedRequest, context: Any) -> pb.ConfirmPurgedResponse:
        """See the contract."""
        part = _PARTS.get(request.part)
        if part is None:
            raise FieldInvalid("part", "must be OBJECT or PASSAGES")
        material_id = validation.parse_uuid(request.material_id)
        if material_id is not None:
            with suppress(UnknownMaterial):
                await self._writer.submit(material_id, Purged(part))
        return pb.ConfirmPurgedResponse()

    async def KeepTicket(self, request: pb.KeepTicketRequest, context: Any) -> pb.KeepTicketResponse:
        """See the contract."""
        if not 1 <= request.lifetime_seconds <= MAX_TICKET_SECONDS:
            raise FieldInvalid("lifetime_seconds", f"must be from 1 to {MAX_TICKET_SECONDS}")
        if not 1 <= len(request.content) <= MAX_TICKET_BYTES:
            raise FieldInvalid("content", f"must have 1 to {MAX_TICKET_BYTES} bytes")
        ticket = Ticket(
            _ticket_sha256(request.ticket_sha256),
            validation.visible_text("use", request.use, max_length=MAX_TICKET_USE),
            request.content,
            validation.visible_text("owner_id", request.owner_id, max_length=255),
        )
        expires_at = await self._tickets.keep(ticket, request.lifetime_seconds)
        return pb.KeepTicketResponse(expires_at=timestamp(expires_at))

    async def RedeemTicket(self, request: pb.RedeemTicketRequest, context: Any) -> pb.RedeemTicketResponse:
        """See the contract."""
        use = validation.visible_text("use", request.use, max_length=MAX_TICKET_USE)
        content = await self._tickets.redeem(_ticket_sha256(request.ticket_sha256), use)
        return pb.RedeemTicketResponse(content=content)


def _ticket_sha256(value: bytes) -> bytes:
    if len(value) != SHA256_BYTES:
        raise FieldInvalid("ticket_sha256", f"must have {SHA256_BYTES} bytes")
    return value


def _asked(request: pb.AdmitUploadRequest) -> tuple[str, str]:
    """Owner and request id of who wants to upload. Raises FieldInvalid."""
    validation.visible_text("owner_id", request.owner_id, max_length=255)
    if request.request_id:
        validation.visible_text("request_id", request.request_id, max_length=255)
    return request.owner_id, request.request_id


def _to_refusal(error: ServiceError) -> pb.RecordRefusal:
    refusal = pb.RecordRefusal(reason=error.reason, message=error.message)
    if isinstance(error, Unavailable):
        refusal.retry_delay.FromMilliseconds(int(error.retry_after * 1000))
    return refusal


def _to_created(request: pb.CreateMaterialRequest, decision: Decision) -> pb.CreateMaterialResponse:
    created = decision.record.material_id == UUID(request.material_id)
    response = pb.CreateMaterialResponse(material=to_material(decision.record), created=created)
    if decision.verdict is Verdict.APPLIED:
        response.announcement.CopyFrom(to_announcement(decision.record))
    return response


def _new_record(request: pb.CreateMaterialRequest) -> Record:
    material_id = validation.parse_uuid(request.material_id)
    if material_id is None:
        raise FieldInvalid("material_id", "must be a UUID in lower case")
    if request.file_size < 1:
        raise FieldInvalid("file_size", "must be at least 1")
    if not _SHA256.match(request.sha256):
        raise FieldInvalid("sha256", "must be 64 lower-case hexadecimal digits")
    now = datetime.now(UTC)  # replaced by the database's clock when written
    return Record(
        material_id=material_id,
        owner_id=validation.visible_text("owner_id", request.owner_id, max_length=255),
        course_id=validation.course_id(request.course_id),
        name=validation.visible_text("name", request.name, max_length=255),
        file_path=request.file_path,
        file_type=request.file_type,
        media_type=request.media_type,
        file_size=request.file_size,
        sha256=request.sha256,
        request_id=request.request_id,
        traceparent=request.traceparent,
        created_at=now,
        updated_at=now,
    )
