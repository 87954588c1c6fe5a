"""RecordService over gRPC, for peers: translates, decides nothing."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from google.protobuf.duration_pb2 import Duration
from materials.v1 import errors_pb2, material_pb2, record_service_pb2_grpc
from materials.v1 import record_service_pb2 as pb

from servicekit import validation
from servicekit.errors import FieldInvalid, Unavailable
from status_service.announcing import Announcing, to_announcement
from status_service.change_feed import ChangeFeed, Revoked
from status_service.material_view import to_material
from status_service.record_writer import RecordWriter, UnknownMaterial
from status_service.state_machine import (
    OBJECT_PURGED,
    PASSAGES_PURGED,
    Claim,
    Complete,
    Decision,
    Fail,
    HandBack,
    Policy,
    Progress,
    Purged,
    Record,
    Renew,
    Report,
    Verdict,
)

MAX_UNACKNOWLEDGED = 1_000
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_REFUSALS = {
    Verdict.NOT_FOUND: pb.CLAIM_REFUSAL_NOT_FOUND,
    Verdict.LEASED: pb.CLAIM_REFUSAL_LEASED,
    Verdict.ENDED: pb.CLAIM_REFUSAL_ENDED,
    Verdict.NOT_DUE: pb.CLAIM_REFUSAL_NOT_DUE,
}
_RESULTS = {Verdict.APPLIED: pb.REPORT_RESULT_RECORDED, Verdict.REPEATED: pb.REPORT_RESULT_RECORDED}
_PARTS = {pb.PURGED_PART_OBJECT: OBJECT_PURGED, pb.PURGED_PART_PASSAGES: PASSAGES_PURGED}


class RecordApi(record_service_pb2_grpc.RecordServiceServicer):
    """The record as peers change it."""

    def __init__(self, writer: RecordWriter, announcing: Announcing, feed: ChangeFeed, policy: Policy) -> None:
        self._writer, self._announcing, self._feed, self._policy = writer, announcing, feed, policy
        self._draining = asyncio.Event()

    def drain(self) -> None:
        """Ends the report streams once what they brought is acknowledged: workers go on at another replica."""
        self._draining.set()

    async def CreateMaterial(self, request: pb.CreateMaterialRequest, context: Any) -> pb.CreateMaterialResponse:
        """See the contract."""
        decision = await self._writer.create(_new_record(request))
        created = decision.record.material_id == UUID(request.material_id)
        response = pb.CreateMaterialResponse(material=to_material(decision.record), created=created)
        if decision.verdict is Verdict.APPLIED:
            response.announcement.CopyFrom(to_announcement(decision.record))
        return response

    async def ClaimMaterial(self, request: pb.ClaimMaterialRequest, context: Any) -> pb.ClaimMaterialResponse:
        """See the contract."""
        for field in ("worker_id", "request_id"):
            validation.visible_text(field, getattr(request, field), max_length=255)
        material_id = validation.parse_uuid(request.material_id)
        if material_id is None:
            return pb.ClaimMaterialResponse(refusal=pb.CLAIM_REFUSAL_NOT_FOUND)
        try:
            decision = await self._writer.submit(material_id, Claim(request.worker_id, request.request_id))
        except UnknownMaterial:
            return pb.ClaimMaterialResponse(refusal=pb.CLAIM_REFUSAL_NOT_FOUND)
        if decision.verdict in _REFUSALS:
            return pb.ClaimMaterialResponse(refusal=_REFUSALS[decision.verdict])
        lease = Duration()
        lease.FromMilliseconds(int(self._policy.lease * 1000))
        return pb.ClaimMaterialResponse(material=to_material(decision.record), lease_duration=lease)

    async def ReportStatus(
        self, request_iterator: AsyncIterator[pb.ReportStatusRequest], context: Any
    ) -> AsyncIterator[pb.ReportStatusResponse]:
        """See the contract."""
        stream = _ReportStream(self._writer, self._feed, self._draining)
        reader = asyncio.create_task(stream.read(request_iterator))
        try:
            async for response in stream.responses():
                yield response
            await reader  # raises what ended the stream
        finally:
            stream.close()
            reader.cancel()
            await asyncio.wait([reader])

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


class _ReportStream:
    """One worker's stream: reports in, acknowledgements in the same order and revocations out."""

    def __init__(self, writer: RecordWriter, feed: ChangeFeed, draining: asyncio.Event) -> None:
        self._writer, self._feed, self._draining = writer, feed, draining
        self._pending: asyncio.Queue[tuple[int, asyncio.Future[Decision] | None] | None] = asyncio.Queue(
            MAX_UNACKNOWLEDGED
        )
        self._worker_id = ""
        self._revoked: asyncio.Queue[Revoked] | None = None
        self._registered = asyncio.Event()

    async def read(self, requests: AsyncIterator[pb.ReportStatusRequest]) -> None:
        """Submits each report as it comes; a full queue of unacknowledged ones holds the worker back (gRPC flow control)."""
        try:
            async for request in requests:
                if not self._worker_id and request.worker_id:
                    self._worker_id = request.worker_id
                    self._revoked = self._feed.subscribe_worker(request.worker_id)
                    self._registered.set()
                report = _to_report(request)
                material_id = validation.parse_uuid(request.material_id)
                future = None
                if report is not None and material_id is not None:
                    future = self._writer.submit_nowait(material_id, report)
                await self._pending.put((request.sequence, future))
        finally:
            self._registered.set()
            # The queue is full only when `responses` has stopped taking.
            with suppress(asyncio.QueueFull):
                self._pending.put_nowait(None)

    async def responses(self) -> AsyncIterator[pb.ReportStatusResponse]:
        """Acknowledgements and revocations, until the worker is done or the service drains."""
        getters: dict[asyncio.Task[Any], str] = {}
        try:
            getters[asyncio.create_task(self._pending.get())] = "pending"
            getters[asyncio.create_task(self._draining.wait())] = "draining"
            getters[asyncio.create_task(self._registered.wait())] = "registered"
            while True:
                done, _ = await asyncio.wait(getters, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    kind = getters.pop(task)
                    if kind == "pending":
                        item = task.result()
                        if item is None:
                            return
                        yield pb.ReportStatusResponse(acknowledgement=await _acknowledge(*item))
                        getters[asyncio.create_task(self._pending.get())] = "pending"
                    elif kind == "draining":
                        raise Unavailable(
                            errors_pb2.ERROR_REASON_SHUTTING_DOWN, "this replica is stopping", retry_after=0.1
                        )
                    else:
                        if kind == "revoked":
                            material_id, attempt = task.result()
                            yield pb.ReportStatusResponse(
                                revocation=pb.Revocation(material_id=str(material_id), attempt=attempt)
                            )
                        if self._revoked is not None:
                            getters[asyncio.create_task(self._revoked.get())] = "revoked"
        finally:
            for task in getters:
                task.cancel()
            if getters:
                await asyncio.wait(getters)

    def close(self) -> None:
        """Forgets the worker."""
        if self._revoked is not None:
            self._feed.unsubscribe_worker(self._worker_id, self._revoked)


async def _acknowledge(sequence: int, future: asyncio.Future[Decision] | None) -> pb.Acknowledgement:
    if future is None:
        return pb.Acknowledgement(sequence=sequence, result=pb.REPORT_RESULT_INVALID)
    try:
        decision = await future
    except UnknownMaterial:
        return pb.Acknowledgement(sequence=sequence, result=pb.REPORT_RESULT_STALE)
    return pb.Acknowledgement(sequence=sequence, result=_RESULTS.get(decision.verdict, pb.REPORT_RESULT_STALE))


def _to_report(request: pb.ReportStatusRequest) -> Report | None:
    worker, attempt = request.worker_id, request.attempt
    match request.WhichOneof("report"):
        case "progress":
            progress = request.progress
            if not (0 <= progress.pages_done <= progress.pages_total and _is_enum_number(progress.stage)):
                return None
            return Progress(worker, attempt, progress.pages_done, progress.pages_total, progress.stage)
        case "renewal":
            return Renew(worker, attempt)
        case "completion":
            completion = request.completion
            if completion.pages_total < 0:
                return None
            return Complete(worker, attempt, completion.pages_total, completion.has_embedding)
        case "failure":
            failure = request.failure
            if not _is_enum_number(failure.reason):
                return None
            reason = failure.reason or material_pb2.FAILURE_REASON_INTERNAL
            return Fail(worker, attempt, reason, failure.message[:1000].replace("\0", ""), failure.transient)
        case "hand_back":
            return HandBack(worker, attempt, request.hand_back.message[:1000].replace("\0", ""))
        case _:
            return None


def _is_enum_number(value: int) -> bool:
    """Whether an enum may ever have this value. One that we do not know yet is kept as it is: newer workers may run before us."""
    return 0 <= value < 2**15


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
