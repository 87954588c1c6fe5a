"""One upload: bytes to the object store, then the record, then the event. What is done when is in docs/ARCHITECTURE.md, "Life of a material"."""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import contextmanager, suppress
from typing import TypeVar

import structlog
from materials.v1 import errors_pb2, material_pb2, record_service_pb2
from materials.v1 import ingest_service_pb2 as pb

from ingest_service.admission import Admission
from ingest_service.event_publisher import EventPublisher
from ingest_service.metrics import IngestMetrics
from ingest_service.record_calls import RecordCalls
from ingest_service.upload_check import Checked, Declared, UploadCheck
from ingest_service.upload_messages import UploadMessage, chunk_of
from servicekit.errors import ServiceError, Unavailable
from servicekit.identity import Caller
from servicekit.object_store import ObjectStore
from servicekit.owner_limits import OwnerPlaces
from servicekit.tracing import current_traceparent

Result = TypeVar("Result")
#: A slow line is welcome, a dripping one is not.
GRACE_SECONDS = 60.0
LEAST_BYTES_PER_SECOND = 16 * 1024
HEAR_OUT_SECONDS = 1.0
HEAR_OUT_BYTES = 8 * 1024 * 1024
OBJECT_PREFIX = "objects"


def object_key(material_id: str) -> str:
    """Where a material's bytes are: made of its id only, spread over 256 prefixes."""
    return f"{OBJECT_PREFIX}/{material_id[:2]}/{material_id}"


class Uploads:
    """Takes uploads; at most `max_concurrent` at once, `max_per_owner` of them of one owner, a few chunks of each in memory."""

    def __init__(
        self,
        store: ObjectStore,
        record: RecordCalls,
        publisher: EventPublisher,
        admission: Admission,
        *,
        max_bytes: int,
        max_concurrent: int,
        max_per_owner: int,
        idle_seconds: float,
        metrics: IngestMetrics,
    ) -> None:
        self._store, self._record_calls, self._publisher, self._admission = store, record, publisher, admission
        self._max_bytes, self._max_concurrent, self._idle_seconds = max_bytes, max_concurrent, idle_seconds
        self._running, self._metrics = 0, metrics
        metrics.most.set(max_concurrent)
        metrics.under_way.set_function(lambda: self._running)
        self._of_owners = OwnerPlaces(
            max_per_owner,
            errors_pb2.ERROR_REASON_OWNER_UPLOAD_LIMIT,
            "you have as many uploads under way as one owner may; try again with the same request id when some are done",
        )

    async def upload(self, caller: Caller, messages: AsyncIterator[UploadMessage]) -> material_pb2.Material:
        """The material, durable and on its way to be announced. Raises ServiceError; nothing is kept then."""
        with self._metrics.failures(), self._place(caller):
            try:
                declared = (await self._metadata(messages)).validated(self._max_bytes)
                if not caller.may_write_course(declared.course_id):
                    raise ServiceError(
                        errors_pb2.ERROR_REASON_COURSE_WRITE_DENIED,
                        "the token does not make you an editor of this course",
                    )
                material_id = str(uuid.uuid4())
                structlog.contextvars.bind_contextvars(material_id=material_id)
                async with self._admission.admitted(caller.subject, declared.request_id, declared.file_size):
                    checked = await self._receive(material_id, declared, messages)
                # A client that goes away now must not take with it what follows from the record's reply.
                recording = asyncio.ensure_future(self._record(caller, material_id, declared, checked))
                recorded = await asyncio.shield(recording)
            except ServiceError:
                self._metrics.bytes.inc(await _hear_out(messages))
                raise
            (self._metrics.kept if recorded.created else self._metrics.known).inc()
            return recorded.material

    @contextmanager
    def _place(self, caller: Caller) -> Iterator[None]:
        """The block takes an upload. Raises Unavailable before it, and before any of its bytes is taken."""
        if self._running >= self._max_concurrent:
            raise Unavailable(
                errors_pb2.ERROR_REASON_TOO_MANY_UPLOADS,
                "this replica takes as many uploads as it can; try again",
                retry_after=random.uniform(1.0, 5.0),  # so that they do not all come back at once
            )
        with self._of_owners.place(caller):
            self._running += 1
            try:
                yield
            finally:
                self._running -= 1

    async def _metadata(self, messages: AsyncIterator[UploadMessage]) -> Declared:
        first = await self._in_time(anext(messages, None))
        if not isinstance(first, pb.UploadMaterialRequest) or first.WhichOneof("payload") != "metadata":
            raise ServiceError(
                errors_pb2.ERROR_REASON_UPLOAD_METADATA_MISSING, "the first message of an upload must carry `metadata`"
            )
        metadata = first.metadata
        return Declared(metadata.course_id, metadata.name, metadata.request_id, metadata.file_size, metadata.sha256)

    async def _receive(self, material_id: str, declared: Declared, messages: AsyncIterator[UploadMessage]) -> Checked:
        check = UploadCheck(declared, self._max_bytes)
        clock = asyncio.get_running_loop().time
        began, received = clock(), 0
        async with self._store.writing(object_key(material_id)) as writer:
            while (chunk := await self._in_time(_next(messages))) is not None:
                received += len(chunk)
                self._metrics.bytes.inc(len(chunk))
                # On the loop: to hand a chunk to another thread and back takes longer than to hash it.
                if storable := check.feed(chunk):
                    await writer.write(storable)
                if clock() - began > longest_seconds(received):
                    raise too_slow(f"fewer than {LEAST_BYTES_PER_SECOND} bytes a second came")
            rest, checked = check.finish()
            if rest:
                await writer.write(rest)
        return checked

    async def _in_time(self, coming: Awaitable[Result]) -> Result:
        try:
            async with asyncio.timeout(self._idle_seconds):
                return await coming
        except TimeoutError:
            raise too_slow(f"no bytes came for {self._idle_seconds:g} s") from None

    async def _record(
        self, caller: Caller, material_id: str, declared: Declared, checked: Checked
    ) -> record_service_pb2.CreateMaterialResponse:
        key = object_key(material_id)
        request = record_service_pb2.CreateMaterialRequest(
            material_id=material_id,
            owner_id=caller.subject,
            course_id=declared.course_id,
            name=declared.name,
            file_path=key,
            file_type=checked.file_type.name,
            media_type=checked.file_type.media_type,
            file_size=checked.file_size,
            sha256=checked.sha256,
            request_id=declared.request_id,
            traceparent=current_traceparent(),
        )
        try:
            response = await self._record_calls.create(request)
        except Unavailable:
            # The record may have been made and its answer lost: the object stays, and is swept away later if nothing refers to it.
            raise
        except ServiceError:
            await self._store.delete(key)
            raise
        if not response.created:
            await self._store.delete(key)
        elif response.HasField("announcement"):
            self._publisher.enqueue(response.announcement)
        return response


def longest_seconds(received: int) -> float:
    """How long an upload may have taken to bring so many bytes: a client that drips holds a place that others wait for."""
    return GRACE_SECONDS + received / LEAST_BYTES_PER_SECOND


def too_slow(why: str) -> ServiceError:
    """UPLOAD_TOO_SLOW with the reason."""
    return ServiceError(errors_pb2.ERROR_REASON_UPLOAD_TOO_SLOW, f"{why}; upload again with the same request id")


async def _next(messages: AsyncIterator[UploadMessage]) -> bytes | memoryview | None:
    """The next chunk with bytes in it, None at the end: messages without any do not keep an upload going. Raises UPLOAD_METADATA_REPEATED."""
    async for message in messages:
        chunk = chunk_of(message)
        if chunk is None:
            raise ServiceError(
                errors_pb2.ERROR_REASON_UPLOAD_METADATA_REPEATED, "only the first message may carry `metadata`"
            )
        if chunk:
            return chunk
    return None


async def _hear_out(messages: AsyncIterator[UploadMessage]) -> int:
    """Takes what the client is still sending and throws it away, for a moment; returns how many bytes.

    A grpc.aio client that is refused while it writes gets INTERNAL in place of the refusal about every second time (grpc #36066): the reason arrives
    for certain only once it has finished.
    """
    taken = 0
    with suppress(TimeoutError):
        async with asyncio.timeout(HEAR_OUT_SECONDS):
            async for message in messages:
                taken += len(chunk_of(message) or b"")
                if taken > HEAR_OUT_BYTES:
                    break
    return taken
