"""ProcessorService over gRPC: translates, decides nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any
from uuid import UUID

from materials.v1 import processor_service_pb2 as pb
from materials.v1 import processor_service_pb2_grpc

from processor_service.answers.answering import Answering
from processor_service.following import Following
from processor_service.index.index_store import IndexStore, PageText
from processor_service.index.operating import IndexOperating
from processor_service.search.searching import Searching
from servicekit.channels import Peer
from servicekit.errors import FieldInvalid
from servicekit.identity import current_caller
from servicekit.response_headers import send_response_headers
from servicekit.visibility import visible_material


class ProcessorApi(processor_service_pb2_grpc.ProcessorServiceServicer):
    """What was read out of the materials."""

    def __init__(
        self,
        searching: Searching,
        answering: Answering,
        index: IndexStore,
        following: Following,
        status: Peer,
        operating: IndexOperating,
    ) -> None:
        self._searching, self._answering = searching, answering
        self._index, self._following, self._status = index, following, status
        self._operating = operating

    async def SearchMaterials(self, request: pb.SearchMaterialsRequest, context: Any) -> pb.SearchMaterialsResponse:
        """See the contract."""
        return await self._searching.search(current_caller(), request)

    async def AnswerQuestion(
        self, request: pb.AnswerQuestionRequest, context: Any
    ) -> AsyncIterator[pb.AnswerQuestionResponse]:
        """See the contract."""
        async with aclosing(self._answering.answer(current_caller(), request)) as responses:
            async for response in responses:
                yield response

    async def GetMaterialText(
        self, request: pb.GetMaterialTextRequest, context: Any
    ) -> AsyncIterator[pb.GetMaterialTextResponse]:
        """See the contract."""
        if request.first_page < 0:
            raise FieldInvalid("first_page", "must not be negative")
        caller, page_number = current_caller(), max(1, request.first_page)
        material = await visible_material(self._status, caller, request.material_id)
        if request.follow:
            async with aclosing(self._following.pages(caller, material.id, page_number)) as pages_as_they_come:
                await send_response_headers(context)
                async for page in pages_as_they_come:
                    yield _to_response(page)
            return
        async for page in self._index.pages_onward(UUID(material.id), page_number):
            yield _to_response(page)

    async def StartReindex(self, request: pb.StartReindexRequest, context: Any) -> pb.StartReindexResponse:
        """See the contract."""
        current_caller().require_operator()
        return pb.StartReindexResponse(building=await self._operating.start(request.embedding_model))

    async def GetIndex(self, request: pb.GetIndexRequest, context: Any) -> pb.GetIndexResponse:
        """See the contract."""
        current_caller().require_operator()
        return await self._operating.look()

    async def CancelReindex(self, request: pb.CancelReindexRequest, context: Any) -> pb.CancelReindexResponse:
        """See the contract."""
        current_caller().require_operator()
        return pb.CancelReindexResponse(serving=await self._operating.cancel())


def _to_response(page: PageText) -> pb.GetMaterialTextResponse:
    return pb.GetMaterialTextResponse(
        page_number=page.page_number,
        text=page.text,
        source=page.source,  # type: ignore[arg-type]
    )
