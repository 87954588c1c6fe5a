"""ProcessorService over gRPC: translates, decides nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import grpc
from grpc_status import rpc_status
from materials.v1 import errors_pb2, processor_service_pb2_grpc, status_service_pb2, status_service_pb2_grpc
from materials.v1 import processor_service_pb2 as pb

from processor_service.index_store import PAGE_ROWS, IndexStore
from processor_service.searching import Searching
from servicekit.channels import Peer, bearer
from servicekit.errors import FieldInvalid, ServiceError, Unavailable, reason_of_status
from servicekit.identity import current_caller

CALL_DEADLINE_SECONDS = 10.0


class ProcessorApi(processor_service_pb2_grpc.ProcessorServiceServicer):
    """What was read out of the materials."""

    def __init__(self, searching: Searching, index: IndexStore, status: Peer) -> None:
        self._searching, self._index, self._status = searching, index, status

    async def SearchMaterials(self, request: pb.SearchMaterialsRequest, context: Any) -> pb.SearchMaterialsResponse:
        """See the contract."""
        return pb.SearchMaterialsResponse(results=await self._searching.search(current_caller(), request))

    async def GetMaterialText(
        self, request: pb.GetMaterialTextRequest, context: Any
    ) -> AsyncIterator[pb.GetMaterialTextResponse]:
        """See the contract."""
        if request.first_page < 0:
            raise FieldInvalid("first_page", "must not be negative")
        await self._check_visible(request.material_id)
        material_id, page_number = UUID(request.material_id), max(1, request.first_page)
        while True:
            pages = await self._index.pages_from(material_id, page_number)
            for page in pages:
                yield pb.GetMaterialTextResponse(
                    page_number=page.page_number,
                    text=page.text,
                    source=page.source,  # type: ignore[arg-type]
                )
            if len(pages) < PAGE_ROWS:
                return
            page_number = pages[-1].page_number + 1

    async def _check_visible(self, material_id: str) -> None:
        stub = status_service_pb2_grpc.StatusServiceStub(self._status.channel)
        try:
            await stub.GetMaterial(
                status_service_pb2.GetMaterialRequest(material_id=material_id),
                metadata=bearer(current_caller().token),
                timeout=CALL_DEADLINE_SECONDS,
            )
        except grpc.aio.AioRpcError as error:
            if reason_of_status(rpc_status.from_call(error)) == "MATERIAL_NOT_FOUND":  # type: ignore[arg-type]
                raise ServiceError(
                    errors_pb2.ERROR_REASON_MATERIAL_NOT_FOUND, error.details() or "there is no such material"
                ) from error
            raise Unavailable(
                errors_pb2.ERROR_REASON_RECORD_UNAVAILABLE, "the record of materials cannot be reached; try again"
            ) from error
