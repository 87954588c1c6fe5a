"""The AI Brain as a part of the service: connections to it for each kind of work, and the breaker that watches over it and tells the health service.

Usually there is one. While the index is built anew with another embedding model there is a second, which only embeds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import structlog

from processor_service.brain.breaker import BrainBreaker, Breaker, BreakerState
from processor_service.brain.client import BrainClient, open_http
from processor_service.brain.connections import BrainConnections
from processor_service.brain.reader import BrainReader
from processor_service.metrics import BrainMetrics, BrainStateMetrics
from processor_service.settings import ProcessorSettings
from servicekit.server import Health

log = structlog.get_logger()

BRAIN_HEALTH = "ai_brain"
NEXT_BRAIN_HEALTH = "next_ai_brain"
#: The largest answer of the Brain that is read; far more than is shown of one.
MAX_ANSWER_BYTES = 256 * 1024


@dataclass(frozen=True)
class BrainAddress:
    """Where a Brain is, with which embedding model of so many numbers, and the name that its health goes by."""

    endpoint: str
    token: str
    embedding_model: str
    embedding_dimensions: int
    health_name: str


class Brain:
    """A part: the Brain's HTTP client, and the breaker that watches over it and tells the health service.

    `on_change` is called at each change of the breaker's state."""

    def __init__(
        self,
        settings: ProcessorSettings,
        address: BrainAddress,
        health: Health,
        metrics: BrainMetrics,
        *,
        on_change: Callable[[], None],
    ) -> None:
        self.address, self._health, self._metrics, self._on_change = address, health, metrics, on_change
        self._http = open_http(
            token=address.token or None,
            ca_file=settings.ai_brain_ca_file,
            max_connections=settings.ai_brain_concurrency + settings.ai_brain_embedding_concurrency + 4,
        )
        # Connections of their own: searches must not take those that reading needs, nor answers those that either does.
        self._search_http = open_http(
            token=address.token or None,
            ca_file=settings.ai_brain_ca_file,
            max_connections=settings.ai_brain_embedding_concurrency,
        )
        self._answer_http = open_http(
            token=address.token or None,
            ca_file=settings.ai_brain_ca_file,
            max_connections=settings.answer_concurrency,
        )
        self.client = self._client(self._http, settings.ai_brain_timeout)
        self.search_client = self._client(self._search_http, settings.search_timeout)
        self.answer_client = BrainClient(
            self._answer_http,
            endpoint=address.endpoint,
            timeout_seconds=settings.answer_timeout,
            max_reply_bytes=MAX_ANSWER_BYTES,
            metrics=metrics,
        )
        self._changes: asyncio.Queue[Breaker] = asyncio.Queue(100)
        self.breaker = BrainBreaker(self.client.healthy, on_change=self._changed)
        self.reader = BrainReader(
            self.client,
            self.breaker,
            pages=settings.ai_brain_concurrency,
            embeddings=settings.ai_brain_embedding_concurrency,
        )
        self._tasks: list[asyncio.Task[None]] = []

    def _client(self, http: BrainConnections, timeout: float) -> BrainClient:
        return BrainClient(
            http,
            endpoint=self.address.endpoint,
            timeout_seconds=timeout,
            embedding_dimensions=self.address.embedding_dimensions,
            metrics=self._metrics,
        )

    def show(self, state: BrainStateMetrics) -> None:
        """Has the breaker and the lanes read whenever somebody asks for the metrics."""
        name = self.address.health_name
        state.away.labels(name).set_function(lambda: self.breaker.state is not BreakerState.CLOSED)
        for calls, lane in (("pages", self.reader.pages), ("embeddings", self.reader.embeddings)):
            state.limit.labels(name, calls).set_function(partial(getattr, lane, "limit"))
            state.under_way.labels(name, calls).set_function(partial(getattr, lane, "under_way"))
            state.waiting.labels(name, calls).set_function(partial(getattr, lane, "waiting"))

    async def start(self, tasks: asyncio.TaskGroup) -> None:
        """Looks whether the Brain is there; goes on either way."""
        await self._health.set(self.address.health_name, True)
        await self.breaker.check()
        self._tasks = [
            tasks.create_task(self.breaker.run(), name="brain-prober"),
            tasks.create_task(self._tell(), name="brain-health"),
        ]

    async def stop(self) -> None:
        """Closes the connections to the Brain."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        for http in (self._http, self._search_http, self._answer_http):
            await http.aclose()

    def _changed(self, breaker: Breaker) -> None:
        self._changes.put_nowait(breaker)
        self._on_change()

    async def _tell(self) -> None:
        while True:
            state = (await self._changes.get()).state
            await self._health.set(self.address.health_name, state is BreakerState.CLOSED)
            model = self.address.embedding_model
            if state is BreakerState.OPEN:
                log.warning("the AI Brain is away; what needs it waits", embedding_model=model)
            elif state is BreakerState.CLOSED:
                log.info("the AI Brain is back", embedding_model=model)


def brain_addresses(settings: ProcessorSettings) -> list[BrainAddress]:
    """The Brain that reads, embeds and answers; then the one that embeds with the next model, if there is one."""
    addresses = [
        BrainAddress(
            settings.ai_brain_endpoint,
            settings.ai_brain_token.get_secret_value(),
            settings.embedding_model,
            settings.embedding_dimensions,
            BRAIN_HEALTH,
        )
    ]
    if settings.next_embedding_model:
        following = BrainAddress(
            settings.next_ai_brain_endpoint,
            settings.next_ai_brain_token.get_secret_value(),
            settings.next_embedding_model,
            settings.next_embedding_dimensions,
            NEXT_BRAIN_HEALTH,
        )
        addresses.append(following)
    return addresses
