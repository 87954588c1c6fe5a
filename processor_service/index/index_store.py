"""Pages and passages in Postgres, fenced by attempt number.

Every write of an attempt first takes the document's row and is refused (FencedOut) when a newer attempt, or the purge, has been there: a worker that was
given up for dead and comes back can no longer change anything. An attempt that begins takes over what earlier ones finished, so all rows of a document
always carry one attempt's number. A page's text and passages are written in one transaction: a page is finished or not there.

Passages are written for the generation of the index that is in use. It may change while a page is being embedded: then nothing is written (GenerationChanged,
see `generation_store`), and the page is embedded again.

Whoever writes takes locks in one order, so that none wait for each other in a ring: the document's row, then the generation's, then pages, then passages. A
second document, the source of a copy, comes last, and is passed over when it is not free. The switch takes generations alone, lower numbers first.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from uuid import UUID

import asyncpg
import numpy as np
from numpy.typing import NDArray
from pgvector.asyncpg import register_vector

from processor_service.index.generation_store import SERVING_NUMBER, hold
from processor_service.index.passage_rows import PageKey, insert_passages
from processor_service.index.passages import Passage
from servicekit.postgres import Connection, Postgres

#: No attempt reaches it: fences everybody out of a purged document.
PURGED_ATTEMPT = 2**31 - 1
PAGE_ROWS = 50
#: A book's passages are in several indexes, each of which hears of their new attempt: longer than a statement usually may take.
ADOPT_SECONDS = 60.0

# Pages that another rule has read stay, but nobody else is given them as if they were of this one.
BEGIN = """
    INSERT INTO documents AS d (material_id, attempt, owner_id, course_id, extraction_rule) VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT (material_id) DO UPDATE SET attempt = EXCLUDED.attempt, owner_id = EXCLUDED.owner_id, course_id = EXCLUDED.course_id,
        extraction_rule = CASE
            WHEN d.extraction_rule = EXCLUDED.extraction_rule OR NOT EXISTS (SELECT FROM pages p WHERE p.material_id = d.material_id)
            THEN EXCLUDED.extraction_rule ELSE 'mixed'
        END
    WHERE d.attempt <= EXCLUDED.attempt
    RETURNING xmax = 0 AS is_new
"""
ADOPT_PAGES = "UPDATE pages SET attempt = $2 WHERE material_id = $1 AND attempt <> $2"
ADOPT_PASSAGES = "UPDATE passages SET attempt = $2 WHERE material_id = $1 AND attempt <> $2"
FINISHED_PAGES = "SELECT page_number FROM pages WHERE material_id = $1"
FENCE = "SELECT 1 FROM documents WHERE material_id = $1 AND attempt = $2 FOR SHARE"
INSERT_PAGE = """
    INSERT INTO pages (material_id, page_number, attempt, text, source, generation) VALUES ($1, $2, $3, $4, $5, $6)
    ON CONFLICT (material_id, page_number) DO NOTHING RETURNING page_number
"""
# From here on a later upload of the same bytes may be given what was read.
SEAL = """
    UPDATE documents SET sha256 = $3, pages_total = $4, finished_at = clock_timestamp()
    WHERE material_id = $1 AND attempt = $2 AND purged_at IS NULL RETURNING 1
"""
COUNT_PASSAGES = f"SELECT count(*) FROM passages WHERE material_id = $1 AND generation = ({SERVING_NUMBER})"
PURGE = """
    INSERT INTO documents (material_id, attempt, purged_at) VALUES ($1, $2, clock_timestamp())
    ON CONFLICT (material_id) DO UPDATE SET attempt = EXCLUDED.attempt, purged_at = EXCLUDED.purged_at,
        owner_id = '', course_id = '', sha256 = '', extraction_rule = '', finished_at = NULL
"""
DELETE_PASSAGES = "DELETE FROM passages WHERE material_id = $1"
DELETE_PAGES = "DELETE FROM pages WHERE material_id = $1"
TEXTS_BEFORE = """
    SELECT text FROM pages WHERE material_id = $1 AND page_number >= $2 AND page_number < $3 ORDER BY page_number
"""
PAGES_FROM = """
    SELECT page_number, text, source FROM pages WHERE material_id = $1 AND page_number >= $2 ORDER BY page_number LIMIT $3
"""


class FencedOut(Exception):
    """A newer attempt, or the purge, has taken the document: drop the work."""


@dataclass(frozen=True, slots=True)
class PageText:
    """A finished page."""

    page_number: int
    text: str
    source: int


async def prepare_connection(connection: asyncpg.Connection[asyncpg.Record]) -> None:
    """Vectors travel in binary: as text they are parsed for every row that they are compared with."""
    await register_vector(connection, schema="public")


class IndexStore:
    """All methods raise servicekit.errors.Unavailable when Postgres is away; each may be repeated."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def begin(
        self, material_id: UUID, attempt: int, *, owner_id: str, course_id: str, extraction_rule: str
    ) -> set[int]:
        """Opens the document for an attempt, which reads by this rule; returns the numbers of the pages already finished. Raises FencedOut."""
        async with self._postgres.connection() as connection, connection.transaction():
            is_new = await connection.fetchval(BEGIN, material_id, attempt, owner_id, course_id, extraction_rule)
            if is_new is None:
                raise FencedOut
            if is_new:  # of such a document nothing is finished yet
                return set()
            await connection.execute(ADOPT_PAGES, material_id, attempt)
            await connection.execute(ADOPT_PASSAGES, material_id, attempt, timeout=ADOPT_SECONDS)
            return {row["page_number"] for row in await connection.fetch(FINISHED_PAGES, material_id)}

    async def finish_page(
        self,
        page: PageText,
        key: PageKey,
        *,
        passages: Sequence[Passage],
        embeddings: Sequence[NDArray[np.float32]],
    ) -> None:
        """Writes a page and its passages, one embedding each, by the model of `key.generation`. A page that is there already stays as it is.

        Raises FencedOut, and GenerationChanged when that generation is not in use."""
        async with self._postgres.connection() as connection, connection.transaction():
            await self._hold_fence(connection, key.material_id, key.attempt)
            await hold(connection, key.generation, "serving")
            written = await connection.fetchval(
                INSERT_PAGE, key.material_id, key.page_number, key.attempt, page.text, page.source, key.generation
            )
            if written is not None:
                await insert_passages(connection, key, passages, embeddings)

    async def seal(self, material_id: UUID, attempt: int, *, sha256: str, pages: int) -> int:
        """Marks the document as read to the end; returns its number of passages. Raises FencedOut when the attempt does not own the document any more."""
        async with self._postgres.connection() as connection, connection.transaction():
            if await connection.fetchval(SEAL, material_id, attempt, sha256, pages) is None:
                raise FencedOut
            return int(await connection.fetchval(COUNT_PASSAGES, material_id))

    async def purge(self, material_id: UUID) -> None:
        """Removes everything of a deleted material and keeps later writes out."""
        async with self._postgres.connection() as connection, connection.transaction():
            await connection.execute(PURGE, material_id, PURGED_ATTEMPT)
            await connection.execute(DELETE_PASSAGES, material_id)
            await connection.execute(DELETE_PAGES, material_id)

    async def texts_before(self, material_id: UUID, page_number: int, count: int) -> list[str]:
        """The texts of up to `count` finished pages before a page, in order."""
        if page_number == 1:
            return []
        rows = await self._postgres.fetch(TEXTS_BEFORE, material_id, page_number - count, page_number)
        return [row["text"] for row in rows]

    async def pages_from(self, material_id: UUID, page_number: int) -> list[PageText]:
        """Up to PAGE_ROWS finished pages, in order."""
        rows = await self._postgres.fetch(PAGES_FROM, material_id, page_number, PAGE_ROWS)
        return [PageText(*row) for row in rows]

    async def pages_onward(
        self, material_id: UUID, page_number: int, *, past_gaps: bool = True
    ) -> AsyncIterator[PageText]:
        """The finished pages from one on, in order: all of them, or up to the first that is missing."""
        while True:
            pages = await self.pages_from(material_id, page_number)
            ready = pages if past_gaps else without_gap(pages, page_number)
            for page in ready:
                yield page
            if len(ready) < PAGE_ROWS:
                return
            page_number = ready[-1].page_number + 1

    async def _hold_fence(self, connection: Connection, material_id: UUID, attempt: int) -> None:
        if await connection.fetchval(FENCE, material_id, attempt) is None:
            raise FencedOut


def without_gap(pages: Sequence[PageText], first: int) -> list[PageText]:
    """Of pages in order, those from `first` to the last before a missing one."""
    return [page for number, page in enumerate(pages, start=first) if page.page_number == number]
