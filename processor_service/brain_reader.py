"""The Brain as the pipeline uses it: bounded concurrency, retries, and the one breaker."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from processor_service.brain import BrainClient
from processor_service.breaker import BrainBreaker
from processor_service.retry_policy import RetryPolicy, call_with_retries

Vector = NDArray[np.float32]


class BrainReader:
    """Pages and passages through the Brain: at most `pages` page reads and `embeddings` embedding calls at once, over all materials."""

    def __init__(
        self,
        client: BrainClient,
        breaker: BrainBreaker,
        *,
        pages: int,
        embeddings: int,
        policy: RetryPolicy | None = None,
    ) -> None:
        self._client, self._breaker, self._policy = client, breaker, policy or RetryPolicy()
        self._page_slots = asyncio.Semaphore(pages)
        self._embedding_slots = asyncio.Semaphore(embeddings)

    async def read_page(self, png: bytes) -> str:
        """The text of a page image. Raises BrainError."""
        async with self._page_slots:
            return await call_with_retries(
                lambda: self._breaker.call(lambda: self._client.read_page(png)), self._policy
            )

    async def embed(self, text: str) -> Vector:
        """The embedding of one text, shape (dimensions,). Raises BrainError."""
        async with self._embedding_slots:
            return await call_with_retries(lambda: self._breaker.call(lambda: self._client.embed(text)), self._policy)

    async def embed_all(self, texts: Sequence[str]) -> list[Vector]:
        """The embeddings of several texts, in their order, by concurrent calls. Raises the first BrainError and stops the others."""
        try:
            async with asyncio.TaskGroup() as tasks:
                running = [tasks.create_task(self.embed(text)) for text in texts]
        except* Exception as group:
            raise group.exceptions[0] from None
        return [task.result() for task in running]
