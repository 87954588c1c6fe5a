"""The same upload from many at once: one request id is one material; the same bytes of two owners are two that know nothing of each other."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import grpc
import pytest
from materials.v1 import processor_service_pb2

from tests.faults.endings import completed
from tests.faults.fault_stack import FaultStack
from tests.faults.invariants import check
from tests.faults.people_calls import delete
from tests.faults.scenario import PAIR, scenario
from tests.faults.workload import Workload

CLIENTS = 20


@scenario("23a", "one request id from 20 clients at once, two replicas", layout=PAIR, recovery=15)
async def one_request_id(stack: FaultStack, work: Workload) -> None:
    note = work.note()
    before = objects(stack)
    async with AsyncExitStack() as clients:
        crowd = [await clients.enter_async_context(stack.client(work.owner)) for _ in range(CLIENTS)]
        answers = await asyncio.gather(*[work.send_once(note, client=client) for client in crowd])
    work.watch(note)
    assert {answer.id for answer in answers} == {note.id}, "one request id, several materials"
    assert objects(stack) - before == {note.id}, "bytes of the others are left"
    await completed(work, [note])


@scenario("23b", "the same bytes from two owners at once", quick=True, recovery=15)
async def two_owners(stack: FaultStack, work: Workload) -> None:
    async with AsyncExitStack() as exits:
        owner = f"{work.owner}-other"
        course = f"{work.course}-other"
        token = stack.local.user_token(owner, {course: "editor"})
        client = await exits.enter_async_context(stack.local.client(token, every_replica=True))
        other = Workload(stack, client, owner)
        other.course = course
        mine = work.note()
        theirs = other.of(mine.content)
        # The same text is embedded for each of the two.
        work.extra_embeddings = other.extra_embeddings = 1
        await asyncio.gather(work.send(mine), other.send(theirs))
        await completed(work, [mine])
        await completed(other, [theirs])
        assert mine.id != theirs.id, "two owners share a material"
        await sees_nothing_of(other, mine.id, work.course)
        # What one of them deletes the other keeps: the checks look for its bytes.
        await delete(other, theirs)
        await other.settled(15)
        verdict = await check(other)
        assert verdict.good, verdict.lines()


def objects(stack: FaultStack) -> set[str]:
    """The names of all objects."""
    return {path.name for path in (stack.objects / "objects").rglob("*") if path.is_file()}


async def sees_nothing_of(work: Workload, material_id: str, course: str) -> None:
    """Neither the material nor, by a search of its course, its text."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await work.client.get(material_id)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND, caught.value
    request = processor_service_pb2.SearchMaterialsRequest(course_id=course, query="what was said in the lecture")
    found = await work.client.processor.SearchMaterials(request, metadata=work.client.metadata, timeout=30)
    assert not found.results, found
