"""A small Brain over real HTTP: it embeds at once, and holds, refuses, fails or goes away when the test says so. It reads no pages."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import parse_qs, urlsplit

from tests.contract.scripted_brain import Request, serve_json


class EmbeddingBrain:
    """`dimensions` numbers for each text, the same for the same text. `texts` are those it was asked for, in order.

    Texts that hold one of `held` wait until `answering` is set; `refused` get 422, `failing` 500; all get 503 while `away`."""

    def __init__(self, dimensions: int) -> None:
        self.dimensions = dimensions
        self.texts: list[str] = []
        self.held: set[str] = set()
        self.answering = asyncio.Event()
        self.waiting = asyncio.Event()
        self.refused: set[str] = set()
        self.failing: set[str] = set()
        self.away = False
        self.asked = asyncio.Event()
        self.endpoint = ""

    def vector(self, text: str) -> list[float]:
        """What `text` is embedded as."""
        digest = hashlib.sha256(text.encode()).digest()
        return [0.01 + byte / 255 for byte in (digest * (self.dimensions // len(digest) + 1))[: self.dimensions]]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        await serve_json(reader, writer, self._answer)

    async def _answer(self, request: Request) -> tuple[int, object]:
        self.asked.set()
        if self.away:
            return 503, {"detail": "away"}
        url = urlsplit(request.target)
        if url.path == "/":
            return 200, {"status": "Active"}
        assert url.path == "/utility/embed", "it reads no pages"
        text = parse_qs(url.query)["text"][0]
        self.texts.append(text)
        if any(part in text for part in self.held):
            self.waiting.set()
            await self.answering.wait()
        if any(part in text for part in self.refused):
            return 422, {"detail": "not this one"}
        if any(part in text for part in self.failing):
            return 500, {"detail": "cannot"}
        return 200, {"embedding": self.vector(text)}


@asynccontextmanager
async def embedding_brain(dimensions: int) -> AsyncIterator[EmbeddingBrain]:
    """One on a free port."""
    brain = EmbeddingBrain(dimensions)
    server = await asyncio.start_server(brain.serve, "127.0.0.1", 0)
    brain.endpoint = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield brain
    finally:
        brain.answering.set()
        server.close()
