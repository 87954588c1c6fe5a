"""Reports to the record over one long-lived stream, until each is acknowledged as durable.

A report stays in hand until its acknowledgement has come, and is sent again on every new stream: a Status that dies between commit and reply
costs a repeat, which the record knows. Acknowledgements come in the order of the reports; where one is missing the stream has lost a report, and is renewed.
The stream also brings revocations: leases taken away while a worker was busy (cancelled, deleted, expired).
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import grpc
import structlog
from materials.v1 import record_service_pb2 as pb
from materials.v1 import record_service_pb2_grpc
from opentelemetry.trace import SpanKind

from servicekit.channels import Peer
from servicekit.tracing import current_traceparent, span

log = structlog.get_logger()

Attempt = tuple[str, int]  # material id, attempt number
Stream: TypeAlias = "grpc.aio.StreamStreamCall[pb.ReportStatusRequest, pb.ReportStatusResponse]"


@dataclass(slots=True)
class _Pending:
    request: pb.ReportStatusRequest
    acknowledged: asyncio.Future[pb.ReportResult.ValueType] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


class _ReportLost(Exception):
    """A later report was acknowledged, and an earlier one that waits for its own was not."""


class StatusReporter:
    """A part: one stream, opened again with backoff whenever it breaks."""

    def __init__(self, status: Peer, worker_id: str) -> None:
        self._status, self._worker_id = status, worker_id
        self._sequence = 0
        self._pending: dict[int, _Pending] = {}  # in order of sequence
        self._sent = 0  # the last sequence written to the present stream
        self._more = asyncio.Event()
        self._revocations: dict[Attempt, Callable[[], object]] = {}
        self._task: asyncio.Task[None] | None = None

    @property
    def unacknowledged(self) -> int:
        """How many reports the record has not answered yet."""
        return len(self._pending)

    async def start(self, tasks: asyncio.TaskGroup) -> None:
        """Begins to connect."""
        self._task = tasks.create_task(self._run(), name="status-reporter")

    async def stop(self) -> None:
        """Closes the stream. Reports not acknowledged by then are lost; the leases then run out."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def on_revoked(self, attempt: Attempt, callback: Callable[[], object]) -> None:
        """Calls back when the attempt's lease is taken away."""
        self._revocations[attempt] = callback

    def forget(self, attempt: Attempt) -> None:
        """Ends `on_revoked`."""
        self._revocations.pop(attempt, None)

    async def report(
        self,
        attempt: Attempt,
        *,
        progress: pb.Progress | None = None,
        renewal: pb.Renewal | None = None,
        completion: pb.Completion | None = None,
        failure: pb.Failure | None = None,
        hand_back: pb.HandBack | None = None,
    ) -> pb.ReportResult.ValueType:
        """Returns once the record has answered, however often the stream breaks in between. Exactly one report is given.

        The wait has no end of its own: an outcome is held for as long as Status is away. The caller's cancellation ends it.
        """
        if renewal is not None:  # nothing to tell of, every few seconds
            return await self._send(attempt, renewal=renewal)
        with span("report", kind=SpanKind.CLIENT, attributes={"material_id": attempt[0], "attempt": attempt[1]}):
            return await self._send(
                attempt,
                traceparent=current_traceparent(),
                progress=progress,
                completion=completion,
                failure=failure,
                hand_back=hand_back,
            )

    async def _send(self, attempt: Attempt, **content: Any) -> pb.ReportResult.ValueType:
        self._sequence += 1
        sequence = self._sequence
        pending = _Pending(
            pb.ReportStatusRequest(
                sequence=sequence,
                worker_id=self._worker_id,
                material_id=attempt[0],
                attempt=attempt[1],
                **content,
            )
        )
        self._pending[sequence] = pending
        self._more.set()
        try:
            return await pending.acknowledged
        finally:
            self._pending.pop(sequence, None)

    async def _run(self) -> None:
        failures = 0
        while True:
            if not self._pending:
                await self._more.wait()
            try:
                failures = 0 if await self._stream() else failures + 1
            except grpc.aio.AioRpcError as error:
                failures += 1
                log.info("report stream broken", code=error.code().name, unacknowledged=len(self._pending))
            except _ReportLost:
                failures += 1
                log.warning("a report was lost on its way; all are sent again", unacknowledged=len(self._pending))
            await asyncio.sleep(min(2.0, 0.05 * 2 ** min(failures, 6)) * random.uniform(0.5, 1.0))

    async def _stream(self) -> bool:
        """One stream until it ends; returns whether it acknowledged anything."""
        stub = record_service_pb2_grpc.RecordServiceStub(self._status.channel)
        stream: Stream = stub.ReportStatus(metadata=self._status.metadata(), wait_for_ready=False)
        self._sent = 0
        writer = asyncio.create_task(self._write(stream))
        heard = False
        try:
            while (response := await stream.read()) is not grpc.aio.EOF:
                assert isinstance(response, pb.ReportStatusResponse)
                heard = True
                self._receive(response)
            return heard
        finally:
            # Explicitly: a dropped call is never cancelled by itself.
            stream.cancel()
            writer.cancel()
            await asyncio.wait([writer])

    async def _write(self, stream: Stream) -> None:
        try:
            while True:
                self._more.clear()
                for sequence in [key for key in self._pending if key > self._sent]:
                    if (pending := self._pending.get(sequence)) is not None:
                        await stream.write(pending.request)
                    self._sent = sequence
                await self._more.wait()
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            # The reader learns of it too, and its error tells more.
            self._more.set()

    def _receive(self, response: pb.ReportStatusResponse) -> None:
        if response.WhichOneof("event") == "acknowledgement":
            acknowledgement = response.acknowledgement
            if next(iter(self._pending), acknowledgement.sequence) < acknowledgement.sequence:
                raise _ReportLost
            pending = self._pending.get(acknowledgement.sequence)
            if pending is not None and not pending.acknowledged.done():
                pending.acknowledged.set_result(acknowledgement.result)
        elif response.WhichOneof("event") == "revocation":
            revoked = self._revocations.get((response.revocation.material_id, response.revocation.attempt))
            if revoked is not None:
                revoked()
