"""Connections to the Brain under cancelled calls: none is lost, whenever the cancellation comes;
and a connection is used again after a call that ended well."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from processor_service.brain.client import BrainClient, open_http
from processor_service.brain.errors import BrainError
from tests.contract.scripted_brain import PNG, Behaviour, reply, reset_mid_body, says, scripted

#: Turns of the event loop: a call to a Brain on this loop is over within fewer.
TURNS = 150


def counting(behaviour: Behaviour, connections: set[asyncio.StreamWriter]) -> Behaviour:
    """Notes each connection that a request comes by."""

    async def counted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.add(writer)
        await behaviour(reader, writer)

    return counted


@pytest.mark.parametrize("times", [1, 2], ids=["once", "twice"])
async def test_calls_cancelled_at_any_moment_lose_no_connection(times: int) -> None:
    """Twice: a deadline and a service that stops may come together, and the second disturbs the cleaning up after the first."""
    connections: set[asyncio.StreamWriter] = set()
    async with scripted(counting(says("text"), connections)) as brain:
        async with open_http(max_connections=1) as http:
            client = BrainClient(http, endpoint=brain.endpoint, timeout_seconds=20.0)
            ended = []
            for turns in range(TURNS):
                call = asyncio.create_task(client.generate("question"))
                for _ in range(turns):
                    await asyncio.sleep(0)
                for _ in range(times):
                    call.cancel()
                    await asyncio.sleep(0)
                await asyncio.wait([call])
                ended.append(call.cancelled())
                assert (await client.generate("question")).text == "text", f"cancelled after {turns} turns of the loop"
            assert set(ended) == {True, False}, "some cancellations come in time, some too late"
        async with asyncio.timeout(20):
            for connection in connections:  # the Brain closes its end when the client has closed the other
                with contextlib.suppress(OSError):
                    await connection.wait_closed()


async def test_calls_cancelled_while_they_wait_for_a_connection_take_none() -> None:
    async with scripted(says("text")) as brain, open_http(max_connections=1) as http:
        client = BrainClient(http, endpoint=brain.endpoint, timeout_seconds=20.0)
        for turns in range(TURNS):
            holder = asyncio.create_task(client.read_page(PNG))
            waiting = asyncio.create_task(client.generate("question"))
            for _ in range(turns):
                await asyncio.sleep(0)
            waiting.cancel()
            assert await holder == "text"
            await asyncio.wait([waiting])
        assert await client.read_page(PNG) == "text"


async def test_connection_is_used_again_after_a_call_that_ended_well_only() -> None:
    connections: set[asyncio.StreamWriter] = set()
    async with scripted(counting(says("text"), connections)) as brain, open_http(max_connections=1) as http:
        client = BrainClient(http, endpoint=brain.endpoint, timeout_seconds=20.0)
        for _ in range(3):
            await client.generate("question")
        assert len(connections) == 1
        for behaviour in (reply(503, "{}"), reset_mid_body):
            brain.behaviour = behaviour
            with contextlib.suppress(BrainError):
                await client.generate("question")
            brain.behaviour = counting(says("text"), connections)
            await client.generate("question")
        assert (await client.generate("question")).text == "text"
    assert len(connections) == 3
