"""StatusService: one material watched, on any of two real replicas."""

from __future__ import annotations

import pytest
from materials.v1 import material_pb2, record_service_pb2

from tests.contract.people import People
from tests.contract.person import Person
from tests.contract.record_calls import RecordCalls
from tests.contract.refusals import refused

PENDING = material_pb2.PROCESSING_STATUS_PENDING
PROCESSING = material_pb2.PROCESSING_STATUS_PROCESSING
COMPLETED = material_pb2.PROCESSING_STATUS_COMPLETED
FAILED = material_pb2.PROCESSING_STATUS_FAILED


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
