"""The object store is full, read-only or hangs; objects are gone or changed when they are needed; a write breaks off."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from grpc import StatusCode
from materials.v1 import ingest_service_pb2, material_pb2

from tests.contract.refusals import refused
from tests.contract.scripted_brain import says
from tests.faults.brain_front import reading
from tests.faults.documents import new_mark, padded_image
from tests.faults.endings import completed, failed
from tests.faults.fault_stack import FaultStack
from tests.faults.halting_upload import HaltingUpload
from tests.faults.invariants import PENDING, PROCESSING
from tests.faults.mounted_store import MountedStore, in_memory, on_a_disk_of_its_own
from tests.faults.scenario import scenario
from tests.faults.workload import Upload, Workload

MIB = 1024 * 1024
#: OBJECT_STORE_RESERVE_BYTES by default, and some more.
RESERVE_AND_SOME = 256 + 16
#: In seconds: Ingest looks at the file system twice a second, and goes by that in between.
LOOKED_AT_EVERY = 0.6


@scenario("14a", "the object store fills up in the middle of an upload; later there is room again", quick=True)
async def full(stack: FaultStack, work: Workload) -> None:
    async with images_read_at_once(stack), in_memory(stack, RESERVE_AND_SOME) as store:
        kept = await work.notes(2)
        big, later = large_image(work), work.note()
        half = HaltingUpload(work, big, 4 * MIB)
        await until_part(store.path, 2 * MIB)
        await store.remount("size=6m")
        half.go_on()
        await half.is_refused(StatusCode.RESOURCE_EXHAUSTED, "OBJECT_STORE_FULL")
        assert store.names() == {upload.id for upload in kept}, "something is left of what was refused"
        # Asked before its first byte: neither the room that must stay free nor the failure just now lets it in.
        asking = HaltingUpload(work, later, 0)
        await asking.is_refused(StatusCode.RESOURCE_EXHAUSTED, "OBJECT_STORE_FULL")
        assert asking.sent == 0
        await store.remount(f"size={RESERVE_AND_SOME}m")
        work.fault_over()
        await work.send_all([big, later])
        await completed(work, [*kept, big, later])


@scenario("14b", "the object store is read-only: what is there is read, nothing is taken")
async def read_only(stack: FaultStack, work: Workload) -> None:
    async with in_memory(stack, RESERVE_AND_SOME) as store:
        async with stack.frozen("processor"):
            before = await work.notes(3)
            await store.remount("ro")
        await asyncio.sleep(LOOKED_AT_EVERY)
        later = work.note()
        asking = HaltingUpload(work, later, 0)
        await asking.is_refused(StatusCode.UNAVAILABLE, "OBJECT_STORE_UNAVAILABLE")
        assert asking.sent == 0
        await completed(work, before)
        await store.remount("rw")
        work.fault_over()
        await work.send(later)
        await completed(work, [later])


@scenario("14c", "writes to the object store hang for a while; everything else goes on")
async def hanging(stack: FaultStack, work: Workload) -> None:
    async with images_read_at_once(stack), on_a_disk_of_its_own(stack, RESERVE_AND_SOME + 64) as store:
        before, big = await work.notes(2), large_image(work)
        half = HaltingUpload(work, big, 4 * MIB)
        await until_part(store.path, 2 * MIB)
        async with store.frozen():
            half.go_on()
            waiting = [asyncio.create_task(work.send(note)) for note in (work.note(), work.note())]
            # Reading from it and asking for states do not wait behind the writes.
            await completed(work, before)
            for _ in range(20):
                await work.client.get(before[0].id)
            assert not any(task.done() for task in waiting), "an upload was answered before it was kept"
        work.fault_over()
        await half.reply()
        await asyncio.gather(*waiting)
        await completed(work, work.uploads)


@scenario("14d", "objects are gone when their turn comes", quick=True)
async def missing(stack: FaultStack, work: Workload) -> None:
    work.true_reasons = {"OBJECT_MISSING"}
    gone, others = await spoiled_while_waiting(stack, work, [Path.unlink, Path.unlink])
    for upload in gone:
        await failed(work, upload, "OBJECT_MISSING", saying="upload it again", retryable=False)
    await completed(work, others)


@scenario("14e", "objects are changed, cut short or longer when their turn comes", quick=True)
async def changed(stack: FaultStack, work: Workload) -> None:
    work.true_reasons = {"OBJECT_CHANGED"}
    spoilt, others = await spoiled_while_waiting(stack, work, [flip_a_bit, cut_short, make_longer])
    for upload in spoilt:
        await failed(work, upload, "OBJECT_CHANGED", saying="not what was uploaded", retryable=False)
    await completed(work, others)


@scenario("14f", "kill -9 Ingest in the middle of writing a large object")
async def partial_write(stack: FaultStack, work: Workload) -> None:
    big = large_image(work)
    half = HaltingUpload(work, big, 6 * MIB)
    [part] = await until_part(stack.objects, 4 * MIB)
    pids = stack.kill("ingest")
    await half.breaks_off()
    await stack.restarted(pids)
    work.fault_over()
    whole = part.with_name(part.name.partition("#")[0])
    assert not whole.exists(), "an object that was never complete has its key"
    async with images_read_at_once(stack):
        await work.send(big)
        await completed(work, [big])
    # What was written is swept away: the checks do so, and look.
    assert part.exists()


@scenario(
    "14g",
    "the directory of all objects is gone for a while, as when a disk is not mounted, while materials wait",
    quick=True,
)
async def not_mounted(stack: FaultStack, work: Workload) -> None:
    async with stack.frozen("processor"):
        notes = await work.notes(4)
        for note in notes:
            work.watch(note)
        directory = stack.objects / "objects"
        elsewhere = directory.rename(directory.with_name("elsewhere"))
    try:
        await stack.until_row(
            "SELECT 1 FROM status.materials WHERE owner_id = $1 AND status = 2 HAVING count(*) = 4", work.owner
        )
        for note in notes:
            with refused("UNAVAILABLE", "OBJECT_STORE_UNAVAILABLE"):
                await download(work, note)
        states = await stack.fetch("SELECT status FROM status.materials WHERE owner_id = $1", work.owner)
        assert {row["status"] for row in states} <= {PENDING, PROCESSING}, "ended though its object is only away"
    finally:
        elsewhere.rename(directory)
    work.fault_over()
    await completed(work, notes, attempts=1)
    for note in notes:
        assert await download(work, note) == note.content


async def download(work: Workload, upload: Upload) -> bytes:
    """The bytes of a material, as its owner gets them. Raises AioRpcError."""
    request = ingest_service_pb2.DownloadMaterialRequest(material_id=upload.id)
    call = work.client.ingest.DownloadMaterial(request, metadata=work.client.metadata, timeout=20)
    return b"".join([response.chunk async for response in call])


def large_image(work: Workload) -> Upload:
    """An image of 12 MiB, to be uploaded."""
    return work.of(padded_image(new_mark(), 12 * MIB), read_by_brain=True)


@asynccontextmanager
async def images_read_at_once(stack: FaultStack) -> AsyncIterator[None]:
    """Pages are answered without the Brain's model: it is the store that is tried here, and reading is slow."""
    with stack.brain.answering(reading, says("A page of an image that is mostly padding.")):
        yield


async def until_part(store: Path, size: int) -> list[Path]:
    """The files of incomplete objects, once there is one with so many bytes."""
    async with asyncio.timeout(30):
        while True:
            parts = MountedStore(store).parts()
            if parts and max(part.stat().st_size for part in parts) >= size:
                return parts
            await asyncio.sleep(0.02)


async def spoiled_while_waiting(
    stack: FaultStack, work: Workload, deeds: list[Callable[[Path], None]]
) -> tuple[list[Upload], list[Upload]]:
    """Uploads notes that no processor can begin with, and does a deed to the object of each of the first; returns these, and the others."""
    async with stack.frozen("processor"):
        notes = await work.notes(len(deeds) + 3)
        for upload, deed in zip(notes, deeds, strict=False):
            assert upload.material is not None
            assert upload.material.processing_status == material_pb2.PROCESSING_STATUS_PENDING
            deed(stack.object_path(upload.id))
            upload.spoilt = True
    work.fault_over()
    return notes[: len(deeds)], notes[len(deeds) :]


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:20])


def make_longer(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\nand more\n")
