"""What the database refuses for its own sake is DATABASE_UNAVAILABLE; what it refuses for a value's sake is not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
from materials.v1 import errors_pb2

from servicekit.errors import Unavailable
from servicekit.postgres import Postgres
from tests.local_stack import LocalStack


@pytest.fixture
async def postgres(stack: LocalStack, tmp_path: Path) -> AsyncIterator[Postgres]:
    """A part of its own, without tables."""
    part = Postgres(stack.facts["postgres"], schema="status", migrations=tmp_path, command_timeout=0.3)
    async with asyncio.TaskGroup() as tasks:
        await part.start(tasks)
        yield part
        await part.stop()


async def raised(postgres: Postgres, statement: str, *arguments: object) -> Exception:
    with pytest.raises(Exception) as caught:  # noqa: PT011
        await postgres.execute(statement, *arguments)
    return caught.value


@pytest.mark.parametrize(
    "condition",
    [
        "disk_full",
        "out_of_memory",
        "too_many_connections",
        "read_only_sql_transaction",
        "query_canceled",
        "admin_shutdown",
        "crash_shutdown",
        "cannot_connect_now",
        "deadlock_detected",
        "serialization_failure",
    ],
)
async def test_what_another_try_may_mend_is_database_unavailable(postgres: Postgres, condition: str) -> None:
    error = await raised(postgres, f"DO $$ BEGIN RAISE {condition}; END $$")
    assert isinstance(error, Unavailable)
    assert error.reason == errors_pb2.ERROR_REASON_DATABASE_UNAVAILABLE


async def test_statement_that_took_too_long_is_database_unavailable(postgres: Postgres) -> None:
    error = await raised(postgres, "SELECT pg_sleep(60)")
    assert isinstance(error, Unavailable)
    assert error.reason == errors_pb2.ERROR_REASON_DATABASE_UNAVAILABLE


@pytest.mark.parametrize(
    ("statement", "arguments"),
    [
        ("DO $$ BEGIN RAISE unique_violation; END $$", []),
        ("SELECT $1::text", ["a\0b"]),
        ("SELECT $1::smallint", [2**40]),
        ("SELECT $1::text", [b"bytes"]),
    ],
    ids=["violation", "refused by Postgres", "out of range", "not encodable"],
)
async def test_what_is_wrong_with_a_value_is_no_outage(
    postgres: Postgres, statement: str, arguments: list[object]
) -> None:
    error = await raised(postgres, statement, *arguments)
    assert isinstance(error, asyncpg.PostgresError | asyncpg.InterfaceError)
    assert not isinstance(error, Unavailable)
