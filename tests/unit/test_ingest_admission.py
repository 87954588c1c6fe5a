"""What an upload is told before its bytes: by a Status that answers in every way there is, over a real connection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest
from google.protobuf.duration_pb2 import Duration
from grpc_status import rpc_status
from materials.v1 import errors_pb2, record_service_pb2

from ingest_service.admission import UPLOAD_MEMORY_BYTES, Admission
from ingest_service.record_calls import RecordCalls
from ingest_service.store_cooldown import StoreCooldown
from servicekit.channels import Peer
from servicekit.errors import ServiceError, Unavailable
from servicekit.memory import ProcessMemory
from servicekit.object_store import ObjectStore

Answer = Callable[[record_service_pb2.AdmitUploadRequest], Awaitable[record_service_pb2.RecordRefusal]]


class Status:
    """A Status of one call, or of none. `asked` are the requests that came."""

    def __init__(self, answer: Answer | None) -> None:
        self.asked: list[record_service_pb2.AdmitUploadRequest] = []
        self._answer = answer
        self._server = grpc.aio.server()

    async def start(self) -> str:
        if self._answer is not None:
            handler = grpc.unary_unary_rpc_method_handler(
                self._admit,
                record_service_pb2.AdmitUploadsRequest.FromString,
                record_service_pb2.AdmitUploadsResponse.SerializeToString,
            )
            methods = {"AdmitUploads": handler}
            self._server.add_generic_rpc_handlers(
                (grpc.method_handlers_generic_handler("materials.v1.RecordService", methods),)
            )
        port = self._server.add_insecure_port("127.0.0.1:0")
        await self._server.start()
        return f"127.0.0.1:{port}"

    async def stop(self) -> None:
        await self._server.stop(None)

    async def _admit(self, request: record_service_pb2.AdmitUploadsRequest, context: Any) -> Any:
        self.asked += request.uploads
        assert self._answer is not None
        try:
            refusals = [await self._answer(upload) for upload in request.uploads]
        except ServiceError as error:
            await context.abort_with_status(rpc_status.to_status(error.to_status()))
        return record_service_pb2.AdmitUploadsResponse(refusals=refusals)


async def yes(upload: record_service_pb2.AdmitUploadRequest) -> record_service_pb2.RecordRefusal:
    return record_service_pb2.RecordRefusal()


def refusing(error: ServiceError) -> Answer:
    """The whole call."""

    async def refuse(upload: record_service_pb2.AdmitUploadRequest) -> record_service_pb2.RecordRefusal:
        raise error

    return refuse


@asynccontextmanager
async def admission_by(
    answer: Answer | None, directory: Path, *, reserve_bytes: int = 0, memory_limit: int = 0
) -> AsyncIterator[tuple[Admission, Status]]:
    status = Status(answer)
    peer = Peer(await status.start(), lambda: "token")
    record = RecordCalls(peer)
    try:
        async with asyncio.TaskGroup() as tasks:
            await record.start(tasks)
            yield (
                Admission(
                    ObjectStore(directory.as_uri()),
                    record,
                    memory=ProcessMemory(memory_limit, cgroups=directory),
                    reserve_bytes=reserve_bytes,
                    cooldown=StoreCooldown(),
                ),
                status,
            )
            await record.stop()
    finally:
        await peer.stop()
        await status.stop()


async def admit(admission: Admission, file_size: int) -> None:
    async with admission.admitted("ann", "once", file_size):
        pass


async def refusal(admission: Admission, *, file_size: int = 0) -> Unavailable:
    with pytest.raises(Unavailable) as caught:
        await admit(admission, file_size)
    assert caught.value.retry_after > 0
    return caught.value


async def test_an_admission_is_one_call_that_says_who_uploads_what(tmp_path: Path) -> None:
    async with admission_by(yes, tmp_path) as (admission, status):
        await admit(admission, 5)
    assert status.asked == [record_service_pb2.AdmitUploadRequest(owner_id="ann", request_id="once")]


async def test_a_status_that_does_not_know_the_call_admits(tmp_path: Path) -> None:
    async with admission_by(None, tmp_path) as (admission, _):
        await admit(admission, 5)


async def test_too_many_unfinished_is_told_in_the_words_and_with_the_delay_of_the_record(tmp_path: Path) -> None:
    async def too_many(upload: record_service_pb2.AdmitUploadRequest) -> record_service_pb2.RecordRefusal:
        return record_service_pb2.RecordRefusal(
            reason=errors_pb2.ERROR_REASON_TOO_MANY_UNFINISHED,
            message="you have 7 of 7",
            retry_delay=Duration(seconds=12, nanos=500_000_000),
        )

    async with admission_by(too_many, tmp_path) as (admission, _):
        told = await refusal(admission)
    assert (told.message, told.retry_after) == ("you have 7 of 7", 12.5)
    assert told.reason == errors_pb2.ERROR_REASON_TOO_MANY_UNFINISHED


@pytest.mark.parametrize(
    "error",
    [
        Unavailable(errors_pb2.ERROR_REASON_DATABASE_UNAVAILABLE, "the database is away"),
        ServiceError(errors_pb2.ERROR_REASON_SERVICE_IDENTITY_REQUIRED, "for services"),
        ServiceError(errors_pb2.ERROR_REASON_INTERNAL, "a bug"),
    ],
    ids=lambda error: errors_pb2.ErrorReason.Name(error.reason),
)
async def test_any_other_failure_is_a_record_that_cannot_be_reached(tmp_path: Path, error: ServiceError) -> None:
    async with admission_by(refusing(error), tmp_path) as (admission, _):
        assert (await refusal(admission)).reason == errors_pb2.ERROR_REASON_RECORD_UNAVAILABLE


async def test_nobody_is_a_record_that_cannot_be_reached(tmp_path: Path) -> None:
    async with admission_by(yes, tmp_path) as (admission, status):
        await status.stop()
        assert (await refusal(admission)).reason == errors_pb2.ERROR_REASON_RECORD_UNAVAILABLE


async def test_without_room_or_memory_the_record_is_not_asked(tmp_path: Path) -> None:
    async with admission_by(yes, tmp_path, reserve_bytes=1 << 60) as (admission, status):
        assert (await refusal(admission)).reason == errors_pb2.ERROR_REASON_OBJECT_STORE_FULL
        assert not status.asked
    async with admission_by(yes, tmp_path, memory_limit=1) as (admission, status):
        assert (await refusal(admission)).reason == errors_pb2.ERROR_REASON_MEMORY_SHORT
        assert not status.asked


async def test_room_is_needed_for_the_declared_size(tmp_path: Path) -> None:
    async with admission_by(yes, tmp_path) as (admission, _):
        assert (await refusal(admission, file_size=1 << 60)).reason == errors_pb2.ERROR_REASON_OBJECT_STORE_FULL
        await admit(admission, 1)


async def test_a_store_that_failed_an_upload_is_left_alone_until_one_worked(tmp_path: Path) -> None:
    failure = Unavailable(errors_pb2.ERROR_REASON_OBJECT_STORE_UNAVAILABLE, "the store is away")
    async with admission_by(yes, tmp_path) as (admission, status):
        async with admission.admitted("ann", "under way meanwhile", 5):
            with pytest.raises(Unavailable):
                async with admission.admitted("ann", "once", 5):
                    raise failure
            assert (await refusal(admission)).reason == failure.reason
            assert len(status.asked) == 2, "only those that were admitted"
        await admit(admission, 5)


async def test_an_upload_that_fails_for_its_content_says_nothing_about_the_store(tmp_path: Path) -> None:
    async with admission_by(yes, tmp_path) as (admission, _):
        with pytest.raises(ServiceError):
            async with admission.admitted("ann", "once", 5):
                raise ServiceError(errors_pb2.ERROR_REASON_FILE_EMPTY, "the file is empty")
        await admit(admission, 5)


async def test_a_store_whose_directory_is_gone_is_away(tmp_path: Path) -> None:
    root = tmp_path / "objects"
    async with admission_by(yes, root) as (admission, _):
        root.rmdir()
        assert (await refusal(admission)).reason == errors_pb2.ERROR_REASON_OBJECT_STORE_UNAVAILABLE


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
async def test_uploads_under_way_count_with_what_they_may_come_to_hold(tmp_path: Path) -> None:
    # Room for 20 of them, in 85 % of this.
    limit = int((psutil.Process().memory_info().rss + 20 * UPLOAD_MEMORY_BYTES) / 0.85)
    async with admission_by(yes, tmp_path, memory_limit=limit) as (admission, _):
        async with AsyncExitStack() as under_way:

            async def begin(uploads: int) -> None:
                for number in range(uploads):
                    await under_way.enter_async_context(admission.admitted("ann", str(number), 5))

            await begin(2)
            with pytest.raises(Unavailable) as caught:
                await begin(20)
            assert caught.value.reason == errors_pb2.ERROR_REASON_MEMORY_SHORT
        await admit(admission, 5)
