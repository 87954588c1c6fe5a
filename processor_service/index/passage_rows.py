"""A page's passages as rows: the one statement that writes them, for pages just read and for indexes built anew."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import numpy as np
from numpy.typing import NDArray
from pgvector import HalfVector

from processor_service.index.passages import Passage, embedding_text
from processor_service.index.search_words import index_words
from servicekit.postgres import Connection

INSERT_PASSAGES = """
    INSERT INTO passages
        (material_id, page_number, attempt, course_id, owner_id, generation, ordinal, start_offset, end_offset, heading, text, embedding, words)
    SELECT $1, $2, $3, $4, $5, $6, u.ordinal, u.start_offset, u.end_offset, u.heading, u.text, u.embedding,
        array_to_tsvector(string_to_array(u.words, ' '))
    FROM unnest($7::integer[], $8::integer[], $9::integer[], $10::text[], $11::text[], $12::public.halfvec[], $13::text[])
        AS u (ordinal, start_offset, end_offset, heading, text, embedding, words)
"""


@dataclass(frozen=True, slots=True)
class PageKey:
    """Which page the passages are of, in which generation, under which attempt, and whose they are."""

    material_id: UUID
    page_number: int
    attempt: int
    owner_id: str
    course_id: str
    generation: int


async def insert_passages(
    connection: Connection, key: PageKey, passages: Sequence[Passage], embeddings: Sequence[NDArray[np.float32]]
) -> None:
    """Writes the passages, one embedding each."""
    if not passages:
        return
    await connection.execute(
        INSERT_PASSAGES,
        key.material_id,
        key.page_number,
        key.attempt,
        key.course_id,
        key.owner_id,
        key.generation,
        [passage.ordinal for passage in passages],
        [passage.start for passage in passages],
        [passage.end for passage in passages],
        [passage.heading for passage in passages],
        [passage.text for passage in passages],
        [HalfVector(embedding) for embedding in embeddings],
        [index_words(embedding_text(passage)) for passage in passages],
    )
