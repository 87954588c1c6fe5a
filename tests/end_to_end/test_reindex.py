"""Another embedding model on the running stack: search answers all the while, a kill of every processor costs no page, at the end the index is of one model."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

import asyncpg
import grpc
import pytest
from materials.v1 import material_pb2
from materials.v1 import processor_service_pb2 as pb

from tests.contract.command_line import Cli
from tests.integration.embedding_brain import EmbeddingBrain, embedding_brain
from tests.local_stack import Client, LocalStack, unique_course

ORGANS = ("heart", "lungs", "liver", "kidney", "stomach", "skin")
SECONDS = 90.0


@dataclass
class Reindexed:
    """A stack with two embedding models, the second one not in use yet."""

    stack: LocalStack
    old: EmbeddingBrain
    new: EmbeddingBrain

    async def fetch(self, sql: str) -> list[asyncpg.Record]:
        connection = await asyncpg.connect(self.stack.facts["postgres"], ssl=False)
        try:
            return await connection.fetch(sql)
        finally:
            await connection.close()


@pytest.fixture
async def running() -> AsyncIterator[Reindexed]:
    async with embedding_brain(8) as old, embedding_brain(4) as new:
        environment = {
            "AI_BRAIN_ENDPOINT": old.endpoint,
            "EMBEDDING_MODEL": "old-model",
            "EMBEDDING_DIMENSIONS": "8",
            "NEXT_AI_BRAIN_ENDPOINT": new.endpoint,
            "NEXT_EMBEDDING_MODEL": "new-model",
            "NEXT_EMBEDDING_DIMENSIONS": "4",
            "LEASE_SECONDS": "4",
        }
        stack = await asyncio.to_thread(LocalStack.start, None, "--replicas", "processor=2", environment=environment)
        try:
            yield Reindexed(stack, old, new)
        finally:
            await asyncio.to_thread(stack.stop)


async def found(client: Client, course: str, query: str) -> str:
    """The best passage; asked again while the processors restart."""
    async with asyncio.timeout(SECONDS):
        while True:
            try:
                request = pb.SearchMaterialsRequest(course_id=course, query=query, limit=1)
                response = await client.processor.SearchMaterials(request, metadata=client.metadata, timeout=20)
                return response.results[0].excerpt
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE:
                    raise
            await asyncio.sleep(0.1)


async def index_of(client: Client, *, pages: int) -> pb.GetIndexResponse:
    """The index once it has so many pages: they are counted no oftener than every second."""
    async with asyncio.timeout(SECONDS):
        while True:
            index = await client.processor.GetIndex(pb.GetIndexRequest(), metadata=client.metadata, wait_for_ready=True)
            if index.serving.pages_total == pages:
                return index
            await asyncio.sleep(0.1)


def organ_pages(organ: str) -> bytes:
    return "\f".join(f"The {organ}, part {part}: what it does and why." for part in range(1, 6)).encode()


async def read(client: Client, organ: str, course: str) -> material_pb2.Material:
    material = await client.upload(organ_pages(organ), course=course, name=f"{organ}.txt")
    ended_as = (await client.watch_to_end(material.id))[-1]
    assert ended_as.processing_status == material_pb2.PROCESSING_STATUS_COMPLETED
    return ended_as


async def test_change_of_the_model_is_not_noticed_by_who_searches(running: Reindexed) -> None:
    stack, old, new = running.stack, running.old, running.new
    course = unique_course()
    async with stack.client(every_replica=True) as client:
        for organ in ORGANS[:4]:
            await read(client, organ, course)
        assert "heart" in await found(client, course, "heart")
        new.held = {"part 4"}
        environment = {**os.environ, "MATERIALS_STACK": str(stack.data_dir / "stack.json")}
        command = await Cli(stack.data_dir, environment).start("reindex", "--retries", "50")
        await asyncio.wait_for(new.waiting.wait(), SECONDS)

        # While it is built: the old index answers, and what is uploaded is found at once.
        new_before = len(new.texts)
        for organ in ORGANS[:4]:
            assert organ in await found(client, course, organ)
        await read(client, ORGANS[4], course)
        assert ORGANS[4] in await found(client, course, ORGANS[4])
        index = await index_of(client, pages=25)
        assert (index.serving.generation, index.building.generation, index.building.embedding_model) == (
            1,
            2,
            "new-model",
        )
        assert index.building.pages_done < index.building.pages_total == 25
        assert len(new.texts) - new_before <= 4, "neither queries nor uploads go to the next model"

        # Every builder there is dies in the middle.
        for name, pid in stack.current()["pids"].items():
            if name.startswith("processor"):
                os.kill(pid, signal.SIGKILL)
        assert ORGANS[0] in await found(client, course, ORGANS[0])
        await read(client, ORGANS[5], course)
        new.answering.set()
        process = await asyncio.wait_for(ended_late(command), SECONDS)
        assert process == 0

        index = await index_of(client, pages=30)
        assert (index.serving.generation, index.serving.embedding_model) == (2, "new-model")
        assert not index.HasField("building")
        assert (index.serving.pages_done, index.serving.pages_total) == (30, 30)
        old.texts.clear()
        for organ in ORGANS:
            assert organ in await found(client, course, organ)
        assert old.texts == [], "queries are embedded by the model of the index in use"
        async with asyncio.timeout(SECONDS):
            while (rows := await running.fetch("SELECT DISTINCT generation FROM processor.passages")) != [(2,)]:
                assert {row["generation"] for row in rows} == {1, 2}
                await asyncio.sleep(0.1)
        rows = await running.fetch("SELECT material_id, page_number FROM processor.passages")
        assert len({tuple(row) for row in rows}) == 30


async def ended_late(command: asyncio.subprocess.Process) -> int:
    """The exit code of a command that may take its time."""
    out, err = await command.communicate()
    assert b"Traceback" not in err, err
    assert b"serving\t2 (embedding model new-model" in out, (out, err)
    assert command.returncode is not None
    return command.returncode


async def test_second_upload_of_the_same_bytes_is_not_read_again(running: Reindexed) -> None:
    course, other_course = unique_course(), unique_course()
    async with running.stack.client() as client:
        first = await read(client, ORGANS[0], course)
        running.old.texts.clear()
        begun = time.monotonic()
        second = await read(client, ORGANS[0], other_course)
        print(f"second upload of the same bytes: {time.monotonic() - begun:.3f} s", file=sys.stderr)
        assert running.old.texts == []
        assert (second.pages_total, second.has_embedding) == (first.pages_total, True)
        assert "heart" in await found(client, other_course, "heart")
    async with running.stack.client(running.stack.user_token("classmate", {course: "editor"})) as classmate:
        await read(classmate, ORGANS[0], course)
        assert len(running.old.texts) == 6, "another owner's is read for itself"
