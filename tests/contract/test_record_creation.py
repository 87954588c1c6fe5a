"""RecordService: Ingest makes the record of an upload, once, whatever is sent again."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import pytest
from materials.v1 import errors_pb2, material_pb2
from materials.v1 import record_service_pb2 as pb

from tests.contract.person import Person
from tests.contract.record_calls import RecordCalls, create_request
from tests.contract.refusals import refused

PENDING = material_pb2.PROCESSING_STATUS_PENDING
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class TestCreateMaterial:
    async def test_makes_a_pending_record_with_its_first_announcement_leased_to_the_caller(
        self, record: RecordCalls, course: str
    ) -> None:
        request = create_request("ann", course, traceparent=TRACEPARENT)
        answer = await record.create_answer(request)
        material, announcement = answer.material, answer.announcement
        assert answer.created
        assert (material.id, material.owner_id, material.course_id) == (request.material_id, "ann", course)
        assert (material.processing_status, material.revision, material.attempt) == (PENDING, 1, 0)
        assert (material.sha256, material.file_size, material.file_path) == ("a" * 64, 3, request.file_path)
        assert material.created_at == material.updated_at
        assert not material.HasField("processed_at")
        assert (announcement.kind, announcement.number) == (pb.ANNOUNCEMENT_KIND_UPLOADED, 1)
        assert (announcement.material_id, announcement.traceparent) == (material.id, TRACEPARENT)
        assert announcement.occurred_at == material.created_at

    async def test_repeated_call_answers_the_same_record_and_keeps_its_bytes(
        self, record: RecordCalls, course: str
    ) -> None:
        request = create_request("ann", course)
        first, second = await record.create_answer(request), await record.create_answer(request)
        assert second.material == first.material
        assert second.created, "the caller's bytes are those of the record and must stay"
        assert not second.HasField("announcement")

    async def test_known_request_id_answers_the_first_material_and_wants_the_new_bytes_removed(
        self, record: RecordCalls, course: str
    ) -> None:
        request_id = str(uuid.uuid4())
        first = await record.create_answer(create_request("ann", course, request_id=request_id))
        second = await record.create_answer(create_request("ann", course, request_id=request_id))
        assert not second.created
        assert not second.HasField("announcement")
        assert second.material == first.material

    @pytest.mark.parametrize(
        "other", [{"name": "other.txt"}, {"file_size": 4}, {"sha256": "b" * 64}, {"course_id": "elsewhere"}], ids=str
    )
    async def test_request_id_used_for_other_content_is_refused(
        self, record: RecordCalls, course: str, other: dict[str, Any]
    ) -> None:
        request = create_request("ann", course, request_id=str(uuid.uuid4()))
        await record.create_answer(request)
        changed = create_request("ann", course, request_id=request.request_id)
        changed.MergeFrom(pb.CreateMaterialRequest(**other))
        with refused("ALREADY_EXISTS", "REQUEST_ID_REUSED"):
            await record.create_answer(changed)

    async def test_request_ids_of_two_owners_have_nothing_to_do_with_each_other(
        self, record: RecordCalls, course: str
    ) -> None:
        request_id = str(uuid.uuid4())
        ann = await record.create_answer(create_request("ann", course, request_id=request_id))
        bob = await record.create_answer(create_request("bob", course, request_id=request_id))
        assert ann.created
        assert bob.created
        assert ann.material.id != bob.material.id

    async def test_request_id_is_free_again_after_deletion(
        self, record: RecordCalls, person: Person, course: str
    ) -> None:
        request_id = str(uuid.uuid4())
        first = await record.create("ann", course, request_id=request_id)
        await person.delete(first.id)
        second = await record.create_answer(create_request("ann", course, request_id=request_id, name="other.txt"))
        assert second.created
        assert second.material.id != first.id

    async def test_twenty_at_once_on_two_replicas_make_one_material(
        self, record: RecordCalls, record_2: RecordCalls, person: Person, course: str
    ) -> None:
        request_id = str(uuid.uuid4())
        answers = await asyncio.gather(
            *(
                (record, record_2)[number % 2].create_answer(create_request("ann", course, request_id=request_id))
                for number in range(20)
            )
        )
        assert [answer.created for answer in answers].count(True) == 1
        assert len({answer.material.id for answer in answers}) == 1
        assert len(await person.listed(course_id=course)) == 1

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("material_id", "not-a-uuid"),
            ("material_id", "9B0A1C62-5D3E-4F8A-8A57-2F1F6C0D7E34"),
            ("file_size", 0),
            ("file_size", -1),
            ("sha256", "A" * 64),
            ("sha256", "a" * 63),
            ("course_id", ""),
            ("course_id", "a b"),
            ("owner_id", ""),
            ("name", "a\nb"),
            ("name", "n" * 256),
        ],
    )
    async def test_field_out_of_range_is_named(
        self, record: RecordCalls, course: str, field: str, value: str | int
    ) -> None:
        request = create_request("ann", course)
        setattr(request, field, value)
        with refused("INVALID_ARGUMENT", "FIELD_INVALID", field):
            await record.create_answer(request)


async def test_change_that_postgres_refuses_costs_those_beside_it_nothing(record: RecordCalls, course: str) -> None:
    requests = [create_request("ann", course) for _ in range(30)]
    requests[15].file_path = "objects/\0"
    answers = await asyncio.gather(*map(record.create_answer, requests), return_exceptions=True)
    failed = [number for number, answer in enumerate(answers) if isinstance(answer, BaseException)]
    assert failed == [15]


class TestCreateMaterials:
    async def test_each_is_made_or_refused_by_itself_in_the_order_asked(self, record: RecordCalls, course: str) -> None:
        known = create_request("ann", course, request_id="known")
        await record.create_answer(known)
        other_content = create_request("ann", course, request_id="known", file_size=4)
        malformed = create_request("ann", course, sha256="short")
        new = [create_request("ann", course), create_request("ben", course)]
        outcomes = await record.create_several(new[0], other_content, known, malformed, new[1])
        reasons = [errors_pb2.ErrorReason.Name(outcome.refusal.reason) for outcome in outcomes]
        assert reasons == [
            "ERROR_REASON_UNSPECIFIED", "ERROR_REASON_REQUEST_ID_REUSED", "ERROR_REASON_UNSPECIFIED", "ERROR_REASON_FIELD_INVALID",
            "ERROR_REASON_UNSPECIFIED",
        ]  # fmt: skip
        made = [outcomes[0].created, outcomes[4].created]
        assert [answer.material.id for answer in made] == [request.material_id for request in new]
        assert all(answer.created and answer.HasField("announcement") for answer in made)
        assert outcomes[2].created.material.id == known.material_id
        assert "sha256" in outcomes[3].refusal.message

    async def test_the_same_upload_twice_in_one_call_is_one_material(self, record: RecordCalls, course: str) -> None:
        twice = [create_request("ann", course, request_id="once") for _ in range(2)]
        first, second = (outcome.created for outcome in await record.create_several(*twice))
        assert first.material == second.material
        assert sorted([first.created, second.created]) == [False, True]

    @pytest.mark.parametrize("count", [0, 201])
    async def test_takes_so_many_at_once(self, record: RecordCalls, course: str, count: int) -> None:
        with refused("INVALID_ARGUMENT", "FIELD_INVALID", "materials"):
            await record.create_several(*[create_request("ann", course)] * count)
