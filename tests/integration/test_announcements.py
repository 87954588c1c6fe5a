"""The outbox with several announcers: everything is announced, and nothing again and again."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import nats
import pytest
from google.protobuf.duration_pb2 import Duration
from materials.channels import bearer
from materials.v1 import record_service_pb2

from tests.local_stack import LocalStack, unique_course

UPLOADS = 40


@pytest.fixture(scope="module")
def waiting_stack() -> Iterator[LocalStack]:
    """Two Ingests and a Brain that is never there: what is uploaded waits."""
    running = LocalStack.start(None, "--replicas", "ingest=2", environment={"AI_BRAIN_ENDPOINT": "http://127.0.0.1:9"})
    yield running
    running.stop()


async def test_a_backlog_is_announced_once_by_any_number_of_announcers(waiting_stack: LocalStack) -> None:
    connection = await nats.connect(waiting_stack.facts["nats"])
    jetstream = connection.jetstream()
    service = bearer(waiting_stack.facts["service_token"])
    try:
        async with waiting_stack.client() as client:
            before = (await jetstream.stream_info("MATERIALS")).state.messages
            course = unique_course()
            await asyncio.gather(*[client.upload(f"note {n}".encode(), course=course) for n in range(UPLOADS)])

            async def lease(seconds: int) -> list[record_service_pb2.Announcement]:
                """As one more announcer, that says truly where the stream stands."""
                info = await jetstream.stream_info("MATERIALS")
                position = record_service_pb2.StreamPosition(
                    incarnation=str(info.created), last_sequence=info.state.last_seq
                )
                response = await client.record.LeaseAnnouncements(
                    record_service_pb2.LeaseAnnouncementsRequest(
                        max_count=500, wait=Duration(seconds=seconds), stream=position
                    ),
                    metadata=service,
                    timeout=seconds + 20,
                )
                return list(response.announcements)

            # Both announcers make several rounds meanwhile, each with its own, older view of the stream.
            assert await lease(12) == []
            assert await lease(1) == []
            events = (await jetstream.stream_info("MATERIALS")).state.messages - before
            assert UPLOADS <= events <= UPLOADS + UPLOADS // 4
    finally:
        await connection.close()


async def test_a_stream_set_back_or_made_anew_is_noticed_by_its_position(waiting_stack: LocalStack) -> None:
    service = bearer(waiting_stack.facts["service_token"])
    async with waiting_stack.client() as client:
        material = await client.upload(b"a note", course=unique_course())
        position = record_service_pb2.StreamPosition(incarnation="another stream", last_sequence=0)
        announced: dict[str, int] = {}
        async with asyncio.timeout(60):
            while material.id not in announced:
                response = await client.record.LeaseAnnouncements(
                    record_service_pb2.LeaseAnnouncementsRequest(
                        max_count=500, wait=Duration(seconds=1), stream=position
                    ),
                    metadata=service,
                    timeout=20,
                )
                announced.update({item.material_id: item.number for item in response.announcements})
        assert announced[material.id] > 1, "a repeat needs a number of its own"
