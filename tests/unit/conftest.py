"""Fixtures of the unit tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from servicekit import interceptor, tracing
from tests.unit.tokens import EC_KEY, ED_KEY, NEXT_RSA_KEY, RSA_KEY, KeyServer, jwk


@pytest.fixture
def key_server() -> Iterator[KeyServer]:
    """A key server with a key of each kind, and one that is not for signatures."""
    keys = [jwk(RSA_KEY, "rsa-1"), jwk(EC_KEY, "ec-1"), jwk(ED_KEY, "ed-1"), jwk(NEXT_RSA_KEY, "enc-1", use="enc")]
    with KeyServer(keys).running() as server:
        yield server


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """What spans come to: those of calls, and all that `servicekit.tracing` makes."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(tracing, "_tracer", provider.get_tracer("a test"))
    monkeypatch.setattr(interceptor, "tracer", provider.get_tracer("a test"))
    yield exporter
    provider.shutdown()
