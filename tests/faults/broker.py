"""The broker dies, loses what it acknowledged, delivers twice, or delivers nothing."""

from __future__ import annotations

from tests.faults.fault_stack import FaultStack
from tests.faults.scenario import scenario
from tests.faults.workload import Workload


@scenario("5", "kill -9 nats-server under load; it is started again", quick=True)
async def broker_killed(stack: FaultStack, work: Workload) -> None:
    await work.watch_course()
    for upload in await work.notes(6):
        work.watch(upload)
    pids = stack.kill("nats")
    # The record is the outbox: replies do not wait for the broker.
    for upload in await work.notes(6):
        work.watch(upload)
    await stack.restarted(pids)
    work.fault_over()
