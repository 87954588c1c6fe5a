"""The broker dies."""

from __future__ import annotations

from tests.faults.fault_stack import FaultStack
from tests.faults.refusals import no_service_restarted
from tests.faults.scenario import scenario
from tests.faults.workload import Workload


@scenario("5", "kill -9 nats-server under load; started again", quick=True, recovery=20)
async def broker_killed(stack: FaultStack, work: Workload) -> None:
    await work.watch_course()
    with no_service_restarted(stack):
        for upload in await work.notes(6):
            work.watch(upload)
        async with stack.down("nats"):
            # The record is the outbox: every reply comes while there is no broker.
            for upload in await work.notes(6):
                work.watch(upload)
            assert not any(upload.refusals for upload in work.uploads), "an upload waited for the broker"
        work.fault_over()
        await work.settled(20)
