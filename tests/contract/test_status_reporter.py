"""A report gets through, however often its stream breaks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from typing import Any

import grpc
from materials.v1 import record_service_pb2 as pb
from materials.v1 import record_service_pb2_grpc

from processor_service.status_reporter import StatusReporter
from servicekit.channels import Peer

RECORDED = pb.REPORT_RESULT_RECORDED


class ScriptedRecord(record_service_pb2_grpc.RecordServiceServicer):
    """The record's side. `breaks` holds the numbers of the reports (counted over all streams) in place of whose answer the stream breaks, `loses` of those that
    it never hears of."""

    def __init__(self, breaks: set[int], loses: Collection[int] = ()) -> None:
        self.breaks, self.loses, self.received = breaks, loses, 0
        self.streams = 0
        self.seen: list[str] = []
        self.heard = asyncio.Event()
        self.revoke: asyncio.Queue[pb.Revocation] = asyncio.Queue()

    async def ReportStatus(self, request_iterator: Any, context: Any) -> AsyncIterator[pb.ReportStatusResponse]:
        self.streams += 1
        async for request in request_iterator:
            self.received += 1
            self.heard.set()
            self.seen.append(str(request.WhichOneof("report")))
            if self.received in self.breaks:
                await context.abort(grpc.StatusCode.UNAVAILABLE, "the database is away")
            if self.received in self.loses:
                continue
            yield pb.ReportStatusResponse(
                acknowledgement=pb.Acknowledgement(sequence=request.sequence, result=RECORDED)
            )
            while not self.revoke.empty():
                yield pb.ReportStatusResponse(revocation=self.revoke.get_nowait())


@asynccontextmanager
async def reporting(record: ScriptedRecord) -> AsyncIterator[StatusReporter]:
    server = grpc.aio.server()
    record_service_pb2_grpc.add_RecordServiceServicer_to_server(record, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    peer = Peer(f"127.0.0.1:{port}", lambda: "token")
    reporter = StatusReporter(peer, "worker-1")
    async with asyncio.TaskGroup() as tasks:
        await reporter.start(tasks)
        yield reporter
        await reporter.stop()
    await peer.stop()
    await server.stop(0)


async def test_a_report_whose_stream_broke_is_sent_again_on_the_next_one() -> None:
    record = ScriptedRecord(breaks={2, 3})
    async with reporting(record) as reporter, asyncio.timeout(30):
        attempt = ("material", 1)
        assert await reporter.report(attempt, renewal=pb.Renewal()) == RECORDED
        assert await reporter.report(attempt, completion=pb.Completion(pages_total=1)) == RECORDED
    assert record.seen == ["renewal", "completion", "completion", "completion"]
    assert record.streams == 3


async def test_reports_of_many_attempts_are_all_answered_over_one_stream() -> None:
    record = ScriptedRecord(breaks=set())
    async with reporting(record) as reporter, asyncio.timeout(30):
        results = await asyncio.gather(
            *[reporter.report((f"material-{n}", 1), renewal=pb.Renewal()) for n in range(50)]
        )
    assert results == [RECORDED] * 50
    assert record.streams == 1


async def test_a_report_that_was_lost_on_its_way_is_sent_again() -> None:
    record = ScriptedRecord(breaks=set(), loses={1})
    async with reporting(record) as reporter, asyncio.timeout(30):
        first = asyncio.create_task(reporter.report(("material", 1), completion=pb.Completion(pages_total=1)))
        await record.heard.wait()
        assert await reporter.report(("another", 1), renewal=pb.Renewal()) == RECORDED
        assert await first == RECORDED
    assert record.streams == 2


async def test_a_revocation_reaches_the_attempt_it_is_for() -> None:
    record = ScriptedRecord(breaks=set())
    async with reporting(record) as reporter, asyncio.timeout(30):
        revoked = asyncio.Event()
        reporter.on_revoked(("material", 2), revoked.set)
        record.revoke.put_nowait(pb.Revocation(material_id="material", attempt=1))
        record.revoke.put_nowait(pb.Revocation(material_id="material", attempt=2))
        await reporter.report(("material", 2), renewal=pb.Renewal())
        await revoked.wait()
