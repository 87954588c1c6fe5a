"""The Brain is away while much waits for it, or so slow that a page outlasts the lease."""

from __future__ import annotations

import asyncio
import uuid

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.faults.brain_front import reading
from tests.faults.endings import completed
from tests.faults.fault_stack import FaultStack
from tests.faults.invariants import PROCESSING, check
from tests.faults.scenario import scenario
from tests.faults.workload import Upload, Workload

SLOTS = 4  # PROCESSOR_SLOTS of the one replica; a note is one call at a time
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@scenario("12", "the AI Brain is away while 200 materials come in, and returns", recovery=90.0)
async def away_with_many_waiting(stack: FaultStack, work: Workload) -> None:
    # Those that found out that it is away are handed back.
    work.extra_attempts = 1
    stack.brain.most_at_once = 0
    async with stack.brain.away():
        notes = [work.note() for _ in range(200)]
        await work.send_all(notes, at_once=16)
        await until_health(stack, NOT_SERVING)
        await all_wait(stack, work)
        for note in notes[::40]:
            work.watch(note)
    work.fault_over()
    await completed(work, notes, attempts=2)
    await until_health(stack, SERVING)
    most = stack.brain.most_at_once
    assert most <= SLOTS, f"the Brain was met with {most} calls at once on its return"


async def all_wait(stack: FaultStack, work: Workload) -> None:
    """All are PENDING soon, at no cost: no failure is counted, and only as many were begun as there are slots."""
    others = "SELECT 1 WHERE NOT EXISTS (SELECT FROM status.materials WHERE owner_id = $1 AND status <> 1)"
    await stack.until_row(others, work.owner)
    sql = "SELECT attempt, failures, crashes, status_message FROM status.materials WHERE owner_id = $1"
    rows = await stack.fetch(sql, work.owner)
    burned = [dict(row) for row in rows if row["failures"] or row["crashes"]]
    assert not burned, f"an outage was held against {burned}"
    begun = [row for row in rows if row["attempt"]]
    assert sum(row["attempt"] for row in begun) <= SLOTS, f"{len(begun)} were begun in vain"
    assert all("AI Brain" in row["status_message"] for row in begun), "watchers are not told what they wait for"


async def until_health(stack: FaultStack, wanted: int) -> None:
    """Returns when the processor's health says so of the Brain; its own stays SERVING throughout."""
    async with (
        asyncio.timeout(60),
        grpc.aio.insecure_channel(stack.local.facts["endpoints"]["processor"][0]) as channel,
    ):
        stub = health_pb2_grpc.HealthStub(channel)
        while (await stub.Check(health_pb2.HealthCheckRequest(service="ai_brain"), timeout=5)).status != wanted:
            await asyncio.sleep(0.05)
        own = await stub.Check(health_pb2.HealthCheckRequest(service=""), timeout=5)
        assert own.status == SERVING, "a Brain that is away makes the processor itself unhealthy"


@scenario("13", "each page takes the AI Brain longer than the lease, while notes of another owner wait")
async def slow(stack: FaultStack, work: Workload) -> None:
    scan = work.scan(2)
    owner = f"other-{uuid.uuid4().hex[:10]}"
    async with stack.client(owner) as client:
        other = Workload(stack, client, owner)
        other.extra_reads = scan.pages  # not the other's
        sending = asyncio.create_task(work.send(scan))
        for page in range(scan.pages):
            with stack.brain.holding(reading) as page_call:
                async with asyncio.timeout(60):
                    await sending
                    await page_call.arrived.wait()
                await notes_pass_by(other)
                await outlasts_its_lease(stack, scan, pages_done=page)
        await completed(work, [scan])
        await other.settled(30.0)
        verdict = await check(other)
        assert verdict.good, "\n".join(verdict.lines())


async def notes_pass_by(other: Workload) -> None:
    notes = await other.notes(5)
    for note in notes:
        other.watch(note)
    await completed(other, notes)


async def outlasts_its_lease(stack: FaultStack, scan: Upload, *, pages_done: int) -> None:
    """Returns when the lease that the call began under has run out long since, and was kept all the same."""
    sql = "SELECT * FROM status.materials WHERE material_id = $1::uuid"
    [before] = await stack.fetch(sql, scan.id)
    await stack.until_row(
        "SELECT 1 WHERE clock_timestamp() > $1::timestamptz + interval '1 s'", before["lease_expires_at"]
    )
    [after] = await stack.fetch(sql, scan.id)
    assert (after["status"], after["attempt"], after["pages_done"]) == (PROCESSING, 1, pages_done), dict(after)
    assert after["lease_expires_at"] > before["lease_expires_at"], "the lease was not renewed"
