"""A part of the system dies in the middle of the work: nothing is lost, nothing is done twice, and nobody has to do anything."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import uuid
from collections.abc import Iterator

import grpc
import nats
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from materials.v1 import ingest_service_pb2, material_pb2, processor_service_pb2, status_service_pb2
from PIL import Image, ImageDraw, ImageFont

from servicekit.errors import reason_of_status
from tests.local_stack import Client, LocalStack, unique_course

PAGES = 5
SUBJECTS = [
    "osmosis through cell walls",
    "the water cycle",
    "prime numbers",
    "the French revolution",
    "plate tectonics",
]


@pytest.fixture(scope="module")
def own_stack() -> Iterator[LocalStack]:
    """A stack whose processes may be killed. Short leases, so that a lost worker is noticed in seconds."""
    running = LocalStack.start(environment={"LEASE_SECONDS": "6"})
    yield running
    running.stop()


def scan(run: str) -> bytes:
    """A TIFF of five pages, each a picture of a few lines of text."""
    font = ImageFont.load_default(44)
    frames = []
    for number, subject in enumerate(SUBJECTS, 1):
        page = Image.new("L", (1240, 900), 250)
        lines = [
            f"Page {number} of the notes {run}",
            f"This page is about {subject}.",
            "It was written by hand and then",
            "scanned at the library.",
        ]
        for row, line in enumerate(lines):
            ImageDraw.Draw(page).text((80, 90 + row * 110), line, fill=20, font=font)
        frames.append(page)
    buffer = io.BytesIO()
    frames[0].save(buffer, "TIFF", save_all=True, append_images=frames[1:], compression="tiff_lzw")
    return buffer.getvalue()


def pages_read(stack: LocalStack) -> int:
    """How many files the local Brain has read since the stack was made: its own log."""
    return (stack.data_dir / "logs" / "brain.log").read_text().count("read a file of")


async def watch_until(client: Client, material_id: str, pages_done: int) -> None:
    """Returns as soon as so many pages are done."""
    call = client.status.WatchMaterial(
        status_service_pb2.WatchMaterialRequest(material_id=material_id), metadata=client.metadata, timeout=120
    )
    try:
        async for response in call:
            if response.material.pages_done >= pages_done:
                return
    finally:
        call.cancel()


async def text_of(client: Client, material_id: str) -> dict[int, str]:
    """The text by page."""
    call = client.processor.GetMaterialText(
        processor_service_pb2.GetMaterialTextRequest(material_id=material_id), metadata=client.metadata, timeout=30
    )
    return {page.page_number: page.text async for page in call}


@pytest.mark.parametrize("victim", ["ingest", "status", "processor", "brain", "nats", "postgres"])
async def test_a_part_killed_in_the_middle_of_a_scan_costs_nothing_but_time(own_stack: LocalStack, victim: str) -> None:
    course = unique_course()
    before = pages_read(own_stack)
    async with own_stack.client() as client:
        material = await client.upload(scan(victim), course=course, name=f"scan {victim}.tif")
        watching = asyncio.create_task(client.watch_to_end(material.id, seconds=150))
        await watch_until(client, material.id, 2)
        os.kill(own_stack.current()["pids"][victim], signal.SIGKILL)
        states = await watching

        assert states[-1].processing_status == material_pb2.PROCESSING_STATUS_COMPLETED, states[-1]
        revisions = [state.revision for state in states]
        assert revisions == sorted(set(revisions)), "a watcher saw a repeat or a step back"
        done = [state.pages_done for state in states]
        assert done == sorted(done), "pages done went down"
        text = await text_of(client, material.id)
        assert sorted(text) == list(range(1, PAGES + 1))
        for number, subject in enumerate(SUBJECTS, 1):
            assert subject.split()[-1].lower() in text[number].lower()
        # The page that was being read when the part died may be read again; a finished one never.
        assert pages_read(own_stack) - before <= PAGES + 1

        hits = await client.processor.SearchMaterials(
            processor_service_pb2.SearchMaterialsRequest(course_id=course, query="movement of continents"),
            metadata=client.metadata,
            timeout=60,
        )
        assert (hits.results[0].material_id, hits.results[0].page_number) == (material.id, 5)
        assert len({(hit.page_number, hit.start_offset) for hit in hits.results}) == len(hits.results)


async def test_everything_is_still_there_after_a_stop_and_unfinished_work_goes_on() -> None:
    first = LocalStack.start(environment={"LEASE_SECONDS": "6"})
    course = unique_course()
    try:
        async with first.client() as client:
            material = await client.upload(scan("restart"), course=course, name="scan.tif")
            await watch_until(client, material.id, 1)
    finally:
        first.stop(keep=True)
    pids = first.facts["pids"].values()
    assert not [pid for pid in pids if is_running(pid)], "a process was left behind"

    second = LocalStack.start(first.data_dir, environment={"LEASE_SECONDS": "6"})
    try:
        async with second.client() as client:
            states = await client.watch_to_end(material.id)
            assert states[-1].processing_status == material_pb2.PROCESSING_STATUS_COMPLETED
            assert sorted(await text_of(client, material.id)) == list(range(1, PAGES + 1))
            # A graceful stop hands the lease back: nothing counts as a crash or a failure.
            history = await client.status.ListMaterialTransitions(
                status_service_pb2.ListMaterialTransitionsRequest(material_id=material.id),
                metadata=client.metadata,
                timeout=20,
            )
            events = [transition.event for transition in history.transitions]
            assert events == ["created", "claimed", "handed_back", "claimed", "completed"]
            listed = await client.status.ListMaterials(
                status_service_pb2.ListMaterialsRequest(course_id=course), metadata=client.metadata, timeout=20
            )
            assert [item.id for item in listed.materials] == [material.id]
            download = client.ingest.DownloadMaterial(
                ingest_service_pb2.DownloadMaterialRequest(material_id=material.id),
                metadata=client.metadata,
                timeout=30,
            )
            assert b"".join([part.chunk async for part in download]) == scan("restart")
    finally:
        second.stop()


async def test_an_upload_without_nats_is_answered_and_delivered_when_it_is_back(own_stack: LocalStack) -> None:
    broker = own_stack.current()["pids"]["nats"]
    os.kill(broker, signal.SIGSTOP)
    try:
        async with own_stack.client() as client:
            material = await client.upload(b"Mitochondria make the cell's energy.", course=unique_course())
            assert material.processing_status == material_pb2.PROCESSING_STATUS_PENDING
    finally:
        os.kill(broker, signal.SIGCONT)
    async with own_stack.client() as client:
        states = await client.watch_to_end(material.id)
    assert states[-1].processing_status == material_pb2.PROCESSING_STATUS_COMPLETED


async def test_a_wiped_stream_is_filled_again_from_the_record(own_stack: LocalStack) -> None:
    brain = own_stack.current()["pids"]["brain"]
    os.kill(brain, signal.SIGKILL)  # the work waits for it, so that the event is still needed
    connection = await nats.connect(own_stack.facts["nats"])
    try:
        async with own_stack.client() as client:
            materials = [await client.upload(f"note {n}".encode(), course=unique_course()) for n in range(5)]
            await connection.jetstream().delete_stream("MATERIALS")
            for material in materials:
                states = await client.watch_to_end(material.id)
                assert states[-1].processing_status == material_pb2.PROCESSING_STATUS_COMPLETED
    finally:
        await connection.close()


async def test_an_upload_while_the_record_is_away_is_refused_with_a_reason_and_repeated_without_a_double(
    own_stack: LocalStack,
) -> None:
    course, request_id = unique_course(), str(uuid.uuid4())
    async with own_stack.client() as client:
        status = own_stack.current()["pids"]["status"]
        os.kill(status, signal.SIGSTOP)
        try:
            with pytest.raises(grpc.aio.AioRpcError) as refusal:
                await client.upload(b"Tides follow the moon.", course=course, request_id=request_id)
        finally:
            os.kill(status, signal.SIGCONT)
        assert refusal.value.code() is grpc.StatusCode.UNAVAILABLE
        details = rpc_status.from_call(refusal.value)  # type: ignore[arg-type]
        assert reason_of_status(details) == "RECORD_UNAVAILABLE"
        assert any(detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR) for detail in details.details)

        first = await client.upload(b"Tides follow the moon.", course=course, request_id=request_id)
        again = await client.upload(b"Tides follow the moon.", course=course, request_id=request_id)
        assert first.id == again.id
        listed = await client.status.ListMaterials(
            status_service_pb2.ListMaterialsRequest(course_id=course), metadata=client.metadata, timeout=20
        )
        assert [material.id for material in listed.materials] == [first.id]


def is_running(pid: int) -> bool:
    """Whether the process is there and not just waiting to be reaped."""
    try:
        with open(f"/proc/{pid}/stat") as file:  # noqa: PTH123
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
