"""An attempt is counted as what the record takes it for."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from materials.v1 import record_service_pb2 as pb
from prometheus_client import CollectorRegistry

from processor_service.brain.fair_slots import TurnOver
from processor_service.metrics import WorkMetrics
from processor_service.reading import ReadResult
from tests.integration.test_progress_told import Reader, Reports, handled, raised

RECORDED, STALE = pb.REPORT_RESULT_RECORDED, pb.REPORT_RESULT_STALE


def all_read() -> ReadResult:
    return ReadResult(pages=1, passages=3, brain_calls=2)


@pytest.mark.parametrize(
    ("end", "answer", "counted", "completed"),
    [
        (all_read, RECORDED, ("completed", ""), 1),
        (all_read, STALE, ("taken_away", ""), 0),
        (raised(RuntimeError()), RECORDED, ("failed", "internal"), 0),
        (raised(RuntimeError()), STALE, ("taken_away", ""), 0),
        (raised(TurnOver()), RECORDED, ("handed_back", ""), 0),
        (raised(TurnOver()), STALE, ("taken_away", ""), 0),
    ],
)
async def test_an_attempt_is_counted_by_the_records_answer(
    end: Callable[[], ReadResult], answer: pb.ReportResult.ValueType, counted: tuple[str, str], completed: int
) -> None:
    registry = CollectorRegistry()
    await handled(Reports(answer), Reader(1, end), metrics=WorkMetrics(registry))
    samples = [sample for metric in registry.collect() for sample in metric.samples]
    attempts = [sample for sample in samples if sample.name == "materials_attempts_total"]
    assert {(s.labels["outcome"], s.labels["reason"]): s.value for s in attempts if s.value} == {counted: 1}
    for name in ("materials_material_seconds_count", "materials_material_brain_calls_count"):
        assert registry.get_sample_value(name) == completed, name
