"""What must not be left once all has ended: leases, undelivered events, objects without a material, children, files."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import nats.js.errors
import psutil

from ingest_service.orphan_sweeper import OBJECT_PREFIX, OrphanSweeper
from servicekit.channels import Peer
from servicekit.object_store import ObjectStore
from tests.faults.fault_stack import FaultStack
from tests.faults.verdict import Verdict, within
from tests.faults.workload import Workload

DEBRIS_SECONDS = 15.0
#: The pools' size by default.
CONNECTIONS_A_REPLICA = 8
#: Where a document was purged its fence stays, and nothing else.
INDEX_WITHOUT_MATERIAL = """
    SELECT kind || ' of ' || material_id FROM (
        SELECT 'pages' AS kind, material_id FROM processor.pages
        UNION SELECT 'passages', material_id FROM processor.passages
        UNION SELECT 'the document', material_id FROM processor.documents WHERE purged_at IS NULL
    ) AS kept
    WHERE NOT EXISTS (SELECT FROM status.materials m WHERE m.material_id = kept.material_id AND m.deleted_at IS NULL)
"""
PASSAGES_WITHOUT_PAGE = """
    SELECT DISTINCT material_id || ' page ' || page_number FROM processor.passages
    WHERE (material_id, page_number) NOT IN (SELECT material_id, page_number FROM processor.pages)
"""
CONSUMERS = ("processor", "ingest-purger", "processor-purger")


async def no_debris(work: Workload, verdict: Verdict) -> None:
    """Looks at the whole stack; what is on its way out is given some seconds."""
    stack = work.stack
    for what, leftovers in (
        ("leases", lambda: _rows(stack, "SELECT material_id FROM status.materials WHERE lease_worker <> ''")),
        ("unpublished announcements", lambda: _rows(
            stack, "SELECT material_id FROM status.materials WHERE announced_at IS NULL AND deleted_at IS NULL AND status = 1")),
        ("deletions not purged", lambda: _rows(
            stack, "SELECT material_id FROM status.materials WHERE deleted_at IS NOT NULL AND purged_parts <> 3")),
        ("rows of the index without a material", lambda: _rows(stack, INDEX_WITHOUT_MATERIAL)),
        ("passages without a page", lambda: _rows(stack, PASSAGES_WITHOUT_PAGE)),
        ("database connections beyond the pools", lambda: _surplus_connections(stack)),
        ("undelivered events", lambda: _undelivered(stack)),
        ("rendering children", lambda: _children(stack)),
        ("files of attempts", lambda: _files_of_attempts(stack)),
    ):  # fmt: skip
        await within(DEBRIS_SECONDS, lambda leftovers=leftovers: _none(leftovers))
        if left := await leftovers():
            verdict.wrong.append(f"{what}: {left}")
    if left := await _objects_without_material(stack):
        verdict.wrong.append(f"objects without a material, after the sweep: {left}")


async def _objects_without_material(stack: FaultStack) -> list[str]:
    """What the real sweeper leaves when it is told that everything is old."""
    store = ObjectStore(stack.objects_url)
    peer = Peer(",".join(stack.local.facts["endpoints"]["status"]), lambda: stack.local.facts["service_token"])
    try:
        await OrphanSweeper(store, peer, 0).sweep(datetime.now(UTC) + timedelta(seconds=1))
    finally:
        await peer.stop()
    later = datetime.now(UTC) + timedelta(hours=1)
    names = [key.rpartition("/")[2] async for keys in store.list_older(OBJECT_PREFIX, later) for key in keys]
    # Parts of interrupted writes are listed by nobody.
    names += await asyncio.to_thread(lambda: [path.name for path in stack.objects.rglob("*#*") if path.is_file()])
    kept = {
        str(row["material_id"])
        for row in await stack.fetch("SELECT material_id FROM status.materials WHERE deleted_at IS NULL")
    }
    return [name for name in names if name not in kept]


async def _surplus_connections(stack: FaultStack) -> list[str]:
    sql = "SELECT usename, count(*) AS open FROM pg_stat_activity WHERE usename IN ('status', 'processor') GROUP BY usename"
    most = CONNECTIONS_A_REPLICA * stack.layout.replicas
    return [f"{row['open']} of {row['usename']}" for row in await stack.fetch(sql) if row["open"] > most]


async def _undelivered(stack: FaultStack) -> list[str]:
    async with stack.jetstream() as jetstream:
        left = []
        for name in CONSUMERS:
            try:
                info = await jetstream.consumer_info("MATERIALS", name)
            except nats.js.errors.NotFoundError:
                left.append(f"{name} is not there")
                continue
            if info.num_pending or info.num_ack_pending:
                left.append(f"{name}: {info.num_pending} not delivered, {info.num_ack_pending} not acknowledged")
        return left


async def _children(stack: FaultStack) -> list[str]:
    found = []
    for name in stack.parts:
        if name.startswith("processor"):
            for child in stack.children(name):
                try:
                    found.append(f"{name}: {' '.join(child.cmdline()[-2:])}")
                except psutil.NoSuchProcess:
                    continue
    return found


async def _files_of_attempts(stack: FaultStack) -> list[str]:
    work = stack.local.data_dir / "work"
    return await asyncio.to_thread(lambda: [str(p.name) for p in work.glob("*")] if work.is_dir() else [])


async def _rows(stack: FaultStack, sql: str) -> list[str]:
    return [str(row[0]) for row in await stack.fetch(sql)]


async def _none(leftovers: Callable[[], Awaitable[list[str]]]) -> bool:
    return not await leftovers()
