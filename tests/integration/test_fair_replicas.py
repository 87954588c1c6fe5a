"""One owner's books fill every slot of two processors, and another owner's note passes them by; counted in pages that the Brain is asked for, not in time."""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
from materials.v1 import material_pb2
from materials.v1 import status_service_pb2 as pb
from PIL import Image

from processor_service.outcomes import OTHERS_WAIT
from processor_service.worker import STOPPING
from tests.contract.scripted_brain import ScriptedBrain, reply, says, scripted
from tests.local_stack import Client, LocalStack, unique_course

COMPLETED = material_pb2.PROCESSING_STATUS_COMPLETED
REPLICAS, SLOTS = 2, 2
BOOKS, PAGES = 6, 8
SECONDS = 90.0
PAPER, NOTE_PAPER = 250, 20


@dataclass
class Page:
    """One page that the Brain was asked to read; answered when the test lets it go."""

    of_a_note: bool
    let_go: asyncio.Event = field(default_factory=asyncio.Event)


class GatedBrain:
    """Holds each page until it is let go; embeds at once."""

    def __init__(self) -> None:
        self.pages: list[Page] = []
        self.open = False
        self.server: ScriptedBrain | None = None
        self._changed = asyncio.Condition()

    async def behave(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert self.server is not None
        request = self.server.requests.pop()
        if request.method == "GET":
            await reply(200, json.dumps({"status": "Active"}))(reader, writer)
        elif request.target.startswith("/utility/embed"):
            await reply(200, json.dumps({"embedding": [1.0] * 1024}))(reader, writer)
        else:
            page = Page(brightness(request.body) < 128)
            async with self._changed:
                self.pages.append(page)
                self._changed.notify_all()
            if not self.open:
                await page.let_go.wait()
            await says(f"what is written on page {len(self.pages)}")(reader, writer)

    @property
    def held(self) -> list[Page]:
        """The pages under way."""
        return [page for page in self.pages if not page.let_go.is_set()]

    @property
    def of_books(self) -> int:
        """How many pages of books were begun."""
        return sum(not page.of_a_note for page in self.pages)

    @property
    def of_notes(self) -> list[Page]:
        """The pages of notes that were begun."""
        return [page for page in self.pages if page.of_a_note]

    async def until_held(self, count: int) -> None:
        async with asyncio.timeout(SECONDS), self._changed:
            await self._changed.wait_for(lambda: len(self.held) >= count)

    async def until_notes(self, count: int) -> None:
        async with asyncio.timeout(SECONDS), self._changed:
            await self._changed.wait_for(lambda: len(self.of_notes) >= count)

    def let_all_go(self) -> None:
        self.open = True
        for page in self.held:
            page.let_go.set()


def brightness(body: bytes) -> int:
    """Of the page image in a request."""
    with Image.open(io.BytesIO(body[body.index(b"\x89PNG") :])) as image:
        value = image.convert("L").getpixel((image.width // 2, image.height // 2))
    assert isinstance(value, int)
    return value


def scan(number: int, pages: int, paper: int) -> bytes:
    """A TIFF of blank pages, of bytes that no other number gives."""
    frames = [Image.new("L", (320 + number, 200 + page), paper) for page in range(pages)]
    buffer = io.BytesIO()
    frames[0].save(buffer, "TIFF", save_all=True, append_images=frames[1:], compression="tiff_lzw")
    return buffer.getvalue()


@dataclass
class Library:
    """The stack, its Brain, and two people."""

    stack: LocalStack
    brain: GatedBrain
    ann: Client
    bob: Client

    async def told_again(self) -> None:
        """Returns when each processor has told twice more how it is: what followed from what was known before, it has heard."""
        seen: dict[str, set[int]] = {}
        async with asyncio.timeout(SECONDS):
            while True:
                queue = await self.ann.status.GetQueue(
                    pb.GetQueueRequest(),
                    metadata=[("authorization", f"Bearer {self.stack.facts['token']}")],
                    timeout=20,
                )
                for processor in queue.processors:
                    seen.setdefault(processor.worker_id, set()).add(processor.seen_at.ToNanoseconds())
                if len(seen) == REPLICAS and all(len(moments) > 2 for moments in seen.values()):
                    return
                await asyncio.sleep(0.2)

    async def history(self, material_id: str) -> list[tuple[str, str]]:
        """The material's events with their messages."""
        request = pb.ListMaterialTransitionsRequest(material_id=material_id)
        response = await self.ann.status.ListMaterialTransitions(request, metadata=self.ann.metadata, timeout=20)
        return [(line.event, line.message) for line in response.transitions]


@pytest.fixture
async def library() -> AsyncIterator[Library]:
    gated = GatedBrain()
    async with scripted(gated.behave) as brain:
        gated.server = brain
        stack = await asyncio.to_thread(
            LocalStack.start,
            None,
            "--replicas",
            f"processor={REPLICAS}",
            environment={
                "AI_BRAIN_ENDPOINT": brain.endpoint,
                "PROCESSOR_SLOTS": str(SLOTS),
                "AI_BRAIN_CONCURRENCY": str(SLOTS),
            },
        )
        try:
            token = {name: stack.user_token(name, {"*": "editor"}) for name in ("ann", "bob")}
            async with stack.client(token["ann"]) as ann, stack.client(token["bob"]) as bob:
                yield Library(stack, gated, ann, bob)
        finally:
            gated.let_all_go()
            await asyncio.to_thread(stack.stop)


async def test_a_note_passes_the_books_of_another_owner_that_fill_every_slot(library: Library) -> None:
    brain, busy = library.brain, REPLICAS * SLOTS
    course = unique_course()
    books = [
        await library.ann.upload(scan(number, PAGES, PAPER), course=course, name=f"book {number}.tiff")
        for number in range(BOOKS)
    ]
    await brain.until_held(busy)
    assert brain.of_books == busy
    note = await library.bob.upload(scan(99, 1, NOTE_PAPER), course=course, name="note.tiff")
    await library.told_again()
    assert len(brain.pages) == busy, "a page was begun although none was finished"

    for page in brain.held:
        page.let_go.set()
    await brain.until_notes(1)
    assert brain.of_books <= 2 * busy, "pages of the book were begun while the note waited for its turn"
    [page] = brain.of_notes
    page.let_go.set()
    assert (await library.bob.watch_to_end(note.id))[-1].processing_status == COMPLETED
    for book in books:
        assert (await library.ann.get(book.id)).processing_status != COMPLETED

    # A graceful stop hands back what its slots were given, whatever they had asked for.
    await brain.until_held(busy)
    os.kill(library.stack.current()["pids"]["processor-2"], signal.SIGTERM)
    histories: list[list[tuple[str, str]]] = []
    async with asyncio.timeout(SECONDS):
        while sum(("handed_back", STOPPING) in history for history in histories) < SLOTS:
            histories = [await library.history(book.id) for book in books]
    brain.let_all_go()
    handed_back = 0
    for book in books:
        last = (await library.ann.watch_to_end(book.id))[-1]
        assert (last.processing_status, last.pages_done) == (COMPLETED, PAGES)
        history = await library.history(book.id)
        handed_back += history.count(("handed_back", OTHERS_WAIT))
        assert {event for event, _ in history} <= {"created", "claimed", "handed_back", "completed"}
    assert handed_back == 1, "one place was needed"
    assert [event for event, _ in await library.history(note.id)] == ["created", "claimed", "completed"]
    # What was under way when a place was given up was finished and kept; only the stop cost its pages under way.
    assert BOOKS * PAGES <= brain.of_books <= BOOKS * PAGES + SLOTS
