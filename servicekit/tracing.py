"""Traces by OpenTelemetry: W3C trace context across gRPC metadata, CloudEvents headers and HTTP, and the export of spans over OTLP.

Switched on by the standard variables: OTEL_EXPORTER_OTLP_ENDPOINT (gRPC), OTEL_TRACES_SAMPLER and the other OTEL_ ones. Without an endpoint ids are made
and travel, so that log lines of one request can be found by them, and nothing is recorded, which costs next to nothing.

Spans hold ids, numbers and names of this system: no text of a document, no token, and of an error no more than its class.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased
from opentelemetry.trace import Link, Span, SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue

_propagator = TraceContextTextMapPropagator()
_tracer = trace.get_tracer("materials")

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
FLUSH_SECONDS = 1.0


def configure_tracing(service: str) -> None:
    """Makes spans real (ids that travel); exports them where the environment says to."""
    exported = any(os.environ.get(name) for name in _ENDPOINTS)
    sampled_by_choice = exported or os.environ.get("OTEL_TRACES_SAMPLER")
    provider = TracerProvider(
        resource=Resource.create({"service.name": os.environ.get("OTEL_SERVICE_NAME") or service}),
        sampler=None if sampled_by_choice else ParentBased(ALWAYS_OFF),
        shutdown_on_exit=False,  # `TraceExport` does it, with a deadline
    )
    if exported:
        # Here, since most of its import's time and memory is for those who export.
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter  # noqa: PLC0415

        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)


class TraceExport:
    """A part, the first of a service: when all others have stopped, what is still to be exported goes out."""

    async def start(self, tasks: asyncio.TaskGroup) -> None:
        """Nothing to do: spans are exported from the first one on."""

    async def stop(self) -> None:
        """Waits up to FLUSH_SECONDS for a collector that may be away."""
        provider = trace.get_tracer_provider()
        if not isinstance(provider, TracerProvider):
            return
        loop, flushed = asyncio.get_running_loop(), asyncio.Event()

        def shut_down() -> None:
            provider.shutdown()
            with suppress(RuntimeError):  # too late: the loop has gone
                loop.call_soon_threadsafe(flushed.set)

        # A daemon, and no thread of the pool: an exporter that still tries must not keep the process.
        threading.Thread(target=shut_down, name="trace-flush", daemon=True).start()
        with suppress(TimeoutError):
            async with asyncio.timeout(FLUSH_SECONDS):
                await flushed.wait()


@contextmanager
def span(
    name: str,
    *,
    kind: SpanKind = SpanKind.INTERNAL,
    context: Context | None = None,
    links: Sequence[Link] = (),
    attributes: Mapping[str, AttributeValue] | None = None,
) -> Iterator[Span]:
    """The block is a span, child of the current one or of that of `context`, and is the current one inside. An error is noted by its class."""
    started = _tracer.start_span(name, context=context, kind=kind, links=links, attributes=attributes)
    with trace.use_span(started, end_on_exit=True, record_exception=False, set_status_on_exception=False):
        try:
            yield started
        except Exception as error:
            note_error(started, error)
            raise


def start_span(name: str, context: Context | None, attributes: Mapping[str, AttributeValue]) -> Span:
    """A span of the server that does not become the current one; the caller ends it."""
    return _tracer.start_span(name, context=context, kind=SpanKind.SERVER, attributes=attributes)


def note_error(failed: Span, error: BaseException) -> None:
    """Marks a span as failed: its words stay out, since they may be a stranger's."""
    failed.set_status(StatusCode.ERROR)
    failed.set_attribute("error.type", type(error).__name__)


def extract(carrier: Mapping[str, str]) -> Context:
    """The trace context in a carrier's `traceparent`, or an empty one."""
    return _propagator.extract(carrier)


def context_of(traceparent: str) -> Context | None:
    """The trace context of a `traceparent`; None for an empty one: the current span's then."""
    return extract({"traceparent": traceparent}) if traceparent else None


def current_links() -> list[Link]:
    """A link to the current span; none outside one."""
    current = trace.get_current_span().get_span_context()
    return [Link(current)] if current.is_valid else []


def traced(metadata: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """A call's metadata, or an event's headers, and last the trace that it is part of, if any."""
    traceparent = current_traceparent()
    return [*metadata, *([("traceparent", traceparent)] if traceparent else [])]


def current_traceparent() -> str:
    """`traceparent` of the current span; "" outside one."""
    carrier: dict[str, str] = {}
    _propagator.inject(carrier)
    return carrier.get("traceparent", "")
