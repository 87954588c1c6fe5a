"""The SQL of searching: the passages of a course nearest to a vector, and beside them those that share words with a query (`words_store`).

All of one search is one read-only snapshot: it never sees two generations of the index, nor one list with a passage and the other without. In a course where
both lists take their time they are made at once, by two connections with that same snapshot, if a second one is to be had. Which courses these are is known
from their last search: so the second connection is there, and the nearest are begun, before anything is counted.

Nearest. Exact, comparing every passage of the course, as long as there are at most `exact_passages` of them. Above that by the HNSW index of the generation,
where there is one and the course is a good part of it: else the index would return other courses' passages by the thousand, and miss (docs/decisions). The
decision counts no further than it needs to.

What can go wrong: a planner that has the query vector as text parses it for every row, and one that plans without values takes the wrong index from the sixth
search on. Hence binary parameters (`index_store.prepare_connection`) and custom plans. Settings last as long as the transaction: a connection that goes back to
its pool loses them, and behind a pooler the next transaction is someone else's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

import asyncpg
import numpy as np
from numpy.typing import NDArray
from pgvector import HalfVector

from processor_service.search.nearest_index import COURSE_SHARE, index_name
from processor_service.search.words_store import COMMON_PASSAGES, HIT, WITHIN, Within, WordedPassages
from servicekit.errors import Unavailable
from servicekit.postgres import Connection, Postgres

#: From so many passages on the two lists are made at once: below, the nearest take no longer than sharing a snapshot.
AT_ONCE_FROM = 3_000
#: How long a second connection is waited for, by whoever holds a first one: others may have been quicker since there was one to spare.
SPARE_SECONDS = 0.25
#: Scopes that are remembered for it.
LARGE_REMEMBERED = 10_000

# It also makes the plans of what follows in the transaction custom ones, and saves a message by it.
SERVING = """
    SELECT set_config('plan_cache_mode', 'force_custom_plan', true), g.generation, g.embedding_model, i.indexrelid IS NOT NULL AS indexed,
        coalesce(c.reltuples, 0)::bigint AS passages, greatest(t.reltuples, 0)::bigint AS in_all,
        CASE WHEN $2 THEN pg_export_snapshot() END AS snapshot
    FROM index_generations g
    JOIN pg_class t ON t.oid = 'passages'::regclass
    LEFT JOIN pg_class c ON c.oid = to_regclass($1 || g.generation)
    LEFT JOIN pg_index i ON i.indexrelid = c.oid AND i.indisvalid
    WHERE g.state = 'serving'
"""
COUNT = f"SELECT count(*) FROM (SELECT FROM passages p WHERE {WITHIN} LIMIT $4) AS counted"
# The operands' order and the binary parameter matter (docs/decisions). Each distance is worked out once, and no text is carried through the sort.
NEAREST = f"""
    SELECT {HIT}, 1 - n.distance AS similarity, 1.0::float8 AS coverage
    FROM (
        SELECT p.ctid AS place, p.embedding <=> $4 AS distance FROM passages p WHERE {WITHIN}
        ORDER BY distance, p.material_id, p.page_number, p.ordinal LIMIT $5
    ) AS n
    JOIN passages p ON p.ctid = n.place ORDER BY n.distance, p.material_id, p.page_number, p.ordinal
"""
# As the index has it: of a fixed size, and ordered by distance alone.
INDEXED_NEAREST = """
    SELECT {hit}, 1 - (p.embedding <=> $4) AS similarity, 1.0::float8 AS coverage FROM passages p WHERE {within}
    ORDER BY p.embedding::public.halfvec({dimensions}) <=> $4::public.halfvec({dimensions}) LIMIT $5
"""
# Strict order, since rank is all that counts here. The sort that is forbidden is the other plan: every passage of the course.
BY_INDEX = """
    SET LOCAL hnsw.iterative_scan = strict_order; SET LOCAL hnsw.ef_search = 200; SET LOCAL hnsw.max_scan_tuples = 100000;
    SET LOCAL enable_sort = off; SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off
"""
# The name is one that Postgres made up.
SAME_SNAPSHOT = "SET TRANSACTION SNAPSHOT '{name}'; SET LOCAL plan_cache_mode = force_custom_plan"

Embedding = NDArray[np.float32]


class ModelChanged(Exception):
    """The index in use is of another embedding model than the query was embedded with."""


@dataclass(frozen=True, slots=True)
class Scope:
    """Where to look: a course, and in it only what is `owner_id`'s, when given."""

    course_id: str
    owner_id: str | None = None


class Hit(NamedTuple):
    """A passage found. Offsets are those of its page's text."""

    material_id: UUID
    page_number: int
    ordinal: int
    start_offset: int
    end_offset: int
    heading: str
    text: str


class Candidate(NamedTuple):
    """A passage of one list. `similarity`: cosine, of the embeddings; `coverage`: how much of the query's words it has, by their rarity, above 0, at most 1."""

    hit: Hit
    similarity: float
    coverage: float


@dataclass(frozen=True, slots=True)
class Candidates:
    """What one search found, each list best first, and at most as long as was asked for."""

    nearest: list[Candidate]
    worded: list[Candidate]


class SearchStore:
    """Raises servicekit.errors.Unavailable when Postgres is away."""

    def __init__(self, postgres: Postgres, *, exact_passages: int) -> None:
        self._postgres, self._exact_passages = postgres, exact_passages
        self._worded = WordedPassages()
        self._large: dict[Scope, int] = {}

    async def candidates(
        self, embedding: Embedding, model: str, words: Sequence[str], scope: Scope, depth: int
    ) -> Candidates:
        """The `depth` best by meaning and by words. Raises ModelChanged when the index in use is not of `model`."""
        size = self._large.get(scope, 0)
        async with self._postgres.connection() as connection:
            at_once = bool(words) and size > 0 and self._postgres.has_spare_connection()
            beside = NearestBeside(self._postgres) if at_once else None
            try:
                async with connection.transaction(isolation="repeatable_read", readonly=True):
                    serving = await connection.fetchrow(SERVING, index_name(""), at_once)
                    if serving is None or serving["embedding_model"] != model:
                        raise ModelChanged
                    within: Within = (scope.course_id, serving["generation"], scope.owner_id)
                    indexed_from = max(self._exact_passages, int(COURSE_SHARE * serving["passages"]))
                    most = indexed_from if serving["indexed"] else 2 * COMMON_PASSAGES
                    vector = HalfVector(embedding)
                    if beside is not None:
                        by_index = serving["indexed"] and size > indexed_from
                        beside.look(serving["snapshot"], Nearest(within, vector, depth, by_index))
                    count = await connection.fetchval(COUNT, *within, most + 1)
                    self._remember(scope, count)
                    rows = await self._worded.find(
                        connection, within, vector, words, passages=count, in_index=serving["in_all"], depth=depth
                    )
                    worded = [_candidate(row) for row in rows]
                    found = await beside.rows() if beside is not None else None
                    if found is None:
                        # Last: its settings are not for the others.
                        by_index = serving["indexed"] and count > indexed_from
                        found = await Nearest(within, vector, depth, by_index).find(connection)
            finally:
                if beside is not None:
                    await beside.end()
        return Candidates([_candidate(row) for row in found], worded)

    def _remember(self, scope: Scope, passages: int) -> None:
        self._large.pop(scope, None)
        if passages >= AT_ONCE_FROM:
            if len(self._large) >= LARGE_REMEMBERED:
                self._large.clear()
            self._large[scope] = passages


class NearestBeside:
    """Looks for the nearest by a connection of its own, with the snapshot of another's transaction. The connection is got at once, before that is known."""

    def __init__(self, postgres: Postgres) -> None:
        loop = asyncio.get_running_loop()
        self._wanted: asyncio.Future[tuple[str, Nearest]] = loop.create_future()
        self._found: asyncio.Future[list[asyncpg.Record]] = loop.create_future()
        self._task = asyncio.create_task(self._look(postgres), name="nearest passages")

    def look(self, snapshot: str, nearest: Nearest) -> None:
        """What to look for, and in which snapshot; once. The snapshot's own transaction stays open until `rows` or `end`."""
        self._wanted.set_result((snapshot, nearest))

    async def rows(self) -> list[asyncpg.Record] | None:
        """What `Nearest.find` returned, which is known before the connection is given back; None where none was to be had, or it was lost."""
        await asyncio.wait((self._found, self._task), return_when=asyncio.FIRST_COMPLETED)
        if self._found.done():
            return self._found.result()
        with suppress(Unavailable):
            await self._task
        return None

    async def end(self) -> None:
        """Of a search that failed or was given up nothing goes on, and what else became of it is not asked for."""
        if not self._found.done():
            self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _look(self, postgres: Postgres) -> None:
        async with postgres.connection(SPARE_SECONDS) as connection:
            snapshot, nearest = await self._wanted
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                await connection.execute(SAME_SNAPSHOT.format(name=snapshot))
                self._found.set_result(await nearest.find(connection))


@dataclass(frozen=True, slots=True)
class Nearest:
    """What is looked for, and whether by the index of vectors."""

    within: Within
    vector: HalfVector
    depth: int
    by_index: bool

    async def find(self, connection: Connection) -> list[asyncpg.Record]:
        """HIT, similarity, and 1 for the coverage. Changes settings of the transaction."""
        statement = NEAREST
        if self.by_index:
            await connection.execute(BY_INDEX)
            statement = INDEXED_NEAREST.format(hit=HIT, within=WITHIN, dimensions=self.vector.dimensions())
        return await connection.fetch(statement, *self.within, self.vector, self.depth)


def _candidate(row: asyncpg.Record) -> Candidate:
    *hit, similarity, coverage = row
    return Candidate(Hit(*hit), similarity, coverage)
