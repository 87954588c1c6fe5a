"""One attempt's work: the file, page by page, into text, passages and embeddings, with a checkpoint after each page.

    object store → a private copy (sha256 checked) → child process: image or text of page N → Brain: text → passages → Brain: embeddings → index

A page is checkpointed with its passages in one transaction; an attempt after a crash begins at the first page that is not there. Files live in a
directory of the attempt's own and go with it.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from uuid import UUID

import stamina
from materials.v1 import material_pb2, processor_service_pb2

from processor_service.brain_reader import BrainReader
from processor_service.index_store import IndexStore, PageText
from processor_service.outcomes import ObjectChanged
from processor_service.passages import split_page
from processor_service.rendering import DocumentRenderer, RenderedPage, RenderLimits
from processor_service.work_directory import WorkDirectory
from servicekit.errors import Unavailable
from servicekit.object_store import ObjectStore

Result = TypeVar("Result")
OnProgress = Callable[[int, int], None]  # pages done, pages in all
#: How long an attempt waits, with its lease kept, for the store or the database to come back.
PATIENCE_SECONDS = 300.0


@dataclass(frozen=True)
class ReadResult:
    """What an attempt that read everything has to report."""

    pages: int
    passages: int


class MaterialReader:
    """Reads materials. Shared by all slots; each call of `read` is one attempt."""

    def __init__(
        self,
        store: ObjectStore,
        index: IndexStore,
        brain: BrainReader,
        *,
        limits: RenderLimits,
        work_directory: WorkDirectory,
    ) -> None:
        self._store, self._index, self._brain = store, index, brain
        self._limits, self._work_directory = limits, work_directory

    async def read(self, material: material_pb2.Material, on_progress: OnProgress) -> ReadResult:
        """Reads all pages that no earlier attempt has finished. Raises FencedOut, BrainError, DocumentError, ObjectMissing, ObjectChanged, Unavailable."""
        material_id = UUID(material.id)
        finished = await _patiently(lambda: self._index.begin(material_id, material.attempt))
        with self._work_directory.attempt() as directory:
            path = directory / "file"
            await _patiently(lambda: self._fetch(material, path))
            async with DocumentRenderer(self._limits) as renderer:
                info = await renderer.open(path, material.media_type)
                on_progress(len(finished), info.pages)
                for number in range(1, info.pages + 1):
                    if number not in finished:
                        await self._read_page(material, number, await renderer.render(number - 1))
                        finished.add(number)
                        on_progress(len(finished), info.pages)
        passages = await _patiently(lambda: self._index.seal(material_id, material.attempt))
        return ReadResult(info.pages, passages)

    async def _fetch(self, material: material_pb2.Material, path: Path) -> None:
        """Copies the file; begins afresh when it is called again."""
        digest = hashlib.sha256()
        with path.open("wb") as file:
            async for chunk in self._store.read(material.file_path):
                digest.update(chunk)
                await asyncio.to_thread(file.write, chunk)
        if digest.hexdigest() != material.sha256:
            raise ObjectChanged

    async def _read_page(self, material: material_pb2.Material, number: int, rendered: RenderedPage) -> None:
        if rendered.text is not None:
            page = PageText(number, rendered.text, processor_service_pb2.TEXT_SOURCE_FILE)
        else:
            assert rendered.png is not None
            page = PageText(number, await self._brain.read_page(rendered.png), processor_service_pb2.TEXT_SOURCE_BRAIN)
        passages = split_page(page.text)
        embeddings = await self._brain.embed_all([passage.text for passage in passages])
        await _patiently(
            lambda: self._index.finish_page(
                UUID(material.id),
                material.attempt,
                owner_id=material.owner_id,
                course_id=material.course_id,
                page=page,
                passages=passages,
                embeddings=embeddings,
            )
        )


async def _patiently(call: Callable[[], Awaitable[Result]]) -> Result:
    """The call's result, repeated while Postgres or the object store is away: an outage of ours is not the material's fault."""
    async for attempt in stamina.retry_context(on=Unavailable, attempts=None, timeout=PATIENCE_SECONDS, wait_max=5.0):
        with attempt:
            return await call()
    raise AssertionError("unreachable: stamina raises the last error")
