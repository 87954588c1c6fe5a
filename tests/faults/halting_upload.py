"""An upload whose client stops in the middle: so that the world can be changed while it is half-way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest
from materials.v1 import ingest_service_pb2, material_pb2

from tests.contract.refusals import refusal_of
from tests.faults.refusals import comes_again
from tests.faults.workload import Upload, Workload

CHUNK_BYTES = 256 * 1024


class HaltingUpload:
    """Sends the metadata and about `first_bytes` bytes at once, the rest when told to go on."""

    def __init__(self, work: Workload, upload: Upload, first_bytes: int) -> None:
        self._work, self._upload, self._first_bytes = work, upload, first_bytes
        self._go_on = asyncio.Event()
        self._ended = False
        self.sent = 0
        self._call = work.client.ingest.UploadMaterial(self._messages(), metadata=work.client.metadata, timeout=60)

    async def _messages(self) -> AsyncIterator[ingest_service_pb2.UploadMaterialRequest]:
        upload = self._upload
        yield ingest_service_pb2.UploadMaterialRequest(
            metadata=ingest_service_pb2.UploadMetadata(
                course_id=self._work.course, name=f"{upload.mark}.bin", request_id=upload.request_id
            )
        )
        while self.sent < len(upload.content):
            if self.sent >= self._first_bytes:
                await self._go_on.wait()
            if self._ended:
                return
            chunk = upload.content[self.sent : self.sent + CHUNK_BYTES]
            self.sent += len(chunk)
            yield ingest_service_pb2.UploadMaterialRequest(chunk=chunk)

    def go_on(self) -> None:
        """Sends the rest."""
        self._go_on.set()

    def give_up(self) -> None:
        """Its client cancels the call."""
        self._ended = True
        self._call.cancel()
        self.go_on()

    async def reply(self) -> material_pb2.Material:
        """The reply, kept in the upload. Raises AioRpcError."""
        try:
            self._upload.material = (await self._call).material
        finally:
            self._ended = True
            self.go_on()
        return self._upload.material

    async def is_refused(self, code: grpc.StatusCode, reason: str) -> None:
        """It ends, whatever was sent of it, with this answer and a time to try again."""
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await self.reply()
        comes_again(caught.value)
        refusal = refusal_of(caught.value)
        assert (refusal.code, refusal.reason) == (code, reason), refusal.message

    async def breaks_off(self) -> None:
        """It ends without a reply from the service."""
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await self.reply()
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE, caught.value
