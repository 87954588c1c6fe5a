"""StatusService.RetryFailedMaterials: what failed for a reason goes back to PENDING, as far as another attempt can mend it and the caller may."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import asyncpg
import pytest
from materials.v1 import material_pb2, record_service_pb2
from materials.v1 import status_service_pb2 as pb

from tests.contract.bare_services import BareServices
from tests.contract.people import People
from tests.contract.person import Person
from tests.contract.record_calls import RecordCalls
from tests.contract.refusals import refused
from tests.local_stack import LocalStack, unique_course

PENDING, FAILED = material_pb2.PROCESSING_STATUS_PENDING, material_pb2.PROCESSING_STATUS_FAILED
CANCELLED, CORRUPT = material_pb2.FAILURE_REASON_CANCELLED, material_pb2.FAILURE_REASON_FILE_CORRUPT
BRAIN_FAILED, INTERNAL = material_pb2.FAILURE_REASON_BRAIN_FAILED, material_pb2.FAILURE_REASON_INTERNAL
Fail = Callable[..., Awaitable[str]]


@pytest.fixture
def failed(record: RecordCalls, course: str) -> Fail:
    """Makes a material that failed for a reason; returns its id."""

    async def make(
        reason: material_pb2.FailureReason.ValueType = BRAIN_FAILED, *, owner: str = "ann", in_course: str = course
    ) -> str:
        material = await record.create(owner, in_course)
        await record.fail(material.id, reason)
        return material.id

    return make


def answer(retried: int, remaining: int, not_retryable: int) -> pb.RetryFailedMaterialsResponse:
    return pb.RetryFailedMaterialsResponse(retried=retried, remaining=remaining, not_retryable=not_retryable)


class TestWhatIsRetried:
    async def test_all_that_failed_but_what_was_cancelled_or_cannot_be_mended(
        self, record: RecordCalls, failed: Fail, people: People, course: str
    ) -> None:
        retried = [await failed(BRAIN_FAILED), await failed(INTERNAL)]
        corrupt, deleted = await failed(CORRUPT), await failed(BRAIN_FAILED)
        cancelled, completed = [(await record.create("ann", course)).id for _ in range(2)]
        await people.editor.cancel(cancelled)
        await record.complete(completed)
        await people.editor.delete(deleted)
        before = {id: await people.editor.get(id) for id in (corrupt, cancelled, completed)}
        assert await people.editor.retry_failed(course_id=course) == answer(2, 0, 1)
        for material_id in retried:
            material = await people.editor.get(material_id)
            assert (material.processing_status, material.failure_reason, material.error_message) == (PENDING, 0, "")
        assert {id: await people.editor.get(id) for id in before} == before
        assert await people.editor.retry_failed(course_id=course) == answer(0, 0, 1)

    async def test_only_those_of_the_reason_when_one_is_given(
        self, record: RecordCalls, failed: Fail, people: People, course: str
    ) -> None:
        internal, brain = await failed(INTERNAL), await failed(BRAIN_FAILED)
        cancelled = (await record.create("ann", course)).id
        await people.editor.cancel(cancelled)
        await failed(CORRUPT)
        editor = people.editor
        assert await editor.retry_failed(course_id=course, failure_reason=INTERNAL) == answer(1, 0, 0)
        assert (await editor.get(internal)).processing_status == PENDING
        assert (await editor.get(brain)).processing_status == FAILED
        assert await editor.retry_failed(course_id=course, failure_reason=CANCELLED) == answer(1, 0, 0)
        assert (await editor.get(cancelled)).processing_status == PENDING
        assert await editor.retry_failed(course_id=course, failure_reason=CORRUPT) == answer(0, 0, 1)

    async def test_as_many_as_asked_for_the_oldest_first_and_the_rest_by_further_calls(
        self, failed: Fail, people: People, course: str
    ) -> None:
        ids = [await failed() for _ in range(3)]
        assert await people.editor.retry_failed(course_id=course, max_count=2) == answer(2, 1, 0)
        states = [(await people.editor.get(material_id)).processing_status for material_id in ids]
        assert states == [PENDING, PENDING, FAILED]
        assert await people.editor.retry_failed(course_id=course, max_count=2) == answer(1, 0, 0)
        assert await people.editor.retry_failed(course_id=course, max_count=2) == answer(0, 0, 0)

    async def test_each_is_told_as_a_single_retry_is(
        self, record: RecordCalls, failed: Fail, people: People, course: str
    ) -> None:
        material_id = await failed(BRAIN_FAILED)
        failed_revision = (await people.reader.get(material_id)).revision
        async with people.reader.watch_course(course) as watch:
            assert (await watch.next()).material.processing_status == FAILED
            assert (await watch.next()).HasField("snapshot_complete")
            await people.editor.retry_failed(course_id=course, failure_reason=BRAIN_FAILED)
            seen = (await watch.next()).material
        assert (seen.id, seen.processing_status, seen.revision) == (material_id, PENDING, failed_revision + 1)
        line = (await people.reader.history(material_id)).transitions[-1]
        assert (line.event, line.actor, line.from_status, line.to_status) == ("retried", "editor", FAILED, PENDING)
        assert "BRAIN_FAILED" in line.message
        due = [item for item in await record.lease_all() if item.material_id == material_id]
        assert [item.kind for item in due] == [record_service_pb2.ANNOUNCEMENT_KIND_UPLOADED]
        assert (await record.claimed(material_id)).attempt == 2


class TestWhoMayRetry:
    async def test_course_is_retried_by_its_editors_alone(
        self, bare: BareServices, stack: LocalStack, failed: Fail, people: People, course: str
    ) -> None:
        material_id = await failed(owner="owner")
        async with bare.client(stack.user_token("olga", operator=True)) as client:
            for other in (people.owner, people.reader, people.stranger, Person(client)):
                with refused("PERMISSION_DENIED", "COURSE_WRITE_DENIED"):
                    await other.retry_failed(course_id=course)
        assert (await people.owner.get(material_id)).processing_status == FAILED
        assert await people.admin.retry_failed(course_id=course) == answer(1, 0, 0)

    async def test_without_a_course_everybody_retries_their_own_of_all_courses(
        self, bare: BareServices, stack: LocalStack, failed: Fail, course: str
    ) -> None:
        ann, bob = f"ann of {course}", f"bob of {course}"
        own = [await failed(owner=ann), await failed(owner=ann, in_course=unique_course())]
        await failed(CORRUPT, owner=ann)
        other = await failed(owner=bob)
        async with bare.client(stack.user_token(ann, {"*": "editor"})) as client:
            person = Person(client)
            assert await person.retry_failed() == answer(2, 0, 1)
            assert {(await person.get(material_id)).processing_status for material_id in own} == {PENDING}
            assert (await person.get(other)).processing_status == FAILED

    @pytest.mark.parametrize(
        ("field", "value"), [("course_id", "a/b"), ("failure_reason", 99), ("failure_reason", -1), ("max_count", -1)]
    )
    async def test_request_out_of_range_is_refused(self, people: People, field: str, value: str | int) -> None:
        with refused("INVALID_ARGUMENT", "FIELD_INVALID", field):
            await people.admin.retry_failed(**{field: value})


class TestManyAtOnce:
    """On a database of its own: an operator retries everything there is."""

    COURSES, EACH = 5, 500

    @pytest.fixture
    async def operators(self, bare: BareServices, stack: LocalStack) -> AsyncIterator[list[Person]]:
        """At two replicas, in front of materials of many courses and owners, all of which failed."""
        dsn = await bare.make_database()
        token = stack.user_token("olga", {"*": "reader"}, operator=True)
        for name in ("retry-1", "retry-2"):
            await bare.start_status(name, dsn)
        sql = await asyncpg.connect(dsn, ssl=False, server_settings={"search_path": "status"})
        try:
            await sql.execute(
                "INSERT INTO materials (material_id, owner_id, course_id, name, file_path, file_type, media_type, file_size, sha256,"
                " created_at, updated_at, status, revision, course_revision, failure_reason, error_message, retryable, processed_at)"
                " SELECT gen_random_uuid(), 'owner-' || n % 7, 'course-' || n % $1::int, 'notes.txt', '', 'text', 'text/plain', 3, '',"
                " now(), now(), 4, 1, n, 10, 'no answer', true, now() FROM generate_series(1, $1::int * $2::int) AS n",
                self.COURSES,
                self.EACH,
            )
            await sql.execute(
                "INSERT INTO courses SELECT course_id, max(course_revision) FROM materials GROUP BY course_id"
            )
        finally:
            await sql.close()
        async with bare.client(token, status="retry-1") as first, bare.client(token, status="retry-2") as second:
            yield [Person(first), Person(second)]

    async def test_operator_retries_all_of_all_courses_a_thousand_a_call_each_exactly_once(
        self, operators: list[Person]
    ) -> None:
        everything = self.COURSES * self.EACH
        assert await operators[0].retry_failed() == answer(1_000, everything - 1_000, 0)
        # Both replicas choose the same ones: each is retried by one of them.
        answers = await asyncio.gather(*(operator.retry_failed() for operator in operators))
        retried = sum(item.retried for item in answers)
        assert 1_000 <= retried <= everything - 1_000
        while (last := await operators[1].retry_failed()).remaining:
            retried += last.retried
        retried += last.retried
        assert retried == everything - 1_000
        queue = await operators[0].queue()
        assert (queue.waiting, list(queue.failed)) == (everything, [])
        one = (await operators[0].listed(course_id="course-0", page_size=1))[0]
        assert await operators[0].events(one) == ["retried"]
