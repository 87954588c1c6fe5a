"""Uploads that are refused before any of their bytes is sent, for want of memory, room, the store or the record, and taken again once it is there.

Each client sends the metadata and then waits: an Ingest that wanted bytes would refuse it as too slow.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.contract.bare_services import BareServices
from tests.contract.refusals import Refusal, eventually, refusal_of, refused
from tests.contract.uploads import MIB, TEXT, metadata
from tests.local_stack import Client, LocalStack

GIB = 1024 * MIB
STATUS, INGEST = "status-of-admission", "ingest-of-admission"
ONE_EACH = {"MAX_UNFINISHED_PER_OWNER": "1"}


@pytest.fixture(scope="module")
async def status(bare: BareServices) -> str:
    """A Status that nobody else asks, with room for one unfinished material for each owner."""
    await bare.start_status(STATUS, await bare.make_database(), **ONE_EACH)
    return STATUS


class Uploader:
    """One caller of an Ingest with settings of its own, and the directory of its objects."""

    def __init__(self, client: Client, objects: Path, course: str) -> None:
        self.client, self.objects, self.course = client, objects, course

    async def refusal(self, code: str, reason: str, **fields: Any) -> Refusal:
        """The refusal of an upload of which nothing but metadata is sent, checked for what it must carry."""
        call = self.client.ingest.UploadMaterial(metadata=self.client.metadata, timeout=60)
        with refused(code, reason) as refusal:
            await call.write(metadata(self.course, **fields))
            await call
        assert refusal.retry_seconds
        return refusal

    async def uploads(self, **fields: Any) -> bool:
        """Whether an upload is taken; one that is refused must say when to try again."""
        [result] = await asyncio.gather(self.client.upload(TEXT, course=self.course, **fields), return_exceptions=True)
        if isinstance(result, grpc.RpcError):
            assert refusal_of(result).retry_seconds
        return not isinstance(result, BaseException)

    def stored(self) -> list[Path]:
        return [path for path in self.objects.rglob("*") if path.is_file()]


@asynccontextmanager
async def uploader(
    bare: BareServices, stack: LocalStack, *, status: str, course: str, **settings: str
) -> AsyncIterator[Uploader]:
    """An uploader whom the record does not know yet."""
    objects = bare.directory / f"objects-{uuid.uuid4().hex[:8]}"
    await bare.start_ingest(INGEST, status, OBJECT_STORE_URL=objects.as_uri(), **settings)
    try:
        token = stack.user_token(f"ann-{course}", {course: "editor"})
        async with bare.client(token, status=status, ingest=INGEST) as client:
            yield Uploader(client, objects, course)
    finally:
        process = bare.processes.pop(INGEST)
        process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(process.wait, 15)


async def test_without_the_reserve_on_the_disk(bare: BareServices, stack: LocalStack, status: str, course: str) -> None:
    free = shutil.disk_usage(bare.directory).free
    if free < 4 * GIB:
        pytest.skip("needs 4 GiB of disk")
    reserve = str(free - GIB)
    async with uploader(bare, stack, status=status, course=course, OBJECT_STORE_RESERVE_BYTES=reserve) as ann:
        filling = bare.directory / "filling"
        try:
            with filling.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, 2 * GIB)
            await ann.refusal("RESOURCE_EXHAUSTED", "OBJECT_STORE_FULL")
            assert ann.stored() == []
        finally:
            filling.unlink()
        await eventually(ann.uploads, "there is room again")


async def test_without_room_for_the_declared_size(
    bare: BareServices, stack: LocalStack, status: str, course: str
) -> None:
    async with uploader(bare, stack, status=status, course=course, MAX_UPLOAD_BYTES=str(1 << 60)) as ann:
        await ann.refusal("RESOURCE_EXHAUSTED", "OBJECT_STORE_FULL", file_size=1 << 59)
        assert ann.stored() == []
        assert await ann.uploads(file_size=len(TEXT))


async def test_without_the_directory_of_the_store(
    bare: BareServices, stack: LocalStack, status: str, course: str
) -> None:
    async with uploader(bare, stack, status=status, course=course) as ann:
        moved = ann.objects.rename(ann.objects.with_name("moved"))
        await ann.refusal("UNAVAILABLE", "OBJECT_STORE_UNAVAILABLE")
        moved.rename(ann.objects)
        await eventually(ann.uploads, "the store is there again")


async def test_after_a_write_has_failed_until_one_succeeds(
    bare: BareServices, stack: LocalStack, status: str, course: str
) -> None:
    async with uploader(bare, stack, status=status, course=course) as ann:
        obstacle = ann.objects / "objects"
        obstacle.write_bytes(b"a file where a directory should be")
        with refused("UNAVAILABLE", "OBJECT_STORE_UNAVAILABLE"):
            await ann.client.upload(TEXT, course=course)
        await ann.refusal("UNAVAILABLE", "OBJECT_STORE_UNAVAILABLE")
        assert ann.stored() == [obstacle]
        obstacle.unlink()
        await eventually(ann.uploads, "the store works again")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
async def test_without_memory(bare: BareServices, stack: LocalStack, status: str, course: str) -> None:
    async with uploader(bare, stack, status=status, course=course, MEMORY_LIMIT_BYTES=str(MIB)) as ann:
        await ann.refusal("RESOURCE_EXHAUSTED", "MEMORY_SHORT")
        assert ann.stored() == []


@pytest.mark.parametrize("how", ["stands still", "is gone"])
async def test_without_the_record(bare: BareServices, stack: LocalStack, status: str, course: str, how: str) -> None:
    async with uploader(bare, stack, status=status, course=course) as ann:
        process = bare.processes[STATUS]
        process.send_signal(signal.SIGSTOP if how == "stands still" else signal.SIGKILL)
        try:
            await ann.refusal("UNAVAILABLE", "RECORD_UNAVAILABLE")
            assert ann.stored() == []
        finally:
            if how == "stands still":
                process.send_signal(signal.SIGCONT)
            else:
                await asyncio.to_thread(process.wait, 15)
                address = bare.endpoints[STATUS]
                await bare.start_status(STATUS, bare.databases[STATUS], LISTEN_ADDRESS=address, **ONE_EACH)
        await eventually(ann.uploads, "the record is reached again")


async def test_with_too_many_unfinished_materials(
    bare: BareServices, stack: LocalStack, status: str, course: str
) -> None:
    async with uploader(bare, stack, status=status, course=course) as ann:
        first = await ann.client.upload(TEXT, course=course, request_id="first")
        refusal = await ann.refusal("RESOURCE_EXHAUSTED", "TOO_MANY_UNFINISHED", request_id="second")
        assert "1 " in refusal.message
        assert [path.name for path in ann.stored()] == [first.id]
        assert await ann.client.upload(TEXT, course=course, request_id="first") == first
