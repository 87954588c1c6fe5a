"""A thousand clients watch one course over HTTP: each of them sees the end, and nothing is left of them afterwards."""

from __future__ import annotations

import asyncio
import resource
import warnings
from contextlib import AsyncExitStack

import psutil
import pytest

from tests.contract.event_client import EventStream, opened
from tests.contract.refusals import eventually
from tests.local_stack import LocalStack, unique_course

WATCHERS = 1_000
#: In the test: a socket each. In the gateway as many, and some for the rest of it.
FILES = WATCHERS + 200
#: What the second thousand may take beyond the first: the heap is not the same twice. A thousand streams that were left behind are over 90 MiB.
MARGIN_MIB = 32
AT_ONCE = 50


@pytest.fixture(scope="module", autouse=True)
def room_for_files() -> None:
    """Skips, loudly, where so many descriptors cannot be had."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < FILES:
        reason = f"NO THOUSAND WATCHERS: the hard limit of open files is {hard}, and {FILES} are needed (ulimit -Hn)"
        warnings.warn(reason, stacklevel=1)
        pytest.skip(reason)
    if soft != resource.RLIM_INFINITY and soft < FILES:
        resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, hard))


async def test_a_thousand_watchers_of_a_course_all_see_it_completed_and_leave_nothing(
    room_for_files: None, stack: LocalStack
) -> None:
    gateway = psutil.Process(stack.current()["pids"]["gateway"])
    soft, hard = gateway.rlimit(psutil.RLIMIT_NOFILE)
    if 0 <= soft < FILES:  # it was started before the limit was raised here
        gateway.rlimit(psutil.RLIMIT_NOFILE, (FILES, hard))
    await wave(stack, watchers=AT_ONCE)  # every connection behind it stands from now on
    files = gateway.num_fds()

    async def as_before() -> bool:
        return gateway.num_fds() <= files

    peaks = []
    for _ in range(2):
        peaks.append(await wave(stack, watchers=WATCHERS))
        await eventually(as_before, f"no more than {files} descriptors are open in the gateway")
    assert peaks[1] <= peaks[0] + MARGIN_MIB * 1024 * 1024, [peak // 1024**2 for peak in peaks]


async def wave(stack: LocalStack, watchers: int) -> int:
    """So many watchers of a new course see a new material completed; the gateway's resident memory while all of them listened, in bytes."""
    course = unique_course()
    gate = asyncio.Semaphore(AT_ONCE)

    async def come(exits: AsyncExitStack) -> EventStream:
        async with gate:
            path = f"/courses/{course}/events"
            stream = await exits.enter_async_context(opened(stack.facts["gateway"], path, token=stack.facts["token"]))
            assert stream.status == 200
            assert (await stream.next()).name == "snapshot_complete"
            return stream

    async with AsyncExitStack() as exits:
        streams = await asyncio.gather(*(come(exits) for _ in range(watchers)))
        async with stack.client() as client:
            material = await client.upload(b"Cells divide by mitosis.", course=course)
        await asyncio.gather(*(sees_completed(stream, material.id) for stream in streams))
        return int(psutil.Process(stack.current()["pids"]["gateway"]).memory_info().rss)


async def sees_completed(stream: EventStream, material_id: str) -> None:
    """With revisions that grow, and nothing else."""
    revisions, status = [], ""
    while status != "completed":
        event = await stream.next()
        assert (event.name, event.data["id"]) == ("material", material_id)
        revisions.append(event.data["revision"])
        status = event.data["processing_status"]
    assert revisions == sorted(set(revisions))
