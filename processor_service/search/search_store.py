"""The SQL of searching: the passages of a course nearest to a vector, and those that share the rarest words with a query.

All of one search is one read-only snapshot: it never sees two generations of the index, nor one list with a passage and the other without.

Nearest. Exact, comparing every passage of the course, as long as there are at most `exact_passages` of them. Above that by the HNSW index of the generation,
where there is one and the course is a good part of it: else the index would return other courses' passages by the thousand, and miss (docs/decisions). The
decision counts no further than it needs to.

Words. A word's weight is its rarity in what the caller may see of the course; one in most passages, or in more than COMMON_PASSAGES, weighs nothing. Finding
that out costs as much as the word is frequent in the whole index, so that words of which Postgres' own statistics tell that they are everywhere are not looked
for at all. Words are compared as values, so nothing that a caller writes is an operator.

What can go wrong: a planner that has the query vector as text parses it for every row, and one that plans without values takes the wrong index from the sixth
search on. Hence binary parameters (`index_store.prepare_connection`) and custom plans. Settings last as long as the transaction: a connection that goes back to
its pool loses them, and behind a pooler the next transaction is someone else's.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log
from typing import NamedTuple
from uuid import UUID

import asyncpg
import numpy as np
from numpy.typing import NDArray
from pgvector import HalfVector

from processor_service.search.nearest_index import COURSE_SHARE, index_name
from servicekit.postgres import Connection, Postgres

#: A word in more passages of a course than these says nothing that meaning does not say better.
COMMON_PASSAGES = 2_000
#: Nor does one in more passages of the whole index than these.
COMMON_IN_INDEX = 50_000
#: How long the index's statistics are remembered.
STATISTICS_SECONDS = 60.0
#: Passages that are looked at for the words of one query, over all its words, the rarest first.
WORD_PASSAGES = 8_000

# It also makes the plans of what follows in the transaction custom ones, and saves a message by it.
SERVING = """
    SELECT set_config('plan_cache_mode', 'force_custom_plan', true), g.generation, g.embedding_model, i.indexrelid IS NOT NULL AS indexed,
        coalesce(c.reltuples, 0)::bigint AS passages
    FROM index_generations g
    LEFT JOIN pg_class c ON c.oid = to_regclass($1 || g.generation)
    LEFT JOIN pg_index i ON i.indexrelid = c.oid AND i.indisvalid
    WHERE g.state = 'serving'
"""
WITHIN = "p.course_id = $1 AND p.generation = $2 AND ($3::text IS NULL OR p.owner_id = $3)"
COUNT = f"SELECT count(*) FROM (SELECT FROM passages p WHERE {WITHIN} LIMIT $4) AS counted"
HIT = "p.material_id, p.page_number, p.ordinal, p.start_offset, p.end_offset, p.heading, p.text"
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
COMMON_WORDS = """
    SELECT common.word FROM pg_stats s JOIN pg_class c ON c.oid = 'passages'::regclass
    CROSS JOIN LATERAL unnest(s.most_common_elems::text::text[], s.most_common_elem_freqs) AS common (word, frequency)
    WHERE s.schemaname = current_schema() AND s.tablename = 'passages' AND s.attname = 'words' AND common.frequency * c.reltuples > $1
"""
WORD_COUNTS = f"""
    SELECT count.passages FROM unnest($4::text[]) WITH ORDINALITY AS wanted (word, place)
    CROSS JOIN LATERAL (
        SELECT count(*) AS passages FROM (SELECT FROM passages p WHERE {WITHIN} AND p.words @@ wanted.word::tsquery LIMIT $5) AS found
    ) AS count
    ORDER BY wanted.place
"""
# Of passages with the same words the nearest in meaning comes first; of very many the later ones are left out.
WORDED = f"""
    WITH matched AS (
        SELECT p.ctid AS place, sum(wanted.weight) AS coverage
        FROM unnest($5::text[], $6::float8[]) AS wanted (word, weight)
        CROSS JOIN LATERAL (SELECT p.ctid FROM passages p WHERE {WITHIN} AND p.words @@ wanted.word::tsquery) AS p
        GROUP BY p.ctid ORDER BY coverage DESC, p.ctid LIMIT greatest(1000, $7)
    )
    SELECT {HIT}, 1 - (p.embedding <=> $4) AS similarity, matched.coverage FROM matched JOIN passages p ON p.ctid = matched.place
    ORDER BY matched.coverage DESC, p.embedding <=> $4, p.material_id, p.page_number, p.ordinal LIMIT $7
"""

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
        self._common_words: frozenset[str] = frozenset()
        self._common_words_until = 0.0

    async def candidates(
        self, embedding: Embedding, model: str, words: Sequence[str], scope: Scope, depth: int
    ) -> Candidates:
        """The `depth` best by meaning and by words. Raises ModelChanged when the index in use is not of `model`."""
        async with (
            self._postgres.connection() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            serving = await connection.fetchrow(SERVING, index_name(""))
            if serving is None or serving["embedding_model"] != model:
                raise ModelChanged
            within = (scope.course_id, serving["generation"], scope.owner_id)
            indexed_from = max(self._exact_passages, int(COURSE_SHARE * serving["passages"]))
            most = indexed_from if serving["indexed"] else 2 * COMMON_PASSAGES
            count = await connection.fetchval(COUNT, *within, most + 1)
            vector = HalfVector(embedding)
            worded = await self._worded(connection, within, vector, words, count, depth)
            # Last: its settings are not for the others.
            if serving["indexed"] and count > indexed_from:
                await connection.execute(BY_INDEX)
                statement = INDEXED_NEAREST.format(hit=HIT, within=WITHIN, dimensions=len(embedding))
            else:
                statement = NEAREST
            nearest = await connection.fetch(statement, *within, vector, depth)
            return Candidates([_candidate(row) for row in nearest], [_candidate(row) for row in worded])

    async def _worded(
        self,
        connection: Connection,
        within: tuple[str, int, str | None],
        vector: HalfVector,
        words: Sequence[str],
        passages: int,
        depth: int,
    ) -> list[asyncpg.Record]:
        if not words or passages == 0:
            return []
        common = await self._common(connection)
        queries = [as_query(word) for word in words if word not in common]
        most = min(COMMON_PASSAGES, passages // 2)
        counted = [row["passages"] for row in await connection.fetch(WORD_COUNTS, *within, queries, most + 1)]
        weights = rarities(dict(zip(queries, counted, strict=True)), passages=passages, common=most)
        if not weights:
            return []
        return await connection.fetch(WORDED, *within, vector, list(weights), list(weights.values()), depth)

    async def _common(self, connection: Connection) -> frozenset[str]:
        # Statistics change with the next ANALYZE, and reading them takes as long as looking for a word.
        if time.monotonic() >= self._common_words_until:
            self._common_words = frozenset(row["word"] for row in await connection.fetch(COMMON_WORDS, COMMON_IN_INDEX))
            self._common_words_until = time.monotonic() + STATISTICS_SECONDS
        return self._common_words


def as_query(word: str) -> str:
    """A word as a `tsquery` that is just this word."""
    escaped = word.replace("\\", "\\\\").replace("'", "''")
    return f"'{escaped}'"


def rarities(counts: Mapping[str, int], *, passages: int, common: int) -> dict[str, float]:
    """What each word counts, by how many of `passages` have it: all that weigh anything sum up to 1. Only those that are somewhere are returned, the rarest
    first; a word in more than `common` passages weighs nothing. Of words that are in WORD_PASSAGES together, the further ones are left out."""
    rarity = {
        word: log(1 + (passages - count + 0.5) / (count + 0.5)) for word, count in counts.items() if count <= common
    }
    total = sum(rarity.values())
    weights: dict[str, float] = {}
    room = WORD_PASSAGES
    for word in sorted(rarity, key=lambda word: counts[word]):
        room -= counts[word]
        if counts[word] and room >= 0:
            weights[word] = rarity[word] / total
    return weights


def _candidate(row: asyncpg.Record) -> Candidate:
    *hit, similarity, coverage = row
    return Candidate(Hit(*hit), similarity, coverage)
