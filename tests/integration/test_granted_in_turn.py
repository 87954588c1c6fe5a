"""A worker that is granted another material than its message asked for: the message is for somebody else, the lease is its own."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
from materials.v1 import events_pb2, material_pb2
from materials.v1 import record_service_pb2 as pb
from nats.aio.msg import Msg

from processor_service.brain.breaker import BrainBreaker
from processor_service.turn_taking import TurnTaking
from processor_service.work_gate import WorkGate
from processor_service.worker import STOPPING, Worker
from servicekit.durable_consumer import Again
from tests.integration.scripted_record import ScriptedRecord, scripted_record


async def away() -> bool:
    return False


class Reports:
    """What the worker would tell the record."""

    def __init__(self) -> None:
        self.told: list[tuple[tuple[str, int], Any]] = []

    async def report(self, attempt: tuple[str, int], **report: Any) -> pb.ReportResult.ValueType:
        self.told.append((attempt, report["hand_back"]))
        return pb.REPORT_RESULT_RECORDED


@pytest.fixture
async def record() -> AsyncIterator[tuple[ScriptedRecord, Worker, Reports]]:
    async with scripted_record() as (record, peer):
        nobody: object = None
        reports = Reports()
        gate = WorkGate(BrainBreaker(away))
        worker = Worker(
            peer,
            reports,  # type: ignore[arg-type]
            nobody,  # type: ignore[arg-type]
            gate,
            TurnTaking(lambda _: None),
            worker_id="worker-1",
            attempt_timeout=60,
        )
        yield record, worker, reports


def uploaded(material_id: str) -> Msg:
    event = events_pb2.MaterialUploaded(material_id=material_id)
    return Msg(_client=None, subject="materials.v1.uploaded", data=event.SerializeToString())  # type: ignore[arg-type]


async def test_the_message_is_for_somebody_else_at_once_and_the_work_comes_after(
    record: tuple[ScriptedRecord, Worker, Reports],
) -> None:
    scripted, worker, _ = record
    asked, granted = str(uuid.uuid4()), str(uuid.uuid4())
    scripted.grants = pb.ClaimMaterialResponse(material=material_pb2.Material(id=granted, attempt=3))
    outcome = await worker.handle(uploaded(asked))
    assert isinstance(outcome, Again)
    assert outcome.delay == 0
    assert outcome.meanwhile is not None
    assert (scripted.claims, worker.busy) == ([asked], 0)


async def test_a_stop_in_the_middle_of_a_claim_hands_back_what_was_granted(
    record: tuple[ScriptedRecord, Worker, Reports],
) -> None:
    scripted, worker, reports = record
    granted = str(uuid.uuid4())
    scripted.grants = pb.ClaimMaterialResponse(material=material_pb2.Material(id=granted, attempt=3))
    scripted.answers.clear()
    handling = asyncio.create_task(worker.handle(uploaded(str(uuid.uuid4()))))
    async with asyncio.timeout(30):
        await scripted.claimed.wait()
        handling.cancel()
        await asyncio.sleep(0)
        scripted.answers.set()
        with pytest.raises(asyncio.CancelledError):
            await handling
    assert reports.told == [((granted, 3), pb.HandBack(message=STOPPING))]
