"""The composition root of the Status service."""

from __future__ import annotations

from collections.abc import Sequence

from materials.v1 import record_service_pb2_grpc, status_service_pb2_grpc
from prometheus_client import CollectorRegistry

from servicekit.bootstrap import call_interceptor, observed_manager
from servicekit.manager import ServiceManager
from servicekit.metrics import PoolMetrics
from servicekit.nats_link import NatsLink
from servicekit.opaque_tokens import OpaqueTokens
from servicekit.server import GrpcServer, Health
from status_service.admission import Admission, WriteHealth
from status_service.announcing import Announcing
from status_service.api import StatusApi
from status_service.bulk_retry import BulkRetry
from status_service.change_feed import ChangeFeed
from status_service.claiming import Claiming
from status_service.database import open_database
from status_service.lease_reaper import LeaseReaper
from status_service.metrics import QueueMetrics, StatusMetrics
from status_service.operating import Operating
from status_service.record_api import RecordApi
from status_service.record_writer import Change, RecordWriter
from status_service.settings import StatusSettings
from status_service.state_machine import Policy
from status_service.ticket_store import TicketStore
from status_service.watching import WATCH_METHODS, LastEncoded, Watching


def build(settings: StatusSettings) -> ServiceManager:
    """All parts of one replica, in start order."""
    policy = Policy(
        lease=settings.lease_seconds,
        max_failures=settings.max_attempts,
        max_crashes=settings.max_crashes,
        backoff_base=settings.retry_backoff_seconds,
        backoff_cap=settings.retry_backoff_cap_seconds,
    )
    postgres = open_database(settings)
    registry = CollectorRegistry()
    metrics, queue, pool = StatusMetrics(registry), QueueMetrics(postgres, registry), PoolMetrics(registry)
    pool.show(lambda: postgres.connections_in_use, most=settings.status_database_connections)
    nats = NatsLink(settings.nats_url, name="status_service")
    tokens = OpaqueTokens(settings.service_token_secret.get_secret_value())
    feed = ChangeFeed(postgres, nats, tokens, metrics)
    announcing = Announcing(postgres, policy)

    def committed(changes: Sequence[Change]) -> None:
        feed.committed(changes)
        announcing.committed(changes)

    writes = WriteHealth()
    writer = RecordWriter(postgres, policy, committed, writes, metrics)
    watching = Watching(
        postgres, feed, tokens, metrics, max_watches=settings.max_watches, max_per_owner=settings.max_watches_per_owner
    )
    operating = Operating(postgres)
    admission = Admission(postgres, writes, max_unfinished=settings.max_unfinished_per_owner)
    status_api = StatusApi(postgres, writer, watching, tokens, BulkRetry(postgres, writer), operating)
    claiming = Claiming(postgres, writer, quantum=settings.turn_seconds)
    record_api = RecordApi(writer, claiming, announcing, feed, policy, admission, operating, TicketStore(postgres))
    health = Health()
    server = GrpcServer(
        settings,
        call_interceptor(settings, registry, encoders={method: LastEncoded() for method in WATCH_METHODS}),
        health=health,
        services=[
            (
                "materials.v1.StatusService",
                lambda server: status_service_pb2_grpc.add_StatusServiceServicer_to_server(status_api, server),
            ),
            (
                "materials.v1.RecordService",
                lambda server: record_service_pb2_grpc.add_RecordServiceServicer_to_server(record_api, server),
            ),
        ],
        on_drain=[watching.drain, record_api.drain, announcing.drain],
    )
    manager = observed_manager("status_service", settings, registry, report=health.set, refresh=[queue.refresh])
    manager.add("postgres", postgres)
    manager.add("nats", nats)
    manager.add("change feed", feed)
    manager.add("record writer", writer)
    manager.add("lease reaper", LeaseReaper(postgres, writer, policy, metrics))
    manager.add("server", server)
    return manager
