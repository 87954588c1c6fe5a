"""Migrations of a fresh database: killed half-way, and by two replicas at once."""

from __future__ import annotations

import asyncio
import os
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import asyncpg

from servicekit.postgres import MIGRATION_LOCK
from single_node.readiness import GrpcServing, until_ready
from tests.faults.fault_stack import FaultStack
from tests.faults.scenario import scenario
from tests.faults.workload import Workload
from tests.local_stack import free_ports

_SHAPE = """
    SELECT table_name, column_name, data_type, is_nullable FROM information_schema.columns WHERE table_schema = 'status'
    UNION ALL SELECT tablename, indexname, indexdef, '' FROM pg_indexes WHERE schemaname = 'status' ORDER BY 1, 2, 3, 4
"""


@dataclass
class FreshDatabase:
    """A database beside the stack's own, with nothing but Status's empty schema, and Status processes on it."""

    stack: FaultStack
    name: str

    def dsn(self, role: str = "postgres") -> str:
        """Its address."""
        address = self.stack.local.facts["postgres"].rpartition("/")[0]
        if role != "postgres":
            host = address.rpartition("@")[2]
            address = f"postgresql://{role}:{self.stack.local.secrets()[f'{role}_password']}@{host}"
        return f"{address}/{self.name}"

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
        """As its superuser."""
        connection = await asyncpg.connect(self.dsn(), ssl=False, timeout=10)
        try:
            yield connection
        finally:
            await connection.close(timeout=5)

    async def until_waiting(self, count: int) -> None:
        """Returns when so many sessions of Status wait for a lock."""
        await self.stack.until_row(
            "SELECT 1 FROM pg_stat_activity WHERE datname = $1 AND usename = 'status' AND wait_event_type = 'Lock'"
            " HAVING count(*) = $2",
            self.name,
            count,
        )

    @asynccontextmanager
    async def status_process(self, port: int) -> AsyncIterator[asyncio.subprocess.Process]:
        """A Status that migrates it, killed at the end of the block."""
        secrets = self.stack.local.secrets()
        environment = {
            **os.environ,
            "LISTEN_ADDRESS": f"127.0.0.1:{port}",
            "STATUS_DATABASE_URL": self.dsn("status"),
            "NATS_URL": "nats://127.0.0.1:9",
            "AUTH_HS256_SECRET": secrets["auth_hs256_secret"],
            "SERVICE_TOKEN_SECRET": secrets["service_token_secret"],
        }
        log = (self.stack.local.data_dir / "logs" / "migrating-status.log").open("a")
        with log:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "status_service", env=environment, stdout=log, stderr=log
            )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()

    async def is_like_the_stacks(self) -> None:
        """The schema is the one that the stack's own Status has made."""
        async with self.connection() as connection:
            mine = await connection.fetch(_SHAPE)
        assert mine, "nothing was made"
        assert mine == await self.stack.fetch(_SHAPE), "the schema is another one than an undisturbed migration makes"


@asynccontextmanager
async def _fresh_database(stack: FaultStack) -> AsyncIterator[FreshDatabase]:
    fresh = FreshDatabase(stack, f"fresh_{uuid.uuid4().hex[:8]}")
    async with stack.database() as connection:
        await connection.execute(f"CREATE DATABASE {fresh.name}")
    try:
        async with fresh.connection() as connection:
            await connection.execute(
                "CREATE SCHEMA status AUTHORIZATION status; GRANT CREATE ON SCHEMA public TO status"
            )
        yield fresh
    finally:
        async with stack.database() as connection:
            await connection.execute(f"DROP DATABASE {fresh.name} WITH (FORCE)")


async def _serving(port: int) -> None:
    await until_ready(GrpcServing(f"127.0.0.1:{port}"), 60)


@scenario("26a", "migration: kill -9 in the middle of one, then started again")
async def killed_half_way(stack: FaultStack, work: Workload) -> None:
    first, second = free_ports(2)
    async with _fresh_database(stack) as fresh:
        async with fresh.connection() as connection:
            # A table of the same name, not committed: the migration waits in the midst of its statements to see what becomes of it.
            transaction = connection.transaction()
            await transaction.start()
            await connection.execute("CREATE TABLE status.transitions ()")
            async with fresh.status_process(first) as process:
                await fresh.until_waiting(1)
                process.kill()
            async with fresh.status_process(second):
                # The dead one's session still waits within its migration, the new one for the lock of all migrations.
                await fresh.until_waiting(2)
                await transaction.rollback()
                await _serving(second)
        await fresh.is_like_the_stacks()
    await work.notes(1)


@scenario("26b", "migration: two replicas start on an empty database at once", quick=True)
async def two_at_once(stack: FaultStack, work: Workload) -> None:
    first, second = free_ports(2)
    async with _fresh_database(stack) as fresh:
        async with fresh.connection() as connection:
            await connection.execute("SELECT pg_advisory_lock($1)", MIGRATION_LOCK)
            async with fresh.status_process(first), fresh.status_process(second):
                await fresh.until_waiting(2)
                await connection.execute("SELECT pg_advisory_unlock($1)", MIGRATION_LOCK)
                await asyncio.gather(_serving(first), _serving(second))
        await fresh.is_like_the_stacks()
    await work.notes(1)
