"""StatusService: materials by their ids, and in pages of what was asked for."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import pytest
from materials.v1 import material_pb2

from servicekit.channels import Peer
from servicekit.identity import Caller
from servicekit.visibility import visible_materials
from tests.contract.bare_services import BareServices
from tests.contract.people import People
from tests.contract.record_calls import RecordCalls
from tests.contract.refusals import refused
from tests.local_stack import LocalStack

PENDING = material_pb2.PROCESSING_STATUS_PENDING
PROCESSING = material_pb2.PROCESSING_STATUS_PROCESSING
COMPLETED = material_pb2.PROCESSING_STATUS_COMPLETED
FAILED = material_pb2.PROCESSING_STATUS_FAILED
CANCELLED = material_pb2.FAILURE_REASON_CANCELLED
CORRUPT = material_pb2.FAILURE_REASON_FILE_CORRUPT


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

    async def test_services_ask_for_more_by_several_calls(
        self, bare: BareServices, stack: LocalStack, record: RecordCalls, course: str
    ) -> None:
        """A long search finds passages of more materials than one call may name."""
        material = await record.create("owner", course)
        ids = [material.id, *(str(uuid.uuid4()) for _ in range(2 * 1_000))]
        async with asyncio.TaskGroup() as tasks:
            status = Peer(bare.endpoints["status"], lambda: "")
            await status.start(tasks)
            try:
                for token, seen in ((stack.user_token("owner"), {material.id}), (stack.user_token("stranger"), set())):
                    assert set(await visible_materials(status, Caller("anybody", token=token), ids)) == seen
            finally:
                await status.stop()


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

    async def test_a_state_named_ten_thousand_times_is_named_once(
        self, people: People, record: RecordCalls, course: str
    ) -> None:
        for _ in range(2):
            await record.create("owner", course)
        once, often = [
            await people.reader.page(course_id=course, page_size=1, processing_statuses=[PENDING] * times)
            for times in (1, 10_000)
        ]
        assert once.materials == often.materials
        assert len(often.next_page_token) == len(once.next_page_token)

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
