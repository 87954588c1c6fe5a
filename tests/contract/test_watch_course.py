"""StatusService: a course watched: the snapshot, what changes after it, and how a cut watch goes on."""

from __future__ import annotations

import asyncio

import pytest
from materials.v1 import status_service_pb2 as pb

from tests.contract.bare_services import BareServices
from tests.contract.people import People
from tests.contract.person import Person
from tests.contract.record_calls import RecordCalls, create_request
from tests.contract.refusals import refused
from tests.local_stack import LocalStack


def _story(responses: list[pb.WatchCourseResponse]) -> list[tuple[str, int]]:
    """What a course's watcher is told: (material, revision), deletions as revision 0."""
    return [
        (response.material.id, response.material.revision)
        if response.WhichOneof("change") == "material"
        else (response.deleted_material_id, 0)
        for response in responses
    ]


class TestWatchCourse:
    async def test_snapshot_then_its_end_then_changes(self, people: People, record: RecordCalls, course: str) -> None:
        made = [await record.create("owner", course) for _ in range(3)]
        await record.create("owner", f"{course}-2")
        async with people.reader.watch_course(course) as watch:
            snapshot = [await watch.next() for _ in made]
            assert sorted(response.material.id for response in snapshot) == sorted(material.id for material in made)
            assert {response.resume_token for response in snapshot} == {""}
            complete = await watch.next()
            assert complete.WhichOneof("change") == "snapshot_complete"
            assert complete.resume_token
            new = await record.create("owner", course)
            change = await watch.next()
            assert change.material == new
            assert change.resume_token
            await people.owner.delete(made[0].id)
            assert (await watch.next()).deleted_material_id == made[0].id

    async def test_snapshot_of_an_empty_course_is_complete_at_once(self, people: People, course: str) -> None:
        async with people.reader.watch_course(course) as watch:
            assert (await watch.next()).WhichOneof("change") == "snapshot_complete"

    async def test_snapshot_leaves_out_what_was_deleted_before(
        self, people: People, record: RecordCalls, course: str
    ) -> None:
        kept, deleted = await record.create("owner", course), await record.create("owner", course)
        await people.owner.delete(deleted.id)
        async with people.reader.watch_course(course) as watch:
            assert (await watch.next()).material == kept
            assert (await watch.next()).WhichOneof("change") == "snapshot_complete"

    async def test_snapshot_of_more_than_one_read_is_whole(
        self, people: People, record: RecordCalls, course: str
    ) -> None:
        made = await asyncio.gather(*(record.create("owner", course) for _ in range(1_100)))
        async with people.reader.watch_course(course) as watch:
            seen = []
            while (response := await watch.next()).WhichOneof("change") == "material":
                seen.append(response.material.id)
        assert sorted(seen) == sorted(material.id for material in made)

    async def test_changes_on_another_replica_are_seen(
        self, people: People, stack: LocalStack, bare: BareServices, record: RecordCalls, course: str
    ) -> None:
        async with (
            bare.client(stack.user_token("reader", {course: "reader"}), status="status-2") as client,
            Person(client).watch_course(course) as watch,
        ):
            await watch.next()
            material = await record.create("owner", course)
            assert (await watch.next()).material == material
            await people.owner.delete(material.id)
            assert (await watch.next()).deleted_material_id == material.id

    async def test_every_resume_token_continues_without_gap_or_repeat(
        self, people: People, stack: LocalStack, bare: BareServices, record: RecordCalls, course: str
    ) -> None:
        first = await record.create("owner", course)
        async with people.reader.watch_course(course) as watch:
            await watch.next()
            heard = [await watch.next()]
            second = await record.create("owner", course)
            heard.append(await watch.next())
            await record.claimed(second.id)
            heard.append(await watch.next())
            await people.owner.delete(first.id)
            heard.append(await watch.next())
            third = await record.create("owner", course)
            heard.append(await watch.next())
        # A material's older states are not told to a watcher who missed them: only the newest of each.
        newest = {second.id: 2, first.id: 0, third.id: 1}
        async with bare.client(stack.user_token("reader", {course: "reader"}), status="status-2") as client:
            for person in (people.reader, Person(client)):
                for number, response in enumerate(heard):
                    wanted = list(dict.fromkeys(key for key, _ in reversed(_story(heard[number + 1 :]))))[::-1]
                    async with person.watch_course(course, response.resume_token) as resumed:
                        missed = [await resumed.next() for _ in wanted]
                        assert _story(missed) == [(key, newest[key]) for key in wanted]
                        assert all(each.resume_token for each in missed)
                        end = await resumed.next()
                        assert end.WhichOneof("change") == "snapshot_complete"
                        assert end.resume_token == heard[-1].resume_token

    async def test_resumed_watch_goes_on_with_new_changes(
        self, people: People, record: RecordCalls, course: str
    ) -> None:
        async with people.reader.watch_course(course) as watch:
            token = (await watch.next()).resume_token
        async with people.reader.watch_course(course, token) as watch:
            assert (await watch.next()).WhichOneof("change") == "snapshot_complete"
            material = await record.create("owner", course)
            assert (await watch.next()).material == material

    async def test_many_changes_at_once_are_each_told_to_their_last_state(
        self, people: People, record: RecordCalls, course: str
    ) -> None:
        async with people.reader.watch_course(course) as watch:
            await watch.next()

            async def live() -> str:
                material = await record.create("owner", course)
                await people.owner.cancel(material.id)
                await people.owner.retry(material.id)
                await people.owner.cancel(material.id)
                return material.id

            waiting = set(await asyncio.gather(*(live() for _ in range(60))))
            revisions: dict[str, int] = {}
            tokens = []
            while waiting:
                response = await watch.next()
                material = response.material
                assert material.revision > revisions.get(material.id, 0)
                revisions[material.id] = material.revision
                tokens.append(response.resume_token)
                if material.revision == 4:
                    waiting.remove(material.id)
        assert len(set(tokens)) == len(tokens)

    async def test_stranger_hears_only_of_what_is_their_own(
        self, people: People, record: RecordCalls, course: str
    ) -> None:
        other = await record.create("owner", course)
        own = await record.create("stranger", course)
        async with people.stranger.watch_course(course) as watch:
            assert (await watch.next()).material == own
            assert (await watch.next()).WhichOneof("change") == "snapshot_complete"
            await people.owner.cancel(other.id)
            await people.owner.delete(other.id)
            cancelled = await people.stranger.cancel(own.id)
            change = await watch.next()
            assert change.material == cancelled
        await record.create("owner", course)
        await people.stranger.delete(own.id)
        async with people.stranger.watch_course(course, change.resume_token) as watch:
            assert (await watch.next()).deleted_material_id == own.id
            assert (await watch.next()).WhichOneof("change") == "snapshot_complete"

    async def test_resume_token_is_good_only_as_it_was_given_for_this_course(
        self, people: People, record: RecordCalls, course: str
    ) -> None:
        for _ in range(2):
            await record.create("owner", course)
        async with people.reader.watch_course(f"{course}-2") as watch:
            elsewhere = (await watch.next()).resume_token
        async with people.reader.watch_course(course) as watch:
            while not (token := (await watch.next()).resume_token):
                pass
        page = (await people.reader.page(course_id=course, page_size=1)).next_page_token
        altered = [token[:at] + ("A" if token[at] != "A" else "B") + token[at + 1 :] for at in range(len(token))]
        for bad in (*altered, elsewhere, page, token[:-1], token + "A", token + "!", "garbage", "é", "-1"):
            with refused("INVALID_ARGUMENT", "RESUME_TOKEN_INVALID"):
                async with people.reader.watch_course(course, bad) as watch:
                    await watch.next()

    async def test_resume_token_from_a_future_that_did_not_happen_is_refused(
        self, bare: BareServices, stack: LocalStack, people: People, course: str
    ) -> None:
        # As after a restore from an older backup: the other record has this course, and is further on.
        async with bare.client(stack.facts["service_token"], status="status-of-ingest") as peer:
            await RecordCalls(peer.record, peer.metadata).create_answer(create_request("owner", course))
            async with Person(peer).watch_course(course) as watch:
                await watch.next()
                token = (await watch.next()).resume_token
        with refused("INVALID_ARGUMENT", "RESUME_TOKEN_INVALID"):
            async with people.reader.watch_course(course, token) as watch:
                await watch.next()

    @pytest.mark.parametrize("course_id", ["", "a b", "a/b", "a\nb", "a\u202eb", "c" * 129])
    async def test_course_out_of_range_is_named(self, people: People, course_id: str) -> None:
        with refused("INVALID_ARGUMENT", "FIELD_INVALID", "course_id"):
            async with people.admin.watch_course(course_id) as watch:
                await watch.next()
