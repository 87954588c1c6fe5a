"""An upload as one caller sends it, message by message, and what it may leave behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
from materials.v1 import ingest_service_pb2 as pb
from materials.v1 import ingest_service_pb2_grpc, material_pb2

from tests.contract.bare_services import MAX_CONCURRENT_UPLOADS, BareServices
from tests.contract.person import Person
from tests.contract.refusals import eventually, refusal_of
from tests.local_stack import Client

MIB = 1024 * 1024
TEXT = b"Mitosis makes two cells of one.\n"
Messages = AsyncIterator[pb.UploadMaterialRequest]


def metadata(course: str, **fields: Any) -> pb.UploadMaterialRequest:
    """The first message of an upload."""
    return pb.UploadMaterialRequest(metadata=pb.UploadMetadata(**{"course_id": course, "name": "notes.txt", **fields}))


def chunk(content: bytes) -> pb.UploadMaterialRequest:
    return pb.UploadMaterialRequest(chunk=content)


async def stream(*messages: pb.UploadMaterialRequest) -> Messages:
    for message in messages:
        yield message


@dataclass
class Ingest:
    """The Ingest with low limits, as one caller."""

    bare: BareServices
    client: Client
    threads: ThreadPoolExecutor

    async def upload(self, *messages: pb.UploadMaterialRequest, token: bool = True) -> material_pb2.Material:
        """An upload of these messages."""
        return await self.upload_each(iter(messages), token=token)

    async def upload_each(
        self, messages: Iterator[pb.UploadMaterialRequest], *, token: bool = True
    ) -> material_pb2.Material:
        """An upload of whatever comes. Not by grpc.aio, whose client loses a refusal that comes while it writes (grpc #36066)."""

        def upload() -> material_pb2.Material:
            with grpc.insecure_channel(self.bare.endpoints["ingest"]) as channel:
                stub = ingest_service_pb2_grpc.IngestServiceStub(channel)
                response: pb.UploadMaterialResponse = stub.UploadMaterial(
                    messages, metadata=tuple(self.client.metadata) if token else (), timeout=60
                )
                return response.material

        return await asyncio.get_running_loop().run_in_executor(self.threads, upload)

    async def upload_stream(self, messages: Messages) -> material_pb2.Material:
        """An upload that waits for events of the test."""
        call = self.client.ingest.UploadMaterial(messages, metadata=self.client.metadata, timeout=60)
        return (await call).material

    async def listed(self, course: str) -> list[str]:
        """The materials of the course."""
        return await Person(self.client).listed(course_id=course)

    async def idle(self) -> None:
        """Returns when no upload is being taken: every slot answers."""

        async def all_slots_answer() -> bool:
            calls = (self.upload(metadata("idle")) for _ in range(MAX_CONCURRENT_UPLOADS))
            answers = await asyncio.gather(*calls, return_exceptions=True)
            return all(
                isinstance(answer, grpc.RpcError) and refusal_of(answer).reason == "FILE_EMPTY" for answer in answers
            )

        await eventually(all_slots_answer, "every slot for uploads is free")

    @asynccontextmanager
    async def leaves_no_trace(self, course: str) -> AsyncIterator[None]:
        """After the block there are no files that were not there before, complete or not, and no record in the course."""
        before = set(self.bare.stored_files())
        yield
        assert set(self.bare.stored_files()) == before
        if course:
            assert await self.listed(course) == []
