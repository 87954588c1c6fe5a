"""From an event to an outcome: claim, keep the lease, read, report, acknowledge.

The order is what makes a job happen once: the lease before any work, every write under the attempt's number, the outcome acknowledged as durable before the
message is. Each step may run twice without harm. Whoever loses the lease stops at once: the work task is cancelled by a revocation, or by the
first report that the record calls STALE. On a graceful stop the lease is handed back, so that another processor goes on in a second.

An event says that something waits, and asks for a turn; whose turn it is the record says. When that is another material's, its own is delivered again
at once, before the work on the other begins: a slot that is free elsewhere must not wait for this one.
"""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from collections.abc import Callable

import grpc
import structlog
from google.protobuf.descriptor import EnumDescriptor
from google.protobuf.message import DecodeError
from materials.v1 import events_pb2, material_pb2, record_service_pb2_grpc
from materials.v1 import record_service_pb2 as pb
from nats.aio.msg import Msg
from opentelemetry.context import Context

from processor_service.metrics import WorkMetrics
from processor_service.outcomes import report_of
from processor_service.reading import MaterialReader, ReadResult
from processor_service.status_reporter import Attempt, StatusReporter
from processor_service.turn_taking import TurnTaking
from processor_service.work_gate import WorkGate
from servicekit import validation
from servicekit.channels import Peer
from servicekit.durable_consumer import Again, Done, Outcome, Unreadable
from servicekit.tracing import context_of, current_links, span

log = structlog.get_logger()

CLAIM_DEADLINE_SECONDS = 8.0
CLAIM_TRIES = 3
CLAIMED_AGAIN_AFTER = (
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.CANCELLED,  # a replica that stopped before it looked at the call
)
HAND_BACK_SECONDS = 3.0
GATHERED_SECONDS = 0.1
STOPPING = "its processor is stopping; another one goes on"


class Worker:
    """Handles MaterialUploaded. One for all slots."""

    def __init__(
        self,
        status: Peer,
        reporter: StatusReporter,
        reader: MaterialReader,
        gate: WorkGate,
        turns: TurnTaking,
        *,
        worker_id: str,
        attempt_timeout: float,
        metrics: WorkMetrics | None = None,
    ) -> None:
        self._metrics = metrics or WorkMetrics()
        self._status, self._reporter, self._reader = status, reporter, reader
        self._gate, self._turns = gate, turns
        self._worker_id, self._attempt_timeout = worker_id, attempt_timeout
        self._busy = 0

    @property
    def busy(self) -> int:
        """How many attempts are under way, each from its claim to the record's word on its outcome."""
        return self._busy

    async def handle(self, message: Msg) -> Outcome:
        """One event, from claim to durable outcome."""
        try:
            event = events_pb2.MaterialUploaded.FromString(message.data)
        except DecodeError:
            return Unreadable("not a MaterialUploaded")
        if validation.parse_uuid(event.material_id) is None:
            return Unreadable("no material id")
        if not self._gate.is_open:
            # It closed while the message was on its way. A claim would use up an attempt number for nothing.
            return Again(random.uniform(2.0, 4.0))
        with structlog.contextvars.bound_contextvars(material_id=event.material_id):
            try:
                claim = await self._claim(event.material_id)
            except grpc.aio.AioRpcError as error:
                log.info("claim not possible", code=error.code().name)
                return Again(random.uniform(0.5, 3.0))
            if claim.refusal == pb.CLAIM_REFUSAL_PAUSED:
                self._gate.set_paused(True)
                return Again(random.uniform(2.0, 4.0))
            if claim.refusal:
                log.info("claim refused", refusal=_name(pb.ClaimRefusal.DESCRIPTOR, claim.refusal))
                if claim.refusal not in pb.ClaimRefusal.values():
                    # A newer Status means something by it that only a newer processor knows.
                    return Again(random.uniform(2.0, 4.0))
                return Done()
        if claim.material.id != event.material_id:
            # In the trace of its own upload, with no more than a link to that of the event.
            return Again(0.0, meanwhile=lambda: self._granted(claim, context_of(claim.traceparent)))
        await self._granted(claim, None)
        return Done()

    async def _granted(self, claim: pb.ClaimMaterialResponse, context: Context | None) -> None:
        self._busy += 1
        attributes: dict[str, str | int] = {"material_id": claim.material.id, "attempt": claim.material.attempt}
        links = current_links() if context is not None else []
        try:
            with (
                structlog.contextvars.bound_contextvars(material_id=claim.material.id),
                span("attempt", context=context, links=links, attributes=attributes),
            ):
                await self._attempt(claim.material, claim.lease_duration.ToMilliseconds() / 1000)
        finally:
            self._busy -= 1

    async def _claim(self, material_id: str) -> pb.ClaimMaterialResponse:
        """The record's answer. A lease granted while this service is stopping is handed back. Raises AioRpcError."""
        asking = asyncio.create_task(self._ask_for_claim(material_id), name="claim")
        try:
            return await asyncio.shield(asking)
        except asyncio.CancelledError:
            await asyncio.wait([asking], timeout=HAND_BACK_SECONDS)
            if asking.done() and asking.exception() is None and not asking.result().refusal:
                granted = asking.result().material
                await self._hand_back((granted.id, granted.attempt), STOPPING)
            raise

    async def _ask_for_claim(self, material_id: str) -> pb.ClaimMaterialResponse:
        stub = record_service_pb2_grpc.RecordServiceStub(self._status.channel)
        # The same id each time: a claim whose reply was lost is answered with the same lease.
        request = pb.ClaimMaterialRequest(
            material_id=material_id, worker_id=self._worker_id, request_id=str(uuid.uuid4()), in_turn=True
        )
        tries = 0
        while True:
            tries += 1
            try:
                return await stub.ClaimMaterial(
                    request, metadata=self._status.metadata(), timeout=CLAIM_DEADLINE_SECONDS
                )
            except grpc.aio.AioRpcError as error:
                if error.code() not in CLAIMED_AGAIN_AFTER or tries == CLAIM_TRIES:
                    raise
            await asyncio.sleep(random.uniform(0.1, 0.5) * tries)

    async def _attempt(self, material: material_pb2.Material, lease_seconds: float) -> None:
        attempt: Attempt = (material.id, material.attempt)
        began = time.perf_counter()
        self._turns.begun(material.id)
        log.info("attempt begins", attempt=material.attempt, media_type=material.media_type)
        keeper = LeaseKeeper(self._reporter, attempt, lease_seconds)
        work = asyncio.create_task(self._work(material, keeper), name="attempt")
        self._reporter.on_revoked(attempt, work.cancel)
        keeping = asyncio.create_task(keeper.run(work.cancel), name="lease-keeper")
        try:
            await asyncio.wait([work])
        except asyncio.CancelledError:
            work.cancel()
            await asyncio.wait([work])
            await self._hand_back(attempt, STOPPING, keeper.untold)
            raise
        finally:
            self._reporter.forget(attempt)
            keeping.cancel()
            await asyncio.wait([keeping])
        if work.cancelled():
            self._metrics.attempts.labels("taken_away", "").inc()
            log.info("attempt dropped: its lease was taken away", attempt=material.attempt)
            return
        recorded = await self._report_durably(attempt, work, keeper.untold)
        if recorded and work.exception() is None:
            self._metrics.seconds.observe(time.perf_counter() - began)
            self._metrics.brain_calls.observe(work.result().brain_calls)

    async def _report_durably(
        self, attempt: Attempt, work: asyncio.Task[ReadResult], untold: pb.Progress | None
    ) -> bool:
        """Reports the outcome, returns whether the record took it; a stop in the middle of that waits a moment for the record's answer."""
        reporting = asyncio.create_task(self._report(attempt, work, untold), name="outcome")
        try:
            return await asyncio.shield(reporting)
        except asyncio.CancelledError:
            await asyncio.wait([reporting], timeout=HAND_BACK_SECONDS)
            reporting.cancel()
            await asyncio.wait([reporting])
            raise

    async def _work(self, material: material_pb2.Material, keeper: LeaseKeeper) -> ReadResult:
        async with asyncio.timeout(self._attempt_timeout):
            return await self._reader.read(material, keeper.progress)

    async def _report(self, attempt: Attempt, work: asyncio.Task[ReadResult], untold: pb.Progress | None) -> bool:
        error = work.exception()
        if error is None:
            outcome = ("completed", "")
            done = work.result()
            result = await self._reporter.report(
                attempt, completion=pb.Completion(pages_total=done.pages, has_embedding=done.passages > 0)
            )
            log.info("attempt completed", attempt=attempt[1], pages=done.pages, passages=done.passages)
        elif isinstance(error, Exception):
            if untold is not None:
                await self._reporter.report(attempt, progress=untold)
            told = report_of(error)
            if isinstance(told.report, pb.HandBack):
                outcome = ("handed_back", "")
                log.info("attempt handed back", attempt=attempt[1], message=told.report.message)
                result = await self._reporter.report(attempt, hand_back=told.report)
            else:
                reason = material_pb2.FailureReason.Name(told.report.reason).removeprefix("FAILURE_REASON_")
                outcome = ("failed", reason.lower())
                log.warning(
                    "attempt failed",
                    attempt=attempt[1],
                    reason=reason,
                    transient=told.report.transient,
                    message=told.report.message,
                    exc_info=error if told.unforeseen else None,
                )
                result = await self._reporter.report(attempt, failure=told.report)
        else:
            raise error
        recorded = result == pb.REPORT_RESULT_RECORDED
        if not recorded:
            outcome = ("taken_away", "")  # before anybody could be told
            log.info("outcome refused", attempt=attempt[1], result=_name(pb.ReportResult.DESCRIPTOR, result))
        self._metrics.attempts.labels(*outcome).inc()
        return recorded

    async def _hand_back(self, attempt: Attempt, message: str, untold: pb.Progress | None = None) -> None:
        try:
            async with asyncio.timeout(HAND_BACK_SECONDS):
                if untold is not None:
                    await self._reporter.report(attempt, progress=untold)
                await self._reporter.report(attempt, hand_back=pb.HandBack(message=message))
        except TimeoutError:
            log.warning("lease not handed back; it runs out by itself", attempt=attempt[1])


class LeaseKeeper:
    """Reports progress, and renews the lease at a quarter of its length when there is none. What comes within GATHERED_SECONDS, or while a report is on its
    way, is told together: each report is a write of the record, and a short document is read before anybody has looked."""

    def __init__(self, reporter: StatusReporter, attempt: Attempt, lease_seconds: float) -> None:
        self._reporter, self._attempt = reporter, attempt
        self._interval = lease_seconds / 4
        self._progress: pb.Progress | None = None
        self._news = asyncio.Event()

    def progress(self, pages_done: int, pages_total: int) -> None:
        """Takes in how far the work is; told a moment later."""
        self._progress = pb.Progress(
            pages_done=pages_done,
            pages_total=pages_total,
            stage=material_pb2.PROCESSING_STAGE_READING
            if pages_done < pages_total
            else material_pb2.PROCESSING_STAGE_INDEXING,
        )
        self._news.set()

    @property
    def untold(self) -> pb.Progress | None:
        """What the record has not acknowledged yet. A completion says it too; nothing else does, and new pages are what budgets of attempts begin anew by."""
        return self._progress

    async def run(self, lost: Callable[[], object]) -> None:
        """Until cancelled, or until the lease is lost: then calls `lost`."""
        while True:
            try:
                async with asyncio.timeout(self._interval):
                    await self._news.wait()
                await asyncio.sleep(GATHERED_SECONDS)
            except TimeoutError:
                pass
            self._news.clear()
            if (progress := self._progress) is not None:
                result = await self._reporter.report(self._attempt, progress=progress)
                self._progress = None if self._progress is progress else self._progress
            else:
                result = await self._reporter.report(self._attempt, renewal=pb.Renewal())
            if result == pb.REPORT_RESULT_STALE:
                lost()
                return


def _name(enum: EnumDescriptor, value: int) -> str:
    """The value's name, or its number where a newer peer knows more of them."""
    known = enum.values_by_number.get(value)
    return known.name if known is not None else str(value)
