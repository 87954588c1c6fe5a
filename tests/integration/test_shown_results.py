"""What a search shows: only what the record lets the caller see now, of the index in use now, and the record is asked about no more than is shown."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import grpc
import numpy as np
import pytest
from materials.v1 import material_pb2, status_service_pb2_grpc
from materials.v1 import status_service_pb2 as pb
from numpy.typing import NDArray

from processor_service.brain.embedding_models import EmbeddingModels
from processor_service.brain.errors import BrainUnavailable
from processor_service.index.generation_store import GenerationStore
from processor_service.search.searching import Searching
from servicekit.channels import Peer
from servicekit.errors import Unavailable
from servicekit.identity import Caller
from servicekit.opaque_tokens import OpaqueTokens
from tests.integration.search_index import MODEL, SearchIndex, made_vectors, search_index
from tests.local_stack import LocalStack

READER = Caller("reader", {"course": "reader"}, token="not looked at")
OTHER_MODEL = "another model"
VECTORS = made_vectors(20)


class HidingRecord(status_service_pb2_grpc.StatusServiceServicer):
    """Shows every material but the `hidden`; `asked` has the ids of each call."""

    def __init__(self) -> None:
        self.hidden: set[str] = set()
        self.asked: list[set[str]] = []

    async def BatchGetMaterials(self, request: pb.BatchGetMaterialsRequest, context: Any) -> Any:
        self.asked.append(set(request.material_ids))
        shown = [each for each in request.material_ids if each not in self.hidden]
        return pb.BatchGetMaterialsResponse(
            materials=[material_pb2.Material(id=each, name=f"name of {each}") for each in shown]
        )


class Embedder:
    """A Brain that embeds every query as the first of the vectors, unless it is away."""

    def __init__(self) -> None:
        self.away = False

    async def embed(self, text: str) -> NDArray[np.float32]:
        if self.away:
            raise BrainUnavailable("the AI Brain is away")
        return VECTORS[0]


class Search:
    """A course of materials of one passage each, the first one nearest to every query, and what searches it."""

    def __init__(self, index: SearchIndex, materials: list[UUID], record: HidingRecord, status: Peer) -> None:
        self.index, self.record = index, record
        self.materials = [str(material) for material in materials]
        self.embedders = {MODEL: Embedder(), OTHER_MODEL: Embedder()}
        self._searching = Searching(
            index.store(),
            GenerationStore(index.postgres, first_model=MODEL),
            EmbeddingModels(self.embedders),  # type: ignore[arg-type]
            status,
            OpaqueTokens("secret"),
            default_limit=3,
        )

    async def shown(self, limit: int) -> list[str]:
        """The ids of the materials found."""
        found = await self._searching.find(READER, "course", "?", limit=limit)
        assert all(each.material_name == f"name of {each.hit.material_id}" for each in found)
        return [str(each.hit.material_id) for each in found]


@asynccontextmanager
async def hiding_record() -> AsyncIterator[tuple[HidingRecord, Peer]]:
    record, server = HidingRecord(), grpc.aio.server()
    status_service_pb2_grpc.add_StatusServiceServicer_to_server(record, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    peer = Peer(f"127.0.0.1:{port}", lambda: "")
    try:
        yield record, peer
    finally:
        await peer.stop()
        await server.stop(None)


@pytest.fixture
async def search(stack: LocalStack) -> AsyncIterator[Search]:
    order = np.argsort(-(VECTORS @ VECTORS[0]))
    async with search_index(stack) as index, hiding_record() as (record, status):
        materials = [await index.add("course", [f"passage {at}"], VECTORS[at : at + 1]) for at in order]
        yield Search(index, materials, record, status)


async def test_the_record_is_asked_about_what_is_shown_and_nothing_else(search: Search) -> None:
    assert await search.shown(3) == search.materials[:3]
    assert search.record.asked == [set(search.materials[:3])]


@pytest.mark.parametrize("hidden", [[0], [1, 2], [0, 1, 2, 3, 4], list(range(19))])
async def test_others_take_the_places_of_what_is_hidden(search: Search, hidden: list[int]) -> None:
    search.record.hidden = {search.materials[at] for at in hidden}
    assert await search.shown(3) == [each for each in search.materials if each not in search.record.hidden][:3]


async def test_what_is_hidden_and_not_shown_changes_nothing(search: Search) -> None:
    search.record.hidden = {search.materials[10]}
    assert await search.shown(3) == search.materials[:3]


async def test_nothing_is_shown_when_all_is_hidden(search: Search) -> None:
    search.record.hidden = set(search.materials)
    assert await search.shown(3) == []


async def test_an_index_that_was_replaced_since_the_last_search_nor_its_brain_is_needed_any_more(
    search: Search,
) -> None:
    await search.shown(3)
    await search.index.serve(2, OTHER_MODEL)
    anew = await search.index.add("course", ["passage, anew"], VECTORS[:1], generation=2)
    search.embedders[MODEL].away = True
    assert await search.shown(3) == [str(anew)]
    await search.index.serve(3)
    with pytest.raises(Unavailable):
        await search.shown(3)
