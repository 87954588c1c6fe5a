"""The composition root of the Processor service."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import httpx
import structlog
from materials.v1 import processor_service_pb2_grpc, record_service_pb2

from processor_service.api import ProcessorApi
from processor_service.brain import BrainClient, open_http
from processor_service.brain_reader import BrainReader
from processor_service.breaker import BrainBreaker, Breaker, BreakerState
from processor_service.fleet_member import FleetMember
from processor_service.index_store import IndexStore, prepare_connection
from processor_service.reading import MaterialReader
from processor_service.rendering import RenderLimits
from processor_service.searching import Searching
from processor_service.settings import ProcessorSettings
from processor_service.status_reporter import StatusReporter
from processor_service.work_directory import WorkDirectory
from processor_service.work_gate import WorkGate
from processor_service.worker import Worker
from servicekit.bootstrap import call_interceptor, service_tokens
from servicekit.channels import Peer
from servicekit.durable_consumer import DurableConsumer
from servicekit.manager import BackgroundTask, ServiceManager
from servicekit.nats_link import NatsLink
from servicekit.object_store import ObjectStore
from servicekit.postgres import Postgres
from servicekit.purging import PurgeHandler
from servicekit.server import GrpcServer, Health

log = structlog.get_logger()

STREAM = "MATERIALS"
UPLOADED = "materials.v1.uploaded"
DELETED = "materials.v1.deleted"
BRAIN_HEALTH = "ai_brain"


class Brain:
    """A part: the Brain's HTTP client, and the breaker that watches over it and tells the health service.

    `on_change` is called at each change of the breaker's state."""

    def __init__(self, settings: ProcessorSettings, health: Health, *, on_change: Callable[[], None]) -> None:
        self._health, self._on_change = health, on_change
        self._http = open_http(
            token=settings.ai_brain_token.get_secret_value() or None,
            ca_file=settings.ai_brain_ca_file,
            max_connections=settings.ai_brain_concurrency + settings.ai_brain_embedding_concurrency + 4,
        )
        # Connections of its own: searches must not take those that reading needs.
        self._search_http = open_http(
            token=settings.ai_brain_token.get_secret_value() or None,
            ca_file=settings.ai_brain_ca_file,
            max_connections=settings.ai_brain_embedding_concurrency,
        )
        self.client = self._client(settings, self._http, settings.ai_brain_timeout)
        self.search_client = self._client(settings, self._search_http, settings.search_timeout)
        self._changes: asyncio.Queue[Breaker] = asyncio.Queue(100)
        self.breaker = BrainBreaker(self.client.healthy, on_change=self._changed)
        self.reader = BrainReader(
            self.client,
            self.breaker,
            pages=settings.ai_brain_concurrency,
            embeddings=settings.ai_brain_embedding_concurrency,
        )
        self._tasks: list[asyncio.Task[None]] = []

    def _client(self, settings: ProcessorSettings, http: httpx.AsyncClient, timeout: float) -> BrainClient:
        return BrainClient(
            http,
            endpoint=settings.ai_brain_endpoint,
            timeout_seconds=timeout,
            embedding_dimensions=settings.embedding_dimensions,
        )

    async def start(self, tasks: asyncio.TaskGroup) -> None:
        """Looks whether the Brain is there; goes on either way."""
        await self._health.set(BRAIN_HEALTH, True)
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

    def _changed(self, breaker: Breaker) -> None:
        self._changes.put_nowait(breaker)
        self._on_change()

    async def _tell(self) -> None:
        while True:
            state = (await self._changes.get()).state
            await self._health.set(BRAIN_HEALTH, state is BreakerState.CLOSED)
            if state is BreakerState.OPEN:
                log.warning("the AI Brain is away; materials wait for it")
            elif state is BreakerState.CLOSED:
                log.info("the AI Brain is back")


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
    brain = Brain(settings, health, on_change=lambda: member.tell_at_once())  # noqa: PLW0108
    reporter = StatusReporter(status, worker_id)
    work_directory = WorkDirectory(settings.work_directory)
    reader = MaterialReader(
        store,
        index,
        brain.reader,
        limits=RenderLimits(max_pages=settings.max_pages),
        work_directory=work_directory,
    )
    gate = WorkGate(brain.breaker)
    worker = Worker(
        status,
        reporter,
        reader,
        gate,
        worker_id=worker_id,
        attempt_timeout=settings.material_processing_timeout,
    )
    member = FleetMember(
        status,
        gate,
        worker_id=worker_id,
        slots=settings.processor_slots,
        busy=lambda: worker.busy,
        brain=lambda: brain.breaker.state,
    )
    purge = PurgeHandler(
        status, record_service_pb2.PURGED_PART_PASSAGES, lambda material_id: index.purge(UUID(material_id))
    )
    searching = Searching(index, brain.search_client, status, default_limit=settings.search_result_limit)
    api = ProcessorApi(searching, index, status)
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
    )
    manager = ServiceManager("processor_service", report=health.set, stop_timeout=settings.shutdown_grace_seconds + 3.0)
    manager.add("postgres", postgres)
    manager.add("nats", nats)
    manager.add("status channel", status)
    manager.add("brain", brain)
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
    manager.add("server", server)
    return manager
