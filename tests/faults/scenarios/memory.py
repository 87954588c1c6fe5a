"""Memory is short: in the rendering child, in the Processor, and in an Ingest that is sent far more than it may hold."""

from __future__ import annotations

import resource
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psutil

from tests.contract.refusals import refusal_of
from tests.contract.scripted_brain import says
from tests.faults.brain_front import reading
from tests.faults.documents import bomb, noise, padded_image
from tests.faults.endings import completed, failed
from tests.faults.fault_stack import FaultStack
from tests.faults.peak_memory import PeakMemory
from tests.faults.people_calls import delete
from tests.faults.scenario import HASTY, Skipped, scenario
from tests.faults.workload import Workload

MIB = 1024 * 1024
#: 17c. What is received ahead is 2 MiB a call, be it taken or about to be refused; the store has some MiB of each of the 64 that are taken on its way.
#: Kept in memory whole, these would need 640 MiB on top.
AT_ONCE, SIZE, MOST_GROWTH_MIB = 200, 10 * MIB, 768


@scenario("17a", "a page that needs more memory than its rendering child may have", layout=HASTY)
async def child_at_its_limit(stack: FaultStack, work: Workload) -> None:
    work.true_reasons = {"RENDERING_FAILED"}
    work.extra_attempts = 1
    large, others = work.of(bomb(1600)), [work.note() for _ in range(6)]
    processor = stack.pid("processor")
    memory = PeakMemory(processor)
    await work.send_all([large, *others])
    await failed(work, large, "RENDERING_FAILED", saying="Page 1 ended its renderer", attempts=2, retryable=True)
    await completed(work, others)
    assert stack.pid("processor") == processor, "the processor died with its child"
    grown = memory.growth_mib()
    assert grown < 64, f"the processor took {grown} MiB itself"


@scenario("17b", "the Processor may have only a few MiB more than it has, and is given a page of 16 MiB")
async def processor_limited(stack: FaultStack, work: Workload) -> None:
    # Each try until there is room again, and one that was begun just before.
    work.extra_attempts = 2
    # A new one: what earlier work has left free in its heap would be room, too.
    await stack.restarted(stack.terminate("processor"))
    processor = stack.pid("processor")
    with stack.brain.answering(reading, says("A page of noise.")):
        await completed(work, await work.notes(30))  # as warm as it gets
        large = work.of(noise(4000), read_by_brain=True)
        # A thread that is not begun yet takes 8 of it, for its stack; of two the second finds no room, and a note is tried again.
        with data_limited(processor, 12 * MIB):
            await completed(work, await work.notes(30), attempts=1 + work.extra_attempts)
            await work.send(large)
            await stack.until_row(
                "SELECT 1 FROM status.materials WHERE material_id = $1::uuid AND failures > 0", large.id
            )
        work.fault_over()
        await completed(work, [large, *await work.notes(4)], attempts=1 + work.extra_attempts)
    assert stack.pid("processor") == processor, "the processor died"


@contextmanager
def data_limited(pid: int, room: int) -> Iterator[None]:
    """A running process may take so many more bytes of private memory, as malloc gives it out; more is refused to it."""
    try:
        before = resource.prlimit(pid, resource.RLIMIT_DATA)
        taken = psutil.Process(pid).memory_info().data
        resource.prlimit(pid, resource.RLIMIT_DATA, (taken + room, before[1]))
    except (OSError, AttributeError) as error:
        raise Skipped(f"the limits of another process cannot be set here: {error}") from error
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            resource.prlimit(pid, resource.RLIMIT_DATA, before)


@scenario("17c", "200 large uploads at once, three times as many as one Ingest takes")
async def flooded(stack: FaultStack, work: Workload) -> None:
    content = padded_image("flood", SIZE)
    uploads = [work.of(content) for _ in range(AT_ONCE)]
    memory, pids = PeakMemory(stack.pid("ingest")), {name: stack.pid(name) for name in stack.parts}
    # Nobody reads them: this is about taking them in.
    async with stack.frozen("processor"):
        await work.send_all(uploads, at_once=AT_ONCE, seconds=120.0)
        grown = memory.growth_mib()
        for upload in uploads:
            await delete(work, upload)
    work.fault_over()
    gone = "SELECT 1 WHERE NOT EXISTS (SELECT FROM status.materials WHERE owner_id = $1 AND purged_parts <> 3)"
    await stack.until_row(gone, work.owner, seconds=90.0)
    assert {name: stack.pid(name) for name in stack.parts} == pids, "a process has died"
    assert grown < MOST_GROWTH_MIB, f"Ingest took {grown} MiB"
    turned_away = [refusal_of(error) for upload in uploads for error in upload.refusals]
    reasons = Counter(refusal.reason for refusal in turned_away)
    assert set(reasons) == {"TOO_MANY_UPLOADS"}, reasons
    assert all(refusal.retry_seconds for refusal in turned_away), "TOO_MANY_UPLOADS does not say when to try again"
