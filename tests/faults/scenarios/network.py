"""The network between the parts: slow, cut, half-open, reset in the middle of a message."""

from __future__ import annotations

from contextlib import ExitStack

from tests.faults.endings import completed
from tests.faults.fault_stack import FaultStack
from tests.faults.scenario import scenario
from tests.faults.tcp_proxy import Direction
from tests.faults.workload import Workload


@scenario("18a", "network: 100 ms more on every connection between the parts", recovery=40)
async def everything_is_slow(stack: FaultStack, work: Workload) -> None:
    await work.watch_course()
    with ExitStack() as slow:
        for proxy in stack.proxies.values():
            slow.enter_context(proxy.delaying(0.05))  # each way
        for upload in await work.notes(4):
            work.watch(upload)
        await work.settled(60)


@scenario("18b", "network: every connection of every edge cut, one edge after another", quick=True, recovery=30)
async def everything_is_cut(stack: FaultStack, work: Workload) -> None:
    await work.watch_course()
    scan = work.scan(3)
    await work.send(scan)
    work.watch(scan)
    for proxy in stack.proxies.values():
        proxy.cut()
        for upload in await work.notes(2):
            work.watch(upload)
    work.extra_attempts = 1
    work.extra_reads = 1
    work.extra_embeddings = 4


@scenario("18c", "network: every connection between the parts goes half-open at once", recovery=45)
async def everything_is_half_open(stack: FaultStack, work: Workload) -> None:
    await work.watch_course()
    scan = work.scan(2)
    await work.send(scan)
    work.watch(scan)
    await stack.until_row("SELECT 1 FROM status.materials WHERE owner_id = $1 AND status = 2", work.owner)
    for proxy in stack.proxies.values():
        proxy.strand()
    work.fault_over()
    # gRPC finds out by keepalive, within 25 s; Postgres and NATS by the deadlines of calls and pings.
    for upload in await work.notes(4):
        work.watch(upload)
    work.extra_attempts = 2
    work.extra_reads = 2
    work.extra_embeddings = 4


@scenario("18d", "network: a reset in the middle of a message, on each edge and in each direction", quick=True)
async def reset_in_the_middle(stack: FaultStack, work: Workload) -> None:
    def whole() -> list[str]:
        edges = ((edge, direction) for edge, proxy in stack.proxies.items() for direction in proxy.armed)
        return [f"{client} - {part} {direction.value}" for (client, part), direction in edges]

    work.extra_attempts = 3
    await work.watch_course()
    try:
        for proxy in stack.proxies.values():
            for direction in Direction:
                proxy.cut_after(200, direction)
        for _ in range(10):
            notes = await work.notes(4)
            for upload in notes:
                work.watch(upload)
            await completed(work, notes, attempts=1 + work.extra_attempts)
            if not whole():
                break
        assert not whole(), f"never reset: {whole()}"
    finally:
        for proxy in stack.proxies.values():
            proxy.disarm()
    work.extra_embeddings = 8
