"""The composition root of the Ingest service."""

from __future__ import annotations

from materials.v1 import ingest_service_pb2_grpc, record_service_pb2
from prometheus_client import CollectorRegistry

from ingest_service.admission import Admission
from ingest_service.announcer import Announcer
from ingest_service.api import IngestApi
from ingest_service.event_publisher import EventPublisher
from ingest_service.event_stream import DELETED, STREAM
from ingest_service.metrics import IngestMetrics
from ingest_service.orphan_sweeper import OrphanSweeper
from ingest_service.record_calls import RecordCalls
from ingest_service.settings import IngestSettings
from ingest_service.store_cooldown import StoreCooldown
from ingest_service.upload_messages import METHOD as UPLOAD_METHOD
from ingest_service.upload_messages import decoded
from ingest_service.uploads import Uploads, object_key
from servicekit.bootstrap import call_interceptor, observed_manager, service_tokens
from servicekit.channels import Peer
from servicekit.durable_consumer import DurableConsumer
from servicekit.manager import BackgroundTask, ServiceManager
from servicekit.memory import ProcessMemory
from servicekit.metrics import ConsumerMetrics
from servicekit.nats_link import NatsLink
from servicekit.object_store import ObjectStore
from servicekit.purging import PurgeHandler
from servicekit.server import GrpcServer, Health


def build(settings: IngestSettings) -> ServiceManager:
    """All parts of one replica, in start order."""
    registry = CollectorRegistry()
    metrics = IngestMetrics(registry)
    store = ObjectStore(settings.object_store_url)
    nats = NatsLink(settings.nats_url, name="ingest_service")
    status = Peer(settings.status_endpoint, service_tokens("ingest", settings).current, tls=settings.tls())
    publisher = EventPublisher(nats, status, stream_replicas=settings.event_stream_replicas, metrics=metrics)
    record = RecordCalls(status)
    admission = Admission(
        store,
        record,
        memory=ProcessMemory(settings.memory_limit_bytes),
        reserve_bytes=settings.object_store_reserve_bytes,
        cooldown=StoreCooldown(),
    )
    uploads = Uploads(
        store,
        record,
        publisher,
        admission,
        max_bytes=settings.max_upload_bytes,
        max_concurrent=settings.max_concurrent_uploads,
        max_per_owner=settings.max_uploads_per_owner,
        idle_seconds=settings.upload_idle_seconds,
        metrics=metrics,
    )
    api = IngestApi(uploads, store, status)
    purge = PurgeHandler(
        status, record_service_pb2.PURGED_PART_OBJECT, lambda material_id: store.delete(object_key(material_id))
    )
    purger = DurableConsumer(
        nats,
        stream=STREAM,
        durable="ingest-purger",
        subject=DELETED,
        slots=1,
        handler=purge.handle,
        metrics=ConsumerMetrics(registry),
    )
    sweeper = OrphanSweeper(store, status, settings.orphan_after_seconds)
    health = Health()
    server = GrpcServer(
        settings,
        call_interceptor(settings, registry, decoders={UPLOAD_METHOD: decoded}),
        health=health,
        services=[
            (
                "materials.v1.IngestService",
                lambda server: ingest_service_pb2_grpc.add_IngestServiceServicer_to_server(api, server),
            )
        ],
    )
    manager = observed_manager("ingest_service", settings, registry, report=health.set)
    manager.add("nats", nats)
    manager.add("status channel", status)
    manager.add("record calls", record)
    manager.add("event publisher", publisher)
    manager.add("announcer", Announcer(nats, status, publisher))
    manager.add("purger", purger)
    manager.add("orphan sweeper", BackgroundTask(sweeper.run, "orphan-sweeper"))
    manager.add("server", server)
    return manager
