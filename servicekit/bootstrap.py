"""The parts that every composition root begins with."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from prometheus_client import CollectorRegistry, disable_created_metrics

from servicekit.identity import ServiceTokens, TokenVerifier
from servicekit.interceptor import CallInterceptor
from servicekit.logs import configure_logs
from servicekit.manager import BackgroundTask, ServiceManager
from servicekit.metrics import CallMetrics, EventLoopLag, process_metrics
from servicekit.metrics_server import MetricsServer
from servicekit.owner_limits import OwnerRequests
from servicekit.settings import GrpcServiceSettings, ServiceSettings
from servicekit.tracing import TraceExport, configure_tracing


def configure_process(service: str, settings: ServiceSettings) -> None:
    """Logs and traces of this process."""
    disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each counter, of its time of birth
    configure_logs(service=service, format=settings.log_format, level=settings.log_level)
    configure_tracing(service)


def observed_manager(
    name: str,
    settings: ServiceSettings,
    registry: CollectorRegistry,
    *,
    report: Callable[[str, bool], Awaitable[None]] | None = None,
    refresh: Sequence[Callable[[], Awaitable[None]]] = (),
) -> ServiceManager:
    """The manager of a service whose first parts are what it is seen by: traces, and metrics where there is an address for them; `refresh` as for
    MetricsServer, `report` as for ServiceManager."""
    manager = ServiceManager(name, report=report, stop_timeout=settings.shutdown_grace_seconds + 3.0)
    manager.add("traces", TraceExport())
    if settings.metrics_address:
        process_metrics(registry)
        manager.add("metrics", MetricsServer(settings.metrics_address, registry, refresh))
        manager.add("event loop lag", BackgroundTask(EventLoopLag(registry).run, "event-loop-lag"))
    return manager


def token_verifier(settings: ServiceSettings) -> TokenVerifier:
    """Verifies callers by the service's settings. Raises ValueError when there is no key: nothing runs without authentication."""
    return TokenVerifier(
        hs256_secret=settings.auth_hs256_secret.get_secret_value(),
        jwks_url=settings.auth_jwks_url,
        audience=settings.auth_audience,
        issuer=settings.auth_issuer,
        service_secret=settings.service_token_secret.get_secret_value(),
    )


def call_interceptor(
    settings: GrpcServiceSettings,
    registry: CollectorRegistry | None = None,
    *,
    decoders: Mapping[str, Callable[[bytes], Any]] = MappingProxyType({}),
    encoders: Mapping[str, Callable[[Any], bytes]] = MappingProxyType({}),
) -> CallInterceptor:
    """What every call of this service goes through, by its settings, counted in `registry`; `decoders` and `encoders` as for CallInterceptor. Raises as
    `token_verifier`."""
    return CallInterceptor(
        token_verifier(settings),
        OwnerRequests(settings.owner_requests_per_second, settings.owner_request_burst),
        decoders=decoders,
        encoders=encoders,
        metrics=CallMetrics(registry),
    )


def service_tokens(service: str, settings: ServiceSettings) -> ServiceTokens:
    """This service's own identity towards its peers."""
    return ServiceTokens(settings.service_token_secret.get_secret_value(), f"service:{service}", settings.auth_audience)
