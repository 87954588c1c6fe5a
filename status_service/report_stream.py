"""One worker's reports: in by one stream, acknowledged in the same order once durable, with revocations in between.

A stream that ends takes nothing with it: what was not acknowledged the worker sends again on the next one, and the state machine knows a repeat.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from materials.v1 import errors_pb2, material_pb2
from materials.v1 import record_service_pb2 as pb
from opentelemetry.trace import Span

from servicekit import validation
from servicekit.errors import Unavailable
from servicekit.tracing import context_of, note_error, start_span
from status_service.change_feed import ChangeFeed, Revoked
from status_service.events import Complete, Fail, HandBack, Progress, Renew, Report
from status_service.record_writer import RecordWriter, UnknownMaterial
from status_service.state_machine import Decision, Verdict

MAX_UNACKNOWLEDGED = 1_000
_RESULTS = {Verdict.APPLIED: pb.REPORT_RESULT_RECORDED, Verdict.REPEATED: pb.REPORT_RESULT_RECORDED}


class ReportStream:
    """One stream. `read` and `responses` run side by side; `close` when both are done with."""

    def __init__(self, writer: RecordWriter, feed: ChangeFeed, draining: asyncio.Event) -> None:
        self._writer, self._feed, self._draining = writer, feed, draining
        self._pending: asyncio.Queue[tuple[int, asyncio.Future[Decision] | None] | None] = asyncio.Queue(
            MAX_UNACKNOWLEDGED
        )
        self._worker_id = ""
        self._revoked: asyncio.Queue[Revoked] | None = None
        self._registered = asyncio.Event()
        self._failure: Exception | None = None

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
                    _trace(request, future)
                await self._pending.put((request.sequence, future))
        except Exception as error:
            self._failure = error
        await self._pending.put(None)

    async def responses(self) -> AsyncIterator[pb.ReportStatusResponse]:
        """Acknowledgements and revocations, until the worker is done or the service drains."""
        getters: dict[asyncio.Task[Any], str] = {}
        try:
            getters[asyncio.create_task(self._pending.get())] = "pending"
            getters[asyncio.create_task(self._draining.wait())] = "draining"
            getters[asyncio.create_task(self._registered.wait())] = "registered"
            while True:
                done, _ = await asyncio.wait(getters, return_when=asyncio.FIRST_COMPLETED)
                # What is acknowledged already is told before the stream ends.
                for task in sorted(done, key=lambda task: getters[task] == "draining"):
                    kind = getters.pop(task)
                    if kind == "pending":
                        item = task.result()
                        if item is None:
                            if self._failure is not None:
                                raise self._failure
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


def _trace(request: pb.ReportStatusRequest, recorded: asyncio.Future[Decision]) -> None:
    """A span of the worker's trace, from here until the report is durable. The stream's own trace is another one: it lives for hours."""
    if request.traceparent:
        kind = request.WhichOneof("report") or "nothing"
        recording = start_span(f"record {kind}", context_of(request.traceparent), {"material_id": request.material_id})
        recorded.add_done_callback(lambda done: _end(recording, done))


def _end(recording: Span, recorded: asyncio.Future[Decision]) -> None:
    error = None if recorded.cancelled() else recorded.exception()
    if error is not None and not isinstance(error, UnknownMaterial):  # which has an answer
        note_error(recording, error)
    recording.end()


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
