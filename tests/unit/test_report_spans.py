"""The span of a report that the record takes in: a failure where it could not be written, and nowhere else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import cast
from uuid import UUID

import pytest
from materials.v1 import errors_pb2
from materials.v1 import record_service_pb2 as pb
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from servicekit.errors import Unavailable
from status_service.change_feed import ChangeFeed
from status_service.events import Event
from status_service.record_writer import RecordWriter, UnknownMaterial
from status_service.report_stream import ReportStream
from status_service.state_machine import Decision

REPORT = pb.ReportStatusRequest(
    sequence=1,
    material_id="9b0a1c62-5d3e-4f8a-8a57-2f1f6c0d7e34",
    completion=pb.Completion(pages_total=1),
    traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
)


class Writer:
    """Holds what it is to write."""

    def __init__(self) -> None:
        self.submitted: list[asyncio.Future[Decision]] = []

    def submit_nowait(self, material_id: UUID, event: Event) -> asyncio.Future[Decision]:
        self.submitted.append(asyncio.get_running_loop().create_future())
        return self.submitted[-1]


@pytest.mark.parametrize(
    ("error", "failed"),
    [
        (Unavailable(errors_pb2.ERROR_REASON_DATABASE_UNAVAILABLE, "away"), "Unavailable"),
        (UnknownMaterial(), None),
        (None, None),
    ],
)
async def test_a_report_that_could_not_be_written_is_a_failure(
    exported: InMemorySpanExporter, error: Exception | None, failed: str | None
) -> None:
    async def requests() -> AsyncIterator[pb.ReportStatusRequest]:
        yield REPORT

    writer = Writer()
    stream = ReportStream(cast(RecordWriter, writer), cast(ChangeFeed, None), asyncio.Event())
    await stream.read(requests())
    [report] = writer.submitted
    assert not exported.get_finished_spans(), "it lasts until the report is durable"
    if error is None:
        report.cancel()
    else:
        report.set_exception(error)
    await asyncio.wait([report])
    [span] = exported.get_finished_spans()
    assert span.name == "record completion"
    assert (span.status.status_code is StatusCode.ERROR, dict(span.attributes or {}).get("error.type")) == (
        failed is not None,
        failed,
    )
