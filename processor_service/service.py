"""The composition root of the Processor service."""

from __future__ import annotations

import secrets
from uuid import UUID

from materials.v1 import processor_service_pb2_grpc, record_service_pb2
from prometheus_client import CollectorRegistry

from processor_service.answers.answering import Answering, AnswerLimits
from processor_service.api import ProcessorApi
from processor_service.brain.embedding_models import EmbeddingModels
from processor_service.brain.part import Brain, brain_addresses
from processor_service.database import open_database
from processor_service.documents.forkserver import RenderForkserver
from processor_service.documents.rendering import RenderLimits
from processor_service.fleet_member import FleetMember
from processor_service.following import Following
from processor_service.index.generation_store import GenerationStore
from processor_service.index.index_store import IndexStore
from processor_service.index.operating import IndexOperating
from processor_service.index.page_indexing import PageIndexer
from processor_service.index.rebuild_store import RebuildStore
from processor_service.index.reindexer import Reindexer
from processor_service.index.reuse import ReuseStore
from processor_service.metrics import ProcessorMetrics
from processor_service.reading import MaterialReader
from processor_service.search.nearest_index import NearestIndex
from processor_service.search.search_store import SearchStore
from processor_service.search.searching import Searching
from processor_service.settings import ProcessorSettings
from processor_service.status_reporter import StatusReporter
from processor_service.turn_taking import TurnTaking
from processor_service.work_directory import WorkDirectory
from processor_service.work_gate import WorkGate
from processor_service.worker import Worker
from servicekit.bootstrap import call_interceptor, observed_manager, service_tokens
from servicekit.channels import Peer
from servicekit.durable_consumer import DurableConsumer
from servicekit.manager import BackgroundTask, ServiceManager
from servicekit.nats_link import NatsLink
from servicekit.object_store import ObjectStore
from servicekit.opaque_tokens import OpaqueTokens
from servicekit.postgres import Postgres
from servicekit.purging import PurgeHandler
from servicekit.server import GrpcServer, Health

STREAM = "MATERIALS"
UPLOADED = "materials.v1.uploaded"
DELETED = "materials.v1.deleted"


def build(settings: ProcessorSettings) -> ServiceManager:
    """All parts of one replica, in start order."""
    # Shown in the history: tells nothing of the machine.
    worker_id = f"processor-{secrets.token_hex(6)}"
    health = Health()
    registry = CollectorRegistry()
    metrics = ProcessorMetrics(registry)
    store = ObjectStore(settings.object_store_url)
    postgres = open_database(settings)
    index = IndexStore(postgres)
    nats = NatsLink(settings.nats_url, name="processor_service")
    own_token = service_tokens("processor", settings).current
    status = Peer(settings.status_endpoint, own_token, tls=settings.tls())
    # Late, since the member is made below: it needs the breaker in turn.
    brains = [
        Brain(settings, address, health, metrics.brain, on_change=lambda: member.tell_at_once())  # noqa: PLW0108
        for address in brain_addresses(settings)
    ]
    brain = brains[0]
    models = EmbeddingModels({each.address.embedding_model: each.reader for each in brains})
    breakers = {each.address.embedding_model: each.breaker for each in brains}
    generations = GenerationStore(postgres, first_model=settings.embedding_model)
    reindexer = Reindexer(generations, RebuildStore(postgres), models, name=worker_id)
    reporter = StatusReporter(status, worker_id)
    work_directory = WorkDirectory(settings.work_directory)
    forkserver = RenderForkserver()
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
        forkserver=forkserver,
        limits=RenderLimits(
            max_pages=settings.max_pages,
            document_cpu_seconds=settings.rendering_cpu_seconds,
            text_layers=settings.read_text_layers == "auto",
        ),
        work_directory=work_directory,
        metrics=metrics.work,
        rendering=metrics.rendering,
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
        metrics=metrics.work,
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
        brain.answer_client.generate,
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
    watched_status = Peer(settings.status_endpoint, own_token, tls=settings.tls(), own_connections=True)
    following = Following(
        index,
        watched_status,
        max_streams=settings.max_followed_texts,
        max_per_owner=settings.max_followed_texts_per_owner,
    )
    api = ProcessorApi(searching, answering, index, following, status, operating)
    server = GrpcServer(
        settings,
        call_interceptor(settings, registry),
        health=health,
        services=[
            (
                "materials.v1.ProcessorService",
                lambda server: processor_service_pb2_grpc.add_ProcessorServiceServicer_to_server(api, server),
            )
        ],
        on_drain=[following.drain, answering.drain],
    )
    _show(metrics, settings, postgres, brains, worker, reporter, answering, forkserver)
    manager = observed_manager("processor_service", settings, registry, report=health.set)
    manager.add("postgres", postgres)
    manager.add("nats", nats)
    manager.add("status channel", status)
    manager.add("status watches", watched_status)
    for each in brains:
        manager.add(f"brain of {each.address.embedding_model}", each)
    manager.add("status reporter", reporter)
    manager.add("rendering forkserver", forkserver)
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
            metrics=metrics.consumers,
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
            metrics=metrics.consumers,
        ),
    )
    manager.add("reindexer", BackgroundTask(reindexer.run, "reindexer"))
    manager.add("nearest index", BackgroundTask(nearest_index.keep_for_ever, "nearest-index"))
    manager.add("server", server)
    return manager


def _show(
    metrics: ProcessorMetrics,
    settings: ProcessorSettings,
    postgres: Postgres,
    brains: list[Brain],
    worker: Worker,
    reporter: StatusReporter,
    answering: Answering,
    forkserver: RenderForkserver,
) -> None:
    """What is read whenever somebody asks for the metrics."""
    metrics.pool.show(lambda: postgres.connections_in_use, most=settings.processor_database_connections)
    metrics.work.slots.set(settings.processor_slots)
    metrics.work.busy.set_function(lambda: worker.busy)
    metrics.work.unacknowledged.set_function(lambda: reporter.unacknowledged)
    metrics.work.answers.set_function(lambda: answering.under_way)
    metrics.rendering.children.set_function(lambda: forkserver.children)
    for brain in brains:
        brain.show(metrics.brain_state)
