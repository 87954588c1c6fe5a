"""What Ingest and a processor say to the record, said by a test."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
from materials.v1 import material_pb2, record_service_pb2_grpc
from materials.v1 import record_service_pb2 as pb

SECONDS = 20.0


def create_request(owner: str, course: str, **fields: Any) -> pb.CreateMaterialRequest:
    """The record of a small text file of which no bytes are kept."""
    material_id = fields.pop("material_id", str(uuid.uuid4()))
    content = {
        "name": "notes.txt",
        "file_path": f"objects/{material_id[:2]}/{material_id}",
        "file_type": "text",
        "media_type": "text/plain",
        "file_size": 3,
        "sha256": "a" * 64,
    }
    return pb.CreateMaterialRequest(material_id=material_id, owner_id=owner, course_id=course, **{**content, **fields})


class RecordCalls:
    """RecordService as a peer calls it."""

    def __init__(self, stub: record_service_pb2_grpc.RecordServiceAsyncStub, metadata: list[tuple[str, str]]) -> None:
        self.stub, self.metadata = stub, metadata

    async def create(self, owner: str, course: str, **fields: Any) -> material_pb2.Material:
        """A PENDING material."""
        return (await self.create_answer(create_request(owner, course, **fields))).material

    async def create_answer(self, request: pb.CreateMaterialRequest) -> pb.CreateMaterialResponse:
        """The whole answer to a CreateMaterial."""
        return await self.stub.CreateMaterial(request, metadata=self.metadata, timeout=SECONDS)

    async def create_several(self, *requests: pb.CreateMaterialRequest) -> list[pb.CreateMaterialOutcome]:
        """CreateMaterials."""
        answer = await self.stub.CreateMaterials(
            pb.CreateMaterialsRequest(materials=requests), metadata=self.metadata, timeout=SECONDS
        )
        return list(answer.outcomes)

    async def claim(self, material_id: str, worker: str = "worker", request_id: str = "") -> pb.ClaimMaterialResponse:
        """A claim; a new request id unless one is given."""
        request = pb.ClaimMaterialRequest(
            material_id=material_id, worker_id=worker, request_id=request_id or str(uuid.uuid4())
        )
        return await self.stub.ClaimMaterial(request, metadata=self.metadata, timeout=SECONDS)

    async def claim_in_turn(
        self, material_id: str, worker: str = "worker", request_id: str = ""
    ) -> pb.ClaimMaterialResponse:
        """A claim that may be granted another material."""
        request = pb.ClaimMaterialRequest(
            material_id=material_id, worker_id=worker, request_id=request_id or str(uuid.uuid4()), in_turn=True
        )
        return await self.stub.ClaimMaterial(request, metadata=self.metadata, timeout=SECONDS)

    async def claimed(self, material_id: str, worker: str = "worker") -> material_pb2.Material:
        """The material under a lease of `worker`."""
        answer = await self.claim(material_id, worker)
        assert not answer.refusal, pb.ClaimRefusal.Name(answer.refusal)
        return answer.material

    async def admit(self, owner: str, request_id: str = "") -> None:
        """AdmitUpload."""
        request = pb.AdmitUploadRequest(owner_id=owner, request_id=request_id)
        await self.stub.AdmitUpload(request, metadata=self.metadata, timeout=SECONDS)

    async def admit_several(self, *uploads: tuple[str, str]) -> list[pb.RecordRefusal]:
        """AdmitUploads: owners and request ids."""
        asked = [pb.AdmitUploadRequest(owner_id=owner, request_id=request_id) for owner, request_id in uploads]
        answer = await self.stub.AdmitUploads(
            pb.AdmitUploadsRequest(uploads=asked), metadata=self.metadata, timeout=SECONDS
        )
        return list(answer.refusals)

    async def heartbeat(self, worker: str = "worker", **report: Any) -> bool:
        """ReportProcessor; whether processing is paused."""
        return (await self.heartbeat_answer(worker, **report)).paused

    async def heartbeat_answer(self, worker: str = "worker", **report: Any) -> pb.ReportProcessorResponse:
        """The whole answer to a ReportProcessor."""
        request = pb.ReportProcessorRequest(worker_id=worker, **report)
        return await self.stub.ReportProcessor(request, metadata=self.metadata, timeout=SECONDS)

    @asynccontextmanager
    async def reports(self, worker: str = "worker") -> AsyncIterator[ReportStream]:
        """A report stream; cancelled at the end."""
        call = self.stub.ReportStatus(metadata=self.metadata)
        try:
            yield ReportStream(call, worker)
        finally:
            call.cancel()

    async def report(
        self, claimed: material_pb2.Material, worker: str = "worker", **report: Any
    ) -> pb.ReportResult.ValueType:
        """One report on a stream of its own."""
        async with self.reports(worker) as stream:
            return await stream.ask(claimed.id, claimed.attempt, **report)

    async def complete(self, material_id: str, worker: str = "worker") -> None:
        """From PENDING to COMPLETED, with one page."""
        claimed = await self.claimed(material_id, worker)
        result = await self.report(claimed, worker, completion=pb.Completion(pages_total=1, has_embedding=True))
        assert result == pb.REPORT_RESULT_RECORDED

    async def fail(
        self,
        material_id: str,
        reason: material_pb2.FailureReason.ValueType = material_pb2.FAILURE_REASON_FILE_CORRUPT,
        *,
        worker: str = "worker",
    ) -> None:
        """From PENDING to FAILED for good."""
        claimed = await self.claimed(material_id, worker)
        result = await self.report(claimed, worker, failure=pb.Failure(reason=reason, message="it cannot be read"))
        assert result == pb.REPORT_RESULT_RECORDED

    async def lease(
        self, *, wait: float = 0.0, max_count: int = 500, incarnation: str = "one", last_sequence: int = 1_000
    ) -> list[pb.Announcement]:
        """Announcements that are due, for a stream that stands there."""
        request = pb.LeaseAnnouncementsRequest(
            max_count=max_count, stream=pb.StreamPosition(incarnation=incarnation, last_sequence=last_sequence)
        )
        request.wait.FromMilliseconds(int(wait * 1000))
        response = await self.stub.LeaseAnnouncements(request, metadata=self.metadata, timeout=SECONDS + wait)
        return list(response.announcements)

    async def lease_all(self) -> list[pb.Announcement]:
        """All announcements that are due: other tests may have left more than one call hands out."""
        due: list[pb.Announcement] = []
        while more := await self.lease():
            due += more
        return due

    async def mark(self, material_id: str, number: int, *, incarnation: str = "one", sequence: int = 10) -> None:
        """Tells that the stream has acknowledged an announcement."""
        position = pb.StreamPosition(incarnation=incarnation, last_sequence=sequence)
        published = pb.PublishedAnnouncement(material_id=material_id, number=number, position=position)
        await self.stub.MarkAnnounced(
            pb.MarkAnnouncedRequest(published=[published]), metadata=self.metadata, timeout=SECONDS
        )

    async def purged(self, material_id: str, part: pb.PurgedPart.ValueType) -> None:
        """Tells that a part is gone."""
        await self.stub.ConfirmPurged(
            pb.ConfirmPurgedRequest(material_id=material_id, part=part), metadata=self.metadata, timeout=SECONDS
        )


class ReportStream:
    """One worker's stream. Whatever is not awaited at the moment is kept until it is."""

    def __init__(
        self, call: grpc.aio.StreamStreamCall[pb.ReportStatusRequest, pb.ReportStatusResponse], worker: str
    ) -> None:
        self._call, self._worker = call, worker
        self._sequence = 0
        self._revocations: list[pb.Revocation] = []
        self._acknowledgements: list[pb.Acknowledgement] = []

    async def send(self, material_id: str, attempt: int, *, worker: str = "", **report: Any) -> int:
        """Sends one report; returns its sequence."""
        self._sequence += 1
        await self._call.write(
            pb.ReportStatusRequest(
                sequence=self._sequence,
                worker_id=worker or self._worker,
                material_id=material_id,
                attempt=attempt,
                **report,
            )
        )
        return self._sequence

    async def acknowledgement(self) -> pb.Acknowledgement:
        """The next acknowledgement."""
        async with asyncio.timeout(SECONDS):
            while not self._acknowledgements:
                await self._read()
        return self._acknowledgements.pop(0)

    async def revocation(self) -> pb.Revocation:
        """The next revocation."""
        async with asyncio.timeout(SECONDS):
            while not self._revocations:
                await self._read()
        return self._revocations.pop(0)

    async def ask(self, material_id: str, attempt: int, **report: Any) -> pb.ReportResult.ValueType:
        """Sends a report and awaits its result."""
        sequence = await self.send(material_id, attempt, **report)
        answer = await self.acknowledgement()
        assert answer.sequence == sequence
        return answer.result

    async def done_writing(self) -> None:
        """Tells the server that nothing more comes."""
        await self._call.done_writing()

    async def ended(self) -> bool:
        """Whether the server has ended the stream, with OK, and has said nothing before."""
        async with asyncio.timeout(SECONDS):
            return await self._call.read() is grpc.aio.EOF

    async def _read(self) -> None:
        response = await self._call.read()
        assert isinstance(response, pb.ReportStatusResponse), "the server has ended the stream"
        if response.WhichOneof("event") == "revocation":
            self._revocations.append(response.revocation)
        else:
            self._acknowledgements.append(response.acknowledgement)
