"""The pages that a generation being built still needs, and the passages that a retired one leaves behind, in Postgres.

A page is taken into the new generation in one transaction, under locks that a purge, a new attempt and the switch all respect: a deleted document gets nothing
back, a page is never built twice, and nothing is written once the building has been given up. So several builders at once, or one that was given up for dead
and comes back, cost work but do no harm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from processor_service.index.generation_store import hold
from processor_service.index.passage_rows import PageKey, insert_passages
from processor_service.index.passages import Passage
from servicekit.postgres import Postgres

#: Pages whose passages of a retired generation are deleted in one transaction.
CLEARED_PAGES = 200

# In the order of the index on these three, which also is where the next batch goes on.
OLDER_PAGES = """
    SELECT generation, material_id, page_number, text FROM pages
    WHERE generation < $1 AND (generation, material_id, page_number) > ($2, $3, $4)
    ORDER BY generation, material_id, page_number LIMIT $5
"""
TEXTS_BESIDE = """
    SELECT text FROM pages WHERE material_id = $1 AND abs(page_number - $2::integer) <= $3 AND page_number <> $2 ORDER BY page_number
"""
# A processor of before, beside this one in an upgrade, names owner and course in passages alone.
HOLD_DOCUMENT = """
    SELECT d.attempt, coalesce(nullif(d.owner_id, ''), p.owner_id, '') AS owner_id, coalesce(nullif(d.course_id, ''), p.course_id, '') AS course_id
    FROM documents d LEFT JOIN LATERAL (SELECT owner_id, course_id FROM passages WHERE material_id = d.material_id LIMIT 1) p ON true
    WHERE d.material_id = $1 AND d.purged_at IS NULL FOR SHARE OF d
"""
TAKE_PAGE = """
    UPDATE pages SET generation = $3 WHERE material_id = $1 AND page_number = $2 AND generation < $3 RETURNING 1
"""
LEAVE_OUT = "UPDATE index_generations SET passages_left_out = passages_left_out + $2 WHERE generation = $1"
# Every passage has its page: the pages lead to them, a bounded number at a time. Each document is held before its passages are touched, as everywhere.
CLEAR = """
    WITH walked AS (
        SELECT g.material_id, g.page_number FROM pages g JOIN documents d USING (material_id) WHERE (g.material_id, g.page_number) > ($2, $3)
        ORDER BY g.material_id, g.page_number LIMIT $4 FOR SHARE OF d
    ), gone AS (
        DELETE FROM passages p USING walked w
        WHERE p.material_id = w.material_id AND p.page_number = w.page_number AND p.generation = $1
    )
    SELECT material_id, page_number FROM walked ORDER BY material_id DESC, page_number DESC LIMIT 1
"""
CLEARED = """
    UPDATE index_generations SET cleared_at = clock_timestamp(), builder = '', builder_lease_expires_at = NULL WHERE generation = $1
"""


FIRST = UUID(int=0)


@dataclass(frozen=True, slots=True)
class OlderPage:
    """A page that is not in the generation being built."""

    generation: int
    material_id: UUID
    page_number: int
    text: str


@dataclass(frozen=True, slots=True)
class Place:
    """Where a walk over pages goes on: behind this one."""

    generation: int = 0
    material_id: UUID = FIRST
    page_number: int = 0


class RebuildStore:
    """All methods raise servicekit.errors.Unavailable when Postgres is away; each may be repeated."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def older_pages(self, generation: int, after: Place, count: int) -> list[OlderPage]:
        """Up to `count` pages behind a place that are not in the generation, in the order of places."""
        rows = await self._postgres.fetch(
            OLDER_PAGES, generation, after.generation, after.material_id, after.page_number, count
        )
        return [OlderPage(*row) for row in rows]

    async def texts_beside(self, page: OlderPage, count: int) -> list[str]:
        """The texts of up to `count` pages before and as many behind a page, in order."""
        rows = await self._postgres.fetch(TEXTS_BESIDE, page.material_id, page.page_number, count)
        return [row["text"] for row in rows]

    async def build_page(
        self,
        generation: int,
        page: OlderPage,
        *,
        passages: Sequence[Passage],
        embeddings: Sequence[NDArray[np.float32]],
        left_out: int,
    ) -> None:
        """Takes a page into the generation with its passages, one embedding each, and counts those `left_out`; nothing happens when the page is in it, or gone.

        Raises GenerationChanged when the generation is not being built any more."""
        async with self._postgres.connection() as connection, connection.transaction():
            document = await connection.fetchrow(HOLD_DOCUMENT, page.material_id)
            await hold(connection, generation, "building", alone=left_out > 0)
            if document is None:
                return
            if await connection.fetchval(TAKE_PAGE, page.material_id, page.page_number, generation) is None:
                return
            key = PageKey(
                page.material_id,
                page.page_number,
                document["attempt"],
                document["owner_id"],
                document["course_id"],
                generation,
            )
            await insert_passages(connection, key, passages, embeddings)
            if left_out:
                await connection.execute(LEAVE_OUT, generation, left_out)

    async def clear_some(self, generation: int, after: Place) -> Place | None:
        """Deletes the passages that the next pages have in a retired generation. Returns the place to go on at; None when all of them are gone."""
        row = await self._postgres.fetchrow(CLEAR, generation, after.material_id, after.page_number, CLEARED_PAGES)
        if row is not None:
            return Place(generation, row["material_id"], row["page_number"])
        await self._postgres.execute(CLEARED, generation)
        return None
