"""A page just read into the index that is in use: its passages, their embeddings by that index's model, and the write that makes the page a finished one.

The index in use may change while the page is being embedded. The write is refused then, and the page is embedded again for the new one: it has the text, so
this costs no reading.
"""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

from materials.v1 import material_pb2

from processor_service.brain.embedding_models import EmbeddingModels
from processor_service.brain.reader import BrainReader
from processor_service.index.generation_store import Generation, GenerationChanged, GenerationStore
from processor_service.index.index_store import IndexStore, PageText
from processor_service.index.page_passages import NEIGHBOUR_PAGES, passages_of
from processor_service.index.passage_rows import PageKey
from processor_service.index.passages import Passage, embedding_text
from processor_service.patience import patiently

#: Switches that one page may run into; each takes a whole re-index, so a second is rare and a third is not believed in.
MAX_SWITCHES = 3


class PageIndexer:
    """Indexes pages in the generation in use. Shared by all slots. `on_model` is told which model that one is of, before each material."""

    def __init__(
        self,
        index: IndexStore,
        generations: GenerationStore,
        models: EmbeddingModels[BrainReader],
        *,
        on_model: Callable[[str], None],
    ) -> None:
        self._index, self._generations, self._models, self._on_model = index, generations, models, on_model

    async def check_model(self) -> None:
        """Raises EmbeddingModelUnknown when no page can be indexed here: before the dear reading, not behind it."""
        model = (await patiently(self._generations.serving)).embedding_model
        self._models.client(model)
        self._on_model(model)

    async def index_page(self, material: material_pb2.Material, page: PageText) -> int:
        """Returns when the page is finished: how many passages it has. Raises FencedOut, BrainError, Unavailable."""
        material_id = UUID(material.id)
        before = await patiently(lambda: self._index.texts_before(material_id, page.page_number, NEIGHBOUR_PAGES))
        passages = passages_of(page.text, before)
        for _ in range(MAX_SWITCHES):
            generation = await patiently(self._generations.serving)
            try:
                await self._write(material, page, passages, generation)
                return len(passages)
            except GenerationChanged as error:
                changed = error
        raise changed

    async def _write(
        self, material: material_pb2.Material, page: PageText, passages: list[Passage], generation: Generation
    ) -> None:
        embedder = self._models.client(generation.embedding_model)
        embeddings = await embedder.embed_all(
            [embedding_text(passage) for passage in passages], owner_id=material.owner_id, material_id=material.id
        )
        key = PageKey(
            UUID(material.id),
            page.page_number,
            material.attempt,
            material.owner_id,
            material.course_id,
            generation.number,
        )
        await patiently(lambda: self._index.finish_page(page, key, passages=passages, embeddings=embeddings))
