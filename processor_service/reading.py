"""One attempt's work: the file, page by page, into text, passages and embeddings, with a checkpoint after each page.

    object store → a private copy (sha256 checked) → child process: image or text of page N → Brain: text → passages → Brain: embeddings → index

Bytes that were read before need none of it: what was read of them is taken over (`reuse`).

A page is checkpointed with its passages in one transaction; an attempt after a crash begins at the first page that is not there. Files live in a
directory of the attempt's own and go with it.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import UUID

import structlog
from materials.v1 import material_pb2, processor_service_pb2

from processor_service.brain.reader import BrainReader
from processor_service.documents.forkserver import RenderForkserver
from processor_service.documents.rendering import DocumentRenderer, RenderedPage, RenderLimits
from processor_service.index.index_store import IndexStore, PageText
from processor_service.index.page_indexing import PageIndexer
from processor_service.index.reuse import ReuseStore, Wanted
from processor_service.metrics import RenderingMetrics, WorkMetrics
from processor_service.outcomes import ObjectChanged
from processor_service.patience import patiently
from processor_service.turn_taking import TurnTaking
from processor_service.work_directory import WorkDirectory
from servicekit.object_store import ObjectStore
from servicekit.tracing import span

log = structlog.get_logger()

OnProgress = Callable[[int, int], None]  # pages done, pages in all
_SOURCES = {
    int(processor_service_pb2.TEXT_SOURCE_FILE): "file",
    int(processor_service_pb2.TEXT_SOURCE_BRAIN): "brain",
}


@dataclass(frozen=True)
class ReadResult:
    """What an attempt that read everything has to report."""

    pages: int
    passages: int
    #: Calls to the AI Brain that it took.
    brain_calls: int = 0


class MaterialReader:
    """Reads materials. Shared by all slots; each call of `read` is one attempt."""

    def __init__(
        self,
        store: ObjectStore,
        index: IndexStore,
        indexer: PageIndexer,
        reuse: ReuseStore,
        brain: BrainReader,
        turns: TurnTaking,
        *,
        forkserver: RenderForkserver,
        limits: RenderLimits,
        work_directory: WorkDirectory,
        metrics: WorkMetrics | None = None,
        rendering: RenderingMetrics | None = None,
    ) -> None:
        self._store, self._index, self._indexer, self._reuse = store, index, indexer, reuse
        self._brain, self._turns = brain, turns
        self._forkserver, self._limits, self._work_directory = forkserver, limits, work_directory
        self._metrics, self._rendering = metrics or WorkMetrics(), rendering

    async def read(self, material: material_pb2.Material, on_progress: OnProgress) -> ReadResult:
        """Reads all pages that no earlier attempt has finished. Raises FencedOut, BrainError, TurnOver, DocumentError, ObjectMissing, ObjectChanged,
        Unavailable."""
        with self._brain.counting(material.id) as counted:
            done = await self._read(material, on_progress)
        return replace(done, brain_calls=counted.calls)

    async def _read(self, material: material_pb2.Material, on_progress: OnProgress) -> ReadResult:
        material_id = UUID(material.id)
        finished = await patiently(
            lambda: self._index.begin(
                material_id,
                material.attempt,
                owner_id=material.owner_id,
                course_id=material.course_id,
                extraction_rule=self._reuse.extraction_rule(material.media_type),
            )
        )
        if (reused := await self._take_over(material)) is not None:
            on_progress(reused.pages, reused.pages)
            return reused
        await self._indexer.check_model()
        with self._work_directory.attempt() as directory:
            path = directory / "file"
            await patiently(lambda: self._fetch(material, path))
            async with DocumentRenderer(self._limits, forkserver=self._forkserver, metrics=self._rendering) as renderer:
                info = await renderer.open(path, material.media_type)
                on_progress(len(finished), info.pages)
                missing = [number for number in range(1, info.pages + 1) if number not in finished]
                await self._read_pages(
                    material, renderer, missing, lambda left: on_progress(info.pages - left, info.pages)
                )
        passages = await patiently(
            lambda: self._index.seal(material_id, material.attempt, sha256=material.sha256, pages=info.pages)
        )
        return ReadResult(info.pages, passages)

    async def _take_over(self, material: material_pb2.Material) -> ReadResult | None:
        """What was read of the same bytes before, made this material's own; None when they must be read."""
        wanted = Wanted(
            UUID(material.id),
            material.attempt,
            material.owner_id,
            material.course_id,
            material.sha256,
            self._reuse.extraction_rule(material.media_type),
        )
        extraction = await patiently(lambda: self._reuse.take_over(wanted))
        if extraction is None:
            return None
        log.info("the same bytes were read before", pages=extraction.pages)
        self._metrics.pages.labels("reused").inc(extraction.pages)
        return ReadResult(extraction.pages, extraction.passages)

    async def _fetch(self, material: material_pb2.Material, path: Path) -> None:
        """Copies the file; begins afresh when it is called again."""
        digest = hashlib.sha256()
        with path.open("wb") as file:
            async for chunk in self._store.read(material.file_path):
                digest.update(chunk)
                await asyncio.to_thread(file.write, chunk)
        if digest.hexdigest() != material.sha256:
            raise ObjectChanged

    async def _read_pages(
        self,
        material: material_pb2.Material,
        renderer: DocumentRenderer,
        numbers: Sequence[int],
        on_left: Callable[[int], None],
    ) -> None:
        """Reads these pages in turn. While the Brain reads one the next is drawn and the one before is indexed, so that it never waits for either.

        `on_left` is told how many are left. What was read when something goes wrong is still indexed."""
        drawing: asyncio.Task[RenderedPage] | None = None
        indexing: asyncio.Task[None] | None = None
        try:
            for place, number in enumerate(numbers):
                self._turns.check(material.id)
                rendered = await (drawing or renderer.render(number - 1))
                following = numbers[place + 1 : place + 2]
                drawing = asyncio.create_task(renderer.render(following[0] - 1)) if following else None
                page = await self._page(material, number, rendered)
                if indexing is not None:
                    await indexing
                indexing = asyncio.create_task(self._index_page(material, page, len(numbers) - place - 1, on_left))
            if indexing is not None:
                await indexing
        except Exception:
            if indexing is not None:
                await asyncio.wait([indexing])
            raise
        finally:
            await _ended([task for task in (drawing, indexing) if task is not None])

    async def _page(self, material: material_pb2.Material, number: int, rendered: RenderedPage) -> PageText:
        if rendered.text is not None:
            return PageText(number, rendered.text, processor_service_pb2.TEXT_SOURCE_FILE)
        assert rendered.png is not None
        with span("read page", attributes={"page": number}):
            text = await self._brain.read_page(rendered.png, owner_id=material.owner_id, material_id=material.id)
        return PageText(number, text, processor_service_pb2.TEXT_SOURCE_BRAIN)

    async def _index_page(
        self, material: material_pb2.Material, page: PageText, left: int, on_left: Callable[[int], None]
    ) -> None:
        with span("index page", attributes={"page": page.page_number}):
            passages = await self._indexer.index_page(material, page)
        self._metrics.pages.labels(_SOURCES.get(page.source, "unknown")).inc()
        self._metrics.passages.inc(passages)
        on_left(left)


async def _ended(tasks: Sequence[asyncio.Task[Any]]) -> None:
    """Cancels what still runs, and waits until all have ended; what they raised is of no more interest."""
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)
        for task in tasks:
            task.cancelled() or task.exception()
