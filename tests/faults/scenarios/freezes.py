"""A part stops without a word (SIGSTOP) and goes on later: deadlines fire, nothing piles up without bound, and all recovers by itself."""

from __future__ import annotations

import asyncio
from collections import Counter

import psutil

from tests.faults.brain_front import Hold
from tests.faults.fault_stack import SERVICES, FaultStack, Layout
from tests.faults.refusals import no_service_restarted, refused
from tests.faults.scenario import scenario
from tests.faults.scenarios.database import at_work
from tests.faults.workload import Workload

CLIENTS = 16
IMPATIENT = Layout(settings=(("AI_BRAIN_TIMEOUT", "6"),))
#: Connections on one edge: the pool's eight, and one for each statement that is being cancelled.
MOST_CONNECTIONS = 16


async def _refused_while_frozen(stack: FaultStack, work: Workload, part: str, seconds: float, hold: Hold) -> None:
    """Many clients upload, over and over, as long as the part stands still; each of them is refused, and none left hanging."""
    clock = asyncio.get_running_loop().time
    async with stack.frozen(part):
        hold.release()
        until = clock() + seconds

        async def client() -> None:
            upload = work.note()
            await refused(work, upload)
            while clock() < until:
                await asyncio.sleep(1)
                await refused(work, upload)

        async with asyncio.TaskGroup() as tasks:
            for _ in range(CLIENTS):
                tasks.create_task(client())
        _no_pile(stack)
    work.fault_over()
    await work.repeat_unanswered()


def _no_pile(stack: FaultStack) -> None:
    """Counted where they would pile up, in the services: what they have given up is the frozen part's to notice."""
    parts = {proxy.port: part for (_, part), proxy in stack.proxies.items()} | {stack.brain.port: "brain"}
    for service in SERVICES:
        connections = psutil.Process(stack.pid(service)).net_connections("tcp")
        open_now = Counter(parts[each.raddr.port] for each in connections if each.raddr and each.raddr.port in parts)
        assert all(count <= MOST_CONNECTIONS for count in open_now.values()), f"connections of {service}: {open_now}"


@scenario("10a", "SIGSTOP: Status stands still for 30 s under load", recovery=30)
async def status_frozen(stack: FaultStack, work: Workload) -> None:
    async with at_work(stack, work) as hold:
        with no_service_restarted(stack):
            await _refused_while_frozen(stack, work, "status", 30, hold)
            await work.settled(30)


@scenario("10b", "SIGSTOP: Postgres stands still for 18 s (statements end after 10) under load", recovery=30)
async def postgres_frozen(stack: FaultStack, work: Workload) -> None:
    async with at_work(stack, work) as hold:
        with no_service_restarted(stack):
            await _refused_while_frozen(stack, work, "postgres", 18, hold)
            await work.settled(30)


@scenario("10c", "SIGSTOP: NATS stands still for 17 s (a dead connection is found after 15) under load", recovery=20)
async def nats_frozen(stack: FaultStack, work: Workload) -> None:
    clock = asyncio.get_running_loop().time
    async with at_work(stack, work) as hold:
        with no_service_restarted(stack):
            async with stack.frozen("nats"):
                hold.release()
                until = clock() + 17
                while clock() < until:
                    for upload in await work.notes(2):
                        assert not upload.refusals, "an upload waited for the broker"
                    await asyncio.sleep(1)
                _no_pile(stack)
            work.fault_over()
            await work.settled(20)


@scenario(
    "10d", "SIGSTOP: the AI Brain stands still for 15 s (calls end after 6) under load", layout=IMPATIENT, recovery=30
)
async def brain_frozen(stack: FaultStack, work: Workload) -> None:
    async with at_work(stack, work) as hold:
        with no_service_restarted(stack):
            async with stack.frozen("brain"):
                hold.release()
                for upload in await work.notes(8):
                    work.watch(upload)
                await asyncio.sleep(15)
                _no_pile(stack)
            work.fault_over()
            await work.settled(30)
    # A call's time-out may be its page's own fault, so the first ones count; then the breaker opens, and nothing more is begun.
    work.extra_attempts = 1
    work.extra_embeddings = 8
