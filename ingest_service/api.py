"""IngestService over gRPC: translates, decides nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
from grpc_status import rpc_status
from materials.v1 import errors_pb2, ingest_service_pb2_grpc, status_service_pb2, status_service_pb2_grpc
from materials.v1 import ingest_service_pb2 as pb

from ingest_service.uploads import Uploads
from servicekit.channels import Peer, bearer
from servicekit.errors import ServiceError, Unavailable, reason_of_status
from servicekit.identity import current_caller
from servicekit.object_store import ObjectMissing, ObjectStore

CALL_DEADLINE_SECONDS = 10.0


class IngestApi(ingest_service_pb2_grpc.IngestServiceServicer):
    """Bytes in and out."""

    def __init__(self, uploads: Uploads, store: ObjectStore, status: Peer) -> None:
        self._uploads, self._store, self._status = uploads, store, status

    async def UploadMaterial(
        self, request_iterator: AsyncIterator[pb.UploadMaterialRequest], context: Any
    ) -> pb.UploadMaterialResponse:
        """See the contract."""
        messages = ended_by_the_client(request_iterator, context)
        return pb.UploadMaterialResponse(material=await self._uploads.upload(current_caller(), messages))

    async def DownloadMaterial(
        self, request: pb.DownloadMaterialRequest, context: Any
    ) -> AsyncIterator[pb.DownloadMaterialResponse]:
        """See the contract."""
        stub = status_service_pb2_grpc.StatusServiceStub(self._status.channel)
        try:
            found = await stub.GetMaterial(
                status_service_pb2.GetMaterialRequest(material_id=request.material_id),
                metadata=bearer(current_caller().token),
                timeout=CALL_DEADLINE_SECONDS,
            )
        except grpc.aio.AioRpcError as error:
            raise _refusal(error) from error
        material = found.material
        if not 0 <= request.offset <= material.file_size or request.limit < 0:
            raise ServiceError(
                errors_pb2.ERROR_REASON_RANGE_INVALID,
                f"the file has {material.file_size} bytes; the range lies outside",
            )
        remaining = material.file_size - request.offset
        length = min(request.limit, remaining) if request.limit else remaining
        yield pb.DownloadMaterialResponse(
            metadata=pb.DownloadMetadata(
                name=material.name,
                media_type=material.media_type,
                file_size=material.file_size,
                sha256=material.sha256,
                offset=request.offset,
                length=length,
            )
        )
        try:
            async for chunk in self._store.read(material.file_path, request.offset, length):
                yield pb.DownloadMaterialResponse(chunk=chunk)
        except ObjectMissing:
            raise ServiceError(
                errors_pb2.ERROR_REASON_MATERIAL_NOT_FOUND, "the bytes of this material are gone"
            ) from None


async def ended_by_the_client(
    messages: AsyncIterator[pb.UploadMaterialRequest], context: Any
) -> AsyncIterator[pb.UploadMaterialRequest]:
    """The messages, ending only where the client said that they end.

    grpc.aio ends a request stream in the same way when the client has gone (cancelled, killed, cut off), and cancels the call's task only some moments
    later: half an upload would pass for a whole one. Response headers can be sent only while the call stands, so they are sent here. Raises
    CancelledError when it does not.
    """
    async for message in messages:
        yield message
    try:
        await context.send_initial_metadata(())
    except Exception as error:
        raise asyncio.CancelledError("the client has gone") from error


def _refusal(error: grpc.aio.AioRpcError) -> ServiceError:
    if reason_of_status(rpc_status.from_call(error)) == "MATERIAL_NOT_FOUND":  # type: ignore[arg-type]
        return ServiceError(errors_pb2.ERROR_REASON_MATERIAL_NOT_FOUND, error.details() or "there is no such material")
    return Unavailable(
        errors_pb2.ERROR_REASON_RECORD_UNAVAILABLE, "the record of materials cannot be reached; try again"
    )
