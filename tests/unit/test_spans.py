"""Spans: what they hold of an error, whose children they are, and what is recorded when nobody takes them."""

from __future__ import annotations

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from servicekit.tracing import configure_tracing, context_of, current_links, current_traceparent, span, traced

UPLOAD = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_an_error_is_noted_by_its_class_and_not_by_its_words(exported: InMemorySpanExporter) -> None:
    with pytest.raises(ValueError, match="a document's text"), span("read page", attributes={"page": 3}):
        raise ValueError("a document's text")
    [finished] = exported.get_finished_spans()
    assert dict(finished.attributes or {}) == {"page": 3, "error.type": "ValueError"}
    assert not finished.status.is_ok
    assert "document" not in finished.to_json()


def test_spans_are_children_of_the_current_one_or_of_the_context_given(exported: InMemorySpanExporter) -> None:
    with span("consume"):
        links = current_links()
        with span("read page"):
            pass
        with span("attempt", context=context_of(UPLOAD), links=links):
            assert current_traceparent().split("-")[1] == UPLOAD.split("-")[1]
    page, attempt, consume = exported.get_finished_spans()
    assert page.parent is not None
    assert page.parent.span_id == consume.context.span_id
    assert attempt.parent is not None
    assert f"{attempt.parent.span_id:016x}" == UPLOAD.split("-")[2]
    assert [link.context.span_id for link in attempt.links] == [consume.context.span_id]
    assert context_of("") is None


def test_metadata_is_as_it_was_where_there_is_no_trace(exported: InMemorySpanExporter) -> None:
    assert traced([("authorization", "x")]) == [("authorization", "x")]
    with span("a call"):
        assert traced([("traceparent", "the event's")])[-1] == ("traceparent", current_traceparent())


@pytest.mark.parametrize(
    ("environment", "recorded"),
    [
        ({}, False),
        ({"OTEL_TRACES_SAMPLER": "always_on"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}, True),
    ],
)
def test_without_an_endpoint_ids_are_made_and_nothing_is_recorded(
    environment: dict[str, str], recorded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_TRACES_SAMPLER"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    made: list[TracerProvider] = []
    monkeypatch.setattr(trace, "set_tracer_provider", made.append)
    configure_tracing("a_service")
    started = made[0].get_tracer("a test").start_span("a call")
    assert started.get_span_context().is_valid
    assert started.is_recording() is recorded
    if "OTEL_EXPORTER_OTLP_ENDPOINT" not in environment:
        made[0].shutdown()


def test_the_service_goes_by_its_own_name_unless_the_environment_has_another(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[TracerProvider] = []
    monkeypatch.setattr(trace, "set_tracer_provider", made.append)
    configure_tracing("a_service")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "another")
    configure_tracing("a_service")
    assert [provider.resource.attributes["service.name"] for provider in made] == ["a_service", "another"]
