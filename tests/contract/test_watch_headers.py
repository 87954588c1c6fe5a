"""StatusService: the response headers of a watch come when it stands, and tell that to whoever has to answer before anything is sent."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import grpc
import pytest
from materials.v1 import status_service_pb2 as pb

from tests.contract.people import People
from tests.contract.person import SECONDS, Person
from tests.contract.record_calls import RecordCalls
from tests.contract.refusals import refused


async def headers(call: Any) -> Any:
    """The response headers, as soon as they are there."""
    async with asyncio.timeout(SECONDS):
        return await call.initial_metadata()


async def test_watch_of_a_material_stands_while_there_is_nothing_to_send(
    people: People, record: RecordCalls, course: str
) -> None:
    material = await record.create("owner", course)
    request = pb.WatchMaterialRequest(material_id=material.id, after_revision=material.revision)
    call = people.reader.stub.WatchMaterial(request, metadata=people.reader.metadata)
    try:
        await headers(call)
        assert not call.done()
        claimed = await record.claimed(material.id)
        assert (await call.read()).material == claimed, "what was changed after the headers came is sent first"
    finally:
        call.cancel()


async def test_resumed_watch_of_a_course_stands_before_its_first_message(people: People, course: str) -> None:
    call = people.reader.stub.WatchCourse(pb.WatchCourseRequest(course_id=course), metadata=people.reader.metadata)
    try:
        await headers(call)
        assert (await call.read()).HasField("snapshot_complete")
    finally:
        call.cancel()


@pytest.mark.parametrize(
    ("request_", "code", "reason"),
    [
        (pb.WatchMaterialRequest(material_id=str(uuid.uuid4())), "NOT_FOUND", "MATERIAL_NOT_FOUND"),
        (
            pb.WatchCourseRequest(course_id="algebra", resume_token="made up"),
            "INVALID_ARGUMENT",
            "RESUME_TOKEN_INVALID",
        ),
    ],
    ids=["material", "course"],
)
async def test_refused_watch_has_ended_when_its_headers_are_there(
    person: Person, request_: Any, code: str, reason: str
) -> None:
    method = person.stub.WatchMaterial if isinstance(request_, pb.WatchMaterialRequest) else person.stub.WatchCourse
    ended = []
    for _ in range(300):
        call: grpc.aio.UnaryStreamCall[Any, Any] = method(request_, metadata=person.metadata)
        await headers(call)
        ended.append(call.done())
        with refused(code, reason):
            await call.read()
    assert all(ended), ended.count(False)
