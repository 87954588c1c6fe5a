"""The composition root of the Processor service."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import httpx
import structlog
from materials.v1 import processor_service_pb2_grpc, record_service_pb2

from processor_service.answering import MAX_REPLY_BYTES, Answering, AnswerLimits
from processor_service.api import ProcessorApi
from processor_service.brain import BrainClient, open_http
from processor_service.brain_reader import BrainReader
from processor_service.breaker import BrainBreaker, Breaker, BreakerState
from processor_service.embedding_models import EmbeddingModels
from processor_service.fleet_member import FleetMember
from processor_service.following import Following
from processor_service.generation_store import GenerationStore
from processor_service.index_operating import IndexOperating
from processor_service.index_store import IndexStore, prepare_connection
from processor_service.nearest_index import NearestIndex
from processor_service.page_indexing import PageIndexer
from processor_service.reading import MaterialReader
from processor_service.rebuild_store import RebuildStore
from processor_service.reindexer import Reindexer
from processor_service.rendering import RenderLimits
from processor_service.reuse import ReuseStore
from processor_service.search_store import SearchStore
from processor_service.searching import Searching
from processor_service.settings import ProcessorSettings
from processor_service.status_reporter import StatusReporter
from processor_service.turn_taking import TurnTaking
from processor_service.work_directory import WorkDirectory
from processor_service.work_gate import WorkGate
from processor_service.worker import Worker
from servicekit.bootstrap import call_interceptor, service_tokens
from servicekit.channels import Peer
from servicekit.durable_consumer import DurableConsumer
from servicekit.manager import BackgroundTask, ServiceManager
from servicekit.nats_link import NatsLink
from servicekit.object_store import ObjectStore
from servicekit.opaque_tokens import OpaqueTokens
from servicekit.postgres import Postgres
from servicekit.purging import PurgeHandler
from servicekit.server import GrpcServer, Health

log = structlog.get_logger()

STREAM = "MATERIALS"
UPLOADED = "materials.v1.uploaded"
DELETED = "materials.v1.deleted"
BRAIN_HEALTH = "ai_brain"
NEXT_BRAIN_HEALTH = "next_ai_brain"


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
        self, settings: ProcessorSettings, address: BrainAddress, health: Health, *, on_change: Callable[[], None]
    ) -> None:
        self.address, self._health, self._on_change = address, health, on_change
        self._http = open_http(
            token=address.token or None,
            ca_file=settings.ai_brain_ca_file,
            max_connections=settings.ai_brain_concurrency + settings.ai_brain_embedding_concurrency + 4,
        )
        # Connections of its own: searches must not take those that reading needs.
        self._search_http = open_http(
            token=address.token or None,
            ca_file=settings.ai_brain_ca_file,
            max_connections=settings.ai_brain_embedding_concurrency,
        )
        # And answers: a text takes as long as a page, so neither searches nor reading must wait behind it.
        self._answer_http = open_http(
            token=address.token or None,
            ca_file=settings.ai_brain_ca_file,
            max_connections=settings.answer_concurrency,
        )
        self.answer_client = BrainClient(
            self._answer_http,
            endpoint=address.endpoint,
            timeout_seconds=settings.answer_timeout,
            max_reply_bytes=MAX_REPLY_BYTES,
        )
        self.client = self._client(self._http, settings.ai_brain_timeout)
        self.search_client = self._client(self._search_http, settings.search_timeout)
        self._changes: asyncio.Queue[Breaker] = asyncio.Queue(100)
        self.breaker = BrainBreaker(self.client.healthy, on_change=self._changed)
        self.reader = BrainReader(
            self.client,
            self.breaker,
            pages=settings.ai_brain_concurrency,
            embeddings=settings.ai_brain_embedding_concurrency,
        )
        self._tasks: list[asyncio.Task[None]] = []

    def _client(self, http: httpx.AsyncClient, timeout: float) -> BrainClient:
        return BrainClient(
            http,
            endpoint=self.address.endpoint,
            timeout_seconds=timeout,
            embedding_dimensions=self.address.embedding_dimensions,
        )

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
        await self._http.aclose()
        await self._search_http.aclose()
        await self._answer_http.aclose()

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


def build(settings: ProcessorSettings) -> ServiceManager:
    """All parts of one replica, in start order."""
    # Shown in the history: tells nothing of the machine.
    worker_id = f"processor-{secrets.token_hex(6)}"
    health = Health()
    store = ObjectStore(settings.object_store_url)
    postgres = Postgres(
        settings.processor_database_url.get_secret_value(),
        schema=settings.processor_database_schema,
        migrations=Path(__file__).parent / "migrations",
        max_connections=settings.processor_database_connections,
        statement_cache_size=settings.processor_statement_cache,
        init=prepare_connection,
    )
    index = IndexStore(postgres)
    nats = NatsLink(settings.nats_url, name="processor_service")
    status = Peer(settings.status_endpoint, service_tokens("processor", settings).current, tls=settings.tls())
    # Late, since the member is made below: it needs the breaker in turn.
    brains = [
        Brain(settings, address, health, on_change=lambda: member.tell_at_once())  # noqa: PLW0108
        for address in brain_addresses(settings)
    ]
    brain = brains[0]
    models = EmbeddingModels({each.address.embedding_model: each.reader for each in brains})
    breakers = {each.address.embedding_model: each.breaker for each in brains}
    generations = GenerationStore(postgres, first_model=settings.embedding_model)
    reindexer = Reindexer(generations, RebuildStore(postgres), models, name=worker_id)
    reporter = StatusReporter(status, worker_id)
    work_directory = WorkDirectory(settings.work_directory)
    turns = TurnTaking(brain.reader.evict)
    reader = MaterialReader(
        store,
        index,
        # Late, since the gate is made below.
        PageIndexer(index, generations, models, on_model=lambda model: gate.embed_by(breakers[model])),
        ReuseStore(
            postgres,
            across_owners=settings.reuse_across_owners,
            max_pages=settings.max_pages,
            text_layers=settings.read_text_layers,
        ),
        brain.reader,
        turns,
        limits=RenderLimits(
            max_pages=settings.max_pages,
            document_cpu_seconds=settings.rendering_cpu_seconds,
            text_layers=settings.read_text_layers == "auto",
        ),
        work_directory=work_directory,
    )
    gate = WorkGate(brain.breaker)
    worker = Worker(
        status,
        reporter,
        reader,
        gate,
        turns,
        worker_id=worker_id,
        attempt_timeout=settings.material_processing_timeout,
    )
    member = FleetMember(
        status,
        gate,
        turns,
        worker_id=worker_id,
        slots=settings.processor_slots,
        busy=lambda: worker.busy,
        brain=lambda: brain.breaker.state,
    )
    purge = PurgeHandler(
        status, record_service_pb2.PURGED_PART_PASSAGES, lambda material_id: index.purge(UUID(material_id))
    )
    searching = Searching(
        SearchStore(postgres, exact_passages=settings.search_exact_passages),
        generations,
        EmbeddingModels({each.address.embedding_model: each.search_client for each in brains}),
        status,
        OpaqueTokens(settings.service_token_secret.get_secret_value()),
        default_limit=settings.search_result_limit,
    )
    nearest_index = NearestIndex(postgres, exact_passages=settings.search_exact_passages)
    operating = IndexOperating(generations, models, reindexer.wake)
    answering = Answering(
        searching,
        brain.answer_client,
        status,
        AnswerLimits(
            sources=settings.answer_sources,
            context_chars=settings.answer_context_chars,
            least_similarity=settings.answer_least_similarity,
            timeout=settings.answer_timeout,
            at_once=settings.answer_concurrency,
            waiting=settings.answer_queue,
            per_owner=settings.answers_per_owner,
        ),
    )
    # Connections of their own: each text that is followed holds a watch.
    watched_status = Peer(
        settings.status_endpoint,
        service_tokens("processor", settings).current,
        tls=settings.tls(),
        own_connections=True,
    )
    following = Following(
        index,
        watched_status,
        max_streams=settings.max_followed_texts,
        max_per_owner=settings.max_followed_texts_per_owner,
    )
    api = ProcessorApi(searching, answering, index, following, status, operating)
    server = GrpcServer(
        settings,
        call_interceptor(settings),
        health=health,
        services=[
            (
                "materials.v1.ProcessorService",
                lambda server: processor_service_pb2_grpc.add_ProcessorServiceServicer_to_server(api, server),
            )
        ],
        on_drain=[following.drain, answering.drain],
    )
    manager = ServiceManager("processor_service", report=health.set, stop_timeout=settings.shutdown_grace_seconds + 3.0)
    manager.add("postgres", postgres)
    manager.add("nats", nats)
    manager.add("status channel", status)
    manager.add("status watches", watched_status)
    for each in brains:
        manager.add(f"brain of {each.address.embedding_model}", each)
    manager.add("status reporter", reporter)
    manager.add("work directory", BackgroundTask(work_directory.sweep_for_ever, "work-directory-sweeper"))
    # Before the worker, so that its last words are said when the work has been handed back.
    manager.add("fleet member", member)
    manager.add(
        "worker",
        DurableConsumer(
            nats,
            stream=STREAM,
            durable="processor",
            subject=UPLOADED,
            slots=settings.processor_slots,
            handler=worker.handle,
            gate=gate,
        ),
    )
    manager.add(
        "purger",
        DurableConsumer(
            nats,
            stream=STREAM,
            durable="processor-purger",
            subject=DELETED,
            slots=1,
            handler=purge.handle,
        ),
    )
    manager.add("reindexer", BackgroundTask(reindexer.run, "reindexer"))
    manager.add("nearest index", BackgroundTask(nearest_index.keep_for_ever, "nearest-index"))
    manager.add("server", server)
    return manager
