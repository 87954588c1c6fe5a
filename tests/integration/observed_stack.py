"""A real stack that is seen: its spans come to an OTLP receiver of the test's own, its logs are JSON, its metrics are read where it says."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import httpx
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from prometheus_client.parser import text_string_to_metric_families

from tests.local_stack import LocalStack, free_port

SECONDS = 60.0


@dataclass(frozen=True)
class Seen:
    """A span as it was exported."""

    service: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    attributes: dict[str, str]
    raw: Span = field(repr=False)


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """Takes in what the services export."""

    def __init__(self) -> None:
        self._spans: list[Seen] = []

    def Export(self, request: trace_service_pb2.ExportTraceServiceRequest, context: Any) -> Any:
        for resource in request.resource_spans:
            names = {each.key: each.value.string_value for each in resource.resource.attributes}
            for scope in resource.scope_spans:
                self._spans += [_seen(names["service.name"], span) for span in scope.spans]
        return trace_service_pb2.ExportTraceServiceResponse()

    @property
    def spans(self) -> list[Seen]:
        return self._spans[:]

    def trace(self, trace_id: str) -> list[Seen]:
        return [span for span in self.spans if span.trace_id == trace_id]

    async def holds(self, wanted: Callable[[list[Seen]], bool], what: str) -> list[Seen]:
        """All spans, once they are as wanted: they come a moment after what they tell of."""
        for _ in range(int(SECONDS / 0.1)):
            if wanted(spans := self.spans):
                return spans
            await asyncio.sleep(0.1)
        raise AssertionError(f"{what}: {sorted({(span.service, span.name) for span in self.spans})}")


def _seen(service: str, span: Span) -> Seen:
    attributes = {each.key: each.value.string_value or str(each.value.int_value) for each in span.attributes}
    return Seen(
        service, span.name, span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex(), attributes, span
    )


@dataclass
class ObservedStack:
    stack: LocalStack
    collector: Collector

    def metrics(self, part: str) -> Metrics:
        """What a process tells now."""
        return Metrics(httpx.get(self.stack.facts["metrics"][part], timeout=20).raise_for_status().text)

    def log(self, part: str) -> list[dict[str, Any]]:
        """What a process has logged so far."""
        return [json.loads(line) for line in self.log_text(part).splitlines()]

    def log_text(self, part: str) -> str:
        return (self.stack.data_dir / "logs" / f"{part}.log").read_text()


class Metrics:
    """One answer of /metrics."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]

    def value(self, name: str, **labels: str) -> float:
        """The sum of all series of a name with at least these labels."""
        return sum(s.value for s in self._samples if s.name == name and labels.items() <= s.labels.items())

    def label_values(self) -> set[str]:
        return {value for sample in self._samples for value in sample.labels.values()}


@contextmanager
def observed_stack() -> Iterator[ObservedStack]:
    collector, port = Collector(), free_port()
    server = grpc.server(ThreadPoolExecutor(2))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(collector, server)
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    environment = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
        "OTEL_BSP_SCHEDULE_DELAY": "100",
        "LOG_FORMAT": "json",
        "LOG_LEVEL": "DEBUG",
    }
    try:
        stack = LocalStack.start(environment=environment)
        try:
            yield ObservedStack(stack, collector)
        finally:
            stack.stop()
    finally:
        server.stop(None)
