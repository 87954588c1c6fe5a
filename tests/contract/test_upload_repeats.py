"""An upload sent again with its request id is the same material; any other is refused."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import pytest

from tests.contract.bare_services import BareServices
from tests.contract.refusals import refused
from tests.contract.uploads import TEXT, Ingest, chunk, metadata
from tests.local_stack import LocalStack


class TestRequestId:
    async def test_repeat_answers_the_same_material_and_keeps_one_object(self, ingest: Ingest, course: str) -> None:
        before = set(ingest.bare.stored_files())
        first = await ingest.upload(metadata(course, request_id="again"), chunk(TEXT))
        second = await ingest.upload(metadata(course, request_id="again"), chunk(TEXT))
        assert second == first
        assert {path.name for path in set(ingest.bare.stored_files()) - before} == {first.id}
        assert await ingest.listed(course) == [first.id]

    @pytest.mark.parametrize(
        "other",
        [{"content": TEXT + b"!"}, {"name": "other.txt"}, {"course_id": "elsewhere"}],
        ids=["bytes", "name", "course"],
    )
    async def test_other_upload_is_refused_and_leaves_no_object(
        self, ingest: Ingest, course: str, other: dict[str, Any]
    ) -> None:
        request_id = str(uuid.uuid4())
        first = await ingest.upload(metadata(course, request_id=request_id), chunk(TEXT))
        before = set(ingest.bare.stored_files())
        content = other.pop("content", TEXT)
        with refused("ALREADY_EXISTS", "REQUEST_ID_REUSED"):
            await ingest.upload(metadata(course, request_id=request_id, **other), chunk(content))
        assert set(ingest.bare.stored_files()) == before
        assert await ingest.listed(course) == [first.id]

    async def test_twenty_at_once_make_one_material(self, ingest: Ingest, course: str) -> None:
        before = set(ingest.bare.stored_files())
        request_id = str(uuid.uuid4())
        materials = await asyncio.gather(
            *(ingest.upload(metadata(course, request_id=request_id), chunk(TEXT)) for _ in range(20))
        )
        [material_id] = {material.id for material in materials}
        assert {path.name for path in set(ingest.bare.stored_files()) - before} == {material_id}
        assert await ingest.listed(course) == [material_id]

    async def test_same_bytes_and_request_id_of_two_owners_are_two_materials(
        self, bare: BareServices, stack: LocalStack, ingest: Ingest, course: str
    ) -> None:
        ids = []
        for subject in ("ann", "bob"):
            async with bare.client(stack.user_token(subject, {course: "editor"}), status="status-of-ingest") as client:
                ids.append(
                    (
                        await Ingest(bare, client, ingest.threads).upload(
                            metadata(course, request_id="mine"), chunk(TEXT)
                        )
                    ).id
                )
        assert len(set(ids)) == 2

    async def test_uploads_without_one_are_all_kept(self, ingest: Ingest, course: str) -> None:
        materials = [await ingest.upload(metadata(course), chunk(TEXT)) for _ in range(2)]
        assert materials[0].id != materials[1].id
