"""A rolling upgrade: parts of different versions work together for a while."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TypeVar

from google.protobuf.message import Message
from materials.v1 import material_pb2, record_service_pb2, status_service_pb2

from tests.faults.fault_stack import FaultStack
from tests.faults.older_service import older_service
from tests.faults.scenario import scenario
from tests.faults.workload import Workload

M = TypeVar("M", bound=Message)
#: Field 2047, a string: no version has it yet.
FUTURE_FIELD = b"\xfa\x7f\x06future"
FUTURE_STAGE, FUTURE_REASON = 77, 99


def from_the_future(message: M) -> M:
    """The message with a field that nobody knows."""
    return type(message).FromString(message.SerializeToString() + FUTURE_FIELD)


@scenario("24a", "a processor of a future version reports stages, reasons and fields that nobody knows", quick=True)
async def newer_processor(stack: FaultStack, work: Workload) -> None:
    await work.watch_course()
    # The real one holds still, so that this one gets the lease.
    async with stack.peer() as peer, stack.frozen("processor"):
        upload = work.note()
        await work.send(upload)
        work.watch(upload)
        claim = await peer.record.ClaimMaterial(
            from_the_future(
                record_service_pb2.ClaimMaterialRequest(
                    material_id=upload.id, worker_id="newer-processor", request_id="1"
                )
            ),
            metadata=peer.metadata,
            timeout=20,
        )
        assert claim.material.attempt == 1
        stream = peer.record.ReportStatus(metadata=peer.metadata)
        try:
            for sequence, report in enumerate(
                (
                    {"progress": record_service_pb2.Progress(pages_total=1, stage=FUTURE_STAGE)},  # type: ignore[arg-type]
                    {
                        "failure": record_service_pb2.Failure(
                            reason=FUTURE_REASON,  # type: ignore[arg-type]
                            message="something of the future",
                            transient=True,
                        )
                    },
                ),
                1,
            ):
                await stream.write(
                    from_the_future(
                        record_service_pb2.ReportStatusRequest(
                            sequence=sequence,
                            worker_id="newer-processor",
                            material_id=upload.id,
                            attempt=1,
                            **report,  # type: ignore[arg-type]
                        )
                    )
                )
                answer = await stream.read()
                assert answer.acknowledgement.result == record_service_pb2.REPORT_RESULT_RECORDED
        finally:
            stream.cancel()
    work.extra_attempts = 1
    await work.settled(30)
    request = status_service_pb2.ListMaterialTransitionsRequest(material_id=upload.id)
    history = await work.client.status.ListMaterialTransitions(request, metadata=work.client.metadata)
    assert FUTURE_REASON in [line.failure_reason for line in history.transitions], "the reason was not kept"
    assert (await work.client.get(upload.id)).processing_status == material_pb2.PROCESSING_STATUS_COMPLETED


@scenario("24b", "Status is older than Ingest and the processors, and does not know their newest calls")
async def older_status(stack: FaultStack, work: Workload) -> None:
    await work.watch_course()
    newest = ("AdmitUploads", "CreateMaterials", "ReportProcessor")
    async with older_service(stack.local.facts["status"], newest) as (port, refused):
        with ExitStack() as diverted:
            for client in ("ingest", "processor"):
                diverted.enter_context(stack.proxies[client, "status"].diverting(port))
            for upload in await work.notes(6):
                work.watch(upload)
            await work.settled(40)
    assert {"AdmitUploads", "CreateMaterials"} <= set(refused), "the older Status was not asked"
    work.extra_attempts = 1
