"""One upload to Ingest from the caller's side: metadata, chunks, and the answer, which may come before the last chunk was sent."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Self, TypeAlias, TypeVar

import grpc
from materials.v1 import ingest_service_pb2, ingest_service_pb2_grpc, material_pb2

T = TypeVar("T")
Call: TypeAlias = (
    "grpc.aio.StreamUnaryCall[ingest_service_pb2.UploadMaterialRequest, ingest_service_pb2.UploadMaterialResponse]"
)


class UploadCall:
    """An asynchronous context manager around the call; what was not finished is cancelled at its end, and then nothing is kept of it.

    `stall_seconds`: the longest that the service may leave a message or the end of the upload waiting.
    """

    def __init__(
        self,
        stub: ingest_service_pb2_grpc.IngestServiceAsyncStub,
        metadata: ingest_service_pb2.UploadMetadata,
        *,
        identity: list[tuple[str, str]],
        stall_seconds: float,
    ) -> None:
        self._call: Call = stub.UploadMaterial(metadata=identity)
        self._refusals = refusals_as_they_come(self._call)
        self._metadata, self._stall_seconds = metadata, stall_seconds

    async def __aenter__(self) -> Self:
        try:
            await self._send(ingest_service_pb2.UploadMaterialRequest(metadata=self._metadata))
        except BaseException:
            self._call.cancel()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._call.cancel()

    async def send(self, chunk: bytes) -> bool:
        """Whether it was sent. False when the service has answered before the end. Raises TimeoutError when nothing moves."""
        return await self._send(ingest_service_pb2.UploadMaterialRequest(chunk=chunk))

    async def answer(self) -> material_pb2.Material:
        """The service's answer, whenever it comes. Raises AioRpcError: the refusal itself."""
        try:
            return (await self._call).material
        except grpc.aio.AioRpcError as error:
            raise self._refusals[0] if self._refusals else error from None

    async def finish(self) -> material_pb2.Material:
        """Says that all was sent; the material as recorded. Raises AioRpcError: the refusal itself; TimeoutError."""
        async with asyncio.timeout(self._stall_seconds):
            await self._call.done_writing()
            return await self.answer()

    async def _send(self, message: ingest_service_pb2.UploadMaterialRequest) -> bool:
        try:
            async with asyncio.timeout(self._stall_seconds):
                await self._call.write(message)
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            return False
        return True


def refusals_as_they_come(call: Call) -> list[grpc.aio.AioRpcError]:
    """Filled with the service's refusal at the moment it comes.

    A write that fails because the service has refused the upload makes grpc.aio replace the refusal by an INTERNAL of its own (grpc/grpc#36066), before or
    after it came. The callback is run at once by both, and the call's getters have then nothing to wait for.
    """
    answers: list[grpc.aio.AioRpcError] = []

    def note(_: object) -> None:
        code, details = _settled(call.code()), _settled(call.details())
        if code is not grpc.StatusCode.OK and details != "Internal error from Core":
            initial, trailing = _settled(call.initial_metadata()), _settled(call.trailing_metadata())
            answers.append(grpc.aio.AioRpcError(code, initial, trailing, details))

    call.add_done_callback(note)
    return answers


def _settled(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that does not wait. Raises RuntimeError for one that does."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    coroutine.close()
    raise RuntimeError("the call has not ended yet")
