"""IngestService over gRPC: translates, decides nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from materials.v1 import errors_pb2, ingest_service_pb2_grpc
from materials.v1 import ingest_service_pb2 as pb

from ingest_service.upload_messages import UploadMessage
from ingest_service.uploads import Uploads
from servicekit.channels import Peer
from servicekit.errors import ServiceError
from servicekit.identity import current_caller
from servicekit.object_store import ObjectMissing, ObjectStore
from servicekit.response_headers import send_response_headers
from servicekit.visibility import visible_material


class IngestApi(ingest_service_pb2_grpc.IngestServiceServicer):
    """Bytes in and out."""

    def __init__(self, uploads: Uploads, store: ObjectStore, status: Peer) -> None:
        self._uploads, self._store, self._status = uploads, store, status

    async def UploadMaterial(
        self, request_iterator: AsyncIterator[UploadMessage], context: Any
    ) -> pb.UploadMaterialResponse:
        """See the contract."""
        messages = ended_by_the_client(request_iterator, context)
        return pb.UploadMaterialResponse(material=await self._uploads.upload(current_caller(), messages))

    async def DownloadMaterial(
        self, request: pb.DownloadMaterialRequest, context: Any
    ) -> AsyncIterator[pb.DownloadMaterialResponse]:
        """See the contract."""
        material = await visible_material(self._status, current_caller(), request.material_id)
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


async def ended_by_the_client(messages: AsyncIterator[UploadMessage], context: Any) -> AsyncIterator[UploadMessage]:
    """The messages, ending only where the client said that they end.

    grpc.aio ends a request stream in the same way when the client has gone (cancelled, killed, cut off), and cancels the call's task only some moments
    later: half an upload would pass for a whole one. Response headers can be sent only while the call stands, so they are sent here. Raises
    CancelledError when it does not.
    """
    async for message in messages:
        yield message
    await send_response_headers(context)
