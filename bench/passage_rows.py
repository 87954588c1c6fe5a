"""Courses full of materials and passages, written straight into the schemas of Status and the Processor as their services would have left them.

Everything follows from a seed. Texts are words of a made-up language that are as unequally frequent as those of real ones (Zipf); vectors lie in clusters,
as those of texts do, around what the scripted Brain says of some queries, so that each query has its near ones.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import product
from typing import TypeAlias

import asyncpg
import numpy as np
from numpy.typing import NDArray
from pgvector import HalfVector

from bench.scripted_brain import DIMENSIONS
from processor_service.index.index_store import prepare_connection
from tests.local_stack import LocalStack

Vectors = NDArray[np.float32]
Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

OWNER = "bench"
BATCH = 2_000
#: Words of a passage: with the spaces between them about 700 characters.
PASSAGE_WORDS = 100
#: How far passages lie from the middle of their cluster: their cosine to it is 0.7.
NOISE = 1.0
SYLLABLES = ("ba", "de", "fi", "go", "ku", "la", "me", "ni", "po", "ru", "sa", "te", "vi", "zo", "ha", "jo")
#: Of plain letters, so that a word is the one form of itself that is looked for.
VOCABULARY = ["".join(syllables) for length in (2, 3, 4) for syllables in product(SYLLABLES, repeat=length)][:30_000]

# Ids follow from course and number, so that both schemas have the same ones without being told.
MATERIAL_ID = "md5($1 || ' ' || number)::uuid"
MATERIALS = f"""
    INSERT INTO status.materials
        (material_id, owner_id, course_id, name, file_path, file_type, media_type, file_size, sha256, created_at, updated_at, status, revision, course_revision,
         attempt, attempt_outcome, pages_done, pages_total, has_embedding, processed_at, announced_at, announced_incarnation,
         announced_sequence, claimed_at)
    SELECT {MATERIAL_ID}, $2, $1, 'notes-' || number || '.txt', 'materials/' || {MATERIAL_ID} || '/original', 'text', 'text/plain', 4096,
        encode(sha256(($1 || number)::bytea), 'hex'), moment, moment, 3, 3, 3 * number,
        1, 'completed', 1, 1, number <= $4, moment, moment, 'bench', number, moment
    FROM generate_series(1, $3::integer) AS number
    CROSS JOIN LATERAL (SELECT now() - make_interval(secs => $3 - number + 60) AS moment) AS moments
"""
COURSE = "INSERT INTO status.courses (course_id, revision) VALUES ($1, 3 * $2::bigint)"
TRANSITIONS = """
    INSERT INTO status.transitions
    SELECT m.material_id, change.revision, change.from_status, change.to_status, change.event, m.owner_id, 0, '', 1, m.created_at
    FROM status.materials m
    CROSS JOIN (VALUES (1, 0, 1, 'created'), (2, 1, 2, 'claimed'), (3, 2, 3, 'completed')) AS change (revision, from_status, to_status, event)
    WHERE m.course_id = $1
"""
DOCUMENTS = f"""
    INSERT INTO processor.documents (material_id, attempt, owner_id, course_id, sha256, pages_total, extraction_rule, finished_at)
    SELECT {MATERIAL_ID}, 1, $2, $1, encode(sha256(($1 || number)::bytea), 'hex'), 1, 'bench', now() FROM generate_series(1, $3::integer) AS number
"""
# Pages without their text, which is read by nobody here.
PAGES = f"""
    INSERT INTO processor.pages (material_id, page_number, attempt, text, source)
    SELECT {MATERIAL_ID}, 1, 1, '', 2 FROM generate_series(1, $2::integer) AS number
"""
PASSAGES = """
    INSERT INTO processor.passages
        (material_id, page_number, attempt, course_id, owner_id, ordinal, start_offset, end_offset, heading, text, embedding, words)
    SELECT md5($1 || ' ' || (1 + (u.number - 1) / $3::integer))::uuid, 1, 1, $1, $2, (u.number - 1) % $3, 0, length(u.text), '', u.text, u.embedding,
        array_to_tsvector(ARRAY(SELECT DISTINCT unnest(string_to_array(u.text, ' '))))
    FROM unnest($4::bigint[], $5::text[], $6::public.halfvec[]) AS u (number, text, embedding)
"""
# Made anew when everything is there: ten times as fast as kept in order row by row.
INDEXES = """
    SELECT format('DROP INDEX %s', i.indexrelid::regclass) AS drop, pg_get_indexdef(i.indexrelid) AS make
    FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am a ON a.oid = c.relam
    WHERE i.indrelid = 'processor.passages'::regclass AND a.amname = 'gin'
"""


@dataclass(frozen=True)
class Course:
    """So many materials, all read to the end, of which the first have as many passages each; the others are blank."""

    course_id: str
    materials: int
    passages: int
    passages_each: int = 1


@asynccontextmanager
async def database(stack: LocalStack) -> AsyncIterator[Connection]:
    """A connection to the stack's database that speaks vectors, with nothing set but what the Processor's have set."""
    connection: Connection = await asyncpg.connect(
        stack.facts["postgres"], timeout=10, command_timeout=300, server_settings={"search_path": "processor,public"}
    )
    try:
        await prepare_connection(connection)
        yield connection
    finally:
        await connection.close(timeout=10)


async def fill(connection: Connection, courses: Sequence[Course], centres: Vectors, *, seed: int = 1) -> None:
    """Writes the courses with passages around the `centres`, shape (n, DIMENSIONS), and lets Postgres count, as it would by itself within a minute."""
    random = np.random.default_rng(seed)
    indexes = await connection.fetch(INDEXES)
    async with connection.transaction():
        for index in indexes:
            await connection.execute(index["drop"])
        for course in courses:
            readable = course.passages // course.passages_each
            await connection.execute(MATERIALS, course.course_id, OWNER, course.materials, readable)
            await connection.execute(COURSE, course.course_id, course.materials)
            await connection.execute(TRANSITIONS, course.course_id)
            await connection.execute(DOCUMENTS, course.course_id, OWNER, course.materials)
            await connection.execute(PAGES, course.course_id, course.materials)
            for first in range(1, course.passages + 1, BATCH):
                numbers = range(first, min(course.passages + 1, first + BATCH))
                vectors, texts = vectors_around(centres, len(numbers), random), made_texts(len(numbers), random)
                await connection.execute(
                    PASSAGES,
                    course.course_id,
                    OWNER,
                    course.passages_each,
                    list(numbers),
                    texts,
                    list(map(HalfVector, vectors)),
                )
        for index in indexes:
            await connection.execute(index["make"])
    await connection.execute("VACUUM ANALYZE processor.passages, processor.documents, processor.pages")
    await connection.execute("VACUUM ANALYZE status.materials, status.courses, status.transitions")


def vectors_around(centres: Vectors, count: int, random: np.random.Generator) -> Vectors:
    """Unit vectors, shape (count, DIMENSIONS), each around one of the centres, which are unit vectors too; in half precision, as they are stored."""
    noise = random.normal(scale=NOISE / DIMENSIONS**0.5, size=(count, DIMENSIONS))
    vectors = centres[random.integers(0, len(centres), count)] + noise
    scaled: Vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16).astype(np.float32)
    return scaled


def made_texts(count: int, random: np.random.Generator, *, words: int = PASSAGE_WORDS) -> list[str]:
    """Texts of so many words."""
    shares = 1 / (np.arange(len(VOCABULARY)) + 2.7)
    chosen = np.searchsorted(np.cumsum(shares) / shares.sum(), random.random((count, words)))
    return [" ".join([VOCABULARY[word] for word in row]) for row in chosen]
