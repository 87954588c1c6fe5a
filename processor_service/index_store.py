"""Pages and passages in Postgres, fenced by attempt number.

Every write of an attempt first takes the document's row and is refused (FencedOut) when a newer attempt, or the purge, has been there: a worker that was
given up for dead and comes back can no longer change anything. An attempt that begins takes over what earlier ones finished, so all rows of a document
always carry one attempt's number. A page's text and passages are written in one transaction: a page is finished or not there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import asyncpg
import numpy as np
from numpy.typing import NDArray
from pgvector import HalfVector
from pgvector.asyncpg import register_vector

from processor_service.passages import Passage
from servicekit.postgres import Connection, Postgres

#: No attempt reaches it: fences everybody out of a purged document.
PURGED_ATTEMPT = 2**31 - 1
PAGE_ROWS = 50

BEGIN = """
    INSERT INTO documents AS d (material_id, attempt) VALUES ($1, $2)
    ON CONFLICT (material_id) DO UPDATE SET attempt = EXCLUDED.attempt WHERE d.attempt <= EXCLUDED.attempt
    RETURNING attempt
"""
ADOPT_PAGES = "UPDATE pages SET attempt = $2 WHERE material_id = $1 AND attempt <> $2"
ADOPT_PASSAGES = "UPDATE passages SET attempt = $2 WHERE material_id = $1 AND attempt <> $2"
FINISHED_PAGES = "SELECT page_number FROM pages WHERE material_id = $1"
FENCE = "SELECT 1 FROM documents WHERE material_id = $1 AND attempt = $2 FOR SHARE"
INSERT_PAGE = """
    INSERT INTO pages (material_id, page_number, attempt, text, source) VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT (material_id, page_number) DO NOTHING RETURNING page_number
"""
INSERT_PASSAGES = """
    INSERT INTO passages (material_id, page_number, attempt, course_id, owner_id, ordinal, start_offset, end_offset, heading, text, embedding)
    SELECT $1, $2, $3, $4, $5, u.*
    FROM unnest($6::integer[], $7::integer[], $8::integer[], $9::text[], $10::text[], $11::public.halfvec[]) AS u
"""
COUNT_PASSAGES = "SELECT count(*) FROM passages WHERE material_id = $1"
PURGE = """
    INSERT INTO documents (material_id, attempt, purged_at) VALUES ($1, $2, clock_timestamp())
    ON CONFLICT (material_id) DO UPDATE SET attempt = EXCLUDED.attempt, purged_at = EXCLUDED.purged_at
"""
DELETE_PASSAGES = "DELETE FROM passages WHERE material_id = $1"
DELETE_PAGES = "DELETE FROM pages WHERE material_id = $1"
PAGES_FROM = """
    SELECT page_number, text, source FROM pages WHERE material_id = $1 AND page_number >= $2 ORDER BY page_number LIMIT $3
"""
# Exact: every vector of the course is compared. The operands' order and the binary parameter matter (docs/decisions).
NEAREST = """
    SELECT material_id, page_number, ordinal, start_offset, end_offset, heading, text, 1 - (embedding <=> $1) AS score
    FROM passages WHERE course_id = $2 AND ($3::text IS NULL OR owner_id = $3)
    ORDER BY embedding <=> $1, material_id, page_number, ordinal LIMIT $4
"""


class FencedOut(Exception):
    """A newer attempt, or the purge, has taken the document: drop the work."""


@dataclass(frozen=True, slots=True)
class PageText:
    """A finished page."""

    page_number: int
    text: str
    source: int


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage found, with its cosine similarity to the query."""

    material_id: UUID
    page_number: int
    ordinal: int
    start_offset: int
    end_offset: int
    heading: str
    text: str
    score: float


async def prepare_connection(connection: asyncpg.Connection[asyncpg.Record]) -> None:
    """Vectors travel in binary; statements are planned with their values, since a generic plan parses the query vector for every row."""
    await register_vector(connection, schema="public")
    await connection.execute("SET plan_cache_mode = force_custom_plan")


class IndexStore:
    """All methods raise servicekit.errors.Unavailable when Postgres is away; each may be repeated."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def begin(self, material_id: UUID, attempt: int) -> set[int]:
        """Opens the document for an attempt; returns the numbers of the pages already finished. Raises FencedOut."""
        async with self._postgres.connection() as connection, connection.transaction():
            if await connection.fetchval(BEGIN, material_id, attempt) is None:
                raise FencedOut
            await connection.execute(ADOPT_PAGES, material_id, attempt)
            await connection.execute(ADOPT_PASSAGES, material_id, attempt)
            return {row["page_number"] for row in await connection.fetch(FINISHED_PAGES, material_id)}

    async def finish_page(
        self,
        material_id: UUID,
        attempt: int,
        *,
        owner_id: str,
        course_id: str,
        page: PageText,
        passages: Sequence[Passage],
        embeddings: Sequence[NDArray[np.float32]],
    ) -> None:
        """Writes a page and its passages, one embedding each. A page that is there already stays as it is. Raises FencedOut."""
        async with self._postgres.connection() as connection, connection.transaction():
            await self._hold_fence(connection, material_id, attempt)
            arguments = (material_id, page.page_number, attempt, page.text, page.source)
            if await connection.fetchval(INSERT_PAGE, *arguments) is None or not passages:
                return
            await connection.execute(
                INSERT_PASSAGES,
                material_id,
                page.page_number,
                attempt,
                course_id,
                owner_id,
                [passage.ordinal for passage in passages],
                [passage.start for passage in passages],
                [passage.end for passage in passages],
                [passage.heading for passage in passages],
                [passage.text for passage in passages],
                [HalfVector(embedding) for embedding in embeddings],
            )

    async def seal(self, material_id: UUID, attempt: int) -> int:
        """The number of passages, when the attempt still owns the document. Raises FencedOut."""
        async with self._postgres.connection() as connection, connection.transaction():
            await self._hold_fence(connection, material_id, attempt)
            return int(await connection.fetchval(COUNT_PASSAGES, material_id))

    async def purge(self, material_id: UUID) -> None:
        """Removes everything of a deleted material and keeps later writes out."""
        async with self._postgres.connection() as connection, connection.transaction():
            await connection.execute(PURGE, material_id, PURGED_ATTEMPT)
            await connection.execute(DELETE_PASSAGES, material_id)
            await connection.execute(DELETE_PAGES, material_id)

    async def pages_from(self, material_id: UUID, page_number: int) -> list[PageText]:
        """Up to PAGE_ROWS finished pages, in order."""
        rows = await self._postgres.fetch(PAGES_FROM, material_id, page_number, PAGE_ROWS)
        return [PageText(*row) for row in rows]

    async def nearest(
        self, embedding: NDArray[np.float32], course_id: str, owner_id: str | None, limit: int
    ) -> list[Hit]:
        """The passages of a course (of one owner, where given) nearest to a vector, best first."""
        rows = await self._postgres.fetch(NEAREST, HalfVector(embedding), course_id, owner_id, limit)
        return [Hit(*row) for row in rows]

    async def _hold_fence(self, connection: Connection, material_id: UUID, attempt: int) -> None:
        if await connection.fetchval(FENCE, material_id, attempt) is None:
            raise FencedOut
