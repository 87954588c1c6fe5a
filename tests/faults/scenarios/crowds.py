"""Crowds of watchers and uploaders: those that never read, come and go, or are gone before the first byte."""

from __future__ import annotations

import asyncio
import random
from contextlib import AsyncExitStack

import grpc
import psutil
from materials.v1 import ingest_service_pb2, status_service_pb2

from tests.faults.documents import new_mark, padded_image
from tests.faults.endings import completed
from tests.faults.fault_stack import FaultStack
from tests.faults.halting_upload import HaltingUpload
from tests.faults.mounted_store import MountedStore
from tests.faults.scenario import Layout, scenario
from tests.faults.scenarios.object_store import images_read_at_once
from tests.faults.workload import Workload
from tests.local_stack import Client

WATCHES = 1_100
UPLOADS = 8
#: Little more than what a scenario takes at once: a place that is not given back is missed by the next one.
CROWD = Layout(
    settings=(
        ("MAX_WATCHES", str(WATCHES)),
        ("MAX_WATCHES_PER_OWNER", str(WATCHES)),
        ("MAX_CONCURRENT_UPLOADS", str(UPLOADS)),
        ("MAX_UPLOADS_PER_OWNER", str(UPLOADS)),
    )
)
CHANNELS = 10
MIB = 2**20


def watch_course(client: Client, course: str) -> grpc.aio.UnaryStreamCall:  # type: ignore[type-arg]
    request = status_service_pb2.WatchCourseRequest(course_id=course)
    call: grpc.aio.UnaryStreamCall = client.status.WatchCourse(request, metadata=client.metadata)  # type: ignore[type-arg]
    return call


@scenario("20a", "1,000 watchers that never read while the course changes", layout=CROWD)
async def deaf_watchers(stack: FaultStack, work: Workload) -> None:
    await work.watch_course()
    async with AsyncExitStack() as clients:
        crowd = [await clients.enter_async_context(stack.client(f"{work.owner}-{n}")) for n in range(CHANNELS)]
        calls = [watch_course(crowd[n % CHANNELS], work.course) for n in range(1_000)]
        try:
            # The first message shows that the watch stands; then nobody reads any more.
            await asyncio.gather(*[call.read() for call in calls])
            before = stack.memory("status")
            for upload in await work.notes(40):
                work.watch(upload)
            await work.settled(60)
            grown = stack.memory("status") - before
            assert grown < 48 * MIB, f"Status grew by {grown / MIB:.0f} MiB for 1,000 watchers that do not read"
        finally:
            for call in calls:
                call.cancel()


@scenario("20b", "200 watchers that reconnect every second", layout=CROWD)
async def restless_watchers(stack: FaultStack, work: Workload) -> None:
    await work.watch_course()
    uploading = asyncio.create_task(work.notes(20, at_once=2))

    async def restless() -> None:
        for _ in range(5):
            call = watch_course(work.client, work.course)
            try:
                async with asyncio.timeout(1.0):
                    while await call.read() is not grpc.aio.EOF:
                        pass
            except TimeoutError:
                pass
            finally:
                call.cancel()

    await asyncio.gather(*[restless() for _ in range(200)])
    await uploading


@scenario(
    "20c",
    "watchers cancelled in each phase: before, within and after the snapshot, between changes",
    layout=CROWD,
)
async def cancelled_in_each_phase(stack: FaultStack, work: Workload) -> None:
    await work.watch_course()
    await work.notes(6)

    async def one(messages: int) -> None:
        call = watch_course(work.client, work.course)
        try:
            for _ in range(messages):
                await call.read()
        finally:
            call.cancel()

    for messages in (0, 1, 3, 7):
        await asyncio.gather(*[one(messages) for _ in range(100)])
    uploading = asyncio.create_task(work.notes(6, at_once=2))
    await asyncio.gather(*[one(9) for _ in range(100)])
    await uploading
    await every_place_is_free(stack, work)


@scenario("32a", "10,000 clients gone before the first byte of a watch", layout=CROWD)
async def gone_before_the_first_byte(stack: FaultStack, work: Workload) -> None:
    await work.notes(2)
    files = psutil.Process(stack.pid("status")).num_fds()
    places = asyncio.Semaphore(100)

    async def gone() -> None:
        async with places:
            call = watch_course(work.client, work.course)
            await asyncio.sleep(random.choice((0, 0, 0.001, 0.003)))
            call.cancel()
            await asyncio.wait([asyncio.ensure_future(call.code())], timeout=5)

    await asyncio.gather(*[gone() for _ in range(10_000)])
    await every_place_is_free(stack, work)
    more = psutil.Process(stack.pid("status")).num_fds() - files
    assert more < 20, f"Status holds {more} more files"


@scenario("32b", "clients gone in the middle of an upload's first chunk, 400 times", layout=CROWD, quick=True)
async def gone_in_the_first_chunk(stack: FaultStack, work: Workload) -> None:
    places = asyncio.Semaphore(UPLOADS)

    async def gone() -> None:
        async with places:
            call = work.client.ingest.UploadMaterial(metadata=work.client.metadata)
            try:
                await call.write(
                    ingest_service_pb2.UploadMaterialRequest(
                        metadata=ingest_service_pb2.UploadMetadata(course_id=work.course, name="half.txt")
                    )
                )
                writing = asyncio.ensure_future(
                    call.write(ingest_service_pb2.UploadMaterialRequest(chunk=random.randbytes(256 * 1024)))
                )
                await asyncio.wait([writing], timeout=random.uniform(0, 0.004))
            except grpc.aio.AioRpcError:
                pass  # refused: others have not left yet
            finally:
                call.cancel()

    await asyncio.gather(*[gone() for _ in range(400)])
    await every_place_is_free(stack, work)
    await every_upload_place_is_free(stack, work)


async def every_upload_place_is_free(stack: FaultStack, work: Workload) -> None:
    """As many uploads as the service allows are half-way at one time, none refused for a place that nobody gave back; one more finds none."""
    work.extra_embeddings = UPLOADS - 1  # the images say the same
    uploads, one_more = (
        [work.of(padded_image(new_mark(), 6 * MIB), read_by_brain=True) for _ in range(UPLOADS)],
        work.note(),
    )
    halting = [HaltingUpload(work, upload, 4 * MIB) for upload in uploads]
    async with images_read_at_once(stack), asyncio.timeout(60):
        replies = asyncio.gather(*[each.reply() for each in halting])
        while len([part for part in MountedStore(stack.objects).parts() if part.stat().st_size >= MIB]) < UPLOADS:
            if replies.done():
                await replies  # one was refused
            await asyncio.sleep(0.02)
        await HaltingUpload(work, one_more, 0).is_refused(grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_UPLOADS")
        for each in halting:
            each.go_on()
        await replies
        await work.send(one_more)
        await completed(work, [*uploads, one_more])


async def every_place_is_free(stack: FaultStack, work: Workload) -> None:
    """As many watches as the service allows find room beside the one that is there: none was kept by those that left."""
    async with AsyncExitStack() as clients:
        crowd = [await clients.enter_async_context(stack.client(work.owner)) for _ in range(CHANNELS)]
        for patience in range(100):
            calls = [watch_course(crowd[n % CHANNELS], work.course) for n in range(WATCHES - 1)]
            try:
                await asyncio.gather(*[call.read() for call in calls])
                return
            except grpc.aio.AioRpcError as error:
                # The last ones may not have been noticed yet.
                if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED or patience == 99:
                    raise
            finally:
                for call in calls:
                    call.cancel()
            await asyncio.sleep(0.1)
