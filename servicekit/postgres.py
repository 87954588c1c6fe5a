"""A service's Postgres: pool, migrations, and what a lost connection means to a caller.

Migrations are plain SQL files applied by pogo (docs/decisions). One advisory lock for the whole database lets any number of replicas and services start at
once: the first one migrates, the others find nothing to do. Each file is one transaction, so an interrupted start leaves a whole number of files. Where nothing
is missing the lock is not asked for: replicas start while a migration of another service, or of the next release, takes its hours.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeAlias

import asyncpg
import structlog
from materials.v1 import errors_pb2
from pogo_core.util import migrate, sql

from servicekit.errors import Unavailable

log = structlog.get_logger()
#: pogo tells of each migration as a warning; that one was applied is no reason to worry.
_quiet = logging.getLogger("migrations")
_quiet.setLevel(logging.ERROR)

START_SECONDS = 45.0
MIGRATION_LOCK = 0x6D6174657269616C  # "material" in ASCII: one lock for all services of a database

#: What a caller may try again: the server is away, restarting, read-only, out of connections, memory or disk, or asked for another try.
TRANSIENT_ERRORS: tuple[type[Exception], ...] = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    # A server that dies while a connection is idle says so unasked; until the end of the connection has come too, asyncpg holds it for one that is busy.
    asyncpg.InternalClientError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError,
    asyncpg.DeadlockDetectedError,
    asyncpg.QueryCanceledError,
    asyncpg.SerializationError,
    asyncpg.InvalidCachedStatementError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.InsufficientResourcesError,
)

#: A connection from the pool.
Connection: TypeAlias = "asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"


async def _nothing_to_reset(_: object) -> None:
    """No session is changed beyond its transaction, so none is put back: asyncpg's own way costs each use of a connection one more round trip."""


class Postgres:
    """A part: connects and migrates at start, hands out connections, closes at stop."""

    def __init__(
        self,
        dsn: str,
        *,
        schema: str,
        migrations: Path,
        max_connections: int = 8,
        command_timeout: float = 10.0,
        statement_cache_size: int = 256,
        init: Callable[[asyncpg.Connection[asyncpg.Record]], Coroutine[Any, Any, None]] | None = None,
    ) -> None:
        self._dsn, self._schema, self._migrations, self._init = dsn, schema, migrations, init
        self._max_connections, self._command_timeout = max_connections, command_timeout
        self._statement_cache_size = statement_cache_size
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None

    async def start(self, tasks: asyncio.TaskGroup) -> None:
        """Waits for the server, migrates, opens the pool. Raises as `migrate`."""
        await self.migrate()
        self._pool = await asyncpg.create_pool(
            self._dsn,
            min_size=1,
            max_size=self._max_connections,
            timeout=5.0,
            command_timeout=self._command_timeout,
            statement_cache_size=self._statement_cache_size,
            max_inactive_connection_lifetime=300.0,
            server_settings={"search_path": f"{self._schema},public", "application_name": self._schema},
            init=self._init,
            reset=_nothing_to_reset,
        )

    async def stop(self) -> None:
        """Closes the pool; connections still in use after 5 s are cut."""
        pool, self._pool = self._pool, None
        if pool is None:
            return
        try:
            async with asyncio.timeout(5.0):
                await pool.close()
        except TimeoutError:
            pool.terminate()

    async def check(self) -> bool:
        """Whether the server answers, within two seconds."""
        try:
            async with asyncio.timeout(2.0):
                await self.fetchrow("SELECT 1")
        except (Unavailable, TimeoutError):
            return False
        return True

    async def migrate(self) -> None:
        """Waits for the server with backoff (up to 45 s), and applies the migrations that it does not have. Raises the last connection error."""
        deadline = asyncio.get_running_loop().time() + START_SECONDS
        pause = 0.1
        while True:
            try:
                await self._migrate()
                return
            except TRANSIENT_ERRORS as error:
                if asyncio.get_running_loop().time() > deadline:
                    raise
                log.warning("waiting for Postgres", schema=self._schema, error=type(error).__name__)
            pause = min(2.0, pause * 2)
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))

    async def _migrate(self) -> None:
        connection = await asyncpg.connect(
            # Without a time-out: an index on a large table, or the replica that is just making it, takes as long as it takes.
            self._dsn,
            timeout=5.0,
            statement_cache_size=0,
            server_settings={"search_path": f"{self._schema},public"},
        )
        try:
            if not await self._is_up_to_date(connection):
                await connection.execute("SELECT pg_advisory_lock($1)", MIGRATION_LOCK)
                await migrate.apply(connection, self._migrations, schema_name=self._schema, logger=_quiet)
        finally:
            # Ends the session, and with it the lock.
            await connection.close(timeout=5.0)

    async def _is_up_to_date(self, connection: asyncpg.Connection[asyncpg.Record]) -> bool:
        if not await sql.get_pogo_version(connection):
            return False  # none, or the first, which could not tell schemas apart
        wanted = {path.stem for path in self._migrations.glob("*.sql")}
        return wanted <= await sql.get_applied_migrations(connection, schema_name=self._schema)

    @asynccontextmanager
    async def connection(self, acquire_timeout: float = 5.0) -> AsyncIterator[Connection]:
        """A connection. What fails in a way that another try may mend is raised as Unavailable DATABASE_UNAVAILABLE."""
        pool = self._pool
        if pool is None:
            raise Unavailable(errors_pb2.ERROR_REASON_DATABASE_UNAVAILABLE, "the database is not connected")
        try:
            connection = await pool.acquire(timeout=acquire_timeout)
            try:
                yield connection
            except TimeoutError:
                # No answer in `command_timeout`: the connection may be half-open, and then all of the pool are. The next ones are new. This one is given
                # back, not cut: asyncpg is just asking the server to cancel the statement, which would else go on there.
                await pool.expire_connections()
                raise
            finally:
                # Shielded by the pool itself: a cancelled caller does not lose a connection on its way back.
                await pool.release(connection, timeout=5.0)
        except TRANSIENT_ERRORS as error:
            # An argument that asyncpg cannot encode is an InterfaceError too, and will be one again.
            if isinstance(error, ValueError):
                raise
            log.warning("database unavailable", error=type(error).__name__)
            raise Unavailable(
                errors_pb2.ERROR_REASON_DATABASE_UNAVAILABLE, "the database cannot be reached; try again shortly"
            ) from error

    @property
    def connections_in_use(self) -> int:
        """How many connections are held by somebody."""
        return self._pool.get_size() - self._pool.get_idle_size() if self._pool is not None else 0

    def has_spare_connection(self) -> bool:
        """Whether one more can be had at once, or opened; nothing is reserved. For what can do without a second one while it holds a first."""
        pool = self._pool
        return pool is not None and (pool.get_idle_size() > 0 or pool.get_size() < pool.get_max_size())

    async def fetch(self, query: str, *args: Any) -> list[asyncpg.Record]:
        """Rows of one statement."""
        async with self.connection() as connection:
            return await connection.fetch(query, *args)

    async def fetchrow(self, query: str, *args: Any) -> asyncpg.Record | None:
        """The first row of one statement, or None."""
        async with self.connection() as connection:
            return await connection.fetchrow(query, *args)

    async def execute(self, query: str, *args: Any) -> str:
        """Runs one statement; returns its command tag."""
        async with self.connection() as connection:
            return await connection.execute(query, *args)
