"""Builds the next generation of the index in the background, puts it in use, and clears the old one away.

Each processor looks every few seconds; the one that gets the lease builds. It goes over the pages that are not in the new generation, batch after batch,
cuts each one's text again, embeds it behind everything that uploads need, and writes it. Pages that are read meanwhile go into the generation in use, and
are found by the next round. When a round finds nothing the switch is tried, which itself makes sure that nothing is left. What is built is in the database:
whoever comes after a builder that died goes on where it was.

What can go wrong: the Brain is away (the building waits, and says so), refuses a passage for good (left out, and counted), or fails at one again and again
while it embeds others (the same). The building may be given up, or the lease be lost, at any moment: the next write, or the next renewal, tells.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from processor_service.brain.embedding_models import EmbeddingModels
from processor_service.brain.errors import BrainError, BrainFailed, BrainRefused, one_line
from processor_service.brain.reader import BrainReader, Vector
from processor_service.brain.retry_policy import backoff
from processor_service.index.generation_store import (
    BUILDER_LEASE_SECONDS,
    Generation,
    GenerationChanged,
    GenerationStore,
)
from processor_service.index.page_passages import NEIGHBOUR_PAGES, passages_of
from processor_service.index.passages import Passage, embedding_text
from processor_service.index.rebuild_store import OlderPage, Place, RebuildStore
from servicekit.errors import Unavailable

log = structlog.get_logger()

#: Pages embedded at once. The calls to the Brain wait in its queue, behind those of uploads.
BATCH_PAGES = 4
LOOK_SECONDS = 3.0
STOP_SECONDS = 2.0
#: Failures at one page after which its passages are tried one by one.
TRIES = 3
#: Embedded to see whether the Brain fails at everything, or at one passage.
CONTROL_TEXT = "A sentence that every model can embed."


@dataclass(frozen=True, slots=True)
class Embedded:
    """The passages of a page that have an embedding, and how many have none."""

    passages: list[Passage]
    embeddings: list[Vector]
    left_out: int = 0


class Reindexer:
    """One for each processor; `run` is its background task. `name` tells builders apart."""

    def __init__(
        self, generations: GenerationStore, pages: RebuildStore, models: EmbeddingModels[BrainReader], *, name: str
    ) -> None:
        self._generations, self._pages, self._models, self._name = generations, pages, models, name
        self._news = asyncio.Event()
        self._failures: dict[tuple[object, int], int] = {}

    def wake(self) -> None:
        """There is something to do, or not any more: look at once."""
        self._news.set()

    async def run(self) -> None:
        """Ends by cancellation, and hands its lease back then."""
        failures = 0
        try:
            while True:
                try:
                    await self._work()
                    failures = 0
                except Unavailable as error:
                    failures += 1
                    log.warning("re-indexing waits for the database", error=error.message)
                await self._pause(LOOK_SECONDS * random.uniform(0.7, 1.3) + backoff(failures + 1, base=0.1, cap=20.0))
        finally:
            await self._hand_back()

    async def _work(self) -> None:
        building = await self._generations.building()
        if building is not None and building.embedding_model in self._models.names:
            building = await self._generations.claim_building(self._name)
            if building is not None:
                await self._leased(building, "building", self._build)
        elif building is not None:
            # Another processor may know the model, so this one takes no lease.
            log.warning("the index being built needs a model that is not set here", model=building.embedding_model)
        retired = await self._generations.claim_retired(self._name)
        if retired is not None:
            await self._leased(retired, "retired", self._clear)

    async def _leased(self, generation: Generation, state: str, work: Callable[[Generation], Awaitable[None]]) -> None:
        """Works for as long as the lease holds. Raises what the work raises; a lease that is lost ends it without a word."""

        async def body() -> None:
            await work(generation)

        working = asyncio.create_task(body(), name=f"{state} generation {generation.number}")
        keeping = asyncio.create_task(self._keep_lease(generation.number, state), name="builder-lease")
        try:
            await asyncio.wait([working, keeping], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (working, keeping):
                task.cancel()
            await asyncio.wait([working, keeping])
        errors = [task.exception() for task in (working, keeping) if not task.cancelled()]
        error = next((error for error in errors if error is not None), None)
        if isinstance(error, GenerationChanged):
            log.info("the building was given up", generation=generation.number)
        elif error is not None:
            raise error

    async def _keep_lease(self, number: int, state: str) -> None:
        """Returns when the lease is lost."""
        while True:
            await asyncio.sleep(BUILDER_LEASE_SECONDS / 3)
            if not await self._generations.renew(number, self._name, state):
                return

    async def _build(self, generation: Generation) -> None:
        """Returns when the generation is in use. Raises GenerationChanged, Unavailable."""
        log.info("building an index", generation=generation.number, model=generation.embedding_model)
        embedder = self._models.client(generation.embedding_model)
        self._failures.clear()
        # Also a builder that died in the middle of trouble has left a message.
        place, troubles = Place(), int(bool(generation.status_message))
        while True:
            batch = await self._pages.older_pages(generation.number, place, BATCH_PAGES)
            if not batch:
                if place == Place() and await self._generations.switch(generation.number):
                    log.info("the new index is in use", generation=generation.number)
                    return
                place = Place()
                continue
            trouble = await self._build_batch(generation, embedder, batch)
            if trouble is None:
                if troubles:
                    await self._generations.tell(generation.number, "")
                troubles = 0
            else:
                troubles += 1
                await self._generations.tell(generation.number, f"waits: {one_line(trouble.message)}")
                await asyncio.sleep(backoff(troubles, base=1.0, cap=30.0, retry_after=trouble.retry_after))
            last = batch[-1]
            place = Place(last.generation, last.material_id, last.page_number)

    async def _build_batch(
        self, generation: Generation, embedder: BrainReader, batch: list[OlderPage]
    ) -> BrainError | None:
        """The pages at once; what stood in the way of one of them, if anything."""
        try:
            async with asyncio.TaskGroup() as tasks:
                pages = [tasks.create_task(self._build_page(generation, embedder, page)) for page in batch]
        except* Exception as group:
            raise group.exceptions[0] from None
        return next((trouble for page in pages if (trouble := page.result()) is not None), None)

    async def _build_page(self, generation: Generation, embedder: BrainReader, page: OlderPage) -> BrainError | None:
        key = (page.material_id, page.page_number)
        passages = passages_of(page.text, await self._pages.texts_beside(page, NEIGHBOUR_PAGES))
        try:
            if self._failures.get(key, 0) < TRIES:
                vectors = await embedder.embed_all([embedding_text(passage) for passage in passages])
                embedded = Embedded(passages, vectors)
            else:
                embedded = await _embed_what_can_be(embedder, passages)
        except (BrainRefused, BrainFailed) as error:
            self._failures[key] = TRIES if isinstance(error, BrainRefused) else self._failures.get(key, 0) + 1
            return error
        except BrainError as error:
            return error
        if embedded.left_out:
            log.warning(
                "passages left out: the model takes them not",
                material_id=str(key[0]),
                page=key[1],
                passages=embedded.left_out,
            )
        await self._pages.build_page(
            generation.number,
            page,
            passages=embedded.passages,
            embeddings=embedded.embeddings,
            left_out=embedded.left_out,
        )
        self._failures.pop(key, None)
        return None

    async def _clear(self, generation: Generation) -> None:
        """Deletes the passages of a generation that nobody uses."""
        place: Place | None = Place()
        while place is not None:
            place = await self._pages.clear_some(generation.number, place)
        log.info("the old index is cleared away", generation=generation.number)

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._news.wait()
        except TimeoutError:
            pass
        self._news.clear()

    async def _hand_back(self) -> None:
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await self._generations.release(self._name)
        except (TimeoutError, Unavailable):
            log.warning("the builder's lease was not handed back; it runs out by itself")


async def _embed_what_can_be(embedder: BrainReader, passages: list[Passage]) -> Embedded:
    """The passages one by one, without those that the model takes not while it takes another text. Raises BrainError."""
    taken: list[Passage] = []
    vectors: list[Vector] = []
    for passage in passages:
        vector = await _embed_unless_at_fault(embedder, embedding_text(passage))
        if vector is not None:
            taken.append(passage)
            vectors.append(vector)
    return Embedded(taken, vectors, len(passages) - len(taken))


async def _embed_unless_at_fault(embedder: BrainReader, text: str) -> Vector | None:
    try:
        return await embedder.embed(text)
    except (BrainRefused, BrainFailed):
        await embedder.embed(CONTROL_TEXT)
    try:
        # Once more: the Brain may have come to itself between the two.
        return await embedder.embed(text)
    except (BrainRefused, BrainFailed):
        return None
