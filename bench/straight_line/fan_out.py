"""`python -m bench.straight_line.fan_out`: the least that tells many watchers of something, a gRPC server that passes on what a NATS message brings.

What is published on `--subject` is sent as it is to every stream of `/bench.FanOut/Watch`, whose first message says that it stands. `/bench.FanOut/Stamp`
answers each message with the machine's monotonic clock in nanoseconds, taken as late as can be: how long one message of a stream takes. No identity, no
record, no limits. When ready it prints `{"address": …}`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
import nats
import uvloop
from nats.aio.msg import Msg

from bench.watchers import FAN_OUT_SERVICE
from servicekit.server import SERVER_OPTIONS

#: What one watcher may leave unread before the oldest is dropped.
MAX_WAITING = 100
STANDS = b"\0"


class FanOut:
    """The streams that stand, a queue each."""

    def __init__(self) -> None:
        self._waiting: set[asyncio.Queue[bytes]] = set()

    async def receive(self, message: Msg) -> None:
        """By NATS."""
        for queue in self._waiting:
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(message.data)

    async def watch(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        """Every message from now on."""
        queue: asyncio.Queue[bytes] = asyncio.Queue(MAX_WAITING)
        self._waiting.add(queue)
        try:
            yield STANDS
            while True:
                yield await queue.get()
        finally:
            self._waiting.discard(queue)

    async def stamp(self, requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        """The time, for each message."""
        async for _ in requests:
            yield str(time.monotonic_ns()).encode()


async def serve(broker: str, subject: str) -> None:
    """Until SIGTERM."""
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    fan_out = FanOut()
    client = await nats.connect(broker)
    await client.subscribe(subject, cb=fan_out.receive)
    await client.flush()
    server = grpc.aio.server(options=SERVER_OPTIONS)
    methods: dict[str, Any] = {
        "Watch": grpc.unary_stream_rpc_method_handler(fan_out.watch),
        "Stamp": grpc.stream_stream_rpc_method_handler(fan_out.stamp),
    }
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(FAN_OUT_SERVICE, methods)])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(json.dumps({"address": f"127.0.0.1:{port}"}), flush=True)
    await stopped.wait()
    await server.stop(0)
    await client.close()


def main() -> None:
    """Reads the arguments and serves."""
    parser = argparse.ArgumentParser(prog="python -m bench.straight_line.fan_out")
    parser.add_argument("--nats", required=True, help="URL of a nats-server")
    parser.add_argument("--subject", required=True, help="what is passed on")
    chosen = parser.parse_args()
    uvloop.run(serve(chosen.nats, chosen.subject))


if __name__ == "__main__":
    main()
