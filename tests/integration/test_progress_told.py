"""How far an attempt has come is told before it ends otherwise than with all its pages: later attempts, and people, go by it."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from materials.v1 import events_pb2, material_pb2
from materials.v1 import record_service_pb2 as pb
from nats.aio.msg import Msg

from processor_service.brain.breaker import BrainBreaker
from processor_service.brain.fair_slots import TurnOver
from processor_service.metrics import WorkMetrics
from processor_service.reading import ReadResult
from processor_service.turn_taking import TurnTaking
from processor_service.work_gate import WorkGate
from processor_service.worker import Worker
from tests.integration.scripted_record import scripted_record

LONG_SECONDS = 30.0
PAGES = 3
MATERIAL = "9b0a1c62-5d3e-4f8a-8a57-2f1f6c0d7e34"


async def away() -> bool:
    return False


class Reports:
    """What the record would be told, in order: pages, or the name of an outcome; and what it answers."""

    def __init__(self, answer: pb.ReportResult.ValueType = pb.REPORT_RESULT_RECORDED) -> None:
        self.told: list[int | str] = []
        self._answer = answer

    async def report(self, attempt: tuple[str, int], **report: Any) -> pb.ReportResult.ValueType:
        [(kind, content)] = report.items()
        self.told.append(content.pages_done if kind == "progress" else kind)
        return self._answer

    def on_revoked(self, attempt: tuple[str, int], callback: Callable[[], object]) -> None:
        """Nothing is taken away."""

    def forget(self, attempt: tuple[str, int]) -> None:
        """Nothing was kept."""


class Reader:
    """Reads one page after the other without a pause, and then does as the test says."""

    def __init__(self, pages: int, end: Callable[[], ReadResult] | None) -> None:
        self._pages, self._end = pages, end
        self.read_all = asyncio.Event()

    async def read(self, material: material_pb2.Material, progress: Callable[[int, int], None]) -> ReadResult:
        for page in range(1, self._pages + 1):
            progress(page, PAGES)
        self.read_all.set()
        if self._end is None:
            await asyncio.Event().wait()
            raise AssertionError
        return self._end()


def raised(error: Exception) -> Callable[[], ReadResult]:
    def end() -> ReadResult:
        raise error

    return end


async def handled(
    reports: Reports, reader: Reader, *, stopped: bool = False, metrics: WorkMetrics | None = None
) -> None:
    """One material, from its event to its outcome, or until the worker is stopped after all its pages."""
    async with scripted_record() as (record, peer), asyncio.timeout(LONG_SECONDS):
        record.grants = pb.ClaimMaterialResponse(
            material=material_pb2.Material(id=MATERIAL, attempt=1), lease_duration=Duration(seconds=20)
        )
        worker = Worker(
            peer,
            reports,  # type: ignore[arg-type]
            reader,  # type: ignore[arg-type]
            WorkGate(BrainBreaker(away)),
            TurnTaking(lambda _: None),
            worker_id=str(uuid.uuid4()),
            attempt_timeout=60,
            metrics=metrics,
        )
        event = events_pb2.MaterialUploaded(material_id=MATERIAL).SerializeToString()
        handling = asyncio.create_task(worker.handle(Msg(_client=None, subject="uploaded", data=event)))  # type: ignore[arg-type]
        if stopped:
            await reader.read_all.wait()
            handling.cancel()
            with suppress(asyncio.CancelledError):
                await handling
        else:
            await handling


@pytest.mark.parametrize(
    ("error", "outcome"), [(TurnOver(), "hand_back"), (TimeoutError(), "failure"), (RuntimeError(), "failure")]
)
async def test_the_last_page_is_told_before_an_outcome_that_does_not_say_it(error: Exception, outcome: str) -> None:
    reports = Reports()
    await handled(reports, Reader(2, raised(error)))
    assert reports.told == [2, outcome]


async def test_it_is_told_before_a_lease_is_handed_back_by_a_stop() -> None:
    reports = Reports()
    await handled(reports, Reader(2, None), stopped=True)
    assert reports.told == [2, "hand_back"]


async def test_a_completion_says_it_itself() -> None:
    reports = Reports()
    await handled(reports, Reader(PAGES, lambda: ReadResult(pages=PAGES, passages=3, brain_calls=PAGES)))
    assert reports.told == ["completion"]


async def test_nothing_is_told_of_an_attempt_that_read_nothing() -> None:
    reports = Reports()
    await handled(reports, Reader(0, raised(TimeoutError())))
    assert reports.told == ["failure"]
