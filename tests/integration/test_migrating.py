"""Migrations wait for each other; a service whose own are applied does not wait for those of others."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

from servicekit.postgres import MIGRATION_LOCK, Postgres
from tests.local_stack import LocalStack

LONG_SECONDS = 30.0
WAITING = """
    SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database
    WHERE l.locktype = 'advisory' AND NOT l.granted AND d.datname = current_database()
"""


@pytest.fixture
async def server(stack: LocalStack) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    """A session of somebody else."""
    connection = await asyncpg.connect(stack.facts["postgres"], ssl=False, timeout=10)
    yield connection
    await connection.close(timeout=5)


@pytest.fixture
async def schema(server: asyncpg.Connection[asyncpg.Record]) -> AsyncIterator[str]:
    """A schema of its own."""
    name = f"migrating_{uuid.uuid4().hex[:12]}"
    await server.execute(f"CREATE SCHEMA {name}")
    yield name
    await server.execute(f"DROP SCHEMA {name} CASCADE")
    await server.execute("DELETE FROM public._pogo_migration WHERE schema_name = $1", name)


@asynccontextmanager
async def lock_held(server: asyncpg.Connection[asyncpg.Record]) -> AsyncIterator[None]:
    """Somebody migrates."""
    await server.execute("SELECT pg_advisory_lock($1)", MIGRATION_LOCK)
    try:
        yield
    finally:
        await server.execute("SELECT pg_advisory_unlock($1)", MIGRATION_LOCK)


def written(folder: Path, number: int) -> None:
    """One more migration: a table."""
    (folder / f"20260101_{number:02}_table.sql").write_text(
        f"-- table {number}\n-- depends:\n\n-- migrate: apply\n\nCREATE TABLE table_{number} (id int);\n\n"
        f"-- migrate: rollback\n\nDROP TABLE table_{number};\n"
    )


async def test_nobody_waits_for_a_migration_that_he_does_not_need(
    server: asyncpg.Connection[asyncpg.Record], stack: LocalStack, schema: str, tmp_path: Path
) -> None:
    written(tmp_path, 1)
    postgres = Postgres(stack.facts["postgres"], schema=schema, migrations=tmp_path)
    await postgres.migrate()
    async with lock_held(server), asyncio.timeout(LONG_SECONDS):
        await postgres.migrate()


async def test_one_that_is_missing_waits_for_its_turn(
    server: asyncpg.Connection[asyncpg.Record], stack: LocalStack, schema: str, tmp_path: Path
) -> None:
    written(tmp_path, 1)
    postgres = Postgres(stack.facts["postgres"], schema=schema, migrations=tmp_path)
    await postgres.migrate()
    written(tmp_path, 2)
    async with asyncio.timeout(LONG_SECONDS):
        async with lock_held(server):
            migrating = asyncio.create_task(postgres.migrate())
            while not await server.fetchval(WAITING):
                await asyncio.sleep(0.01)
            assert await server.fetchval("SELECT to_regclass($1)", f"{schema}.table_2") is None
        await migrating
    assert await server.fetchval("SELECT to_regclass($1)", f"{schema}.table_2") is not None
