"""StatusService: who sees a material and who may change it. To all others it is as if it were not there."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from materials.v1 import material_pb2

from tests.contract.bare_services import BareServices
from tests.contract.people import READS, WRITES, People, first_of_watch
from tests.contract.person import Person
from tests.contract.record_calls import RecordCalls
from tests.contract.refusals import refused
from tests.local_stack import LocalStack

PENDING = material_pb2.PROCESSING_STATUS_PENDING
FAILED = material_pb2.PROCESSING_STATUS_FAILED


class TestWhoSeesWhat:
    @pytest.mark.parametrize(
        "call", [*READS.values(), first_of_watch, *WRITES.values()], ids=lambda call: call.__name__
    )
    async def test_stranger_gets_the_very_answer_of_an_unknown_id(
        self, people: People, record: RecordCalls, course: str, call: Callable[[Person, str], Awaitable[Any]]
    ) -> None:
        material = await record.create("owner", course)
        answers = []
        for material_id in (material.id, str(uuid.uuid4()), material.id.upper(), "../../etc/passwd", "", "x" * 5_000):
            with refused("NOT_FOUND", "MATERIAL_NOT_FOUND") as refusal:
                await call(people.stranger, material_id)
            answers.append(refusal.status_bytes)
        assert len(set(answers)) == 1, "the answer tells whether the material exists"
        assert await people.owner.get(material.id) == material

    @pytest.mark.parametrize("who", ["owner", "editor", "reader", "admin"])
    async def test_owner_and_members_see_the_material_everywhere(
        self, people: People, record: RecordCalls, course: str, who: str
    ) -> None:
        person: Person = getattr(people, who)
        material = await record.create("owner", course)
        assert await person.get(material.id) == material
        assert await person.batch(material.id) == [material.id]
        assert await person.listed(course_id=course) == [material.id]
        assert await person.events(material.id) == ["created"]
        assert (await first_of_watch(person, material.id)).material == material
        async with person.watch_course(course) as watch:
            assert (await watch.next()).material == material

    async def test_stranger_finds_nothing_in_batches_and_lists(
        self, people: People, record: RecordCalls, course: str
    ) -> None:
        material = await record.create("owner", course)
        assert await people.stranger.batch(material.id, str(uuid.uuid4()), "nothing") == []
        assert await people.stranger.listed(course_id=course) == []

    async def test_stranger_finds_what_is_their_own_in_the_course(
        self, people: People, record: RecordCalls, course: str
    ) -> None:
        await record.create("owner", course)
        own = await record.create("stranger", course)
        assert await people.stranger.listed(course_id=course) == [own.id]

    async def test_list_without_a_course_is_the_callers_own_of_all_courses(
        self, people: People, stack: LocalStack, bare: BareServices, record: RecordCalls, course: str
    ) -> None:
        subject = f"user-{uuid.uuid4()}"
        here, there = await record.create(subject, course), await record.create(subject, f"{course}-2")
        await record.create("owner", course)
        async with bare.client(stack.user_token(subject, {course: "reader"})) as client:
            assert await Person(client).listed() == [there.id, here.id]

    @pytest.mark.parametrize("who", ["owner", "editor", "admin"])
    async def test_owner_and_editors_may_change_it(
        self, people: People, record: RecordCalls, course: str, who: str
    ) -> None:
        person: Person = getattr(people, who)
        material = await record.create("owner", course)
        assert (await person.cancel(material.id)).processing_status == FAILED
        assert (await person.retry(material.id)).processing_status == PENDING
        await person.delete(material.id)
        assert await people.owner.batch(material.id) == []

    @pytest.mark.parametrize("call", WRITES.values(), ids=WRITES)
    async def test_reader_may_not_change_it(
        self, people: People, record: RecordCalls, course: str, call: Callable[[Person, str], Awaitable[Any]]
    ) -> None:
        material = await record.create("owner", course)
        with refused("PERMISSION_DENIED", "COURSE_WRITE_DENIED"):
            await call(people.reader, material.id)
        assert await people.owner.get(material.id) == material
        assert await people.owner.events(material.id) == ["created"]
