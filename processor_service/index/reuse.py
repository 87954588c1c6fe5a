"""What was read of the same bytes before, given to a new material of the same owner: nothing is fetched, and the AI Brain is not asked.

A document can be reused once it is read to the end, as long as it is not deleted, and only while files are read by the same rule. What is copied is then
the new material's own: deleting the one leaves the other whole. The copy is one transaction that holds the source's row, so a source that is being purged
is copied whole or not at all, and the generation in use, so that an index being built finds the copied pages like any that were just read.

Between owners nothing is shared unless a setting says so: how fast an upload is done would tell one what another has.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

import asyncpg

from processor_service.index.generation_store import SERVING_NUMBER, GenerationChanged, hold
from processor_service.index.index_store import FencedOut
from servicekit.postgres import Connection, Postgres

#: The name of how text is read out of a file. Another name for each change after which the same bytes may give another text.
EXTRACTION_RULE = "3"
#: Switches of the index in use that one copy may run into.
MAX_SWITCHES = 3
#: A document of some thousand pages takes longer than a statement usually may.
COPY_SECONDS = 60.0

# Asked before anything is locked: most bytes are new.
ANY_FINISHED = """
    SELECT EXISTS (SELECT FROM documents WHERE sha256 = $1 AND (owner_id = $2 OR $3) AND finished_at IS NOT NULL AND purged_at IS NULL)
"""
# Kept from other writers until the copy is marked as finished.
OWN_FENCE = """
    SELECT sha256, extraction_rule, pages_total, finished_at FROM documents
    WHERE material_id = $1 AND attempt = $2 AND purged_at IS NULL FOR NO KEY UPDATE
"""
SOURCE = """
    SELECT material_id, pages_total FROM documents
    WHERE sha256 = $1 AND (owner_id = $2 OR $3) AND finished_at IS NOT NULL AND purged_at IS NULL
        AND extraction_rule = $4 AND pages_total <= $5 AND material_id <> $6
    ORDER BY owner_id <> $2, finished_at DESC LIMIT 1 FOR SHARE SKIP LOCKED
"""
# Pages that an earlier attempt has finished stay as they are, with their passages. Passages of an index being built are not taken along: the builder
# sees the page's generation and makes them.
COPY = """
    WITH copied AS (
        INSERT INTO pages (material_id, page_number, attempt, text, source, generation)
        SELECT $1, page_number, $2, text, source, $5 FROM pages WHERE material_id = $6
        ON CONFLICT (material_id, page_number) DO NOTHING RETURNING page_number
    )
    INSERT INTO passages
        (material_id, page_number, attempt, owner_id, course_id, generation, ordinal, start_offset, end_offset, heading, text, embedding, words)
    SELECT $1, p.page_number, $2, $3, $4, $5, p.ordinal, p.start_offset, p.end_offset, p.heading, p.text, p.embedding, p.words
    FROM passages p JOIN copied USING (page_number) WHERE p.material_id = $6 AND p.generation = $5
"""
FINISH = """
    UPDATE documents SET sha256 = $2, pages_total = $3, finished_at = clock_timestamp() WHERE material_id = $1
"""
COUNT_PAGES = "SELECT count(*) FROM pages WHERE material_id = $1"
COUNT_PASSAGES = "SELECT count(*) FROM passages WHERE material_id = $1 AND generation = $2"


@dataclass(frozen=True, slots=True)
class Extraction:
    """A finished extraction: how many pages it has, and how many passages."""

    pages: int
    passages: int


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be read, and for which attempt. `extraction_rule` names how."""

    material_id: UUID
    attempt: int
    owner_id: str
    course_id: str
    sha256: str
    extraction_rule: str


class _SourceIncomplete(Exception):
    """Ends the transaction: what was copied is not all that the record of the source says."""


class ReuseStore:
    """Looks for a finished extraction and takes it over. Raises servicekit.errors.Unavailable when Postgres is away; may be repeated.

    `text_layers` is the setting that says which text is taken from the file itself."""

    def __init__(self, postgres: Postgres, *, across_owners: bool, max_pages: int, text_layers: str) -> None:
        self._postgres, self._across_owners, self._max_pages = postgres, across_owners, max_pages
        self._text_layers = text_layers

    def extraction_rule(self, media_type: str) -> str:
        """The name of how a file is read: the same bytes by the same rule have the same text."""
        return f"{EXTRACTION_RULE}:{self._text_layers}:{media_type}"

    async def take_over(self, wanted: Wanted) -> Extraction | None:
        """Makes a finished document of the wanted one when its bytes have been read before, by itself in an attempt whose outcome was lost or by another.

        None when they must be read. The document must have been opened for the attempt. Raises FencedOut."""
        row = await self._postgres.fetchrow(ANY_FINISHED, wanted.sha256, wanted.owner_id, self._across_owners)
        assert row is not None, "EXISTS is always one row"
        if not row["exists"]:
            return None
        for _ in range(MAX_SWITCHES):
            try:
                return await self._take_over(wanted)
            except GenerationChanged:
                continue
            except _SourceIncomplete:
                break
        return None

    async def _take_over(self, wanted: Wanted) -> Extraction | None:
        async with self._postgres.connection() as connection, connection.transaction():
            own = await connection.fetchrow(OWN_FENCE, wanted.material_id, wanted.attempt)
            if own is None:
                raise FencedOut
            generation = await connection.fetchval(SERVING_NUMBER)
            await hold(connection, generation, "serving")
            if not _is_finished(own, wanted):
                source = await self._source(connection, wanted)
                if source is None:
                    return None
                await _copy(connection, wanted, source, generation)
            passages = await connection.fetchval(COUNT_PASSAGES, wanted.material_id, generation)
            return Extraction(await connection.fetchval(COUNT_PAGES, wanted.material_id), passages)

    async def _source(self, connection: Connection, wanted: Wanted) -> asyncpg.Record | None:
        return await connection.fetchrow(
            SOURCE,
            wanted.sha256,
            wanted.owner_id,
            self._across_owners,
            wanted.extraction_rule,
            self._max_pages,
            wanted.material_id,
        )


def _is_finished(own: asyncpg.Record, wanted: Wanted) -> bool:
    return own["finished_at"] is not None and (own["sha256"], own["extraction_rule"]) == (
        wanted.sha256,
        wanted.extraction_rule,
    )


async def _copy(connection: Connection, wanted: Wanted, source: asyncpg.Record, generation: int) -> None:
    """Copies, and marks the document as finished. Raises _SourceIncomplete."""
    await connection.execute(
        COPY,
        wanted.material_id,
        wanted.attempt,
        wanted.owner_id,
        wanted.course_id,
        generation,
        source["material_id"],
        timeout=COPY_SECONDS,
    )
    if await connection.fetchval(COUNT_PAGES, wanted.material_id) != source["pages_total"]:
        raise _SourceIncomplete
    await connection.execute(FINISH, wanted.material_id, wanted.sha256, source["pages_total"])
