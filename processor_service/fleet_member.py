"""One processor among many: tells Status how it is, and hears whether processing is paused and which of its materials have had their turn.

It tells every few seconds, every second while all its slots are busy, since others may wait for them, and at once when the breaker changes. While Status is
away the last word on the pause stands, and nothing waits for the next one.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress

import grpc
import structlog
from materials.v1 import record_service_pb2 as pb
from materials.v1 import record_service_pb2_grpc, status_service_pb2

from processor_service.brain.breaker import BreakerState
from processor_service.turn_taking import TurnTaking
from processor_service.work_gate import WorkGate
from servicekit.channels import Peer

log = structlog.get_logger()

TELL_EVERY_SECONDS = 3.0
TELL_EVERY_SECONDS_BUSY = 1.0
CALL_DEADLINE_SECONDS = 3.0
LAST_WORDS_SECONDS = 1.0

_BREAKER_STATES = {
    BreakerState.CLOSED: status_service_pb2.BREAKER_STATE_CLOSED,
    BreakerState.OPEN: status_service_pb2.BREAKER_STATE_OPEN,
    BreakerState.HALF_OPEN: status_service_pb2.BREAKER_STATE_HALF_OPEN,
}


class FleetMember:
    """A part. `busy` says on how many materials it works now, of `slots` at most; `brain` how it finds the AI Brain."""

    def __init__(
        self,
        status: Peer,
        gate: WorkGate,
        turns: TurnTaking,
        *,
        worker_id: str,
        slots: int,
        busy: Callable[[], int],
        brain: Callable[[], BreakerState],
    ) -> None:
        self._status, self._gate, self._turns = status, gate, turns
        self._worker_id, self._slots, self._busy, self._brain = worker_id, slots, busy, brain
        self._news = asyncio.Event()
        self._unheard = False
        self._task: asyncio.Task[None] | None = None

    async def start(self, tasks: asyncio.TaskGroup) -> None:
        """Begins to tell; does not wait for an answer."""
        self._task = tasks.create_task(self._run(), name="fleet-member")

    async def stop(self) -> None:
        """Says once that it stops. Unheard, it is missed soon enough."""
        if self._task is None:
            return
        task, self._task = self._task, None
        task.cancel()
        await asyncio.wait([task])
        try:
            await self._report(stopping=True, deadline=LAST_WORDS_SECONDS)
        except grpc.aio.AioRpcError as error:
            log.info("the processor's last words were not heard", code=error.code().name)

    def tell_at_once(self) -> None:
        """Something has changed: does not wait for the next turn."""
        self._news.set()

    async def _run(self) -> None:
        while True:
            self._news.clear()
            await self._tell()
            pause = TELL_EVERY_SECONDS_BUSY if self._busy() >= self._slots else TELL_EVERY_SECONDS
            with suppress(TimeoutError):
                async with asyncio.timeout(pause * random.uniform(0.9, 1.1)):
                    await self._news.wait()

    async def _tell(self) -> None:
        try:
            response = await self._report(stopping=False, deadline=CALL_DEADLINE_SECONDS)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.UNIMPLEMENTED:
                # A Status of before there were pauses, in the middle of an upgrade.
                self._gate.set_paused(False)
            if not self._unheard:
                log.warning("Status does not hear how this processor is", code=error.code().name)
            self._unheard = True
            self._turns.told(())  # what Status does not hear cannot be handed back
            return
        if self._unheard:
            log.info("Status hears how this processor is again")
        self._unheard = False
        self._gate.set_paused(response.paused)
        self._turns.told(response.yield_material_ids)

    async def _report(self, *, stopping: bool, deadline: float) -> pb.ReportProcessorResponse:
        """Raises AioRpcError."""
        stub = record_service_pb2_grpc.RecordServiceStub(self._status.channel)
        request = pb.ReportProcessorRequest(
            worker_id=self._worker_id,
            slots=self._slots,
            busy=self._busy(),
            brain=_BREAKER_STATES[self._brain()],
            stopping=stopping,
        )
        return await stub.ReportProcessor(request, metadata=self._status.metadata(), timeout=deadline)
