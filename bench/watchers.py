"""`python -m bench.watchers`: many watchers in a process of their own, which say when each of them received what.

It takes one connection on loopback and answers each line of JSON with one:

* `{"open": "grpc", "address", "method", "request" (base64), "tokens", "count", "channels", "opening"}` adds so many streams, which share the channels; answered
  when each has had its `opening` messages. Messages are counted, not parsed: what the clients cost is the same whatever is watched.
* `{"open": "sse", "address", "path", "tokens", "count", "opening"}`: as many event streams over HTTP, a connection each.
* `{"await": seconds}` is answered at once, and a second time when every watcher has received one more message: `{"received": [ns, …]}`, sorted, by
  the machine's monotonic clock.

When ready it prints `{"port": …}`. `Watchers` is the other end of that connection.
"""

from __future__ import annotations

import asyncio
import base64
import json
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import uvloop
from materials.channels import bearer, channel_options

from bench.bed import Bed, Child

FAN_OUT_SERVICE = "bench.FanOut"
OPENED_AT_ONCE = 64
OPEN_SECONDS = 120.0
MAX_LINE_BYTES = 16 * 1024 * 1024
EVENT_END = b"\n\n"


@dataclass
class _Watcher:
    """Counts one stream's messages; `opened` when it has had those it begins with."""

    opening: int
    received: Callable[[_Watcher], None]
    opened: asyncio.Event = field(default_factory=asyncio.Event)

    def message(self) -> None:
        if self.opening > 0:
            self.opening -= 1
            if self.opening == 0:
                self.opened.set()
        else:
            self.received(self)


class _Streams:
    """All streams of this process."""

    def __init__(self, tasks: asyncio.TaskGroup, exits: AsyncExitStack) -> None:
        self._tasks, self._exits = tasks, exits
        self._count = 0
        self._times: dict[int, int] = {}
        self._everyone = asyncio.Event()

    def _received(self, watcher: _Watcher) -> None:
        self._times.setdefault(id(watcher), time.monotonic_ns())
        if len(self._times) == self._count:
            self._everyone.set()

    def expect(self) -> None:
        """From now on each watcher's next message counts."""
        self._times.clear()
        self._everyone.clear()

    async def received(self, seconds: float) -> list[int]:
        """When each received it, in order, in nanoseconds. Raises TimeoutError with how many did."""
        try:
            async with asyncio.timeout(seconds):
                await self._everyone.wait()
        except TimeoutError:
            raise TimeoutError(f"{len(self._times)} of {self._count} watchers have received it") from None
        return sorted(self._times.values())

    async def open(self, command: dict[str, Any]) -> None:
        """Adds streams; returns when all have had their opening messages."""
        open_one = await self._grpc(command) if command["open"] == "grpc" else self._sse(command)
        gate = asyncio.Semaphore(OPENED_AT_ONCE)

        async def opened(number: int) -> None:
            async with gate:
                watcher = _Watcher(command["opening"], self._received)
                await open_one(number, watcher)
                await watcher.opened.wait()

        async with asyncio.timeout(OPEN_SECONDS):
            await asyncio.gather(*(opened(number) for number in range(command["count"])))
        self._count += command["count"]

    async def _grpc(self, command: dict[str, Any]) -> Callable[[int, _Watcher], Awaitable[None]]:
        options = [*channel_options(), ("grpc.use_local_subchannel_pool", 1)]
        channels = [grpc.aio.insecure_channel(command["address"], options=options) for _ in range(command["channels"])]
        for channel in channels:
            self._exits.push_async_callback(channel.close)
        calls: list[Any] = [channel.unary_stream(command["method"]) for channel in channels]
        identities = [bearer(token) for token in command["tokens"]]
        request = base64.b64decode(command["request"])

        async def follow(call: Any, watcher: _Watcher) -> None:
            async for _ in call:
                watcher.message()

        async def open_one(number: int, watcher: _Watcher) -> None:
            call = calls[number % len(calls)](request, metadata=identities[number % len(identities)])
            self._tasks.create_task(follow(call, watcher))

        return open_one

    def _sse(self, command: dict[str, Any]) -> Callable[[int, _Watcher], Awaitable[None]]:
        host, _, port = command["address"].rpartition(":")
        tokens = command["tokens"]

        async def follow(reader: asyncio.StreamReader, watcher: _Watcher) -> None:
            status = await reader.readuntil(b"\r\n\r\n")
            if b" 200 " not in status:
                raise RuntimeError(f"the event stream was answered {status!r}")
            while True:
                event = await reader.readuntil(EVENT_END)
                if b"event: " in event:
                    watcher.message()

        async def open_one(number: int, watcher: _Watcher) -> None:
            reader, writer = await asyncio.open_connection(host, int(port))
            self._exits.callback(writer.close)
            head = (
                f"GET {command['path']} HTTP/1.1\r\nHost: {command['address']}\r\nAccept: text/event-stream\r\n"
                f"Authorization: Bearer {tokens[number % len(tokens)]}\r\n\r\n"
            )
            writer.write(head.encode())
            self._tasks.create_task(follow(reader, watcher))

        return open_one


async def serve() -> None:
    """Until SIGTERM, or until the other end has gone."""
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)

    async def attend(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        def tell(answer: dict[str, Any]) -> None:
            writer.write(json.dumps(answer).encode() + b"\n")

        try:
            while line := await reader.readline():
                command = json.loads(line)
                if "open" in command:
                    await streams.open(command)
                    tell({})
                else:
                    streams.expect()
                    tell({})
                    tell({"received": await streams.received(command["await"])})
        except Exception as error:
            tell({"failed": f"{type(error).__name__}: {error}"})
        stopped.set()

    async with AsyncExitStack() as exits, asyncio.TaskGroup() as tasks:
        streams = _Streams(tasks, exits)
        server = await asyncio.start_server(attend, "127.0.0.1", 0, limit=MAX_LINE_BYTES)
        print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
        await stopped.wait()
        server.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()


class Watchers:
    """Those of one process, told what to do."""

    def __init__(self, child: Child, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.pid = child.pid
        self._reader, self._writer = reader, writer

    @classmethod
    @asynccontextmanager
    async def started(cls, bed: Bed) -> AsyncIterator[Watchers]:
        """A process without watchers yet."""
        async with bed.child("-m", "bench.watchers") as child:
            reader, writer = await asyncio.open_connection("127.0.0.1", child.facts["port"], limit=MAX_LINE_BYTES)
            try:
                yield cls(child, reader, writer)
            finally:
                writer.close()

    async def open_grpc(
        self,
        address: str,
        method: str,
        request: bytes,
        *,
        tokens: Sequence[str],
        count: int,
        channels: int,
        opening: int,
    ) -> None:
        """Adds streams of a method, by its full name, and returns when each has had its `opening` messages. Raises RuntimeError."""
        command = {"open": "grpc", "address": address, "method": method, "request": base64.b64encode(request).decode()}
        await self._ask(
            command | {"tokens": list(tokens), "count": count, "channels": channels, "opening": opening}, OPEN_SECONDS
        )

    async def open_sse(self, address: str, path: str, *, tokens: Sequence[str], count: int, opening: int) -> None:
        """As `open_grpc`: event streams over HTTP."""
        command = {"open": "sse", "address": address, "path": path, "tokens": list(tokens)}
        await self._ask(command | {"count": count, "opening": opening}, OPEN_SECONDS)

    async def receive(self, happen: Callable[[], Awaitable[int]], seconds: float = 30.0) -> list[float]:
        """How long after it happened each watcher received one message, in milliseconds, sorted. `happen` returns when it began, in nanoseconds of
        the monotonic clock. Raises RuntimeError when somebody has not received it in time."""
        await self._ask({"await": seconds}, seconds)
        began = await happen()
        answer = await self._answer(seconds + 5.0)
        return [(received - began) / 1e6 for received in answer["received"]]

    async def _ask(self, command: dict[str, Any], seconds: float) -> dict[str, Any]:
        self._writer.write(json.dumps(command).encode() + b"\n")
        return await self._answer(seconds)

    async def _answer(self, seconds: float) -> dict[str, Any]:
        async with asyncio.timeout(seconds):
            line = await self._reader.readline()
        answer: dict[str, Any] = json.loads(line) if line else {"failed": "the watchers' process has ended"}
        if "failed" in answer:
            raise RuntimeError(answer["failed"])
        return answer


if __name__ == "__main__":
    uvloop.run(serve())
