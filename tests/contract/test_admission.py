"""RecordService.AdmitUpload: an upload may begin when the record can be written and its owner has not too many unfinished materials."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager

import asyncpg
import grpc
import pytest
from materials.channels import RETRY_POLICY
from materials.v1 import errors_pb2

from tests.contract.bare_services import BareServices
from tests.contract.person import Person
from tests.contract.record_calls import RecordCalls
from tests.contract.refusals import eventually, refusal_of, refused
from tests.local_stack import LocalStack

LIMIT = 3


@pytest.fixture(scope="module")
async def database(bare: BareServices) -> str:
    """The DSN of the record of `admission`."""
    dsn = await bare.make_database()
    await bare.start_status("admission", dsn, MAX_UNFINISHED_PER_OWNER=str(LIMIT))
    return dsn


@pytest.fixture
async def sql(database: str) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    """The database itself."""
    connection = await asyncpg.connect(database, ssl=False, server_settings={"search_path": "status"})
    try:
        yield connection
    finally:
        await connection.close()


@pytest.fixture
async def record(bare: BareServices, stack: LocalStack, database: str) -> AsyncIterator[RecordCalls]:
    """With the low limit."""
    async with bare.client(stack.facts["service_token"], status="admission") as peer:
        yield RecordCalls(peer.record, peer.metadata)


@pytest.fixture
async def admin(bare: BareServices, stack: LocalStack, database: str) -> AsyncIterator[Person]:
    """An editor of every course."""
    async with bare.client(stack.user_token("admin", {"*": "editor"}), status="admission") as client:
        yield Person(client)


class TestSeveralAtOnce:
    async def test_each_owner_is_admitted_or_refused_by_what_they_have(self, record: RecordCalls, course: str) -> None:
        full, free = f"full of {course}", f"free of {course}"
        for number in range(LIMIT):
            await record.create(full, course, request_id=f"made {number}")
        refusals = await record.admit_several((full, "new"), (free, "new"), (full, "made 0"), (full, ""))
        reasons = [errors_pb2.ErrorReason.Name(refusal.reason) for refusal in refusals]
        too_many = "ERROR_REASON_TOO_MANY_UNFINISHED"
        assert reasons == [too_many, "ERROR_REASON_UNSPECIFIED", "ERROR_REASON_UNSPECIFIED", too_many]
        assert refusals[0].retry_delay.ToMilliseconds() > 0
        assert str(LIMIT) in refusals[0].message

    @pytest.mark.parametrize("count", [0, 201])
    async def test_takes_so_many_at_once(self, record: RecordCalls, count: int) -> None:
        with refused("INVALID_ARGUMENT", "FIELD_INVALID", "uploads"):
            await record.admit_several(*[("ann", "")] * count)


class TestUnfinished:
    async def test_owner_is_admitted_until_as_many_wait_or_are_worked_on_as_may(
        self, record: RecordCalls, course: str
    ) -> None:
        owner = f"owner of {course}"
        for _ in range(LIMIT):
            await record.admit(owner)
            material = await record.create(owner, course)
        await record.claimed(material.id)
        with refused("RESOURCE_EXHAUSTED", "TOO_MANY_UNFINISHED") as refusal:
            await record.admit(owner)
        assert refusal.retry_seconds
        await record.admit(f"neighbour of {owner}")

    async def test_each_one_that_ends_or_is_deleted_makes_room(
        self, record: RecordCalls, admin: Person, course: str
    ) -> None:
        owner = f"owner of {course}"
        full = [await record.create(owner, course) for _ in range(LIMIT)]
        with refused("RESOURCE_EXHAUSTED", "TOO_MANY_UNFINISHED"):
            await record.admit(owner)
        for end in (record.complete, record.fail, admin.cancel, admin.delete):
            await end(full.pop().id)
            await record.admit(owner)
            full.append(await record.create(owner, course))
            with refused("RESOURCE_EXHAUSTED", "TOO_MANY_UNFINISHED"):
                await record.admit(owner)

    async def test_repeat_of_a_recorded_upload_is_always_admitted(self, record: RecordCalls, course: str) -> None:
        owner = f"owner of {course}"
        for number in range(LIMIT):
            await record.create(owner, course, request_id=f"request-{number}" if number else "")
        await record.admit(owner, "request-1")
        for request_id in ("", "request-9"):
            with refused("RESOURCE_EXHAUSTED", "TOO_MANY_UNFINISHED"):
                await record.admit(owner, request_id)
        await record.create(f"neighbour of {owner}", course, request_id="request-9")
        with refused("RESOURCE_EXHAUSTED", "TOO_MANY_UNFINISHED"):
            await record.admit(owner, "request-9")

    @pytest.mark.parametrize(
        ("owner", "request_id", "field"),
        [("", "", "owner_id"), ("o" * 256, "", "owner_id"), ("a\0b", "", "owner_id"), ("ann", "a\0b", "request_id")],
    )
    async def test_what_could_not_be_recorded_is_refused(
        self, record: RecordCalls, owner: str, request_id: str, field: str
    ) -> None:
        with refused("INVALID_ARGUMENT", "FIELD_INVALID", field):
            await record.admit(owner, request_id)


class TestRecordThatCannotBeWritten:
    async def test_read_only_database_takes_no_uploads_and_again_when_it_is_writable(
        self, record: RecordCalls, admin: Person, sql: asyncpg.Connection[asyncpg.Record], course: str
    ) -> None:
        material = await record.create("ann", course)
        async with _read_only(sql):
            await eventually(lambda: _answered(admin.get(material.id)), "Status is connected again")
            with refused("UNAVAILABLE", "DATABASE_UNAVAILABLE") as refusal:
                await record.admit("new-owner")
            assert refusal.retry_seconds
            assert "cannot be written" in refusal.message
            with refused("UNAVAILABLE", "DATABASE_UNAVAILABLE"):
                await record.create("ann", course)
        await eventually(lambda: _answered(record.admit("new-owner")), "uploads are admitted again")
        await record.create("ann", course)
        await record.admit("new-owner")

    async def test_after_a_failed_commit_no_upload_is_admitted_until_one_tries_and_succeeds(
        self, record: RecordCalls, sql: asyncpg.Connection[asyncpg.Record], course: str
    ) -> None:
        async with _disk_full(sql):
            with refused("UNAVAILABLE", "DATABASE_UNAVAILABLE"):
                await record.create("ann", course)
            with refused("UNAVAILABLE", "DATABASE_UNAVAILABLE") as refusal:
                await record.admit("new-owner")
            assert refusal.retry_seconds
        await eventually(lambda: _answered(record.admit("new-owner")), "one is let through to try")
        await record.create("ann", course)
        for _ in range(5):
            await record.admit("new-owner")

    async def test_commit_that_failed_for_the_databases_sake_is_not_tried_row_by_row(
        self, record: RecordCalls, sql: asyncpg.Connection[asyncpg.Record], course: str
    ) -> None:
        async with _disk_full(sql):
            answers = await asyncio.gather(*(record.create("ann", course) for _ in range(40)), return_exceptions=True)
            for answer in answers:
                assert isinstance(answer, grpc.RpcError)
                assert refusal_of(answer).reason == "DATABASE_UNAVAILABLE"
            # A sequence is not rolled back: it counts the statements that met the full disk. The channel makes each call several times.
            assert await sql.fetchval("SELECT last_value FROM attempts") <= RETRY_POLICY["maxAttempts"] * len(answers)


async def _answered(call: Awaitable[object]) -> bool:
    """Whether the call was answered, rather than refused since the database is away."""
    try:
        await call
    except grpc.RpcError as error:
        if refusal_of(error).reason != "DATABASE_UNAVAILABLE":
            raise
        return False
    return True


@asynccontextmanager
async def _read_only(sql: asyncpg.Connection[asyncpg.Record]) -> AsyncIterator[None]:
    """As after a fail-over to a standby: connections are cut, and new ones cannot write."""
    name = await sql.fetchval("SELECT current_database()")
    try:
        await sql.execute(f"ALTER DATABASE {name} SET default_transaction_read_only TO on")
        await _cut_connections(sql)
        yield
    finally:
        await sql.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
        await _cut_connections(sql)


async def _cut_connections(sql: asyncpg.Connection[asyncpg.Record]) -> None:
    await sql.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )


@asynccontextmanager
async def _disk_full(sql: asyncpg.Connection[asyncpg.Record]) -> AsyncIterator[None]:
    """Whatever inserts a material is answered as by a full disk."""
    await sql.execute("CREATE SEQUENCE attempts")
    await sql.execute(
        "CREATE FUNCTION no_space() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " PERFORM nextval('status.attempts'); RAISE SQLSTATE '53100' USING MESSAGE = 'could not extend file'; END $$"
    )
    await sql.execute("CREATE TRIGGER no_space BEFORE INSERT ON materials EXECUTE FUNCTION no_space()")
    try:
        yield
    finally:
        await sql.execute("DROP FUNCTION no_space CASCADE")
        await sql.execute("DROP SEQUENCE attempts")
