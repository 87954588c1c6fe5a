"""kill -9 Ingest at each step of an upload: the record is made or it is not, and what was made is announced without its maker."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import pytest
from materials.v1 import ingest_service_pb2_grpc, material_pb2

from servicekit.channels import open_channel
from tests.faults.endings import completed
from tests.faults.fault_stack import FaultStack
from tests.faults.halting_upload import HaltingUpload
from tests.faults.scenario import scenario
from tests.faults.scenarios.object_store import MIB, images_read_at_once, large_image, until_part
from tests.faults.tcp_proxy import Direction, TcpProxy
from tests.faults.workload import Upload, Workload
from tests.local_stack import Client

BY_REQUEST_ID = "SELECT * FROM status.materials WHERE owner_id = $1 AND request_id = $2"
#: An announcement is its maker's for 5 s, then anybody's who is ready by then.
ANNOUNCED_SECONDS = 5.0


@scenario("1a", "kill -9 Ingest in the middle of an upload, others just accepted", quick=True, recovery=20)
async def mid_upload(stack: FaultStack, work: Workload) -> None:
    async with images_read_at_once(stack):
        kept = await work.notes(3)
        big = large_image(work)
        half = HaltingUpload(work, big, 4 * MIB)
        await until_part(stack.objects, 2 * MIB)
        pids = stack.kill("ingest")
        await half.breaks_off()
        await stack.restarted(pids)
        work.fault_over()
        assert not await record_of(work, big), "half an upload is in the record"
        await work.send(big)
        await completed(work, [*kept, big])


@scenario("1b", "kill -9 Ingest with the object stored and its record not yet asked for", recovery=15)
async def after_the_object(stack: FaultStack, work: Workload) -> None:
    async with images_read_at_once(stack):
        big = large_image(work)
        half = HaltingUpload(work, big, 4 * MIB)
        [part] = await until_part(stack.objects, 2 * MIB)
        proxy = stack.proxies["ingest", "status"]
        with proxy.holding(Direction.TO_SERVER):
            half.go_on()
            await until_exists(stack, part.name.partition("#")[0])
            pids = stack.kill("ingest")
            await half.breaks_off()
            proxy.cut()  # what Ingest may have said of it dies with it
        await stack.restarted(pids)
        work.fault_over()
        assert not await record_of(work, big), "a record that nobody asked for"
        await work.send(big)
        # The object of the first try is swept away: the checks do so, and look.
        await completed(work, [big])


@scenario("1c", "kill -9 Ingest with the record made and nothing published", quick=True, recovery=ANNOUNCED_SECONDS + 5)
async def after_the_record(stack: FaultStack, work: Workload) -> None:
    async with images_read_at_once(stack):
        big = large_image(work)
        half = HaltingUpload(work, big, 4 * MIB)
        await until_part(stack.objects, 2 * MIB)
        proxy = stack.proxies["ingest", "status"]
        with proxy.holding(Direction.TO_CLIENT):
            half.go_on()
            row = await stack.until_row(BY_REQUEST_ID, work.owner, big.request_id)
            pids = stack.kill("ingest")
            await half.breaks_off()
            proxy.cut()
        assert row["announced_at"] is None, "published before the record's reply"
        await stack.restarted(pids)
        work.fault_over()
        # The record alone brings it on its way: its client has not come again.
        await stack.until_row(f"{BY_REQUEST_ID} AND status = 3", work.owner, big.request_id)
        assert (await work.send(big)).id == str(row["material_id"]), "a second material for the same request id"


@scenario("1d", "kill -9 Ingest with the event published and the reply not yet out", quick=True, recovery=10)
async def before_the_reply(stack: FaultStack, work: Workload) -> None:
    note = work.note()
    async with by_proxy(stack, work) as (client, proxy):
        with proxy.holding(Direction.TO_CLIENT):
            sending = asyncio.create_task(work.send_once(note, client=client))
            row = await stack.until_row(f"{BY_REQUEST_ID} AND announced_at IS NOT NULL", work.owner, note.request_id)
            pids = stack.kill("ingest")
            proxy.cut()
            await unavailable(sending)
    await stack.restarted(pids)
    work.fault_over()
    assert (await work.send(note)).id == str(row["material_id"]), "a second material for the same request id"
    await completed(work, [note])


async def record_of(work: Workload, upload: Upload) -> bool:
    """Whether there is one."""
    return bool(await work.stack.fetch(BY_REQUEST_ID, work.owner, upload.request_id))


async def until_exists(stack: FaultStack, material_id: str) -> None:
    """Returns when the object is whole under its key."""
    async with asyncio.timeout(30):
        while not stack.object_path(material_id).exists():
            await asyncio.sleep(0.01)


async def unavailable(sending: asyncio.Task[material_pb2.Material]) -> None:
    """The call ends as one whose server has gone."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await sending
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE, caught.value


@asynccontextmanager
async def by_proxy(stack: FaultStack, work: Workload) -> AsyncIterator[tuple[Client, TcpProxy]]:
    """The workload's client, connected to Ingest through a proxy of its own."""
    proxy = TcpProxy(int(stack.local.facts["endpoints"]["ingest"][0].rpartition(":")[2]))
    await proxy.start()
    channel = open_channel(f"127.0.0.1:{proxy.port}")
    client = copy.copy(work.client)
    client.ingest = ingest_service_pb2_grpc.IngestServiceStub(channel)
    try:
        async with asyncio.timeout(20):
            await channel.channel_ready()
        yield client, proxy
    finally:
        await channel.close()
        await proxy.stop()
