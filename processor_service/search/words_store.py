"""The SQL of searching by words: the passages of a course that share the rarest words with a query.

A word's weight is its rarity in what the caller may see of the course; one in most passages, or in more than COMMON_PASSAGES, weighs nothing. Where each word
stands is looked up once, and what weighs something is ranked by those places. Words are compared as values, so nothing that a caller writes is an operator.

By the index of words that costs as much as each word is frequent in the whole index, however small the course is. So words of which Postgres' own statistics
tell that they are everywhere are not looked for at all; those found to be everywhere in a large course are not looked for again in it for a while; and a course
that is a small part of the index is read through instead.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from math import log
from typing import TypeAlias

import asyncpg
from pgvector import HalfVector

from servicekit.postgres import Connection

#: A word in more passages of a course than these says nothing that meaning does not say better.
COMMON_PASSAGES = 2_000
#: Nor does one in more passages of the whole index than these.
COMMON_IN_INDEX = 50_000
#: How long it is remembered which words are everywhere.
COMMON_SECONDS = 60.0
#: Words of courses that are remembered as common at once.
COMMON_REMEMBERED = 10_000
#: Passages that are looked at for the words of one query, over all its words, the rarest first.
WORD_PASSAGES = 8_000
#: A course is read through if it has at most so many passages, and the index so many times as many: then its words cost less than the postings of others.
READ_THROUGH_PASSAGES, READ_THROUGH_TIMES = 2_000, 50
#: Weights are multiples of this: their sums are then exact, in whatever order Postgres adds them, and passages with the same words equal.
WEIGHT_UNIT = 2.0**-40

#: Course, generation, and the owner if only what is his is looked at.
Within: TypeAlias = tuple[str, int, str | None]

WITHIN = "p.course_id = $1 AND p.generation = $2 AND ($3::text IS NULL OR p.owner_id = $3)"
HIT = "p.material_id, p.page_number, p.ordinal, p.start_offset, p.end_offset, p.heading, p.text"
COMMON_WORDS = """
    SELECT common.word FROM pg_stats s JOIN pg_class c ON c.oid = 'passages'::regclass
    CROSS JOIN LATERAL unnest(s.most_common_elems::text::text[], s.most_common_elem_freqs) AS common (word, frequency)
    WHERE s.schemaname = current_schema() AND s.tablename = 'passages' AND s.attname = 'words' AND common.frequency * c.reltuples > $1
"""
# In how many passages each word is, of $5 or more no matter how many; and of fewer, where they are.
PLACES_BY_INDEX = f"""
    SELECT found.passages, CASE WHEN found.passages < $5 THEN found.places::text END AS places
    FROM unnest($4::text[]) WITH ORDINALITY AS wanted (word, number)
    CROSS JOIN LATERAL (
        SELECT count(*) AS passages, array_agg(p.ctid) AS places
        FROM (SELECT p.ctid FROM passages p WHERE {WITHIN} AND p.words @@ wanted.word::tsquery LIMIT $5) AS p
    ) AS found
    ORDER BY wanted.number
"""
# The same by reading all passages. Their words lie out of line: with an empty list appended they are fetched once, not once for each that is wanted.
PLACES_READ_THROUGH = f"""
    SELECT coalesce(found.passages, 0) AS passages, CASE WHEN found.passages < $5 THEN found.places::text END AS places
    FROM unnest($4::text[]) WITH ORDINALITY AS wanted (word, number)
    LEFT JOIN (
        SELECT w.number, count(*) AS passages, array_agg(p.ctid) AS places
        FROM (SELECT p.ctid, p.words || ''::tsvector AS words FROM passages p WHERE {WITHIN} OFFSET 0) AS p
        JOIN unnest($4::text[]::tsquery[]) WITH ORDINALITY AS w (word, number) ON p.words @@ w.word
        GROUP BY w.number
    ) AS found USING (number)
    ORDER BY wanted.number
"""
# Of passages with the same words the nearest in meaning comes first; of very many the later ones are left out. Places are those of the same snapshot.
WORDED = f"""
    WITH matched AS (
        SELECT found.place, sum(wanted.weight) AS coverage
        FROM unnest($2::text[], $3::float8[]) AS wanted (places, weight)
        CROSS JOIN LATERAL unnest(wanted.places::tid[]) AS found (place)
        GROUP BY found.place ORDER BY coverage DESC, found.place LIMIT greatest(1000, $4)
    )
    SELECT {HIT}, 1 - (p.embedding <=> $1) AS similarity, matched.coverage FROM matched JOIN passages p ON p.ctid = matched.place
    ORDER BY matched.coverage DESC, p.embedding <=> $1, p.material_id, p.page_number, p.ordinal LIMIT $4
"""


class WordedPassages:
    """Finds them within a transaction of the caller's, which is one snapshot; remembers for a while which words are everywhere."""

    def __init__(self) -> None:
        self._everywhere: frozenset[str] = frozenset()
        self._everywhere_until = 0.0
        self._common: dict[tuple[Within, str], float] = {}

    async def find(
        self,
        connection: Connection,
        within: Within,
        vector: HalfVector,
        words: Sequence[str],
        *,
        passages: int,
        in_index: int,
        depth: int,
    ) -> list[asyncpg.Record]:
        """The `depth` best: HIT, similarity, coverage. There are so many `passages` to search, of about so many `in_index`; 0 if nobody has counted yet."""
        if not words or passages == 0:
            return []
        everywhere, now = await self._words_everywhere(connection), time.monotonic()
        wanted = [word for word in words if word not in everywhere and self._common.get((within, word), 0.0) <= now]
        if not wanted:
            return []
        most = min(COMMON_PASSAGES, passages // 2)
        queries = [as_query(word) for word in wanted]
        found = await connection.fetch(places_of_words(passages, in_index), *within, queries, most + 1)
        counts = {word: int(row["passages"]) for word, row in zip(wanted, found, strict=True)}
        # Not of smaller courses, where a word ceases to be common with the next upload: of these only when much is deleted.
        if most == COMMON_PASSAGES:
            self._remember(within, [word for word, count in counts.items() if count > most])
        weights = rarities(counts, passages=passages, common=most)
        if not weights:
            return []
        places = {word: row["places"] for word, row in zip(wanted, found, strict=True)}
        return await connection.fetch(WORDED, vector, [places[word] for word in weights], [*weights.values()], depth)

    def _remember(self, within: Within, common: Sequence[str]) -> None:
        if len(self._common) > COMMON_REMEMBERED:
            self._common.clear()
        until = time.monotonic() + COMMON_SECONDS
        self._common.update({(within, word): until for word in common})

    async def _words_everywhere(self, connection: Connection) -> frozenset[str]:
        # Statistics change with the next ANALYZE, and reading them takes as long as looking for a word.
        if time.monotonic() >= self._everywhere_until:
            self._everywhere = frozenset(row["word"] for row in await connection.fetch(COMMON_WORDS, COMMON_IN_INDEX))
            self._everywhere_until = time.monotonic() + COMMON_SECONDS
        return self._everywhere


def places_of_words(passages: int, in_index: int) -> str:
    """The statement that finds the words of a query in so many passages of an index of so many."""
    small = passages <= READ_THROUGH_PASSAGES and passages * READ_THROUGH_TIMES <= in_index
    return PLACES_READ_THROUGH if small else PLACES_BY_INDEX


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
            weights[word] = round(rarity[word] / total / WEIGHT_UNIT) * WEIGHT_UNIT
    return weights
