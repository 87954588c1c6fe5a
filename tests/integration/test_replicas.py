"""Several replicas of each service behave as one."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator

import pytest
from materials.channels import bearer
from materials.v1 import material_pb2, status_service_pb2, status_service_pb2_grpc

from servicekit.channels import open_channel
from tests.local_stack import LocalStack, unique_course


@pytest.fixture(scope="module")
def replicated() -> Iterator[LocalStack]:
    running = LocalStack.start(None, "--replicas", "status=2,ingest=2,processor=2", environment={"LEASE_SECONDS": "6"})
    yield running
    running.stop()


async def watch_course_at(stack: LocalStack, endpoint: str, course: str, wanted: int) -> list[material_pb2.Material]:
    """Changes seen through one replica until `wanted` materials have completed."""
    async with open_channel(endpoint) as channel:
        call = status_service_pb2_grpc.StatusServiceStub(channel).WatchCourse(
            status_service_pb2.WatchCourseRequest(course_id=course), metadata=bearer(stack.facts["token"]), timeout=90
        )
        seen: list[material_pb2.Material] = []
        completed: set[str] = set()
        try:
            async for response in call:
                if response.HasField("material"):
                    seen.append(response.material)
                    if response.material.processing_status == material_pb2.PROCESSING_STATUS_COMPLETED:
                        completed.add(response.material.id)
                if len(completed) == wanted:
                    break
        finally:
            call.cancel()
    return seen


def assert_revisions_grow(seen: list[material_pb2.Material]) -> None:
    newest: dict[str, int] = {}
    for material in seen:
        assert material.revision > newest.get(material.id, 0), "a repeat or a step back"
        newest[material.id] = material.revision


async def test_watchers_on_every_replica_see_every_material_end(replicated: LocalStack) -> None:
    course = unique_course()
    watching = [
        asyncio.create_task(watch_course_at(replicated, endpoint, course, 12))
        for endpoint in replicated.facts["endpoints"]["status"]
    ]
    async with replicated.client() as client:
        await asyncio.gather(
            *[client.upload(f"note {n} on tides".encode(), course=course, name=f"{n}.txt") for n in range(12)]
        )
    for seen in await asyncio.gather(*watching):
        assert_revisions_grow(seen)
        assert len({material.id for material in seen}) == 12


async def test_watchers_are_right_also_while_nats_is_away(replicated: LocalStack) -> None:
    course = unique_course()
    async with replicated.client() as client:
        first = await client.upload(b"The first note.", course=course)
        await client.watch_to_end(first.id)
        watching = [
            asyncio.create_task(watch_course_at(replicated, endpoint, course, 2))
            for endpoint in replicated.facts["endpoints"]["status"]
        ]
        broker = replicated.current()["pids"]["nats"]
        os.kill(broker, signal.SIGSTOP)
        try:
            second = await client.upload(b"The second note.", course=course)
            # No live feed between the replicas now: both must still show it, from the record.
            for endpoint in replicated.facts["endpoints"]["status"]:
                async with open_channel(endpoint) as channel:
                    call = status_service_pb2_grpc.StatusServiceStub(channel).WatchCourse(
                        status_service_pb2.WatchCourseRequest(course_id=course),
                        metadata=bearer(replicated.facts["token"]),
                        timeout=30,
                    )
                    async for response in call:
                        if response.material.id == second.id:
                            break
                    call.cancel()
        finally:
            os.kill(broker, signal.SIGCONT)
        for seen in await asyncio.gather(*watching):
            assert_revisions_grow(seen)


async def test_each_material_is_worked_on_by_one_processor_only(replicated: LocalStack) -> None:
    course = unique_course()
    async with replicated.client() as client:
        materials = await asyncio.gather(
            *[client.upload(f"fact {n} about volcanoes".encode(), course=course, name=f"{n}.txt") for n in range(20)]
        )
        for material in materials:
            states = await client.watch_to_end(material.id)
            assert states[-1].processing_status == material_pb2.PROCESSING_STATUS_COMPLETED
            assert states[-1].attempt == 1


async def test_a_replica_that_stops_hands_its_watchers_and_work_to_the_other(replicated: LocalStack) -> None:
    course = unique_course()
    async with replicated.client() as client:
        materials = [
            await client.upload(f"lecture {n} on music".encode(), course=course, name=f"{n}.txt") for n in range(8)
        ]
        watching = [asyncio.create_task(client.watch_to_end(material.id)) for material in materials]
        for name in ("status-2", "processor-2"):
            os.kill(replicated.current()["pids"][name], signal.SIGTERM)
        for task in watching:
            states = await task
            assert states[-1].processing_status == material_pb2.PROCESSING_STATUS_COMPLETED
            assert_revisions_grow(states)
