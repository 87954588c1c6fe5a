"""Downloads: whole files, ranges, and who may have them."""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Callable

import pytest
from materials.v1 import ingest_service_pb2 as pb
from materials.v1 import material_pb2

from tests.contract.bare_services import BareServices
from tests.contract.refusals import refused
from tests.contract.uploads import MIB, Ingest, chunk, metadata
from tests.local_stack import Client, LocalStack


class TestDownload:
    @pytest.fixture
    async def content(self) -> bytes:
        return bytes(os.urandom(700_000)).hex().encode() + b"\n"

    @pytest.fixture
    async def material(self, ingest: Ingest, course: str, content: bytes) -> material_pb2.Material:
        return await ingest.upload(metadata(course, name="hex.txt"), chunk(content))

    async def download(
        self, client: Client, material_id: str, **query: int
    ) -> tuple[pb.DownloadMetadata, bytes, list[int]]:
        call = client.ingest.DownloadMaterial(
            pb.DownloadMaterialRequest(material_id=material_id, **query), metadata=client.metadata, timeout=30
        )
        responses = [response async for response in call]
        assert [response.WhichOneof("payload") for response in responses][:1] == ["metadata"]
        assert {response.WhichOneof("payload") for response in responses[1:]} <= {"chunk"}
        chunks = [response.chunk for response in responses[1:]]
        return responses[0].metadata, b"".join(chunks), [len(each) for each in chunks]

    async def test_whole_file(self, ingest: Ingest, material: material_pb2.Material, content: bytes) -> None:
        first, received, sizes = await self.download(ingest.client, material.id)
        assert received == content
        assert max(sizes) <= MIB
        assert first == pb.DownloadMetadata(
            name="hex.txt",
            media_type="text/plain",
            file_size=len(content),
            sha256=hashlib.sha256(content).hexdigest(),
            offset=0,
            length=len(content),
        )

    @pytest.mark.parametrize(
        ("offset", "limit", "wanted"),
        [
            (0, 1, lambda content: content[:1]),
            (10, 0, lambda content: content[10:]),
            (10, 100, lambda content: content[10:110]),
            (MIB - 1, 2, lambda content: content[MIB - 1 : MIB + 1]),
            (1_400_000, 1, lambda content: content[-1:]),
            (1_399_990, 10_000, lambda content: content[-11:]),
            (5, 2**62, lambda content: content[5:]),
            (1_400_001, 0, lambda content: b""),
        ],
    )
    async def test_range(
        self,
        ingest: Ingest,
        material: material_pb2.Material,
        content: bytes,
        offset: int,
        limit: int,
        wanted: Callable[[bytes], bytes],
    ) -> None:
        first, received, _ = await self.download(ingest.client, material.id, offset=offset, limit=limit)
        assert received == wanted(content)
        assert (first.offset, first.length, first.file_size) == (offset, len(received), len(content))

    @pytest.mark.parametrize(
        ("offset", "limit"), [(-1, 0), (0, -1), (1_400_002, 0), (2**62, 1), (-(2**63), 0), (0, -(2**63))]
    )
    async def test_range_outside_the_file(
        self, ingest: Ingest, material: material_pb2.Material, offset: int, limit: int
    ) -> None:
        with refused("OUT_OF_RANGE", "RANGE_INVALID"):
            await self.download(ingest.client, material.id, offset=offset, limit=limit)

    async def test_foreign_and_unknown_materials_get_the_same_answer(
        self, bare: BareServices, stack: LocalStack, material: material_pb2.Material
    ) -> None:
        answers = set()
        async with bare.client(stack.user_token("stranger"), status="status-of-ingest") as client:
            for material_id in (material.id, str(uuid.uuid4()), "../../etc/passwd", "", material.file_path):
                for offset in (0, 2**62):
                    with refused("NOT_FOUND", "MATERIAL_NOT_FOUND") as refusal:
                        await self.download(client, material_id, offset=offset)
                    answers.add(refusal.status_bytes)
        assert len(answers) == 1

    async def test_reader_of_the_course_may(
        self, bare: BareServices, stack: LocalStack, material: material_pb2.Material, content: bytes
    ) -> None:
        token = stack.user_token("reader", {material.course_id: "reader"})
        async with bare.client(token, status="status-of-ingest") as client:
            assert (await self.download(client, material.id))[1] == content
