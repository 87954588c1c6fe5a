"""Clients of event streams that go away, or stop reading, at the worst moments: within seconds nothing is left of them, and others are served meanwhile.

How many watches Status holds is seen by its limit: an owner for whom none is held may open as many as one owner may have.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from math import ceil

import pytest

from gateway.request_layers import MAX_BODY_BYTES
from gateway.settings import GatewaySettings
from servicekit.channels import MAX_STREAMS_PER_CONNECTION
from status_service.settings import StatusSettings
from tests.contract.bare_services import BareServices
from tests.contract.event_client import EventStream, opened, request
from tests.contract.gateway_process import GatewayProcess, started_gateway
from tests.contract.people import People
from tests.contract.record_calls import RecordCalls
from tests.fuzz.wire import connect, reset
from tests.local_stack import LocalStack

MOST_WATCHES: int = StatusSettings.model_fields["max_watches_per_owner"].default
MIB = 1024 * 1024
#: What the process may hold more than after its warm-up. A request that is left behind costs nearly 100 KiB, so 1,000 of them would be well above.
MARGIN = 32 * MIB
SECONDS = 60.0


@pytest.fixture(scope="module")
async def gateway(bare: BareServices, stack: LocalStack) -> AsyncIterator[GatewayProcess]:
    """One with little patience, and connected to `status`."""
    endpoints = {"status": bare.endpoints["status"]}
    async with started_gateway(
        stack, endpoints, UNREAD_SECONDS="1", EVENT_KEEPALIVE_SECONDS="0.5", BODY_IDLE_SECONDS="60"
    ) as running:
        # Its connections to Status are made when first used: none of them is a client's that was left behind.
        for _ in range(ceil(GatewaySettings.model_fields["max_http_requests"].default / MAX_STREAMS_PER_CONNECTION)):
            async with opened(running.address, "/materials/none/events", token=stack.facts["token"]) as answer:
                assert answer.status == 404
        yield running


class Crowd:
    """One owner with many streams of one course."""

    def __init__(self, gateway: GatewayProcess, token: str, course: str) -> None:
        self.gateway, self.token, self.path = gateway, token, f"/courses/{course}/events"
        lines = [f"GET {self.path} HTTP/1.1", f"Host: {gateway.address}", f"Authorization: Bearer {token}", "", ""]
        self.head = "\r\n".join(lines).encode()

    async def open(self, count: int, exits: AsyncExitStack) -> list[EventStream]:
        """So many streams at once; tried until all of them are let in."""
        async with asyncio.timeout(SECONDS):
            while True:
                async with AsyncExitStack() as tried:
                    opening = [opened(self.gateway.address, self.path, token=self.token) for _ in range(count)]
                    streams = await asyncio.gather(*map(tried.enter_async_context, opening))
                    statuses = {stream.status for stream in streams}
                    assert statuses <= {200, 429}
                    if statuses == {200}:
                        exits.push_async_exit(tried.pop_all())
                        return streams

    async def gone_at_once(self, go: Callable[[socket.socket], None], sent: bytes = b"") -> None:
        """As many clients as one owner may have, none of which waits for an answer; returns when the gateway has gone through them.

        They go five at a time: what a client sent is thrown away unread where its RST comes too soon.
        """
        for _ in range(MOST_WATCHES // 5):
            clients = [connect(self.gateway.address) for _ in range(5)]
            for client in clients:
                client.sendall(sent or self.head)
            for client in clients:
                go(client)
        async with AsyncExitStack() as exits:
            await self.open(1, exits)

    async def left_nothing(self, files: int) -> None:
        """Returns when no watch and no connection is held any more."""
        async with AsyncExitStack() as exits:
            await self.open(MOST_WATCHES, exits)
        await self.gateway.until_files(files)


@pytest.fixture
def crowd(gateway: GatewayProcess, stack: LocalStack, course: str) -> Crowd:
    return Crowd(gateway, stack.user_token(f"crowd of {course}", {course: "reader"}), course)


@pytest.mark.parametrize("go", [reset, socket.socket.close], ids=["RST", "FIN"])
async def test_thousand_clients_gone_before_the_first_byte_leave_nothing(
    crowd: Crowd, go: Callable[[socket.socket], None]
) -> None:
    files = crowd.gateway.files
    for _ in range(3):
        await crowd.gone_at_once(go)
    await crowd.left_nothing(files)
    memory = crowd.gateway.resident
    for _ in range(10):
        await crowd.gone_at_once(go)
    await crowd.left_nothing(files)
    assert crowd.gateway.resident < memory + MARGIN


@pytest.mark.parametrize("go", [EventStream.reset, EventStream.close], ids=["RST", "FIN"])
async def test_clients_gone_in_the_middle_leave_nothing(
    crowd: Crowd, record: RecordCalls, course: str, go: Callable[[EventStream], None]
) -> None:
    files, memory = crowd.gateway.files, 0
    for number in range(4):
        async with AsyncExitStack() as exits:
            streams = await crowd.open(MOST_WATCHES, exits)
            material = await record.create("owner", course)
            for stream in streams:
                await stream.until(lambda event, wanted=material.id: event.data.get("id") == wanted)  # type: ignore[misc]
                go(stream)
        if number == 0:
            await crowd.left_nothing(files)
            memory = crowd.gateway.resident
    await crowd.left_nothing(files)
    assert crowd.gateway.resident < memory + MARGIN


async def test_clients_gone_with_more_requests_waiting_leave_nothing(crowd: Crowd) -> None:
    files = crowd.gateway.files
    for _ in range(2):
        await crowd.gone_at_once(socket.socket.close, crowd.head * 3)
    await crowd.left_nothing(files)


async def test_clients_gone_whose_get_had_a_body_leave_nothing(crowd: Crowd) -> None:
    files = crowd.gateway.files
    size = MAX_BODY_BYTES + 1
    for sent in (0, 1, size):
        await crowd.gone_at_once(
            socket.socket.close, crowd.head[:-2] + b"Content-Length: %d\r\n\r\n" % size + b"x" * sent
        )
    await crowd.left_nothing(files)


async def test_body_of_a_get_that_may_not_be_is_refused_before_any_event(crowd: Crowd) -> None:
    size = MAX_BODY_BYTES + 1
    async with request(crowd.gateway.address, crowd.path, f"Content-Length: {size}", token=crowd.token) as stream:
        stream.send(b"x" * size)
        await stream.head()
        assert (stream.status, (await stream.problem())["reason"]) == (413, "REQUEST_TOO_LARGE")


async def test_clients_that_do_not_read_are_cut_and_keep_nobody_waiting(
    crowd: Crowd, record: RecordCalls, people: People, course: str
) -> None:
    """The course is larger than what fits into all the buffers on the way."""
    made = await asyncio.gather(*(record.create("owner", course, name="x" * 200) for _ in range(600)))
    async with AsyncExitStack() as exits:
        first = await exits.enter_async_context(opened(crowd.gateway.address, crowd.path, token=crowd.token))
        await first.until(lambda event: event.name == "snapshot_complete")
        files, memory = crowd.gateway.files, crowd.gateway.resident
        for _ in range(20):
            deaf = request(crowd.gateway.address, crowd.path, token=crowd.token, receive_buffer=4096)
            await exits.enter_async_context(deaf)
        await people.owner.cancel(made[0].id)
        assert (await first.next()).data["id"] == made[0].id
        await crowd.gateway.until_files(files)
        assert crowd.gateway.resident < memory + MARGIN
    await crowd.left_nothing(files)
