"""What is counted of an upload: one outcome, whatever became of it, and all bytes that came."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest
from materials.v1 import ingest_service_pb2, record_service_pb2
from prometheus_client import CollectorRegistry

from ingest_service.admission import Admission
from ingest_service.event_publisher import EventPublisher
from ingest_service.metrics import IngestMetrics
from ingest_service.record_calls import RecordCalls
from ingest_service.store_cooldown import StoreCooldown
from ingest_service.upload_messages import UploadMessage
from ingest_service.uploads import Uploads
from servicekit.errors import ServiceError
from servicekit.identity import Caller
from servicekit.memory import ProcessMemory
from servicekit.object_store import ObjectStore

ANN = Caller("ann", courses={"biology": "editor"})
TEXT = b"Mitochondria turn sugar into ATP.\n"
MAX_BYTES = 1_000_000


class Record:
    """Admits everybody; makes what it has not `seen`, and answers while `answers` is set."""

    def __init__(self) -> None:
        self.seen: set[str] = set()
        self.asked, self.answers = asyncio.Event(), asyncio.Event()
        self.answers.set()

    async def admit(self, owner_id: str, request_id: str) -> None:
        """Yes."""

    async def create(
        self, request: record_service_pb2.CreateMaterialRequest
    ) -> record_service_pb2.CreateMaterialResponse:
        self.asked.set()
        await self.answers.wait()
        created = request.request_id not in self.seen
        self.seen.add(request.request_id)
        return record_service_pb2.CreateMaterialResponse(created=created)


class Counted:
    """Uploads to a real directory, and what is counted of them."""

    def __init__(self, directory: Path) -> None:
        self.record, self._registry = Record(), CollectorRegistry()
        store, record = ObjectStore(directory.as_uri()), cast(RecordCalls, self.record)
        memory = ProcessMemory(0, cgroups=directory)
        self._uploads = Uploads(
            store,
            record,
            cast(EventPublisher, None),  # nothing is announced here
            Admission(store, record, memory=memory, reserve_bytes=0, cooldown=StoreCooldown()),
            max_bytes=MAX_BYTES,
            max_concurrent=10,
            max_per_owner=10,
            idle_seconds=20.0,
            metrics=IngestMetrics(self._registry),
        )

    async def upload(self, *chunks: bytes, course: str = "biology") -> None:
        async def messages() -> AsyncIterator[UploadMessage]:
            metadata = ingest_service_pb2.UploadMetadata(course_id=course, name="notes.txt", request_id="once")
            yield ingest_service_pb2.UploadMaterialRequest(metadata=metadata)
            for chunk in chunks:
                yield memoryview(chunk)

        async with asyncio.timeout(20):
            await self._uploads.upload(ANN, messages())

    def outcomes(self) -> dict[str, float]:
        samples = [sample for metric in self._registry.collect() for sample in metric.samples]
        ended = [sample for sample in samples if sample.name == "materials_uploads_total"]
        return {sample.labels["outcome"]: sample.value for sample in ended if sample.value}

    def bytes(self) -> Any:
        return self._registry.get_sample_value("materials_upload_bytes_total")


@pytest.fixture
def counted(tmp_path: Path) -> Counted:
    return Counted(tmp_path)


async def test_one_that_is_kept_and_one_that_is_known(counted: Counted) -> None:
    await counted.upload(TEXT)
    assert (counted.outcomes(), counted.bytes()) == ({"kept": 1}, len(TEXT))
    await counted.upload(TEXT, TEXT)
    assert (counted.outcomes(), counted.bytes()) == ({"kept": 1, "known": 1}, 3 * len(TEXT))


@pytest.mark.parametrize(
    ("chunks", "course"), [([TEXT, b"\0"], "biology"), ([b"a" * (MAX_BYTES + 1)], "biology"), ([TEXT], "geology")]
)
async def test_bytes_of_one_that_is_refused_are_those_that_came(
    counted: Counted, chunks: list[bytes], course: str
) -> None:
    with pytest.raises(ServiceError):
        await counted.upload(*chunks, course=course)
    assert (counted.outcomes(), counted.bytes()) == ({"refused": 1}, sum(map(len, chunks)))


async def test_one_whose_client_goes_while_it_is_recorded_is_broken_off_and_nothing_else(counted: Counted) -> None:
    counted.record.answers.clear()
    uploading = asyncio.create_task(counted.upload(TEXT))
    async with asyncio.timeout(20):
        await counted.record.asked.wait()
        uploading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await uploading
        counted.record.answers.set()
        while not counted.record.seen:
            await asyncio.sleep(0)
    assert (counted.outcomes(), counted.bytes()) == ({"broken": 1}, len(TEXT))
