"""A replica decides reports on what it saw last, without asking: whatever other replicas and people have done since counts all the same."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from materials.v1 import material_pb2
from materials.v1 import record_service_pb2 as pb
from prometheus_client import CollectorRegistry

from servicekit.postgres import Postgres
from status_service import batch_store, queue_store, record_store
from status_service.admission import WriteHealth
from status_service.batch_store import Reading, Writing
from status_service.events import Claim, HandBack, Renew
from status_service.metrics import StatusMetrics
from status_service.record_writer import RecordWriter
from status_service.state_machine import Policy, Verdict
from tests.contract.bare_services import BareServices
from tests.contract.person import Person
from tests.contract.record_calls import RecordCalls, ReportStream

RECORDED, STALE = pb.REPORT_RESULT_RECORDED, pb.REPORT_RESULT_STALE
MANY_LIKE_IT = """
    INSERT INTO materials
    SELECT (jsonb_populate_record(m, jsonb_build_object('material_id', gen_random_uuid(), 'request_id', ''))).*
    FROM materials m, generate_series(1, 1000) WHERE m.material_id = $1
"""
PLANNED = "SELECT custom_plans FROM pg_prepared_statements WHERE custom_plans + generic_plans >= $1"
CANCELLED = material_pb2.FAILURE_REASON_CANCELLED


@pytest.fixture
async def database(bare: BareServices) -> AsyncIterator[asyncpg.Connection]:
    """That of both replicas."""
    connection = await asyncpg.connect(bare.databases["status"], ssl=False, server_settings={"search_path": "status"})
    yield connection
    await connection.close()


@pytest.fixture
async def claimed(record: RecordCalls, course: str) -> material_pb2.Material:
    """A material of the owner, leased by way of the first replica."""
    return await record.claimed((await record.create("owner", course)).id)


@pytest.fixture
async def stream(record: RecordCalls, claimed: material_pb2.Material) -> AsyncIterator[ReportStream]:
    """Of the worker, to the first replica, which has the material at hand."""
    async with record.reports() as stream:
        assert await stream.ask(claimed.id, 1, progress=progress(1)) == RECORDED
        yield stream


def progress(pages: int) -> pb.Progress:
    return pb.Progress(pages_done=pages, pages_total=9, stage=material_pb2.PROCESSING_STAGE_READING)


async def test_two_replicas_take_turns(
    stream: ReportStream, record_2: RecordCalls, person: Person, claimed: material_pb2.Material
) -> None:
    async with record_2.reports() as stream_2:
        for pages in range(2, 8, 2):
            assert await stream_2.ask(claimed.id, 1, progress=progress(pages)) == RECORDED
            assert await stream.ask(claimed.id, 1, progress=progress(pages + 1)) == RECORDED
    material = await person.get(claimed.id)
    assert (material.pages_done, material.revision) == (7, claimed.revision + 7)


async def test_a_report_of_what_was_cancelled_elsewhere_is_stale(
    stream: ReportStream, owner_2: Person, claimed: material_pb2.Material
) -> None:
    cancelled = await owner_2.cancel(claimed.id)
    assert await stream.ask(claimed.id, 1, progress=progress(2)) == STALE
    assert await stream.ask(claimed.id, 1, completion=pb.Completion(pages_total=9)) == STALE
    assert await owner_2.get(claimed.id) == cancelled
    assert cancelled.failure_reason == CANCELLED


async def test_a_report_of_an_attempt_that_began_elsewhere_is_not_stale(
    stream: ReportStream, record_2: RecordCalls, claimed: material_pb2.Material
) -> None:
    assert await record_2.report(claimed, hand_back=pb.HandBack()) == RECORDED
    again = await record_2.claimed(claimed.id)
    assert await stream.ask(claimed.id, again.attempt, progress=progress(2)) == RECORDED
    assert await stream.ask(claimed.id, claimed.attempt, progress=progress(3)) == STALE


async def test_a_repeat_of_what_was_recorded_elsewhere_is_recorded_once(
    stream: ReportStream, record_2: RecordCalls, person: Person, claimed: material_pb2.Material
) -> None:
    completion = pb.Completion(pages_total=9)
    assert await record_2.report(claimed, completion=completion) == RECORDED
    assert await stream.ask(claimed.id, 1, completion=completion) == RECORDED
    assert await person.events(claimed.id) == ["created", "claimed", "completed"]


async def test_a_report_of_what_was_deleted_elsewhere_is_stale(
    stream: ReportStream, owner_2: Person, claimed: material_pb2.Material
) -> None:
    await owner_2.delete(claimed.id)
    assert await stream.ask(claimed.id, 1, progress=progress(2)) == STALE


async def test_a_report_of_what_is_no_longer_known_is_stale(
    stream: ReportStream, database: asyncpg.Connection, claimed: material_pb2.Material
) -> None:
    await database.execute("DELETE FROM materials WHERE material_id = $1", uuid.UUID(claimed.id))
    for pages in (2, 3):
        assert await stream.ask(claimed.id, 1, progress=progress(pages)) == STALE


async def test_progress_of_one_is_written_as_it_is_with_others(
    database: asyncpg.Connection, record: RecordCalls, claimed: material_pb2.Material
) -> None:
    other = await record.claimed((await record.create("owner", claimed.course_id)).id)
    ids = [uuid.UUID(material.id) for material in (claimed, other)]
    written = []
    for count in (1, 2):
        transaction = database.transaction()
        await transaction.start()
        read = await batch_store.read(database, ids)  # type: ignore[arg-type]  # a pool's is one, too
        assert read.now is not None
        lease_end = read.now.replace(microsecond=0) + timedelta(seconds=9)
        moved = [
            replace(read.records[key], pages_done=3, pages_total=9, stage=2, revision=7, lease_expires_at=lease_end)
            for key in ids[:count]
        ]
        assert await batch_store.write(database, Writing([], moved, moved, []), read, 5.0)  # type: ignore[arg-type]
        after = (await batch_store.read(database, ids[:1])).records[ids[0]]  # type: ignore[arg-type]
        await transaction.rollback()
        assert after.course_revision == read.records[ids[1]].course_revision + 1
        assert replace(after, course_revision=moved[0].course_revision) == moved[0]
        written.append(replace(after, lease_expires_at=None))
    assert written[0] == written[1]


@pytest.mark.parametrize("more", [{}, {"has_embedding": True}], ids=["progress", "more than progress"])
class TestTimeOfTheDecision:
    """What was decided at a time that was reckoned wrong is not written: leases are by the database's clock, whoever believed what."""

    @pytest.mark.parametrize("seconds", [-3_600.0, -1.5, 1.5, 3_600.0])
    async def test_too_far_from_the_databases(
        self,
        database: asyncpg.Connection,
        claimed: material_pb2.Material,
        person: Person,
        seconds: float,
        more: dict[str, Any],
    ) -> None:
        assert await self._written(database, claimed, seconds, more) is False
        assert await person.get(claimed.id) == claimed

    @pytest.mark.parametrize("seconds", [-0.5, 0.0, 0.5])
    async def test_near_enough(
        self,
        database: asyncpg.Connection,
        claimed: material_pb2.Material,
        person: Person,
        seconds: float,
        more: dict[str, Any],
    ) -> None:
        assert await self._written(database, claimed, seconds, more) is True
        assert (await person.get(claimed.id)).pages_done == 2

    async def test_one_that_the_database_said_is_right_however_late_it_writes(
        self, database: asyncpg.Connection, claimed: material_pb2.Material, person: Person, more: dict[str, Any]
    ) -> None:
        """A slow database would else be asked for ever."""
        assert await self._written(database, claimed, -30.0, more, asked=True) is True
        assert (await person.get(claimed.id)).pages_done == 2

    async def _written(
        self,
        database: asyncpg.Connection,
        claimed: material_pb2.Material,
        seconds: float,
        more: dict[str, Any],
        *,
        asked: bool = False,
    ) -> bool:
        read = await batch_store.read(database, [uuid.UUID(claimed.id)])  # type: ignore[arg-type]  # a pool's is one, too
        assert read.now is not None
        [before] = read.records.values()
        now = read.now + timedelta(seconds=seconds)
        after = replace(before, pages_done=2, revision=before.revision + 1, **more)
        writing, believed = Writing([], [after], [after], []), Reading(now, False, read.records, asked)
        return await batch_store.write(database, writing, believed, 5.0) is not None  # type: ignore[arg-type]


async def test_reads_and_writes_are_planned_once(database: asyncpg.Connection, claimed: material_pb2.Material) -> None:
    material_id = uuid.UUID(claimed.id)
    await record_store.prefer_indexes(database)
    transaction = database.transaction()
    await transaction.start()
    try:
        # In a small table any plan is as good as another.
        await database.execute(MANY_LIKE_IT, material_id)
        await database.execute("ANALYZE materials")
        for pages in range(2, 22):
            read = await batch_store.read(database, [material_id])  # type: ignore[arg-type]
            [before] = read.records.values()
            after = replace(before, pages_done=pages, revision=before.revision + 1)
            assert await batch_store.write(database, Writing([], [after], [after], []), read, 5.0)  # type: ignore[arg-type]
    finally:
        await transaction.rollback()
    planned = await database.fetch(PLANNED, 20)
    assert len(planned) == 2
    # The first five times Postgres looks whether plans of their own would be cheaper.
    assert [row["custom_plans"] for row in planned] == [5, 5]


async def test_what_is_handed_back_and_claimed_in_one_batch_is_not_granted_in_a_pause(
    bare: BareServices, database: asyncpg.Connection, claimed: material_pb2.Material, tmp_path: Path
) -> None:
    """Whoever has the material at hand has not heard of the pause."""
    material_id = uuid.UUID(claimed.id)
    postgres = Postgres(bare.databases["status"], schema="status", migrations=tmp_path)
    health, metrics = WriteHealth(), StatusMetrics(CollectorRegistry())
    writer = RecordWriter(postgres, Policy(), lambda changes: None, health, metrics)
    async with asyncio.TaskGroup() as tasks:
        await postgres.start(tasks)
        await writer.start(tasks)
        renewed = await writer.submit(material_id, Renew("worker", 1))
        await database.execute(queue_store.PAUSE, "owner", "a test")
        try:
            handed_back = writer.submit_nowait(material_id, HandBack("worker", 1, "others wait"))
            again = writer.submit_nowait(material_id, Claim("worker", "again"))
            verdicts = [renewed.verdict, (await handed_back).verdict, (await again).verdict]
        finally:
            await database.execute("DELETE FROM processing_pauses WHERE resumed_at IS NULL")
        await writer.stop()
        await postgres.stop()
    assert verdicts == [Verdict.APPLIED, Verdict.APPLIED, Verdict.PAUSED]
