"""StatusService: the record as people see it. Two real replicas of Status; the tests play Ingest and the processors where a state must stand still."""

from __future__ import annotations

import asyncio
import io
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import pytest
from materials.v1 import material_pb2, record_service_pb2
from materials.v1 import status_service_pb2 as pb
from PIL import Image, ImageDraw, ImageFont

from tests.contract.bare_services import BareServices
from tests.contract.person import Person
from tests.contract.record_calls import RecordCalls, create_request
from tests.contract.refusals import refused
from tests.local_stack import Client, LocalStack

PENDING = material_pb2.PROCESSING_STATUS_PENDING
PROCESSING = material_pb2.PROCESSING_STATUS_PROCESSING
COMPLETED = material_pb2.PROCESSING_STATUS_COMPLETED
FAILED = material_pb2.PROCESSING_STATUS_FAILED
CANCELLED = material_pb2.FAILURE_REASON_CANCELLED
CORRUPT = material_pb2.FAILURE_REASON_FILE_CORRUPT
BRAIN_FAILED = material_pb2.FAILURE_REASON_BRAIN_FAILED


@dataclass
class People:
    """Everybody who may or may not see the course."""

    owner: Person  # uploaded; the token names no course
    editor: Person
    reader: Person
    admin: Person  # editor of "*"
    stranger: Person


@pytest.fixture
async def people(bare: BareServices, stack: LocalStack, course: str) -> AsyncIterator[People]:
    """One connection each."""
    tokens = [
        stack.user_token("owner"),
        stack.user_token("editor", {course: "editor"}),
        stack.user_token("reader", {course: "reader"}),
        stack.user_token("admin", {"*": "editor"}),
        stack.user_token("stranger", {"another-course": "editor"}),
    ]
    async with AsyncExitStack() as clients:
        yield People(*[Person(await clients.enter_async_context(bare.client(token))) for token in tokens])


@pytest.fixture
async def owner_2(bare: BareServices, stack: LocalStack) -> AsyncIterator[Person]:
    """The owner by way of the other replica."""
    async with bare.client(stack.user_token("owner"), status="status-2") as client:
        yield Person(client)


READS: dict[str, Callable[[Person, str], Awaitable[Any]]] = {
    "GetMaterial": Person.get,
    "ListMaterialTransitions": Person.history,
}
WRITES: dict[str, Callable[[Person, str], Awaitable[Any]]] = {
    "RetryMaterial": Person.retry,
    "CancelMaterial": Person.cancel,
    "DeleteMaterial": Person.delete,
}


async def first_of_watch(person: Person, material_id: str) -> pb.WatchMaterialResponse:
    async with person.watch(material_id) as watch:
        return await watch.next()


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


class TestBatchGetMaterials:
    async def test_each_is_answered_once(self, people: People, record: RecordCalls, course: str) -> None:
        first, second = await record.create("owner", course), await record.create("owner", course)
        asked = [first.id, second.id, first.id, str(uuid.uuid4())]
        assert await people.owner.batch(*asked) == sorted([first.id, second.id])
        assert await people.owner.batch() == []

    async def test_a_thousand_and_no_more(self, people: People) -> None:
        ids = [str(uuid.uuid4()) for _ in range(1_001)]
        assert await people.owner.batch(*ids[:1_000]) == []
        with refused("INVALID_ARGUMENT", "FIELD_INVALID", "material_ids"):
            await people.owner.batch(*ids)


class TestListMaterials:
    async def test_pages_go_from_newest_to_oldest_without_gap_or_repeat(
        self, people: People, record: RecordCalls, course: str
    ) -> None:
        made = [(await record.create("owner", course)).id for _ in range(7)]
        seen: list[str] = []
        sizes = []
        token = ""
        while True:
            page = await people.reader.page(course_id=course, page_size=3, page_token=token)
            seen += [material.id for material in page.materials]
            sizes.append(len(page.materials))
            token = page.next_page_token
            if not token:
                break
            await record.create("owner", course)  # what is newer does not move the pages
        assert seen == made[::-1]
        assert sizes == [3, 3, 1]

    async def test_last_page_that_is_full_is_the_last(self, people: People, record: RecordCalls, course: str) -> None:
        for _ in range(2):
            await record.create("owner", course)
        assert not (await people.reader.page(course_id=course, page_size=2)).next_page_token

    async def test_materials_made_in_one_commit_are_paged_without_gap(
        self, people: People, record: RecordCalls, course: str
    ) -> None:
        answers = await asyncio.gather(*(record.create("owner", course) for _ in range(20)))
        seen: list[str] = []
        token = ""
        while token or not seen:
            page = await people.reader.page(course_id=course, page_size=1, page_token=token)
            seen += [material.id for material in page.materials]
            token = page.next_page_token
        assert sorted(seen) == sorted(material.id for material in answers)

    async def test_filters_by_state_and_reason(self, people: People, record: RecordCalls, course: str) -> None:
        pending, processing, completed, corrupt, cancelled = [
            (await record.create("owner", course)).id for _ in range(5)
        ]
        await record.claimed(processing)
        await record.complete(completed)
        await record.fail(corrupt)
        await people.owner.cancel(cancelled)

        async def found(**query: Any) -> list[str]:
            return await people.reader.listed(course_id=course, **query)

        assert await found(processing_statuses=[PENDING]) == [pending]
        assert await found(processing_statuses=[PROCESSING, COMPLETED]) == [completed, processing]
        assert await found(processing_statuses=[FAILED]) == [cancelled, corrupt]
        assert await found(processing_statuses=[FAILED, FAILED], failure_reason=CORRUPT) == [corrupt]
        assert await found(failure_reason=CANCELLED) == [cancelled]
        assert await found(processing_statuses=[PENDING], failure_reason=CANCELLED) == []

    async def test_deleted_materials_are_left_out(self, people: People, record: RecordCalls, course: str) -> None:
        kept, deleted = await record.create("owner", course), await record.create("owner", course)
        await people.owner.delete(deleted.id)
        assert await people.reader.listed(course_id=course) == [kept.id]

    async def test_page_size_is_cut_to_a_thousand(self, people: People, record: RecordCalls, course: str) -> None:
        material = await record.create("owner", course)
        assert await people.reader.listed(course_id=course, page_size=2**31 - 1) == [material.id]

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("page_size", -1),
            ("course_id", "a b"),
            ("course_id", "a\0b"),
            ("course_id", "../x"),
            ("course_id", "c" * 129),
            ("processing_statuses", [99]),
            ("processing_statuses", [2**31 - 1]),
            ("processing_statuses", [PENDING, -1]),
            ("failure_reason", 99),
            ("failure_reason", 2**31 - 1),
            ("failure_reason", -1),
        ],
    )
    async def test_field_out_of_range_is_named(self, people: People, field: str, value: Any) -> None:
        with refused("INVALID_ARGUMENT", "FIELD_INVALID", field):
            await people.owner.page(**{field: value})

    async def test_page_token_is_good_only_as_it_was_given_to_this_caller_for_this_query(
        self, people: People, record: RecordCalls, course: str
    ) -> None:
        for _ in range(3):
            material = await record.create("owner", course)
        await people.owner.cancel(material.id)
        token = (await people.reader.page(course_id=course, page_size=1)).next_page_token
        history = (await people.reader.history(material.id, page_size=1)).next_page_token
        assert token
        assert history
        async with people.reader.watch_course(course) as watch:
            while not (resume := (await watch.next()).resume_token):
                pass
        altered = [token[:at] + ("A" if token[at] != "A" else "B") + token[at + 1 :] for at in range(len(token))]
        misspelt = [token[:-1], token[1:], token + "A", token + "=", token + "!", f" {token}", "garbage", "é", "="]
        for bad in [*altered, *misspelt, resume, history]:
            with refused("INVALID_ARGUMENT", "PAGE_TOKEN_INVALID"):
                await people.reader.page(course_id=course, page_size=1, page_token=bad)
        for other_query in (
            {"course_id": f"{course}-2"},
            {},
            {"course_id": course, "processing_statuses": [PENDING]},
            {"course_id": course, "failure_reason": CORRUPT},
        ):
            with refused("INVALID_ARGUMENT", "PAGE_TOKEN_INVALID"):
                await people.reader.page(**other_query, page_token=token)
        with refused("INVALID_ARGUMENT", "PAGE_TOKEN_INVALID"):
            await people.editor.page(course_id=course, page_token=token)
        assert len(await people.reader.listed(course_id=course, page_size=1, page_token=token)) == 1


class TestRetryMaterial:
    async def test_failed_material_waits_again_with_its_pages_kept(
        self, people: People, record: RecordCalls, course: str
    ) -> None:
        material = await record.create("owner", course)
        claimed = await record.claimed(material.id)
        await record.report(claimed, progress=record_service_pb2.Progress(pages_done=2, pages_total=5))
        failed = await people.owner.cancel(material.id)
        assert failed.retryable
        again = await people.owner.retry(material.id)
        assert (again.processing_status, again.revision) == (PENDING, failed.revision + 1)
        assert (again.failure_reason, again.error_message, again.retryable) == (0, "", False)
        assert not again.HasField("processed_at")
        assert (again.pages_done, again.pages_total, again.attempt) == (2, 5, 1)
        assert (await record.claimed(material.id)).attempt == 2

    async def test_material_that_has_not_failed_is_answered_as_it_is(
        self, people: People, record: RecordCalls, course: str
    ) -> None:
        pending, processing, completed = [(await record.create("owner", course)).id for _ in range(3)]
        await record.claimed(processing)
        await record.complete(completed)
        for material_id in (pending, processing, completed):
            before = await people.owner.get(material_id)
            assert await people.owner.retry(material_id) == before
            assert await people.owner.get(material_id) == before

    async def test_failure_that_another_attempt_cannot_mend_is_refused(
        self, people: People, record: RecordCalls, course: str
    ) -> None:
        material = await record.create("owner", course)
        await record.fail(material.id, CORRUPT)
        before = await people.owner.get(material.id)
        with refused("FAILED_PRECONDITION", "MATERIAL_NOT_RETRYABLE") as refusal:
            await people.owner.retry(material.id)
        assert "it cannot be read" in refusal.message
        assert await people.owner.get(material.id) == before

    async def test_twenty_at_once_on_two_replicas_are_one_retry(
        self, people: People, owner_2: Person, record: RecordCalls, course: str
    ) -> None:
        material = await record.create("owner", course)
        await people.owner.cancel(material.id)
        answers = await asyncio.gather(
            *((people.owner, owner_2)[number % 2].retry(material.id) for number in range(20))
        )
        assert {(answer.processing_status, answer.revision) for answer in answers} == {(PENDING, 3)}
        assert await people.owner.events(material.id) == ["created", "cancelled", "retried"]


class TestCancelMaterial:
    @pytest.mark.parametrize("claimed", [False, True], ids=["PENDING", "PROCESSING"])
    async def test_unfinished_material_ends_as_cancelled(
        self, people: People, record: RecordCalls, course: str, claimed: bool
    ) -> None:
        material = await record.create("owner", course)
        if claimed:
            await record.claimed(material.id)
        cancelled = await people.owner.cancel(material.id)
        assert (cancelled.processing_status, cancelled.failure_reason) == (FAILED, CANCELLED)
        assert cancelled.retryable
        assert cancelled.error_message
        assert cancelled.HasField("processed_at")
        assert cancelled.stage == material_pb2.PROCESSING_STAGE_UNSPECIFIED
        assert await people.owner.get(material.id) == cancelled

    async def test_ended_material_is_answered_as_it_is(self, people: People, record: RecordCalls, course: str) -> None:
        completed, failed, cancelled = [(await record.create("owner", course)).id for _ in range(3)]
        await record.complete(completed)
        await record.fail(failed)
        await people.owner.cancel(cancelled)
        for material_id in (completed, failed, cancelled):
            before = await people.owner.get(material_id)
            assert await people.owner.cancel(material_id) == before
            assert await people.owner.get(material_id) == before

    async def test_of_a_real_page_being_read_stops_it_and_a_retry_finishes_it(
        self, stack: LocalStack, client: Client, course: str
    ) -> None:
        person = Person(client)
        material = await client.upload(_pages("Osmosis moves water.", pages=4), course=course, name="scan.tiff")
        async with person.watch(material.id) as watch:
            while (await watch.next()).material.stage != material_pb2.PROCESSING_STAGE_READING:
                pass
            await person.cancel(material.id)
            last = (await watch.rest())[-1].material
        assert (last.processing_status, last.failure_reason) == (FAILED, CANCELLED)
        await person.retry(material.id)
        done = (await client.watch_to_end(material.id))[-1]
        assert (done.processing_status, done.pages_done, done.attempt) == (COMPLETED, 4, 2)
        assert await person.events(material.id) == [
            "created", "claimed", "cancelled", "retried", "claimed", "completed",
        ]  # fmt: skip


class TestDeleteMaterial:
    @pytest.mark.parametrize("state", ["PENDING", "PROCESSING", "COMPLETED", "FAILED"])
    async def test_is_gone_for_everybody_at_once(
        self, people: People, owner_2: Person, record: RecordCalls, course: str, state: str
    ) -> None:
        material = await record.create("owner", course)
        match state:
            case "PROCESSING":
                await record.claimed(material.id)
            case "COMPLETED":
                await record.complete(material.id)
            case "FAILED":
                await record.fail(material.id)
        await people.owner.delete(material.id)
        for person in (people.owner, people.editor, owner_2):
            for call in (*READS.values(), first_of_watch, *WRITES.values()):
                with refused("NOT_FOUND", "MATERIAL_NOT_FOUND"):
                    await call(person, material.id)
            assert await person.batch(material.id) == []
            assert await person.listed(course_id=course) == []

    async def test_late_report_does_not_bring_it_back(self, people: People, record: RecordCalls, course: str) -> None:
        claimed = await record.claimed((await record.create("owner", course)).id)
        await people.owner.delete(claimed.id)
        completion = record_service_pb2.Completion(pages_total=1)
        assert await record.report(claimed, completion=completion) == record_service_pb2.REPORT_RESULT_STALE
        assert await people.owner.batch(claimed.id) == []


class TestListMaterialTransitions:
    async def test_tells_who_did_what_when_and_why_oldest_first(
        self, people: People, record: RecordCalls, course: str
    ) -> None:
        material = await record.create("owner", course)
        claimed = await record.claimed(material.id, "worker-1")
        failure = record_service_pb2.Failure(reason=BRAIN_FAILED, message="no answer", transient=True)
        await record.report(claimed, "worker-1", failure=failure)
        await people.editor.cancel(material.id)
        await people.owner.retry(material.id)
        await record.claimed(material.id, "worker-2")
        transitions = (await people.reader.history(material.id)).transitions
        assert [
            (each.event, each.from_status, each.to_status, each.actor, each.failure_reason, each.attempt)
            for each in transitions
        ] == [
            ("created", 0, PENDING, "owner", 0, 0),
            ("claimed", PENDING, PROCESSING, "worker-1", 0, 1),
            ("attempt_failed", PROCESSING, PENDING, "worker-1", BRAIN_FAILED, 1),
            ("cancelled", PENDING, FAILED, "editor", CANCELLED, 1),
            ("retried", FAILED, PENDING, "owner", 0, 1),
            ("claimed", PENDING, PROCESSING, "worker-2", 0, 2),
        ]
        assert [each.revision for each in transitions] == [1, 2, 3, 4, 5, 6]
        assert {each.material_id for each in transitions} == {material.id}
        assert transitions[2].message == "no answer"
        moments = [each.created_at.ToNanoseconds() for each in transitions]
        assert moments == sorted(moments)

    async def test_is_paged_without_gap_or_repeat(self, people: People, record: RecordCalls, course: str) -> None:
        material = await record.create("owner", course)
        for _ in range(2):
            await people.owner.cancel(material.id)
            await people.owner.retry(material.id)
        revisions: list[int] = []
        token = ""
        while token or not revisions:
            page = await people.reader.history(material.id, page_size=2, page_token=token)
            assert len(page.transitions) <= 2
            revisions += [each.revision for each in page.transitions]
            token = page.next_page_token
        assert revisions == [1, 2, 3, 4, 5]

    async def test_page_token_of_another_material_or_list_is_refused(
        self, people: People, record: RecordCalls, course: str
    ) -> None:
        materials = [await record.create("owner", course) for _ in range(2)]
        for material in materials:
            await people.owner.cancel(material.id)
        token = (await people.owner.history(materials[0].id, page_size=1)).next_page_token
        listing = (await people.reader.page(course_id=course, page_size=1)).next_page_token
        for bad in (token, listing, "garbage"):
            with refused("INVALID_ARGUMENT", "PAGE_TOKEN_INVALID"):
                await people.owner.history(materials[1].id, page_token=bad)

    async def test_negative_page_size_is_refused(self, people: People, record: RecordCalls, course: str) -> None:
        material = await record.create("owner", course)
        with refused("INVALID_ARGUMENT", "FIELD_INVALID", "page_size"):
            await people.owner.history(material.id, page_size=-1)


class TestWatchMaterial:
    async def test_present_state_first_then_each_newer_one_to_the_end(
        self, people: People, record: RecordCalls, course: str
    ) -> None:
        material = await record.create("owner", course)
        async with people.reader.watch(material.id) as watch:
            assert (await watch.next()).material == material
            claimed = await record.claimed(material.id)
            assert (await watch.next()).material == claimed
            async with record.reports() as stream:
                for done in (1, 2):
                    await stream.ask(
                        material.id, 1, progress=record_service_pb2.Progress(pages_done=done, pages_total=2)
                    )
                    assert (await watch.next()).material.pages_done == done
                await stream.ask(material.id, 1, completion=record_service_pb2.Completion(pages_total=2))
            [last] = await watch.rest()
        assert last.material == await people.owner.get(material.id)
        assert (last.material.processing_status, last.material.revision) == (COMPLETED, 5)

    async def test_change_on_another_replica_is_seen(
        self, people: People, owner_2: Person, record: RecordCalls, course: str
    ) -> None:
        material = await record.create("owner", course)
        async with owner_2.watch(material.id) as watch:
            await watch.next()
            await record.claimed(material.id)
            assert (await watch.next()).material.processing_status == PROCESSING
            await people.owner.cancel(material.id)
            [last] = await watch.rest()
            assert last.material.processing_status == FAILED

    async def test_reader_that_comes_late_gets_the_newest_state_and_revisions_never_step_back(
        self, people: People, record: RecordCalls, course: str
    ) -> None:
        claimed = await record.claimed((await record.create("owner", course)).id)
        async with people.reader.watch(claimed.id) as watch, record.reports() as stream:
            await watch.next()
            for done in range(1, 301):
                progress = record_service_pb2.Progress(pages_done=done, pages_total=300)
                await stream.send(claimed.id, 1, progress=progress)
            await stream.send(claimed.id, 1, completion=record_service_pb2.Completion(pages_total=300))
            for _ in range(301):
                await stream.acknowledgement()
            revisions = [response.material.revision for response in await watch.rest()]
        assert revisions == sorted(set(revisions))
        assert revisions[-1] == (await people.owner.get(claimed.id)).revision == claimed.revision + 301

    async def test_resumes_after_the_last_revision_without_a_repeat(
        self, people: People, record: RecordCalls, course: str
    ) -> None:
        material = await record.create("owner", course)
        async with people.reader.watch(material.id, after_revision=1) as watch:
            await record.claimed(material.id)
            assert (await watch.next()).material.revision == 2
        async with people.reader.watch(material.id, after_revision=1) as watch:
            assert (await watch.next()).material.revision == 2

    async def test_ended_material_is_told_once_more_and_the_watch_ends(
        self, people: People, record: RecordCalls, course: str
    ) -> None:
        material = await record.create("owner", course)
        await record.complete(material.id)
        revision = (await people.owner.get(material.id)).revision
        for after in (0, revision - 1, revision, revision + 100):
            async with people.reader.watch(material.id, after_revision=after) as watch:
                [only] = await watch.rest()
            assert (only.material.processing_status, only.material.revision) == (COMPLETED, revision)

    @pytest.mark.parametrize("after", [2**62, -1, -(2**62)])
    async def test_revision_that_never_was_answers_the_present_state(
        self, people: People, record: RecordCalls, course: str, after: int
    ) -> None:
        material = await record.create("owner", course)
        async with people.reader.watch(material.id, after_revision=after) as watch:
            assert (await watch.next()).material == material
            await record.claimed(material.id)
            assert (await watch.next()).material.revision == 2

    async def test_deletion_ends_the_watch_as_not_found(
        self, people: People, owner_2: Person, record: RecordCalls, course: str
    ) -> None:
        material = await record.create("owner", course)
        async with people.reader.watch(material.id) as here, owner_2.watch(material.id) as there:
            for watch in (here, there):
                await watch.next()
            await people.owner.delete(material.id)
            for watch in (here, there):
                with refused("NOT_FOUND", "MATERIAL_NOT_FOUND"):
                    await watch.rest()

    async def test_retried_material_can_be_watched_on(self, people: People, record: RecordCalls, course: str) -> None:
        material = await record.create("owner", course)
        await people.owner.cancel(material.id)
        await people.owner.retry(material.id)
        async with people.reader.watch(material.id, after_revision=2) as watch:
            assert (await watch.next()).material.processing_status == PENDING
            await record.complete(material.id)
            assert (await watch.rest())[-1].material.processing_status == COMPLETED


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


def _pages(text: str, *, pages: int) -> bytes:
    """A TIFF of pages that must be read by the Brain."""
    images = []
    for number in range(1, pages + 1):
        image = Image.new("L", (900, 240), 255)
        ImageDraw.Draw(image).text((40, 80), f"{text} Page {number}.", fill=0, font=ImageFont.load_default(48))
        images.append(image)
    buffer = io.BytesIO()
    images[0].save(buffer, "TIFF", save_all=True, append_images=images[1:])
    return buffer.getvalue()
