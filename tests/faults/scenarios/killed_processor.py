"""kill -9 the Processor at each step of an attempt: another one goes on where it was, and does nothing again that is done."""

from __future__ import annotations

from itertools import count

from tests.faults.brain_front import BrainCall, CallKind, Matches, embedding_of
from tests.faults.endings import completed
from tests.faults.fault_stack import LEASE_SECONDS, FaultStack
from tests.faults.scenario import scenario
from tests.faults.scenarios.object_store import images_read_at_once
from tests.faults.tcp_proxy import Direction
from tests.faults.workload import Workload

#: Within a lease and 5 s the work is taken up again; some more to do it.
RESUMED = LEASE_SECONDS + 5.0
FINISHED_PAGES = "SELECT 1 FROM processor.pages WHERE material_id = $1::uuid HAVING count(*) = $2"
IN_STATE = "SELECT 1 FROM status.materials WHERE material_id = $1::uuid AND status = $2"
PROCESSING, COMPLETED = 2, 3


@scenario("2a", "kill -9 Processor with a claim granted that it never heard of", recovery=RESUMED)
async def after_the_claim(stack: FaultStack, work: Workload) -> None:
    work.extra_attempts = 1
    note = work.note()
    proxy = stack.proxies["processor", "status"]
    with proxy.holding(Direction.TO_CLIENT):
        await work.send(note)
        work.watch(note)
        await stack.until_row(IN_STATE, note.id, PROCESSING)
        pids = stack.kill("processor")
        proxy.cut()
    await stack.restarted(pids)
    work.fault_over()
    await completed(work, [note], attempts=2)


@scenario("2b", "kill -9 Processor while the Brain reads the second page of three", recovery=RESUMED)
async def mid_page(stack: FaultStack, work: Workload) -> None:
    work.extra_attempts = 1
    work.extra_reads = 1  # the second page; the first is not read again
    work.extra_embeddings = 2  # all three say the same; none is embedded twice
    scan = work.scan(3)
    async with images_read_at_once(stack):
        with stack.brain.holding(reading_from(2)) as second_page:
            await work.send(scan)
            work.watch(scan)
            await second_page.arrived.wait()
            await stack.until_row(FINISHED_PAGES, scan.id, 1)
            pids = stack.kill("processor")
        await stack.restarted(pids)
        work.fault_over()
        await completed(work, [scan], attempts=2)


@scenario("2c", "kill -9 Processor with all in the index and nothing reported", recovery=RESUMED)
async def after_the_index(stack: FaultStack, work: Workload) -> None:
    work.extra_attempts = 1  # which finds everything done: the Brain is not asked again
    note = work.note()
    proxy = stack.proxies["processor", "status"]
    with stack.brain.holding(embedding_of(note.mark)) as last_call:
        await work.send(note)
        work.watch(note)
        await last_call.arrived.wait()
        with proxy.holding(Direction.TO_SERVER):
            last_call.release()
            await stack.until_row(FINISHED_PAGES, note.id, 1)
            pids = stack.kill("processor")
            proxy.cut()
    assert not await stack.fetch(IN_STATE, note.id, COMPLETED), "its report came through"
    await stack.restarted(pids)
    work.fault_over()
    await completed(work, [note], attempts=2)


@scenario("2d", "kill -9 Processor with its report durable and its message not acknowledged", recovery=5)
async def before_the_acknowledgement(stack: FaultStack, work: Workload) -> None:
    note = work.note()
    proxy = stack.proxies["processor", "nats"]
    with stack.brain.holding(embedding_of(note.mark)) as last_call:
        await work.send(note)
        work.watch(note)
        await last_call.arrived.wait()
        with proxy.holding(Direction.TO_SERVER):
            last_call.release()
            await stack.until_row(IN_STATE, note.id, COMPLETED)
            pids = stack.kill("processor")
            proxy.cut()
    async with stack.jetstream() as jetstream:
        unacknowledged = (await jetstream.consumer_info("MATERIALS", "processor")).num_ack_pending
    assert unacknowledged, "the message was acknowledged after all"
    await stack.restarted(pids)
    work.fault_over()
    # The message comes again and is acknowledged without an attempt: the checks look for both.


def reading_from(number: int) -> Matches:
    """Matches the `number`-th reading that is asked for from now on, and all later ones."""
    asked = count(1)

    def matches(call: BrainCall) -> bool:
        return call.kind is CallKind.READ and next(asked) >= number

    return matches
