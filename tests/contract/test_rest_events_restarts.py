"""Event streams while Status or the gateway dies, stops or stays away: they go on without a gap or a repeat, or end so that the client can."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import httpx
import pytest

from tests.contract.bare_services import BareServices
from tests.contract.event_client import Event, EventStream, StreamEnded, opened
from tests.contract.gateway_process import GatewayProcess, started_gateway
from tests.contract.people import People
from tests.contract.record_calls import RecordCalls
from tests.local_stack import LocalStack, free_port

MORTAL = "mortal-status"
#: Longer than `GatewayProcess.ended` waits: what goes in time has not used it up.
LONG_GRACE = "60"


@pytest.fixture(scope="module")
async def mortal(bare: BareServices) -> BareServices:
    """A replica of `status` that a test may end; it is there again for the next one."""
    await bare.start_status(MORTAL, bare.databases["status"], LISTEN_ADDRESS=f"127.0.0.1:{free_port()}")
    return bare


@pytest.fixture(scope="module")
async def gateway(mortal: BareServices, stack: LocalStack) -> AsyncIterator[GatewayProcess]:
    async with started_gateway(stack, {"status": mortal.endpoints[MORTAL]}) as running:
        yield running


def end(bare: BareServices, how: signal.Signals) -> None:
    bare.processes[MORTAL].send_signal(how)
    bare.processes[MORTAL].wait(20)


async def start_again(bare: BareServices) -> None:
    await bare.start_status(MORTAL, bare.databases["status"], LISTEN_ADDRESS=bare.endpoints[MORTAL])


def is_complete(event: Event) -> bool:
    return event.name == "snapshot_complete"


async def next_change(stream: EventStream) -> Event:
    """The next event that tells of a material."""
    while is_complete(event := await stream.next()):
        pass
    return event


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "restarted"])
async def test_streams_outlive_status_without_gap_or_repeat(
    mortal: BareServices,
    gateway: GatewayProcess,
    stack: LocalStack,
    people: People,
    record: RecordCalls,
    course: str,
    how: signal.Signals,
) -> None:
    """What changes meanwhile is recorded by another replica. Twice, since a stream must not be worn out by it."""
    token = stack.user_token("reader", {course: "reader"})
    made = [await record.create("owner", course) for _ in range(12)]
    deleted, materials = made[0], made[1:]
    async with AsyncExitStack() as exits:
        of_course = await exits.enter_async_context(opened(gateway.address, f"/courses/{course}/events", token=token))
        await of_course.until(is_complete)
        streams: dict[str, EventStream] = {}
        for material in materials:
            path = f"/materials/{material.id}/events"
            streams[material.id] = await exits.enter_async_context(opened(gateway.address, path, token=token))
            assert (await streams[material.id].next()).id == "1"
        of_deleted = await exits.enter_async_context(
            opened(gateway.address, f"/materials/{deleted.id}/events", token=token)
        )
        await of_deleted.next()

        end(mortal, how)
        await people.owner.delete(deleted.id)
        claimed = [await record.claimed(material.id) for material in materials]
        await start_again(mortal)
        event = await next_change(of_course)
        assert (event.name, event.data) == ("deleted", {"id": deleted.id})
        assert await of_deleted.rest() == [Event("deleted", {"id": deleted.id})]
        for material in claimed:
            assert told(await next_change(of_course)) == (material.id, 2, "processing")
            assert told(await streams[material.id].next()) == (material.id, 2, "processing")

        end(mortal, how)
        await start_again(mortal)
        for material in claimed:
            await people.owner.cancel(material.id)
            assert told(await next_change(of_course)) == (material.id, 3, "failed")
        for material_id, stream in streams.items():
            last, ended = await stream.rest()
            assert told(last) == (material_id, 3, "failed")
            assert ended == Event("end", {})


def told(event: Event) -> tuple[str, int, str]:
    assert event.name == "material"
    return event.data["id"], event.data["revision"], event.data["processing_status"]


async def test_status_that_stays_away_ends_the_stream_with_a_problem(
    mortal: BareServices, stack: LocalStack, record: RecordCalls, course: str
) -> None:
    material = await record.create("owner", course)
    token = stack.user_token("reader", {course: "reader"})
    endpoints = {"status": mortal.endpoints[MORTAL]}
    async with started_gateway(stack, endpoints, WATCH_PATIENCE_SECONDS="0.5") as impatient, AsyncExitStack() as exits:
        streams = [
            await exits.enter_async_context(opened(impatient.address, path, token=token))
            for path in (f"/materials/{material.id}/events", f"/courses/{course}/events")
        ]
        await streams[0].next()
        await streams[1].until(is_complete)
        end(mortal, signal.SIGKILL)
        try:
            for stream in streams:
                [problem] = await stream.rest()
                assert (problem.name, problem.id) == ("problem", "")
                assert problem.data["status"] == 503
                assert problem.data["retry_after"] > 0
            async with opened(impatient.address, f"/courses/{course}/events", token=token) as stream:
                assert (stream.status, (await stream.problem())["status"]) == (503, 503)
                assert int(stream.headers["retry-after"]) > 0
        finally:
            await start_again(mortal)


async def test_gateway_that_stops_ends_its_streams_and_another_one_goes_on(
    bare: BareServices, stack: LocalStack, people: People, record: RecordCalls, course: str
) -> None:
    first = await record.create("owner", course)
    token = stack.user_token("reader", {course: "reader"})
    path, endpoints = f"/courses/{course}/events", {"status": bare.endpoints["status"]}
    async with (
        started_gateway(stack, endpoints, SHUTDOWN_GRACE_SECONDS=LONG_GRACE) as stopping,
        started_gateway(stack, endpoints) as staying,
        httpx.AsyncClient(base_url=f"http://{stopping.address}") as http,
        AsyncExitStack() as exits,
    ):
        streams = await asyncio.gather(
            *(exits.enter_async_context(opened(stopping.address, path, token=token)) for _ in range(100))
        )
        for stream in streams:
            await stream.until(is_complete)
        await people.owner.cancel(first.id)
        seen = [await stream.next() for stream in streams]
        assert (await http.get("/healthz")).json() == {"status": "ok"}
        assert await stopping.ended() == 0
        for stream in streams:
            with pytest.raises(StreamEnded):
                await stream.next()
        with pytest.raises(httpx.TransportError):
            await http.get("/healthz")

        missed = await record.create("owner", course)
        async with opened(staying.address, path, token=token, last_event_id=seen[0].id) as stream:
            assert told(await stream.next()) == (missed.id, 1, "pending")
            assert is_complete(await stream.next())
            await people.owner.cancel(missed.id)
            assert told(await stream.next()) == (missed.id, 2, "failed")
