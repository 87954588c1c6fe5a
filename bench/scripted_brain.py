"""`python -m bench.scripted_brain`: a Brain whose latency, slots and failures are settings, so that what is around it is measured.

It keeps the Brain's contract (reading, embedding, generated text, health) and costs little itself: replies are made beforehand, what is sent is not looked
into. `GET /calls` tells each call so far as [kind, began, ended], in seconds of the machine's monotonic clock; `GET /counts` only how many of each kind;
`DELETE /calls` forgets them. When ready it prints `{"url": …}`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import signal
import time
import zlib
from dataclasses import dataclass
from typing import cast

import httptools
import uvloop

DIMENSIONS, FILLED = 1024, 384
EMBEDDINGS = 512
SENTENCES = (
    "Photosynthesis turns light into sugar in the leaves of plants.",
    "A binary search halves the interval with each comparison.",
    "The treaty was signed after three years of negotiations.",
    "Entropy never decreases in an isolated system.",
    "Every bounded sequence of real numbers has a convergent subsequence.",
    "Supply and demand meet at the price that clears the market.",
    "The mitochondria make most of the energy that a cell uses.",
    "A lease that is not renewed passes to another owner.",
)


@dataclass(frozen=True)
class Script:
    """How this Brain behaves. Times in seconds; `failures` is the share of readings answered with 500."""

    latency: float
    embed_latency: float
    jitter: float
    slots: int
    failures: float
    sentences: int


class ScriptedBrain:
    """Replies and the record of calls."""

    def __init__(self, script: Script, seed: int) -> None:
        self._script, self._random = script, random.Random(seed)
        self._slots = asyncio.Semaphore(script.slots)
        self._embeddings = [self._embedding() for _ in range(EMBEDDINGS)]
        self.calls: list[tuple[str, float, float]] = []

    def _embedding(self) -> bytes:
        numbers = [self._random.gauss(0, 1) for _ in range(FILLED)]
        length = sum(number * number for number in numbers) ** 0.5
        filled = [round(number / length, 6) for number in numbers]
        return json.dumps({"embedding": filled + [0.0] * (DIMENSIONS - FILLED)}).encode()

    async def answer(self, kind: str, content: int) -> tuple[int, bytes]:
        """Status and body of a call; `content` is a checksum of what came: the same for the same."""
        if kind == "read":
            async with self._slots:
                return await self._timed(kind, self._script.latency, content)
        return await self._timed(kind, self._script.embed_latency if kind == "embed" else 0.0, content)

    async def _timed(self, kind: str, latency: float, content: int) -> tuple[int, bytes]:
        began = time.monotonic()
        if latency:
            await asyncio.sleep(latency * (1 + self._script.jitter * self._random.uniform(-1, 1)))
        failed = kind == "read" and self._random.random() < self._script.failures
        self.calls.append((kind, began, time.monotonic()))
        if failed:
            return 500, b'{"detail": "scripted failure"}'
        if kind == "embed":
            return 200, self._embeddings[content % EMBEDDINGS]
        return 200, json.dumps({"response": self._text(content), "model": "scripted"}).encode()

    def _text(self, content: int) -> str:
        sentences = (SENTENCES[(content + 7 * number) % len(SENTENCES)] for number in range(self._script.sentences))
        return f"Page {content:08x}\n\n" + " ".join(sentences)

    def told(self) -> bytes:
        """All calls so far."""
        return json.dumps(self.calls).encode()

    def counts(self) -> bytes:
        """How many of each kind."""
        kinds = [kind for kind, _, _ in self.calls]
        return json.dumps({kind: kinds.count(kind) for kind in ("read", "embed", "generate")}).encode()


class Connection(asyncio.Protocol):
    """One HTTP/1.1 connection, kept alive; its requests are answered one after another."""

    def __init__(self, brain: ScriptedBrain, tasks: asyncio.TaskGroup) -> None:
        self._brain, self._tasks = brain, tasks
        self._parser = httptools.HttpRequestParser(self)
        self._target, self._sum, self._has_file = b"", 0, False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """By asyncio."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """By asyncio."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._transport.close()

    def on_message_begin(self) -> None:
        """By httptools."""
        self._target, self._sum, self._has_file = b"", 0, False

    def on_url(self, url: bytes) -> None:
        """By httptools: may come in pieces."""
        self._target += url

    def on_body(self, body: bytes) -> None:
        """By httptools."""
        # Multipart: the boundary at the beginning is random, so it does not count.
        self._has_file = self._has_file or b'filename="' in body[:2048]
        self._sum = zlib.crc32(body[64:-64], self._sum)

    def on_message_complete(self) -> None:
        """By httptools."""
        self._tasks.create_task(self._respond(self._parser.get_method(), self._target, self._sum, self._has_file))

    async def _respond(self, method: bytes, target: bytes, content: int, has_file: bool) -> None:
        path = target.partition(b"?")[0]
        status, body = 200, b"{}"
        if path == b"/router":
            status, body = await self._brain.answer("read" if has_file else "generate", content)
        elif path == b"/utility/embed":
            status, body = await self._brain.answer("embed", zlib.crc32(target))
        elif path == b"/":
            body = b'{"status": "Active", "core_model": "scripted", "mode": "bench"}'
        elif path == b"/counts":
            body = self._brain.counts()
        elif path == b"/calls" and method == b"DELETE":
            self._brain.calls.clear()
        elif path == b"/calls":
            body = self._brain.told()
        else:
            status = 404
        head = f"HTTP/1.1 {status} OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        self._transport.write(head.encode() + body)


async def serve(script: Script, seed: int, port: int) -> None:
    """Until SIGTERM."""
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    brain = ScriptedBrain(script, seed)
    async with asyncio.TaskGroup() as tasks:
        server = await loop.create_server(lambda: Connection(brain, tasks), "127.0.0.1", port)
        address = server.sockets[0].getsockname()
        print(json.dumps({"url": f"http://{address[0]}:{address[1]}"}), flush=True)
        await stopped.wait()
        server.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()


def main() -> None:
    """Reads the arguments and serves."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.scripted_brain", description=(__doc__ or "").split("\n\n")[0]
    )
    parser.add_argument("--port", type=int, default=0, help="on loopback (default: a free one)")
    parser.add_argument("--latency", type=float, default=0.0, help="seconds to read a page (%(default)s: at once)")
    parser.add_argument("--embed-latency", type=float, default=0.0, help="seconds to embed a text (%(default)s)")
    parser.add_argument("--jitter", type=float, default=0.0, help="share by which each latency varies, 0 to 1")
    parser.add_argument("--slots", type=int, default=1000, help="pages read at once; others wait (%(default)s)")
    parser.add_argument("--failures", type=float, default=0.0, help="share of readings answered 500 (%(default)s)")
    parser.add_argument("--sentences", type=int, default=8, help="sentences on a page (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of embeddings, jitter and failures")
    chosen = parser.parse_args()
    script = Script(
        chosen.latency, chosen.embed_latency, chosen.jitter, chosen.slots, chosen.failures, chosen.sentences
    )
    uvloop.run(serve(script, chosen.seed, chosen.port))


if __name__ == "__main__":
    main()
