"""W3C trace context across gRPC metadata, CloudEvents headers and HTTP, by OpenTelemetry."""

from __future__ import annotations

from collections.abc import Mapping

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

_propagator = TraceContextTextMapPropagator()


def configure_tracing(service: str) -> None:
    """Makes spans real (ids that travel), whether or not anything exports them."""
    trace.set_tracer_provider(TracerProvider(resource=Resource.create({"service.name": service})))


def extract(carrier: Mapping[str, str]) -> Context:
    """The trace context in a carrier's `traceparent`, or an empty one."""
    return _propagator.extract(carrier)


def current_traceparent() -> str:
    """`traceparent` of the current span; "" outside one."""
    carrier: dict[str, str] = {}
    _propagator.inject(carrier)
    return carrier.get("traceparent", "")
