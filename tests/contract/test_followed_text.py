"""GetMaterialText with `follow`: each page once it is read, on a stack whose Brain embeds a page when the test lets it."""

from __future__ import annotations

import asyncio
import os
import signal
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
from materials.v1 import material_pb2
from materials.v1 import processor_service_pb2 as pb

from tests.contract.answering_brain import AnsweringBrain
from tests.contract.answers import stack_with_brain
from tests.contract.person import Person, Watch
from tests.contract.refusals import refused
from tests.local_stack import Client, LocalStack

PAGES = 4
PROCESSING = material_pb2.PROCESSING_STATUS_PROCESSING
FollowedText = Watch[pb.GetMaterialTextResponse]


@dataclass
class Reading:
    """A stack, and its Brain, which embeds each page of a material once the test lets it."""

    stack: LocalStack
    brain: AnsweringBrain
    client: Client

    async def upload(self, course: str, pages: int = PAGES) -> material_pb2.Material:
        texts = [page_text(course, number) for number in range(1, pages + 1)]
        self.brain.held_back |= {text: asyncio.Event() for text in texts}
        return await self.client.upload("\f".join(texts).encode(), course=course)

    def read_pages(self, course: str, *page_numbers: int) -> None:
        """The Brain embeds these pages."""
        for number in page_numbers:
            self.brain.held_back[page_text(course, number)].set()


def page_text(course: str, number: int) -> str:
    return f"Page {number} of {course} is about glaciers."


@asynccontextmanager
async def followed(client: Client, material_id: str, first_page: int = 0) -> AsyncIterator[FollowedText]:
    request = pb.GetMaterialTextRequest(material_id=material_id, first_page=first_page, follow=True)
    call = client.processor.GetMaterialText(request, metadata=client.metadata, wait_for_ready=True)
    try:
        yield Watch(call)
    finally:
        call.cancel()


async def numbers(text: FollowedText, count: int) -> list[int]:
    """Of the next pages."""
    return [(await text.next()).page_number for _ in range(count)]


async def rest(text: FollowedText) -> list[int]:
    """Of the pages until the stream ends with OK."""
    return [page.page_number for page in await text.rest()]


@pytest.fixture(scope="module")
async def reading() -> AsyncIterator[Reading]:
    async with stack_with_brain(MAX_FOLLOWED_TEXTS_PER_OWNER="2") as (stack, brain), stack.client() as client:
        yield Reading(stack, brain, client)


async def test_each_page_comes_once_it_is_read_and_the_stream_ends_with_the_material(
    reading: Reading, course: str
) -> None:
    material = await reading.upload(course)
    async with followed(reading.client, material.id) as text, followed(reading.client, material.id, 3) as later:
        for number in range(1, PAGES + 1):
            reading.read_pages(course, number)
            page = await text.next()
            assert (page.page_number, page.text) == (number, page_text(course, number))
            assert page.source == pb.TEXT_SOURCE_FILE
            if number < PAGES:
                assert (await reading.client.get(material.id)).processing_status == PROCESSING
        assert await rest(text) == []
        assert await rest(later) == [3, 4]


async def test_pages_that_are_there_come_first_and_who_comes_after_the_end_gets_all(
    reading: Reading, course: str
) -> None:
    material = await reading.upload(course)
    reading.read_pages(course, 1, 2)
    async with followed(reading.client, material.id) as first:
        assert await numbers(first, 2) == [1, 2]
        async with followed(reading.client, material.id) as second:
            assert await numbers(second, 2) == [1, 2]
            reading.read_pages(course, 3, 4)
            assert (await rest(first), await rest(second)) == ([3, 4], [3, 4])
    async with followed(reading.client, material.id) as late:
        assert await rest(late) == [1, 2, 3, 4]
    async with followed(reading.client, material.id, PAGES + 1) as beyond:
        assert await rest(beyond) == []


async def test_stream_ends_when_the_material_fails_and_goes_on_after_a_retry(reading: Reading, course: str) -> None:
    person = Person(reading.client)
    material = await reading.upload(course)
    reading.read_pages(course, 1)
    async with followed(reading.client, material.id) as text:
        assert await numbers(text, 1) == [1]
        await person.cancel(material.id)
        assert await rest(text) == []
    await person.retry(material.id)
    async with followed(reading.client, material.id) as text:
        assert await numbers(text, 1) == [1]
        reading.read_pages(course, 2, 3, 4)
        assert await rest(text) == [2, 3, 4]


async def test_material_that_is_deleted_is_gone_for_who_follows_it(reading: Reading, course: str) -> None:
    material = await reading.upload(course)
    reading.read_pages(course, 1)
    async with followed(reading.client, material.id) as text:
        assert await numbers(text, 1) == [1]
        await Person(reading.client).delete(material.id)
        with refused("NOT_FOUND", "MATERIAL_NOT_FOUND"):
            await text.next()


async def test_stranger_and_unknown_material_get_the_same_answer(reading: Reading, course: str) -> None:
    material = await reading.upload(course, 1)
    async with reading.stack.client(reading.stack.user_token("stranger")) as stranger:
        answers = set()
        for material_id in (material.id, str(uuid.uuid4()), "../x", ""):
            async with followed(stranger, material_id) as text:
                with refused("NOT_FOUND", "MATERIAL_NOT_FOUND") as refusal:
                    await text.next()
            answers.add(refusal.status_bytes)
        assert len(answers) == 1
    reading.read_pages(course, 1)
    await reading.client.watch_to_end(material.id)


async def test_owner_may_follow_so_many_at_once(reading: Reading, course: str) -> None:
    material = await reading.upload(course, 2)
    reading.read_pages(course, 1)
    async with reading.stack.client(reading.stack.user_token("follower", {course: "reader"})) as follower:
        async with followed(follower, material.id) as first, followed(follower, material.id) as second:
            assert (await numbers(first, 1), await numbers(second, 1)) == ([1], [1])
            async with followed(follower, material.id) as third:
                with refused("RESOURCE_EXHAUSTED", "OWNER_WATCH_LIMIT") as refusal:
                    await third.next()
                assert refusal.retry_seconds
            reading.read_pages(course, 2)
            assert (await rest(first), await rest(second)) == ([2], [2])
        async with followed(follower, material.id) as again:
            assert await rest(again) == [1, 2]


async def test_stream_outlives_a_restart_of_the_record(reading: Reading, course: str) -> None:
    material = await reading.upload(course)
    async with followed(reading.client, material.id) as text:
        reading.read_pages(course, 1)
        assert await numbers(text, 1) == [1]
        os.kill(pid(reading, "status"), signal.SIGKILL)
        reading.read_pages(course, 2, 3, 4)
        assert await numbers(text, 3) == [2, 3, 4]
        assert await rest(text) == []


async def test_replica_that_stops_sends_its_streams_elsewhere(reading: Reading, course: str) -> None:
    material = await reading.upload(course)
    async with followed(reading.client, material.id) as text:
        reading.read_pages(course, 1)
        assert await numbers(text, 1) == [1]
        os.kill(pid(reading, "processor"), signal.SIGTERM)
        with refused("UNAVAILABLE", "SHUTTING_DOWN") as refusal:
            await text.next()
        assert refusal.retry_seconds is not None
    reading.read_pages(course, 2, 3, 4)
    async with followed(reading.client, material.id, 2) as text:
        assert await numbers(text, 3) == [2, 3, 4]
        assert await rest(text) == []


def pid(reading: Reading, service: str) -> int:
    """Of the service's process as of now."""
    found: int = reading.stack.current()["pids"][service]
    return found
