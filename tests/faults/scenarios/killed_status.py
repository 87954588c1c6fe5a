"""kill -9 Status: in the middle of a claim, between a report's commit and its reply, with hundreds of watchers."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, ExitStack

from tests.faults.brain_front import embedding_of
from tests.faults.brain_front import work as brain_work
from tests.faults.endings import completed
from tests.faults.fault_stack import FaultStack
from tests.faults.row_locks import course_locked, until_status_waits
from tests.faults.scenario import scenario
from tests.faults.scenarios.killed_processor import COMPLETED, IN_STATE
from tests.faults.tcp_proxy import Direction
from tests.faults.workload import Workload

WATCHERS, CHANNELS, MATERIALS = 500, 5, 4


@scenario("3a", "kill -9 Status in the middle of a claim's transaction", quick=True, recovery=10)
async def during_a_claim(stack: FaultStack, work: Workload) -> None:
    note = work.note()
    with ExitStack() as events:
        events.enter_context(stack.proxies["processor", "nats"].holding(Direction.TO_CLIENT))
        await work.send(note)
        work.watch(note)
        async with course_locked(stack, work.course):
            events.close()
            await until_status_waits(stack)
            pids = stack.kill("status")
    await stack.restarted(pids)
    work.fault_over()
    # The claim was undone with its transaction, and is asked for again.
    await completed(work, [note], attempts=1)


@scenario("3b", "kill -9 Status with a report committed and its reply not yet out", quick=True, recovery=10)
async def after_a_commit(stack: FaultStack, work: Workload) -> None:
    note = work.note()
    proxy = stack.proxies["processor", "status"]
    with stack.brain.holding(embedding_of(note.mark)) as last_call:
        await work.send(note)
        work.watch(note)
        await last_call.arrived.wait()
        with proxy.holding(Direction.TO_CLIENT):
            last_call.release()
            await stack.until_row(IN_STATE, note.id, COMPLETED)
            [before] = await revision_and_events(stack, note.id)
            pids = stack.kill("status")
            proxy.cut()
    await stack.restarted(pids)
    work.fault_over()
    # The report comes again and changes nothing. Only then is its message acknowledged: nothing is left to be delivered.
    await stack.until_all_acknowledged()
    assert [before] == await revision_and_events(stack, note.id), "a repeated report was taken for a new one"


@scenario("3c", "kill -9 Status with 500 watchers on five channels: all resume", recovery=20)
async def with_watchers(stack: FaultStack, work: Workload) -> None:
    async with AsyncExitStack() as clients:
        crowd = [await clients.enter_async_context(stack.client(work.owner)) for _ in range(CHANNELS)]
        with stack.brain.holding(brain_work):
            notes = await work.notes(MATERIALS)
            for number in range(WATCHERS):
                work.watch_id(notes[number % MATERIALS].id, client=crowd[number % CHANNELS])
            await all_watch(work)
            await stack.restarted(stack.kill("status"))
            await all_watch(work, streams=2)
        work.fault_over()
        # Within the block: the watchers' channels go with it.
        await work.settled(20)
        seen = [watcher.states[-1].processing_status for watcher in work.watchers]
        assert all(status == COMPLETED for status in seen), "a watcher has not seen the end"


async def all_watch(work: Workload, streams: int = 1) -> None:
    """Returns when each watcher has been sent something, and is at least on its so-manieth stream."""
    async with asyncio.timeout(60):
        while not all(watcher.states and watcher.streams >= streams for watcher in work.watchers):
            await asyncio.sleep(0.05)


async def revision_and_events(stack: FaultStack, material_id: str) -> list[tuple[int, int]]:
    """The record's revision and the length of its history."""
    rows = await stack.fetch(
        "SELECT revision, (SELECT count(*) FROM status.transitions t WHERE t.material_id = m.material_id) AS events"
        " FROM status.materials m WHERE material_id = $1::uuid",
        material_id,
    )
    return [(row["revision"], row["events"]) for row in rows]
