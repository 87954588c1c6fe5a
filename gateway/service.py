"""The composition root of the gateway."""

from __future__ import annotations

from math import ceil

from prometheus_client import CollectorRegistry

from gateway.app import build_app
from gateway.callers import Callers
from gateway.event_streams import EventStreams
from gateway.http_server import HttpServer
from gateway.metrics import GatewayMetrics
from gateway.page_routes import Liveness
from gateway.sealing import Sealer
from gateway.services import Services
from gateway.settings import GatewaySettings
from gateway.tickets import Tickets
from servicekit.bootstrap import observed_manager, service_tokens, token_verifier
from servicekit.channels import MAX_STREAMS_PER_CONNECTION, Peer
from servicekit.manager import ServiceManager


def build(settings: GatewaySettings) -> ServiceManager:
    """All parts of one replica, in start order."""
    own_token = service_tokens("gateway", settings).current
    ingest = Peer(settings.ingest_endpoint, own_token, settings.tls())
    status = Peer(settings.status_endpoint, own_token, settings.tls())
    processor = Peer(settings.processor_endpoint, own_token, settings.tls())
    watching = [
        Peer(settings.status_endpoint, own_token, settings.tls(), own_connections=True)
        for _ in range(ceil(settings.max_http_requests / MAX_STREAMS_PER_CONNECTION))
    ]
    services = Services(ingest=ingest, status=status, processor=processor, watching=watching)
    secret = settings.service_token_secret.get_secret_value()
    cookies = Sealer(secret, "session cookies")
    tickets = Tickets(Sealer(secret, "tickets"), services)
    event_streams = EventStreams(settings.event_keepalive_seconds, settings.watch_patience_seconds)
    liveness = Liveness()
    registry = CollectorRegistry()
    metrics = GatewayMetrics(registry)
    metrics.event_streams.set_function(lambda: event_streams.open)
    app = build_app(
        settings,
        services=services,
        callers=Callers(token_verifier(settings), cookies, tickets),
        tickets=tickets,
        cookies=cookies,
        event_streams=event_streams,
        liveness=liveness,
        metrics=metrics,
    )
    manager = observed_manager("gateway", settings, registry)
    manager.add("ingest channel", ingest)
    manager.add("status channel", status)
    manager.add("processor channel", processor)
    for number, peer in enumerate(watching):
        manager.add(f"watch channel {number}", peer)
    manager.add("http server", HttpServer(settings, app, on_drain=[liveness.drain, event_streams.drain]))
    return manager
