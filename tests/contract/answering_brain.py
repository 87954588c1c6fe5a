"""A Brain that says what the test says, over HTTP: it embeds by words, and answers a prompt as it is told, when it is told."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

import numpy as np

from processor_service.index.search_words import search_words
from tests.contract.scripted_brain import Request, serve_json

DIMENSIONS = 1024
MODEL = "scripted/1"


@dataclass
class AnsweringBrain:
    """`reply` makes the answer to a prompt; it is sent once `may_answer` is set. A text that is in `held_back` is embedded once its event is set."""

    reply: Callable[[str], str] = lambda prompt: ""
    status: int = 200
    prompts: list[str] = field(default_factory=list)
    asked: asyncio.Condition = field(default_factory=asyncio.Condition)
    may_answer: asyncio.Event = field(default_factory=asyncio.Event)
    held_back: dict[str, asyncio.Event] = field(default_factory=dict)
    endpoint: str = ""

    def says(self, text: str) -> None:
        """From now on every prompt is answered so, at once."""
        self.reply = lambda prompt: text
        self.may_answer.set()

    async def until_asked(self, count: int, *, seconds: float = 20.0) -> None:
        """Returns when so many prompts have come."""
        async with asyncio.timeout(seconds), self.asked:
            await self.asked.wait_for(lambda: len(self.prompts) >= count)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await serve_json(reader, writer, self._answer)

    async def _answer(self, request: Request) -> tuple[int, object]:
        target = urlsplit(request.target)
        if request.method == "GET":
            return 200, {"status": "Active"}
        if target.path.endswith("/embed"):
            text = parse_qs(target.query)["text"][0]
            if text in self.held_back:
                await self.held_back[text].wait()
            return 200, {"embedding": by_words(text)}
        async with self.asked:
            self.prompts.append(parse_qs(request.body.decode())["prompt"][0])
            self.asked.notify_all()
        await self.may_answer.wait()
        return self.status, {"response": self.reply(self.prompts[-1]), "model": MODEL}


def by_words(text: str) -> list[float]:
    """A vector of the words in a text, so that shared words mean likeness."""
    vector = np.zeros(DIMENSIONS)
    for word in search_words(text).split() or ["-"]:
        vector[zlib.crc32(word.encode()) % DIMENSIONS] += 1
    return [float(number) for number in vector / np.linalg.norm(vector)]


@asynccontextmanager
async def answering_brain() -> AsyncIterator[AnsweringBrain]:
    """A Brain on a free port."""
    brain = AnsweringBrain()
    server = await asyncio.start_server(brain.serve, "127.0.0.1", 0)
    brain.endpoint = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield brain
    finally:
        server.close()
