"""Metrics without a service: what is counted as what, and how often the database is asked."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from materials.v1 import errors_pb2
from prometheus_client import CollectorRegistry, generate_latest

from gateway.metrics import GatewayMetrics
from ingest_service.metrics import IngestMetrics
from processor_service.brain.errors import BrainBusy, BrainError, BrainTimedOut, BreakerOpen
from processor_service.brain.observed_calls import ObservedCalls, result_of
from processor_service.metrics import BRAIN_RESULTS, BrainMetrics
from servicekit.errors import FieldInvalid, Unavailable
from servicekit.metrics import CallMetrics
from servicekit.metrics_server import MAX_CONNECTIONS, MetricsServer
from status_service.metrics import FRESH_SECONDS, STALE_SECONDS, QueueMetrics, failures_by_name
from tests.local_stack import free_port

UPLOAD = "/materials.v1.IngestService/UploadMaterial"
ROW = {
    "waiting": 3, "delayed": 1, "unannounced": 2, "working": 4, "leases": 4, "purging": 0, "paused": True,
    "oldest": 12.5, "failed": '{"10": 7, "9999": 2, "9998": 1}',
}  # fmt: skip


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


class Database:
    """Answers a row, or is away."""

    def __init__(self) -> None:
        self.asked, self.away = 0, False

    async def fetchrow(self, statement: str) -> dict[str, Any]:
        self.asked += 1
        await asyncio.sleep(0)
        if self.away:
            raise Unavailable(errors_pb2.ERROR_REASON_DATABASE_UNAVAILABLE, "away")
        return ROW


def test_a_call_is_begun_once_and_ended_by_its_code(registry: CollectorRegistry) -> None:
    calls = CallMetrics(registry)
    first, second = calls.begun(UPLOAD), calls.begun(UPLOAD)
    first.ended("OK")
    labels = {"grpc_service": "materials.v1.IngestService", "grpc_method": "UploadMaterial"}

    def handled(code: str) -> float | None:
        return registry.get_sample_value("grpc_server_handled_total", {**labels, "grpc_code": code})

    assert registry.get_sample_value("grpc_server_started_total", labels) == 2
    assert (handled("OK"), handled("CANCELLED")) == (1, None)
    second.ended("CANCELLED")
    assert (handled("OK"), handled("CANCELLED")) == (1, 1)
    assert registry.get_sample_value("grpc_server_handling_seconds_count", labels) == 2


def test_an_upload_that_fails_is_refused_or_broken_off(registry: CollectorRegistry) -> None:
    metrics = IngestMetrics(registry)
    for error in (FieldInvalid("name", "is too long"), asyncio.CancelledError()):
        with pytest.raises(type(error)), metrics.failures():
            raise error
    with metrics.failures():
        pass
    outcomes = {
        name: registry.get_sample_value("materials_uploads_total", {"outcome": name})
        for name in ("refused", "broken", "kept")
    }
    assert outcomes == {"refused": 1, "broken": 1, "kept": 0}


def test_methods_that_nobody_knows_are_one(registry: CollectorRegistry) -> None:
    metrics = GatewayMetrics(registry)
    for method in ("GET", "BREW", "PROPFIND"):
        metrics.answered(method, "none", 405, 0.1)
    assert registry.get_sample_value("http_requests_total", {"method": "_OTHER", "route": "none", "code": "405"}) == 2


def test_a_call_of_the_brain_is_told_by_the_class_of_its_error(registry: CollectorRegistry) -> None:
    observed = ObservedCalls(BrainMetrics(registry))
    for error in (BrainBusy("secret words"), BrainTimedOut("secret words"), asyncio.CancelledError(), ValueError()):
        with pytest.raises(type(error)), observed.call("read"):
            raise error
    with observed.call("read"):
        pass
    for result in ("busy", "timed_out", "cancelled", "unforeseen", "ok"):
        assert registry.get_sample_value("materials_brain_calls_total", {"kind": "read", "result": result}) == 1, result
    assert registry.get_sample_value("materials_brain_call_seconds_count", {"kind": "read"}) == 5
    assert b"secret" not in generate_latest(registry)


def test_the_results_that_are_counted_from_zero_are_all_that_a_call_can_have() -> None:
    def below(error: type[BrainError]) -> set[type[BrainError]]:
        return {error}.union(*map(below, error.__subclasses__()))

    # With the breaker open nothing is sent, so there is no call; nor is there for errors that others derive from these.
    classes = {each for each in below(BrainError) if each.__module__ == BrainError.__module__} - {
        BrainError,
        BreakerOpen,
    }
    assert {result_of(each.__new__(each)) for each in classes} | {"ok", "unforeseen", "cancelled"} == set(BRAIN_RESULTS)


async def test_the_queue_is_asked_for_once_however_many_ask_at_once_and_again_when_it_is_old(
    registry: CollectorRegistry,
) -> None:
    database, now = Database(), 100.0
    queue = QueueMetrics(database, registry, clock=lambda: now)  # type: ignore[arg-type]
    assert registry.get_sample_value("materials_queue_waiting") is None
    assert database.asked == 0, "to register asks nothing"
    await asyncio.gather(*[queue.refresh() for _ in range(5)])
    assert database.asked == 1
    assert registry.get_sample_value("materials_queue_waiting") == 3
    assert registry.get_sample_value("materials_processing_paused") == 1
    assert registry.get_sample_value("materials_oldest_waiting_seconds") == 12.5
    assert registry.get_sample_value("materials_queue_failed", {"reason": "brain_failed"}) == 7
    now += FRESH_SECONDS
    await queue.refresh()
    assert database.asked == 2


async def test_a_queue_that_nobody_can_tell_is_told_for_a_minute_more_and_then_no_more(
    registry: CollectorRegistry,
) -> None:
    database, now = Database(), 100.0
    queue = QueueMetrics(database, registry, clock=lambda: now)  # type: ignore[arg-type]
    await queue.refresh()
    database.away, now = True, now + STALE_SECONDS
    await queue.refresh()
    assert registry.get_sample_value("materials_queue_waiting") == 3
    now += 1
    await queue.refresh()
    assert database.asked == 2, "a database that is away is asked no more often"
    assert registry.get_sample_value("materials_queue_waiting") is None


def test_reasons_that_only_a_newer_version_knows_are_one() -> None:
    assert failures_by_name({"10": 7, "9999": 2, "9998": 1}) == {"brain_failed": 7, "unknown": 3}


async def test_the_port_answers_so_many_at_once_and_goes_on_without_what_takes_too_long(
    registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("servicekit.metrics_server.REFRESH_SECONDS", 0.01)
    IngestMetrics(registry)

    async def never() -> None:
        await asyncio.Event().wait()

    port = free_port()
    server = MetricsServer(f"127.0.0.1:{port}", registry, [never])
    async with asyncio.TaskGroup() as tasks:
        await server.start(tasks)
    silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(MAX_CONNECTIONS)]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    async with asyncio.timeout(10):
        assert await reader.read() == b"", "one more is closed at once"
        writer.close()
        silent[0][1].write(b"GET /metrics HTTP/1.1\r\n\r\n")
        assert b"materials_upload_bytes_total 0.0" in await silent[0][0].read()
        await server.stop()
        assert await silent[1][0].read() == b"", "a stop cuts what is under way"
    for _, each in silent:
        each.close()


async def test_an_address_that_is_taken_is_named() -> None:
    port = free_port()
    taken = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", port)
    async with taken, asyncio.TaskGroup() as tasks:
        with pytest.raises(RuntimeError, match="METRICS_ADDRESS"):
            await MetricsServer(f"127.0.0.1:{port}", CollectorRegistry()).start(tasks)
