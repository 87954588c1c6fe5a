"""Changes of a material's record, made as a processor makes them: reports on its stream to Status, each acknowledged when it is durable."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from materials.channels import bearer
from materials.v1 import material_pb2, record_service_pb2_grpc
from materials.v1 import record_service_pb2 as pb

from servicekit.channels import open_channel
from tests.contract.record_calls import RecordCalls, ReportStream

PAGES = 1_000_000


class Changes:
    """One material that is being read, a page a report, by a processor of its own."""

    def __init__(self, material: material_pb2.Material, stream: ReportStream) -> None:
        self.material = material
        self._stream = stream
        self._pages = 0

    @classmethod
    @asynccontextmanager
    async def of_new_material(cls, address: str, token: str, course: str) -> AsyncIterator[Changes]:
        """A new material of the course, leased, by way of the Status at `address`; `token` is a service's. The lease must last for all that is to come."""
        async with open_channel(address) as channel:
            record = RecordCalls(record_service_pb2_grpc.RecordServiceStub(channel), bearer(token))
            created = await record.create("owner", course)
            claimed = await record.claimed(created.id)
            async with record.reports() as stream:
                changes = cls(claimed, stream)
                await changes.make()
                yield changes

    async def make(self) -> int:
        """One durable change, from its report to its acknowledgement; returns when the report was sent, in nanoseconds of the monotonic clock. Raises
        RuntimeError when it was not recorded."""
        self._pages += 1
        progress = pb.Progress(pages_done=self._pages, pages_total=PAGES, stage=material_pb2.PROCESSING_STAGE_READING)
        began = time.monotonic_ns()
        result = await self._stream.ask(self.material.id, self.material.attempt, progress=progress)
        if result != pb.REPORT_RESULT_RECORDED:
            raise RuntimeError(f"not recorded: {pb.ReportResult.Name(result)}")
        return began
