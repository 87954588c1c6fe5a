"""What is done to a real stack moves the numbers that tell of it."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import httpx
import pytest
from materials.v1 import status_service_pb2

from tests.contract.refusals import eventually
from tests.contract.rest import Rest
from tests.integration.observed_stack import Metrics, ObservedStack
from tests.local_stack import unique_course

TEXT = b"Mitochondria turn sugar into ATP, which the cell uses as energy.\n"
BROKEN = b"%PDF-1.7 is no more than a beginning"
PARTS = ("gateway", "ingest", "status", "processor")


def all_metrics(observed: ObservedStack) -> dict[str, Metrics]:
    return {part: observed.metrics(part) for part in PARTS}


@pytest.mark.parametrize("part", PARTS)
async def test_every_process_tells_the_four_golden_signals(observed: ObservedStack, part: str) -> None:
    metrics = observed.metrics(part)
    assert metrics.value("process_resident_memory_bytes") > 10_000_000
    assert metrics.value("process_open_fds") > 5

    async def looked() -> bool:
        return observed.metrics(part).value("materials_event_loop_lag_seconds_count") > 0

    await eventually(looked, "the event loop's lag was looked at")
    async with Rest(observed.stack.facts["gateway"], observed.stack.facts["token"]) as rest:
        course = unique_course()
        await rest.upload(course, TEXT)
        await rest.get(f"/courses/{course}/search", query="energy")
    metrics = observed.metrics(part)
    names = (
        ("http_requests_total", "http_request_duration_seconds_bucket", "http_requests_under_way")
        if part == "gateway"
        else ("grpc_server_handled_total", "grpc_server_handling_seconds_bucket", "grpc_server_started_total")
    )
    for name in names:
        assert f"\n{name}" in metrics.text
    assert "_created" not in metrics.text


async def test_an_upload_a_failure_and_a_refusal_move_their_numbers_and_no_other(observed: ObservedStack) -> None:
    course, before = unique_course(), all_metrics(observed)
    async with Rest(observed.stack.facts["gateway"], observed.stack.facts["token"]) as rest:
        for content, status in ((new := course.encode() + TEXT, "completed"), (BROKEN, "failed")):
            material = await rest.upload(course, content)
            assert (await rest.ended(material["id"]))["processing_status"] == status
        assert (await rest.post_file(course, b"")).status_code == 422
    after = all_metrics(observed)

    def moved(part: str, name: str, **labels: str) -> float:
        return after[part].value(name, **labels) - before[part].value(name, **labels)

    assert moved("gateway", "http_requests_total", route="/courses/{course_id}/materials", code="201") == 2
    assert moved("gateway", "http_requests_total", route="/courses/{course_id}/materials", code="422") == 1
    upload = {"grpc_method": "UploadMaterial"}
    assert moved("ingest", "grpc_server_handled_total", **upload, grpc_code="OK") == 2
    assert moved("ingest", "grpc_server_handled_total", **upload, grpc_code="INVALID_ARGUMENT") == 1
    assert moved("ingest", "grpc_server_handling_seconds_count", **upload) == 3
    assert moved("ingest", "materials_uploads_total", outcome="kept") == 2
    assert moved("ingest", "materials_uploads_total", outcome="refused") == 1
    assert moved("ingest", "materials_uploads_total") == 3
    assert moved("ingest", "materials_refusals_total", reason="FILE_EMPTY") == 1
    assert moved("ingest", "materials_upload_bytes_total") == len(new) + len(BROKEN)
    assert moved("ingest", "materials_events_published_total", outcome="published") >= 2
    assert moved("ingest", "materials_events_published_total", outcome="failed") == 0
    assert moved("status", "materials_record_batch_changes_count") >= 4
    assert moved("processor", "materials_attempts_total", outcome="completed") == 1
    assert moved("processor", "materials_attempts_total", outcome="failed", reason="file_corrupt") == 1
    assert moved("processor", "materials_pages_total", source="file") == 1
    assert moved("processor", "materials_passages_total") >= 1
    assert moved("processor", "materials_brain_calls_total", kind="embed", result="ok") >= 1
    assert moved("processor", "materials_material_brain_calls_sum") == moved(
        "processor", "materials_brain_calls_total", kind="embed"
    )
    assert moved("processor", "materials_material_seconds_count") == 1
    assert moved("processor", "materials_consumer_messages_total", durable="processor", outcome="done") >= 2
    assert after["processor"].value("materials_brain_breaker_open") == 0
    assert after["processor"].value("materials_slots") >= 1


async def test_a_watch_is_counted_while_it_is_open_and_told_of_what_changes(observed: ObservedStack) -> None:
    course, before = unique_course(), observed.metrics("status")
    async with observed.stack.client() as client:
        watch = client.status.WatchCourse(
            status_service_pb2.WatchCourseRequest(course_id=course), metadata=client.metadata
        )
        assert (await watch.read()).HasField("snapshot_complete")  # type: ignore[union-attr]
        during = observed.metrics("status")
        assert during.value("materials_watches") == before.value("materials_watches") + 1
        await client.upload(TEXT, course=course)
        await watch.read()
        assert observed.metrics("status").value("materials_changes_told_total") > before.value(
            "materials_changes_told_total"
        )
        watch.cancel()

        async def closed() -> bool:
            return observed.metrics("status").value("materials_watches") == before.value("materials_watches")

        await eventually(closed, "the watch is not counted any more")
    ended = observed.metrics("status")
    method = {"grpc_method": "WatchCourse", "grpc_code": "CANCELLED"}
    assert ended.value("grpc_server_handled_total", **method) > before.value("grpc_server_handled_total", **method)


async def test_event_streams_of_the_gateway_are_counted_while_they_are_open(observed: ObservedStack) -> None:
    before = observed.metrics("gateway").value("materials_event_streams")
    async with (
        Rest(observed.stack.facts["gateway"], observed.stack.facts["token"]) as rest,
        rest.http.stream("GET", f"/courses/{unique_course()}/events") as stream,
    ):
        await anext(stream.aiter_bytes())
        assert observed.metrics("gateway").value("materials_event_streams") == before + 1


async def test_the_queue_is_told_by_reason(observed: ObservedStack) -> None:
    """Its answer is kept for ten seconds, and other tests may have left work behind: one without is awaited."""
    async with Rest(observed.stack.facts["gateway"], observed.stack.facts["token"]) as rest:
        material = await rest.upload(unique_course(), b"%PDF-1.7 broken")
        await rest.ended(material["id"])

    idle = (
        "materials_queue_waiting", "materials_queue_delayed", "materials_queue_working", "materials_leases_held",
        "materials_announcements_waiting", "materials_processing_paused", "materials_oldest_waiting_seconds",
    )  # fmt: skip

    async def told() -> bool:
        metrics = observed.metrics("status")
        failed = metrics.value("materials_queue_failed", reason="file_corrupt")
        return failed >= 1 and all(re.search(rf"^{name} 0\.0$", metrics.text, re.MULTILINE) for name in idle)

    await eventually(told, "a queue with the failed material and without any other", seconds=30)
    assert observed.metrics("status").value("materials_report_streams") == 1


async def test_only_metrics_are_served_there(observed: ObservedStack) -> None:
    url = observed.stack.facts["metrics"]["ingest"]
    async with httpx.AsyncClient(timeout=20) as http:
        assert (await http.get(url.removesuffix("metrics"))).status_code == 404
        assert (await http.post(url)).status_code == 405
    host, _, port = url.removeprefix("http://").removesuffix("/metrics").partition(":")
    for sent in (b"GET /metrics HTTP/1.1\r\nX: " + b"x" * 20_000, b"\x00\xff\r\n\r\n", b""):
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(sent)
        writer.write_eof()
        async with asyncio.timeout(20):
            assert b"200 OK" not in await reader.read()
        writer.close()
    assert observed.metrics("ingest").text


def test_the_log_of_the_stack_says_where_they_are(observed: ObservedStack) -> None:
    assert set(observed.stack.facts["metrics"]) == set(PARTS)
    assert Path(observed.stack.data_dir / "stack.json").read_text().count("/metrics") == len(PARTS)
