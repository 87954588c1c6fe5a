"""StatusService: retry, cancel and delete, and the history that says who did what and why."""

from __future__ import annotations

import asyncio
import io

import pytest
from materials.v1 import material_pb2, record_service_pb2
from PIL import Image, ImageDraw, ImageFont

from tests.contract.people import READS, WRITES, People, first_of_watch
from tests.contract.person import Person
from tests.contract.record_calls import RecordCalls
from tests.contract.refusals import refused
from tests.local_stack import Client, LocalStack

PENDING = material_pb2.PROCESSING_STATUS_PENDING
PROCESSING = material_pb2.PROCESSING_STATUS_PROCESSING
COMPLETED = material_pb2.PROCESSING_STATUS_COMPLETED
FAILED = material_pb2.PROCESSING_STATUS_FAILED
CANCELLED = material_pb2.FAILURE_REASON_CANCELLED
CORRUPT = material_pb2.FAILURE_REASON_FILE_CORRUPT
BRAIN_FAILED = material_pb2.FAILURE_REASON_BRAIN_FAILED


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
