"""The Brain as the pipeline uses it: fair turns, bounded concurrency that adapts, retries, and the one breaker."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from processor_service.brain.breaker import BrainBreaker
from processor_service.brain.client import BrainClient
from processor_service.brain.fair_queue import BACKGROUND
from processor_service.brain.lane import BrainLane
from processor_service.brain.retry_policy import RetryPolicy

Vector = NDArray[np.float32]
Result = TypeVar("Result")


@dataclass
class CallCount:
    """Calls made for one material, each try."""

    calls: int = 0


class BrainReader:
    """Pages and passages through the Brain, over all materials: at most `pages` page reads and `embeddings` embedding calls at once, fewer when that is all it
    takes. Owners take turns, and an owner's materials do; calls of no owner are background work and come behind."""

    def __init__(
        self,
        client: BrainClient,
        breaker: BrainBreaker,
        *,
        pages: int,
        embeddings: int,
        policy: RetryPolicy | None = None,
    ) -> None:
        self._client = client
        self.pages = BrainLane("pages", breaker, policy or RetryPolicy(), most=pages)
        self.embeddings = BrainLane("embeddings", breaker, policy or RetryPolicy(), most=embeddings)
        self._counts: dict[str, CallCount] = {}

    @contextmanager
    def counting(self, material_id: str) -> Iterator[CallCount]:
        """Counts the calls that are made for a material within the block."""
        count = self._counts[material_id] = CallCount()
        try:
            yield count
        finally:
            self._counts.pop(material_id, None)

    async def read_page(self, png: bytes, *, owner_id: str = BACKGROUND, material_id: str = "") -> str:
        """The text of a page image. Raises BrainError, and TurnOver when the material was evicted before the page was begun."""
        return await self.pages.call(
            self._counted(lambda: self._client.read_page(png), material_id), owner_id=owner_id, material_id=material_id
        )

    async def embed(self, text: str, *, owner_id: str = BACKGROUND, material_id: str = "") -> Vector:
        """The embedding of one text, shape (dimensions,). Raises BrainError."""
        return await self.embeddings.call(
            self._counted(lambda: self._client.embed(text), material_id), owner_id=owner_id, material_id=material_id
        )

    async def embed_all(
        self, texts: Sequence[str], *, owner_id: str = BACKGROUND, material_id: str = ""
    ) -> list[Vector]:
        """The embeddings of several texts, in their order, by concurrent calls. Raises the first BrainError and stops the others."""
        try:
            async with asyncio.TaskGroup() as tasks:
                running = [
                    tasks.create_task(self.embed(text, owner_id=owner_id, material_id=material_id)) for text in texts
                ]
        except* Exception as group:
            raise group.exceptions[0] from None
        return [task.result() for task in running]

    def evict(self, material_id: str) -> None:
        """The material's pages that wait for their turn raise TurnOver. A page under way goes on, and so do its embeddings."""
        self.pages.evict(material_id)

    def _counted(self, call: Callable[[], Awaitable[Result]], material_id: str) -> Callable[[], Awaitable[Result]]:
        def counted() -> Awaitable[Result]:
            if (count := self._counts.get(material_id)) is not None:
                count.calls += 1
            return call()

        return counted
