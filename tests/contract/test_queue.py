"""StatusService.GetQueue: the numbers of the record and the processors as they tell of themselves. On a database of its own, so that they can be exact."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest
from materials.v1 import material_pb2, record_service_pb2
from materials.v1 import status_service_pb2 as pb

from status_service import queue_store
from tests.contract.bare_services import BareServices
from tests.contract.person import Person
from tests.contract.record_calls import RecordCalls
from tests.contract.refusals import eventually, refused
from tests.local_stack import LocalStack

CANCELLED, CORRUPT = material_pb2.FAILURE_REASON_CANCELLED, material_pb2.FAILURE_REASON_FILE_CORRUPT
BRAIN_FAILED = material_pb2.FAILURE_REASON_BRAIN_FAILED
CLOSED, OPEN = pb.BREAKER_STATE_CLOSED, pb.BREAKER_STATE_OPEN


@pytest.fixture(scope="module")
async def database(bare: BareServices) -> str:
    """The DSN of what `queue-1` and `queue-2` share."""
    dsn = await bare.make_database()
    for name in ("queue-1", "queue-2"):
        await bare.start_status(name, dsn, RETRY_BACKOFF_SECONDS="100")
    return dsn


@pytest.fixture
async def sql(database: str) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    """The database itself, emptied."""
    connection = await asyncpg.connect(database, ssl=False, server_settings={"search_path": "status"})
    try:
        await connection.execute("TRUNCATE materials, processors CASCADE")
        yield connection
    finally:
        await connection.close()


@pytest.fixture
async def record(bare: BareServices, stack: LocalStack, sql: object) -> AsyncIterator[RecordCalls]:
    """By way of `queue-1`."""
    async with bare.client(stack.facts["service_token"], status="queue-1") as peer:
        yield RecordCalls(peer.record, peer.metadata)


@pytest.fixture
async def operator(bare: BareServices, stack: LocalStack, sql: object) -> AsyncIterator[Person]:
    """By way of `queue-2`."""
    async with bare.client(stack.user_token("olga", {"*": "editor"}, operator=True), status="queue-2") as client:
        yield Person(client)


class TestMaterials:
    async def test_empty_queue_is_all_zeros(self, operator: Person) -> None:
        assert await operator.queue() == pb.GetQueueResponse()

    async def test_each_state_is_counted_and_the_longest_waiting_named(
        self, record: RecordCalls, operator: Person, course: str
    ) -> None:
        announced, waiting, delayed, working, completed = [await record.create("ann", course) for _ in range(5)]
        await record.mark(announced.id, 1)
        claimed = await record.claimed(delayed.id)
        failure = record_service_pb2.Failure(reason=BRAIN_FAILED, message="no answer", transient=True)
        await record.report(claimed, failure=failure)
        await record.claimed(working.id)
        await record.complete(completed.id)
        queue = await operator.queue()
        assert (queue.waiting, queue.delayed, queue.unannounced, queue.working, queue.purging) == (3, 1, 1, 1, 0)
        assert (queue.oldest_waiting_material_id, queue.oldest_waiting_since) == (announced.id, announced.created_at)
        assert not queue.failed
        await operator.cancel(announced.id)
        assert (await operator.queue()).oldest_waiting_material_id == waiting.id

    async def test_failed_ones_are_counted_by_reason_the_most_frequent_first(
        self, record: RecordCalls, operator: Person, course: str
    ) -> None:
        corrupt, cancelled, brain, gone = [
            [await record.create("ann", course) for _ in range(number)] for number in (3, 2, 1, 2)
        ]
        for material in [*corrupt, *gone]:
            await record.fail(material.id, CORRUPT)
        for material in cancelled:
            await operator.cancel(material.id)
        await record.fail(brain[0].id, BRAIN_FAILED)
        for material in gone:
            await operator.delete(material.id)
        queue = await operator.queue()
        assert list(queue.failed) == [
            pb.FailedCount(failure_reason=CORRUPT, count=3, retryable=0),
            pb.FailedCount(failure_reason=CANCELLED, count=2, retryable=2),
            pb.FailedCount(failure_reason=BRAIN_FAILED, count=1, retryable=1),
        ]
        assert (queue.waiting, queue.working) == (0, 0)
        assert not queue.HasField("oldest_waiting_since")

    async def test_deleted_ones_are_purging_until_both_parts_are_gone_and_nothing_else(
        self, record: RecordCalls, operator: Person, course: str
    ) -> None:
        waiting, working, completed = [await record.create("ann", course) for _ in range(3)]
        await record.claimed(working.id)
        await record.complete(completed.id)
        for material in (waiting, working, completed):
            await operator.delete(material.id)
        due = {item.material_id: item.number for item in await record.lease_all()}
        await record.mark(waiting.id, due[waiting.id])
        assert await operator.queue() == pb.GetQueueResponse(purging=3)
        await record.purged(waiting.id, record_service_pb2.PURGED_PART_OBJECT)
        assert (await operator.queue()).purging == 3
        await record.purged(waiting.id, record_service_pb2.PURGED_PART_PASSAGES)
        assert (await operator.queue()).purging == 2


class TestProcessors:
    async def test_each_is_shown_as_it_last_told_in_the_order_of_their_names(
        self, record: RecordCalls, operator: Person
    ) -> None:
        await record.heartbeat("worker-b", slots=4, busy=4, brain=CLOSED)
        await record.heartbeat("worker-a", slots=2, busy=1, brain=OPEN)
        await record.heartbeat("worker-b", slots=4, busy=3, brain=CLOSED)
        shown = (await operator.queue()).processors
        assert [(p.worker_id, p.slots, p.busy, p.brain) for p in shown] == [
            ("worker-a", 2, 1, OPEN),
            ("worker-b", 4, 3, CLOSED),
        ]

    async def test_since_when_it_finds_the_brain_so_is_kept_until_it_finds_it_otherwise(
        self, record: RecordCalls, operator: Person
    ) -> None:
        shown = []
        for brain in (CLOSED, CLOSED, OPEN, OPEN):
            await record.heartbeat(brain=brain)
            shown.extend((await operator.queue()).processors)
        since = [processor.brain_since.ToNanoseconds() for processor in shown]
        seen = [processor.seen_at.ToNanoseconds() for processor in shown]
        assert since[0] == since[1] < since[2] == since[3]
        assert seen == sorted(set(seen))

    async def test_one_that_stops_is_gone_at_once_and_may_say_so_twice(
        self, record: RecordCalls, operator: Person
    ) -> None:
        await record.heartbeat("worker-a")
        await record.heartbeat("worker-b")
        for _ in range(2):
            await record.heartbeat("worker-a", stopping=True)
            assert [p.worker_id for p in (await operator.queue()).processors] == ["worker-b"]

    async def test_one_that_has_been_silent_is_left_out_until_it_tells_again(
        self, record: RecordCalls, operator: Person, sql: asyncpg.Connection[asyncpg.Record]
    ) -> None:
        await record.heartbeat()
        await sql.execute("UPDATE processors SET seen_at = seen_at - interval '16 seconds'")
        assert not (await operator.queue()).processors
        await record.heartbeat()
        assert len((await operator.queue()).processors) == 1

    async def test_one_not_seen_for_an_hour_is_forgotten_and_no_other(
        self, bare: BareServices, database: str, record: RecordCalls, sql: asyncpg.Connection[asyncpg.Record]
    ) -> None:
        for worker in ("silent", "late", "there"):
            await record.heartbeat(worker)
        await sql.execute("UPDATE processors SET seen_at = now() - interval '61 minutes' WHERE worker_id = 'silent'")
        await sql.execute("UPDATE processors SET seen_at = now() - interval '59 minutes' WHERE worker_id = 'late'")
        # Housekeeping is hourly, and done first by whoever starts.
        await bare.start_status("queue-3", database)

        async def forgotten() -> bool:
            return await sql.fetchval("SELECT count(*) FROM processors WHERE worker_id = 'silent'") == 0

        await eventually(forgotten, "the silent processor is forgotten")
        assert await sql.fetchval("SELECT count(*) FROM processors") == 2

    @pytest.mark.parametrize(
        ("field", "value"),
        [("worker_id", ""), ("worker_id", "a\0b"), ("worker_id", "w" * 256), ("slots", -1), ("busy", -1)],
    )
    async def test_report_that_makes_no_sense_is_refused(
        self, record: RecordCalls, operator: Person, field: str, value: str | int
    ) -> None:
        report = record_service_pb2.ReportProcessorRequest(worker_id="worker", slots=1, busy=1)
        setattr(report, field, value)
        with refused("INVALID_ARGUMENT", "FIELD_INVALID", field):
            await record.stub.ReportProcessor(report, metadata=record.metadata, timeout=20)
        assert not (await operator.queue()).processors


STATEMENTS: dict[str, tuple[str, list[object]]] = {
    "UNFINISHED": (queue_store.UNFINISHED, []),
    "OLDEST_WAITING": (queue_store.OLDEST_WAITING, []),
    "PURGING": (queue_store.PURGING, []),
    "FAILED": (queue_store.FAILED, []),
    "ADMISSION": (queue_store.ADMISSION, [["ann"], ["request-1"], 1_000]),
    **{
        f"{statement.__name__} {scope}": (statement(scope), [key, 0, *limit])
        for scope, key in (
            (queue_store.EVERYWHERE, None),
            (queue_store.IN_COURSE, "algebra"),
            (queue_store.OF_OWNER, "ann"),
        )
        for statement, limit in ((queue_store.retryable, [1_000]), (queue_store.still_failed, []))
    },
}


@pytest.fixture
async def many_finished(sql: asyncpg.Connection[asyncpg.Record]) -> asyncpg.Connection[asyncpg.Record]:
    """A record of which little is unfinished."""
    await sql.execute(
        "INSERT INTO materials (material_id, owner_id, course_id, name, file_path, file_type, media_type, file_size, sha256,"
        " created_at, updated_at, revision, course_revision, announced_at, status, retryable, failure_reason)"
        " SELECT gen_random_uuid(), 'ann', 'algebra', 'notes.txt', '', 'text', 'text/plain', 3, '', now(), now(), 1, n, now(), s,"
        " s = 4, CASE WHEN s = 4 THEN 10 ELSE 0 END"
        " FROM generate_series(1, 30000) AS n, LATERAL (SELECT CASE n % 300 WHEN 0 THEN 1 WHEN 1 THEN 2 WHEN 2 THEN 4 ELSE 3 END AS s) AS x"
    )
    await sql.execute("VACUUM ANALYZE materials")
    return sql


@pytest.mark.parametrize("name", STATEMENTS)
async def test_no_statement_reads_finished_materials(
    many_finished: asyncpg.Connection[asyncpg.Record], name: str
) -> None:
    statement, arguments = STATEMENTS[name]
    plan = "\n".join(row[0] for row in await many_finished.fetch(f"EXPLAIN {statement}", *arguments))
    assert "Seq Scan on materials" not in plan, plan
    assert not {"materials_course_newest", "materials_owner_newest"} & set(plan.split()), plan
