"""RecordService: the record as outbox. What is to be announced is leased, marked and, when it got lost, leased again."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator

import asyncpg
import pytest
from materials.v1 import material_pb2
from materials.v1 import record_service_pb2 as pb

from tests.contract.bare_services import BareServices
from tests.contract.person import Person
from tests.contract.record_calls import RecordCalls
from tests.contract.refusals import refused
from tests.local_stack import Client, LocalStack


class Outbox(RecordCalls):
    """A record in which nothing is due but what the test made."""

    def __init__(self, peer: Client, dsn: str) -> None:
        super().__init__(peer.record, peer.metadata)
        self.person = Person(peer)
        self._dsn = dsn
        self.made: list[str] = []

    async def new(self, course: str) -> material_pb2.Material:
        """A material whose announcement is leased to its creator."""
        material = await self.create("ann", course)
        self.made.append(material.id)
        return material

    async def due(self, course: str) -> material_pb2.Material:
        """A material that nobody has announced and no announcer holds."""
        material = await self.new(course)
        await self.person.cancel(material.id)
        await self.person.retry(material.id)
        return material

    async def let_pass(self, seconds: float) -> None:
        """Makes every announcement so much older."""
        connection = await asyncpg.connect(self._dsn, ssl=False)
        try:
            await connection.execute(
                "UPDATE status.materials SET announced_at = announced_at - make_interval(secs => $1)", seconds
            )
        finally:
            await connection.close()

    async def clear(self) -> None:
        """Deletes and purges all."""
        for material_id in await self.person.batch(*self.made):
            await self.person.delete(material_id)
        for material_id in self.made:
            await self.purged(material_id, pb.PURGED_PART_OBJECT)
            await self.purged(material_id, pb.PURGED_PART_PASSAGES)


@pytest.fixture
async def outbox(bare: BareServices, stack: LocalStack) -> AsyncIterator[Outbox]:
    """A Status of its own: no announcer but the test."""
    name = "status-of-outbox"
    if name not in bare.endpoints:
        await bare.start_status(name, await bare.make_database())
    async with bare.client(stack.facts["service_token"], status=name) as peer:
        outbox = Outbox(peer, bare.databases[name])
        yield outbox
        await outbox.clear()


class TestAnnouncements:
    async def test_new_material_is_left_to_its_creator_for_some_seconds_and_then_handed_out_with_a_new_number(
        self, outbox: Outbox, course: str
    ) -> None:
        material = await outbox.new(course)
        assert await outbox.lease() == []
        [announcement] = await outbox.lease(wait=15)
        assert (announcement.material_id, announcement.number) == (material.id, 2)
        assert announcement.kind == pb.ANNOUNCEMENT_KIND_UPLOADED

    async def test_what_is_leased_is_not_handed_out_twice(self, outbox: Outbox, course: str) -> None:
        wanted = {(await outbox.due(course)).id for _ in range(12)}
        answers = await asyncio.gather(*(outbox.lease(max_count=5) for _ in range(6)))
        assert all(len(answer) <= 5 for answer in answers)
        handed_out = [announcement.material_id for answer in answers for announcement in answer]
        handed_out += [announcement.material_id for announcement in await outbox.lease()]
        assert sorted(handed_out) == sorted(wanted)

    async def test_marked_announcement_is_due_again_only_when_the_stream_cannot_hold_it(
        self, outbox: Outbox, course: str
    ) -> None:
        material = await outbox.due(course)
        [announcement] = await outbox.lease()
        await outbox.mark(material.id, announcement.number, sequence=10)
        await outbox.let_pass(60)
        assert await outbox.lease(last_sequence=10) == []
        [set_back] = await outbox.lease(last_sequence=9)
        assert set_back.number == announcement.number + 1
        await outbox.mark(material.id, set_back.number, sequence=10)
        await outbox.let_pass(60)
        [anew] = await outbox.lease(incarnation="two", last_sequence=10)
        assert anew.number == set_back.number + 1

    async def test_announcement_whose_sequence_the_stream_gave_to_another_is_due_again(
        self, outbox: Outbox, course: str
    ) -> None:
        materials = [await outbox.due(course) for _ in range(3)]
        numbers = {announcement.material_id: announcement.number for announcement in await outbox.lease()}
        for material, sequence in zip(materials, (10, 11, 10), strict=True):
            await outbox.mark(material.id, numbers[material.id], sequence=sequence)
        [lost] = await outbox.lease(last_sequence=11)
        assert (lost.material_id, lost.number) == (materials[0].id, numbers[materials[0].id] + 1)

    async def test_fresh_announcement_is_not_held_against_a_position_read_before_it(
        self, outbox: Outbox, course: str
    ) -> None:
        material = await outbox.due(course)
        [announcement] = await outbox.lease()
        await outbox.mark(material.id, announcement.number, sequence=11)
        assert await outbox.lease(last_sequence=10) == []

    async def test_announcement_that_nobody_came_for_is_repeated_after_ten_minutes(
        self, outbox: Outbox, course: str
    ) -> None:
        material = await outbox.due(course)
        [announcement] = await outbox.lease()
        await outbox.mark(material.id, announcement.number)
        await outbox.let_pass(590)
        assert await outbox.lease() == []
        await outbox.let_pass(20)
        [repeated] = await outbox.lease()
        assert repeated.number == announcement.number + 1

    async def test_mark_of_an_outdated_number_is_ignored(self, outbox: Outbox, course: str) -> None:
        material = await outbox.due(course)
        await outbox.mark(material.id, 1)
        [announcement] = await outbox.lease()
        assert announcement.material_id == material.id

    async def test_waits_for_something_due_and_wakes_for_it(self, outbox: Outbox, course: str) -> None:
        material = await outbox.new(course)
        claimed = await outbox.claimed(material.id)
        waiting = asyncio.create_task(outbox.lease(wait=15))
        await outbox.report(claimed, hand_back=pb.HandBack(message="stopping"))
        [announcement] = await waiting
        assert announcement.material_id == material.id

    async def test_claimed_and_ended_materials_are_not_announced(self, outbox: Outbox, course: str) -> None:
        claimed, completed, cancelled = [await outbox.due(course) for _ in range(3)]
        await outbox.claimed(claimed.id)
        await outbox.complete(completed.id)
        await outbox.person.cancel(cancelled.id)
        assert await outbox.lease() == []

    @pytest.mark.parametrize("state", ["PENDING", "PROCESSING", "COMPLETED", "FAILED"])
    async def test_deletion_is_announced_until_both_parts_are_purged_and_never_again(
        self, outbox: Outbox, course: str, state: str
    ) -> None:
        material = await outbox.new(course)
        match state:
            case "PROCESSING":
                await outbox.claimed(material.id)
            case "COMPLETED":
                await outbox.complete(material.id)
            case "FAILED":
                await outbox.fail(material.id)
        await outbox.person.delete(material.id)
        [first] = await outbox.lease()
        assert (first.material_id, first.kind) == (material.id, pb.ANNOUNCEMENT_KIND_DELETED)
        await outbox.mark(material.id, first.number)
        await outbox.purged(material.id, pb.PURGED_PART_OBJECT)
        await outbox.let_pass(60)
        assert await outbox.lease() == []
        [second] = await outbox.lease(incarnation="two")
        assert second.number == first.number + 1
        await outbox.mark(material.id, second.number)
        await outbox.purged(material.id, pb.PURGED_PART_PASSAGES)
        await outbox.let_pass(3_600)
        assert await outbox.lease(incarnation="three") == []

    async def test_purged_before_it_was_marked_is_not_announced_again(self, outbox: Outbox, course: str) -> None:
        material = await outbox.due(course)
        await outbox.person.delete(material.id)
        for part in (pb.PURGED_PART_OBJECT, pb.PURGED_PART_PASSAGES):
            await outbox.purged(material.id, part)
        assert await outbox.lease() == []

    async def test_purge_of_a_living_or_unknown_material_changes_nothing(self, outbox: Outbox, course: str) -> None:
        material = await outbox.new(course)
        await outbox.purged(material.id, pb.PURGED_PART_OBJECT)
        await outbox.purged(str(uuid.uuid4()), pb.PURGED_PART_OBJECT)
        await outbox.purged("../x", pb.PURGED_PART_OBJECT)
        assert await outbox.person.get(material.id) == material
        await outbox.person.delete(material.id)
        [announcement] = await outbox.lease()
        await outbox.mark(material.id, announcement.number)
        await outbox.purged(material.id, pb.PURGED_PART_PASSAGES)
        await outbox.let_pass(60)
        assert [each.material_id for each in await outbox.lease(incarnation="two")] == [material.id], (
            "the object is still to be purged"
        )

    @pytest.mark.parametrize("max_count", [0, -1, 501])
    async def test_number_out_of_range_is_refused(self, outbox: Outbox, max_count: int) -> None:
        with refused("INVALID_ARGUMENT", "FIELD_INVALID", "max_count"):
            await outbox.lease(max_count=max_count)

    async def test_marks_beyond_a_thousand_or_without_an_id_are_refused(self, outbox: Outbox) -> None:
        many = [pb.PublishedAnnouncement(material_id=str(uuid.uuid4()), number=1)] * 1_001
        with refused("INVALID_ARGUMENT", "FIELD_INVALID", "published"):
            await outbox.stub.MarkAnnounced(
                pb.MarkAnnouncedRequest(published=many), metadata=outbox.metadata, timeout=20
            )
        with refused("INVALID_ARGUMENT", "FIELD_INVALID", "published.material_id"):
            await outbox.mark("nothing", 1)

    async def test_purge_of_no_part_is_refused(self, outbox: Outbox) -> None:
        with refused("INVALID_ARGUMENT", "FIELD_INVALID", "part"):
            await outbox.purged(str(uuid.uuid4()), pb.PURGED_PART_UNSPECIFIED)
