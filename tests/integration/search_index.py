"""An index in a database of its own, filled as fast as Postgres takes it: courses of made vectors and texts."""

from __future__ import annotations

import asyncio
import io
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import processor_service
from processor_service.index.index_store import prepare_connection
from processor_service.index.search_words import index_words, query_words
from processor_service.search.search_store import Candidates, Scope, SearchStore
from servicekit.postgres import Postgres
from tests.integration.index_parts import index_database
from tests.local_stack import LocalStack

DIMENSIONS = 64
MODEL = "model"
COLUMNS = (
    "material_id", "page_number", "ordinal", "attempt", "course_id", "owner_id", "start_offset", "end_offset", "heading",
    "text", "embedding", "generation", "words",
)  # fmt: skip

Vectors = NDArray[np.float32]


class SearchIndex:
    """`postgres` has one connection, so that what Postgres counts for a session is what was done here."""

    def __init__(self, postgres: Postgres, dsn: str) -> None:
        self.postgres, self.dsn = postgres, dsn

    def store(self, *, exact_passages: int = 20_000) -> SearchStore:
        """What searches it."""
        return SearchStore(self.postgres, exact_passages=exact_passages)

    async def find(
        self, query: str, course: str, *, vector: Vectors | None = None, owner: str | None = None, depth: int = 10
    ) -> Candidates:
        """The candidates for a query, by a vector that is near to none when not given."""
        embedding = np.ones(DIMENSIONS, dtype=np.float32) if vector is None else vector
        return await self.store().candidates(embedding, MODEL, query_words(query), Scope(course, owner), depth)

    async def worded(self, query: str, course: str, owner: str | None = None) -> list[str]:
        """The texts found by words, best first."""
        return [each.hit.text for each in (await self.find(query, course, owner=owner)).worded]

    async def add(
        self,
        course: str,
        texts: Sequence[str],
        vectors: Vectors | None = None,
        *,
        owner: str = "owner",
        generation: int = 1,
    ) -> uuid.UUID:
        """One passage a text, each a page of one material; returns its id."""
        material_id = uuid.uuid4()
        made = made_vectors(len(texts)) if vectors is None else vectors
        lines = [
            "\t".join(
                (
                    str(material_id), str(page), "0", "1", course, owner, "0", str(len(text)), "", text,
                    "[" + ",".join(f"{number:.4f}" for number in vector) + "]", str(generation),
                    " ".join(f"'{word}'" for word in index_words(text).split()),
                )
            )
            for page, (text, vector) in enumerate(zip(texts, made, strict=True), 1)
        ]  # fmt: skip
        async with self.postgres.connection() as connection:
            await connection.execute("INSERT INTO documents (material_id, attempt) VALUES ($1, 1)", material_id)
            source = io.BytesIO("".join(f"{line}\n" for line in lines).encode())
            await connection.copy_to_table("passages", source=source, columns=COLUMNS, format="text", timeout=60)
        return material_id

    async def analyze(self) -> None:
        """Lets Postgres count."""
        await self.postgres.execute("VACUUM ANALYZE passages")

    async def serve(self, generation: int, model: str = MODEL) -> None:
        """Puts a generation in use in place of the one that is."""
        await self.postgres.execute("UPDATE index_generations SET state = 'retired' WHERE state = 'serving'")
        await self.postgres.execute(
            "INSERT INTO index_generations (generation, embedding_model, chunking_rule, state) VALUES ($1, $2, '2', 'serving')",
            generation,
            model,
        )


def made_vectors(count: int, seed: int = 7) -> Vectors:
    """Unit vectors in clusters, as those of texts are."""
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(1).normal(size=(50, DIMENSIONS))
    vectors = centres[random.integers(0, len(centres), count)] + 0.8 * random.normal(size=(count, DIMENSIONS))
    scaled: Vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return scaled


@asynccontextmanager
async def search_index(stack: LocalStack) -> AsyncIterator[SearchIndex]:
    """In a new database of the stack's Postgres; the database goes at the end. Generation 1 is in use, of MODEL."""
    async with (
        index_database(stack) as dsn,
        asyncio.TaskGroup() as tasks,
        started(dsn, tasks) as postgres,
    ):
        await postgres.execute("UPDATE index_generations SET embedding_model = $1", MODEL)
        yield SearchIndex(postgres, dsn)


@asynccontextmanager
async def started(dsn: str, tasks: asyncio.TaskGroup) -> AsyncIterator[Postgres]:
    """The database as one replica has it, by one connection."""
    postgres = Postgres(
        dsn,
        schema="processor",
        migrations=Path(processor_service.__file__).parent / "migrations",
        max_connections=1,
        command_timeout=60.0,
        init=prepare_connection,
    )
    await postgres.start(tasks)
    try:
        yield postgres
    finally:
        await postgres.stop()
