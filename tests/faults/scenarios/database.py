"""Postgres dies, cuts its connections, is blocked, read-only or full. Uploads are told when to come again, and go on without a restart of any service."""

from __future__ import annotations

import asyncio
import os
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import grpc
from materials.v1 import status_service_pb2

from single_node.postgres_account import current_account
from tests.faults.brain_front import Hold, embedding_of
from tests.faults.documents import long_note, new_mark
from tests.faults.fault_stack import FaultStack
from tests.faults.refusals import comes_again, no_service_restarted, refused
from tests.faults.scenario import Skipped, scenario
from tests.faults.workload import Upload, Workload

POOL = 8  # a replica's connections by default
FEW = 4  # that ask the server to cancel a statement, or are just being closed
LOCKED_SECONDS = 24  # twice `command_timeout`, and more
CONNECTIONS = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'status'"
WAITING_FOR_LOCKS = "SELECT FROM pg_stat_activity WHERE usename = 'status' AND wait_event_type = 'Lock'"


@asynccontextmanager
async def at_work(stack: FaultStack, work: Workload) -> AsyncIterator[Hold]:
    """A course that is watched, and a text of three pages in the middle of its reading: the Brain is held, at the longest until the end of the block."""
    await work.watch_course()
    mark = new_mark()
    text = work.of(long_note(mark, 6), pages=3)
    with stack.brain.holding(embedding_of(mark)) as hold:
        await work.send(text)
        work.watch(text)
        async with asyncio.timeout(60):
            await hold.arrived.wait()
        yield hold


@scenario("4a", "Postgres: kill -9 under load; started again", quick=True, recovery=20)
async def postgres_killed(stack: FaultStack, work: Workload) -> None:
    async with at_work(stack, work) as hold:
        with no_service_restarted(stack):
            await work.notes(4)
            async with stack.down("postgres"):
                hold.release()
                turned_away = [await refused(work) for _ in range(3)]
            work.fault_over()
            await work.send_all(turned_away)
            await work.notes(4)
            await work.settled(20)


@scenario("4b", "Postgres: every connection ended by the server, then cut on the way, under load", quick=True)
async def connections_cut(stack: FaultStack, work: Workload) -> None:
    async with at_work(stack, work) as hold:
        with no_service_restarted(stack):
            sending = asyncio.create_task(work.notes(24, at_once=4))
            for _ in range(3):
                await stack.fetch(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename IN ('status', 'processor')"
                )
                await stack.until_row(
                    "SELECT 1 FROM status.materials WHERE owner_id = $1 OFFSET $2", work.owner, len(work.accepted)
                )
                hold.release()
                for service in ("status", "processor"):
                    stack.proxies[service, "postgres"].cut()
            work.fault_over()
            for upload in await sending:
                work.watch(upload)
            await work.settled(30)


@scenario("4c", "Postgres: every connection of Status waits for a lock", quick=True, recovery=20)
async def pool_exhausted(stack: FaultStack, work: Workload) -> None:
    async with at_work(stack, work) as hold:
        first = await work.notes(1)
        with no_service_restarted(stack):
            async with stack.database() as connection, connection.transaction():
                await connection.execute("LOCK TABLE status.materials IN ACCESS EXCLUSIVE MODE")
                asking = [asyncio.create_task(_ask(work, first[0].id)) for _ in range(2 * POOL)]
                await stack.until_row(
                    "SELECT 1 FROM pg_stat_activity WHERE usename = 'status' AND wait_event_type = 'Lock' HAVING count(*) >= $1",
                    POOL,
                )
                hold.release()
                turned_away = [await refused(work)]
                # As impatient clients: gone while everything waits.
                for call in asking:
                    call.cancel()
                await asyncio.wait(asking)
            work.fault_over()
            await work.send_all(turned_away)
            await work.notes(4)
            await work.settled(20)


@scenario("4d", "Postgres: the lock is held for longer than any statement waits", recovery=20)
async def lock_held_for_long(stack: FaultStack, work: Workload) -> None:
    # A claim may be made, once the lock is gone, just after its processor gave up waiting: nobody works on it until its lease ends.
    work.extra_attempts = 1
    async with at_work(stack, work) as hold:
        first = await work.notes(1)
        with no_service_restarted(stack):
            async with stack.database() as connection, connection.transaction():
                await connection.execute("LOCK TABLE status.materials IN ACCESS EXCLUSIVE MODE")
                hold.release()
                most = 0
                async with asyncio.TaskGroup() as tasks:
                    asking = [tasks.create_task(_ask_for_ever(work, first[0].id)) for _ in range(2 * POOL)]
                    # Long enough for two statements of each connection to wait in vain.
                    for _ in range(LOCKED_SECONDS * 2):
                        await asyncio.sleep(0.5)
                        most = max(most, await connection.fetchval(CONNECTIONS))
                    for task in asking:
                        task.cancel()
                assert most <= POOL + FEW, f"Status had {most} connections: statements that were given up go on"
                turned_away = [await refused(work)]
            work.fault_over()
            await stack.until_row(f"SELECT 1 WHERE NOT EXISTS ({WAITING_FOR_LOCKS})", seconds=5)
            await work.send_all(turned_away)
            await work.settled(20)


async def _ask_for_ever(work: Workload, material_id: str) -> None:
    while True:
        await _ask(work, material_id)


async def _ask(work: Workload, material_id: str) -> None:
    try:
        request = status_service_pb2.GetMaterialRequest(material_id=material_id)
        await work.client.status.GetMaterial(request, metadata=work.client.metadata, timeout=30)
    except grpc.aio.AioRpcError:
        pass  # what becomes of reads is not what this is about


@scenario("15a", "Postgres: read-only under load", quick=True, recovery=20)
async def read_only(stack: FaultStack, work: Workload) -> None:
    async with at_work(stack, work) as hold:
        with no_service_restarted(stack):
            await _set_read_only(stack, True)
            try:
                hold.release()
                stored = _stored_bytes(stack)
                turned_away = [await refused(work) for _ in range(4)]
                assert _stored_bytes(stack) == stored, "bytes were taken that could not be recorded"
            finally:
                await _set_read_only(stack, False)
            work.fault_over()
            await work.send_all(turned_away)
            await work.settled(20)


async def _set_read_only(stack: FaultStack, value: bool) -> None:
    async with stack.database() as connection:
        await connection.execute("SET default_transaction_read_only = off")
        await connection.execute(f"ALTER SYSTEM SET default_transaction_read_only = {'on' if value else 'off'}")
        await connection.execute("SELECT pg_reload_conf()")
    # Sessions take it in at their next command; this one is new, so it sees what the server has read.
    wanted = "on" if value else "off"
    await stack.until_row("SELECT 1 WHERE current_setting('default_transaction_read_only') = $1", wanted)


def _stored_bytes(stack: FaultStack) -> int:
    return sum(path.stat().st_size for path in stack.objects.rglob("*") if path.is_file())


@scenario("15b", "Postgres: the disk of the record and of the index is full", recovery=25)
async def disk_full(stack: FaultStack, work: Workload) -> None:
    async with _tablespace(stack) as disk, at_work(stack, work) as hold:
        with no_service_restarted(stack):
            filler = disk / "filler"
            await asyncio.to_thread(_fill, filler)
            turned_away = [await _first_refused(work)]
            hold.release()
            # What was rolled back has left its room to another one.
            turned_away += [await _first_refused(work) for _ in range(2)]
            filler.unlink()
            work.fault_over()
            await work.send_all(turned_away)
            await work.settled(25)
            await work.notes(2)


async def _first_refused(work: Workload) -> Upload:
    """Uploads until there is no room: the last page of each table still takes some rows."""
    for _ in range(200):
        upload = work.note()
        try:
            await work.send_once(upload)
        except grpc.aio.AioRpcError as error:
            comes_again(error)
            return upload
    raise AssertionError("a full disk took everything")


@asynccontextmanager
async def _tablespace(stack: FaultStack) -> AsyncIterator[Path]:
    """The tables of both services on a disk of their own, of 48 MiB; moved back at the end."""
    if os.geteuid() != 0:
        raise Skipped("only root can mount a small disk")
    disk = Path(tempfile.mkdtemp(prefix="materials-disk-"))
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", str(disk)], check=False, capture_output=True, text=True
    )
    if mounted.returncode != 0:
        disk.rmdir()
        raise Skipped(f"no small disk can be mounted: {mounted.stderr.strip()}")
    try:
        disk.chmod(0o755)
        place = disk / "tables"
        place.mkdir()
        account = current_account()
        os.chown(place, account.uid, account.gid)
        async with stack.database() as connection:
            await connection.execute(f"CREATE TABLESPACE small_disk LOCATION '{place}'")
            await _move_all(stack, "pg_default", "small_disk")
            try:
                yield disk
            finally:
                await _move_all(stack, "small_disk", "pg_default")
                await connection.execute("DROP TABLESPACE small_disk")
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)
        disk.rmdir()


async def _move_all(stack: FaultStack, source: str, target: str) -> None:
    async with stack.database() as connection:
        for kind in ("TABLE", "INDEX"):
            await _at_a_quiet_moment(
                connection,
                f"ALTER {kind} ALL IN TABLESPACE {source} OWNED BY status, processor SET TABLESPACE {target} NOWAIT",
            )


async def _at_a_quiet_moment(connection: asyncpg.Connection[asyncpg.Record], statement: str) -> None:
    """When nobody uses any of the tables: whoever waited for them all would end in a deadlock with those who take them one by one."""
    async with asyncio.timeout(60):
        while True:
            try:
                await connection.execute(statement, timeout=25)
                return
            except asyncpg.ObjectInUseError:
                await asyncio.sleep(0.01)


def _fill(path: Path) -> None:
    """Until not another page of Postgres's finds room."""
    with path.open("wb", buffering=0) as file:
        for piece in (1024 * 1024, 4096):
            try:
                while True:
                    file.write(bytes(piece))
            except OSError:
                continue
