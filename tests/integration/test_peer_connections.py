"""Long streams do not keep other calls waiting: a peer may have connections of its own, of which a server takes so many streams each."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import grpc
import pytest

from servicekit.channels import Peer

SECONDS = 20.0
METHOD = "/test.Endless/Watch"


@pytest.fixture
async def endpoint() -> AsyncIterator[str]:
    """A server that takes one stream on a connection, and lets it go on for ever."""

    async def watch(_: bytes, context: Any) -> AsyncIterator[bytes]:
        yield b"stands"
        await asyncio.Event().wait()

    server = grpc.aio.server(options=[("grpc.max_concurrent_streams", 1)])
    handler = grpc.unary_stream_rpc_method_handler(watch)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Endless", {"Watch": handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield f"127.0.0.1:{port}"
    await server.stop(0)


async def stands(peer: Peer, calls: AsyncExitStack, seconds: float = SECONDS) -> None:
    """Opens a stream and waits until it stands."""
    call = peer.channel.unary_stream(METHOD)(b"")
    calls.callback(call.cancel)
    async with asyncio.timeout(seconds):
        assert await call.read() == b"stands"


@pytest.mark.parametrize("own_connections", [True, False])
async def test_peers_with_connections_of_their_own_do_not_wait_for_each_other(
    endpoint: str, own_connections: bool
) -> None:
    peers = [Peer(endpoint, str, own_connections=own_connections) for _ in range(3)]
    async with AsyncExitStack() as calls:
        for peer in peers:
            calls.push_async_callback(peer.stop)
        await stands(peers[0], calls)
        if own_connections:
            await stands(peers[1], calls)
            await stands(peers[2], calls)
        else:  # what gRPC does by itself, and why there is a choice
            with pytest.raises(TimeoutError):
                await stands(peers[1], calls, seconds=1.0)
