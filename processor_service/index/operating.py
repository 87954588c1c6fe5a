"""What operators see and do of the index: which one is in use, which one is being built, how far; start and give up. Nothing of it is kept in the process."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from materials.v1 import processor_service_pb2 as pb

from processor_service.brain.embedding_models import EmbeddingModels
from processor_service.brain.reader import BrainReader
from processor_service.index.generation_store import Generation, GenerationStore
from servicekit.errors import FieldInvalid
from servicekit.timestamps import timestamp

#: Pages are counted no oftener: a count reads an index entry for each page.
COUNT_SECONDS = 1.0


class IndexOperating:
    """Each call raises Unavailable when the database is away. `wake` tells this processor's builder to look at once."""

    def __init__(
        self,
        generations: GenerationStore,
        models: EmbeddingModels[BrainReader],
        wake: Callable[[], None],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._generations, self._models, self._wake, self._clock = generations, models, wake, clock
        self._counting = asyncio.Lock()
        self._counted: tuple[int, float, tuple[int, int]] = (0, 0.0, (0, 0))  # generation, when, pages done and in all

    async def start(self, embedding_model: str) -> pb.IndexGeneration:
        """Begins to build an index with a model of the settings, the newest when "" is asked for. Raises FieldInvalid for one that no setting names."""
        model = embedding_model or self._models.newest
        if model not in self._models.names:
            known = ", ".join(self._models.names)
            raise FieldInvalid("embedding_model", f"is none that this processor's settings name; they name: {known}")
        building = await self._generations.start(model)
        self._wake()
        done, total = await self._count(building.number)
        return _shown(building, pages_done=done, pages_total=total)

    async def look(self) -> pb.GetIndexResponse:
        """The index in use and the one being built."""
        serving, building = await self._generations.serving(), await self._generations.building()
        done, total = await self._count((building or serving).number)
        return pb.GetIndexResponse(
            # Every page is in the index in use, whatever else it is in.
            serving=_shown(serving, pages_done=total, pages_total=total),
            building=_shown(building, pages_done=done, pages_total=total) if building is not None else None,
        )

    async def cancel(self) -> pb.IndexGeneration:
        """Gives up what is being built; answers the index in use."""
        await self._generations.cancel()
        self._wake()
        return (await self.look()).serving

    async def _count(self, number: int) -> tuple[int, int]:
        async with self._counting:
            generation, counted_at, counts = self._counted
            if generation != number or self._clock() - counted_at >= COUNT_SECONDS:
                counts = await self._generations.count_pages(number)
                self._counted = (number, self._clock(), counts)
            return counts


def _shown(generation: Generation, *, pages_done: int, pages_total: int) -> pb.IndexGeneration:
    return pb.IndexGeneration(
        generation=generation.number,
        embedding_model=generation.embedding_model,
        chunking_rule=generation.chunking_rule,
        pages_done=pages_done,
        pages_total=pages_total,
        started_at=timestamp(generation.started_at),
        switched_at=timestamp(generation.switched_at) if generation.switched_at is not None else None,
        status_message=_message(generation),
    )


def _message(generation: Generation) -> str:
    """What it waits for, and how much of it is missing."""
    parts = [generation.status_message] if generation.status_message else []
    if (count := generation.passages_left_out) > 0:
        parts.append(f"left out: {count} passage{'s' if count > 1 else ''} that the embedding model does not take")
    return "; ".join(parts)
