"""ProcessorService over gRPC: translates, decides nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

from materials.v1 import processor_service_pb2 as pb
from materials.v1 import processor_service_pb2_grpc

from processor_service.index_store import PAGE_ROWS, IndexStore
from processor_service.searching import Searching
from servicekit.channels import Peer
from servicekit.errors import FieldInvalid
from servicekit.identity import current_caller
from servicekit.visibility import visible_material

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
        material = await visible_material(self._status, current_caller(), request.material_id)
        material_id, page_number = UUID(material.id), max(1, request.first_page)
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
