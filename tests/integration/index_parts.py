"""The index in a database of its own, with the parts that read, reuse and build anew, in front of small Brains of two models."""

from __future__ import annotations

import asyncio
import secrets
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
from materials.v1 import material_pb2

import processor_service
from processor_service.brain.breaker import BrainBreaker, BreakerPolicy
from processor_service.brain.client import BrainClient, open_http
from processor_service.brain.embedding_models import EmbeddingModels
from processor_service.brain.reader import BrainReader
from processor_service.brain.retry_policy import RetryPolicy
from processor_service.index.generation_store import GenerationStore
from processor_service.index.index_store import IndexStore, PageText, prepare_connection
from processor_service.index.page_indexing import PageIndexer
from processor_service.index.rebuild_store import RebuildStore
from processor_service.index.reindexer import Reindexer
from processor_service.index.reuse import ReuseStore, Wanted
from servicekit.postgres import Postgres
from tests.integration.embedding_brain import EmbeddingBrain, embedding_brain
from tests.local_stack import LocalStack

OLD, NEW = "old-model", "new-model"
RULE = "2:auto:text/plain"
SECONDS = 30.0
MIGRATIONS = Path(processor_service.__file__).parent / "migrations"


class IndexParts:
    """Everything about the index but the services around it. `brains` by model: OLD has 8 numbers, NEW has 4."""

    def __init__(
        self, postgres: Postgres, brains: dict[str, EmbeddingBrain], models: EmbeddingModels[BrainReader]
    ) -> None:
        self.postgres, self.brains, self.models = postgres, brains, models
        self.index, self.generations, self.rebuild = (
            IndexStore(postgres),
            GenerationStore(postgres, first_model=OLD),
            RebuildStore(postgres),
        )
        self.indexer = PageIndexer(self.index, self.generations, models, on_model=lambda model: None)
        self.reuse = self.reusing()

    def reusing(self, *, across_owners: bool = False, max_pages: int = 100, text_layers: str = "auto") -> ReuseStore:
        """A ReuseStore with these settings."""
        return ReuseStore(self.postgres, across_owners=across_owners, max_pages=max_pages, text_layers=text_layers)

    @asynccontextmanager
    async def builder(self, name: str = "builder") -> AsyncIterator[Reindexer]:
        """A Reindexer at work."""
        reindexer = Reindexer(self.generations, self.rebuild, self.models, name=name)
        task = asyncio.create_task(reindexer.run())
        try:
            yield reindexer
        finally:
            if task.done():
                task.result()
            task.cancel()
            await asyncio.wait([task])

    async def open(self, *, owner: str = "owner", sha256: str = "", attempt: int = 1) -> material_pb2.Material:
        """A material whose first attempt has begun."""
        material = material_pb2.Material(
            id=str(uuid.uuid4()),
            owner_id=owner,
            course_id="course",
            attempt=attempt,
            sha256=sha256 or secrets.token_hex(32),
            media_type="text/plain",
        )
        await self.begin(material)
        return material

    async def begin(self, material: material_pb2.Material, *, text_layers: str = "auto") -> set[int]:
        """Opens it for the attempt that it is in."""
        return await self.index.begin(
            uuid.UUID(material.id),
            material.attempt,
            owner_id=material.owner_id,
            course_id=material.course_id,
            extraction_rule=self.reusing(text_layers=text_layers).extraction_rule(material.media_type),
        )

    async def read_page(self, material: material_pb2.Material, number: int, text: str) -> None:
        """Indexes a page as reading does."""
        await self.indexer.index_page(material, PageText(number, text, 2))

    async def read(self, pages: Sequence[str], *, owner: str = "owner", sha256: str = "") -> material_pb2.Material:
        """A material read to the end."""
        material = await self.open(owner=owner, sha256=sha256)
        for number, text in enumerate(pages, 1):
            await self.read_page(material, number, text)
        await self.seal(material, len(pages))
        return material

    async def seal(self, material: material_pb2.Material, pages: int) -> int:
        """Marks it as read; the number of passages."""
        return await self.index.seal(uuid.UUID(material.id), material.attempt, sha256=material.sha256, pages=pages)

    def wanted(self, material: material_pb2.Material, *, text_layers: str = "auto") -> Wanted:
        """What `take_over` is asked."""
        return Wanted(
            uuid.UUID(material.id),
            material.attempt,
            material.owner_id,
            material.course_id,
            material.sha256,
            self.reusing(text_layers=text_layers).extraction_rule(material.media_type),
        )

    async def passages(self, material: material_pb2.Material | None = None) -> list[asyncpg.Record]:
        """Rows in order, of one material or of all."""
        return await self.postgres.fetch(
            "SELECT *, vector_dims(embedding) AS numbers FROM passages WHERE $1::uuid IS NULL OR material_id = $1 "
            "ORDER BY material_id, page_number, generation, ordinal",
            uuid.UUID(material.id) if material is not None else None,
        )

    async def until(self, sql: str, *arguments: Any, wanted: object = True) -> None:
        """Returns once the first value of the query is what is wanted."""
        async with asyncio.timeout(SECONDS):
            while (row := await self.postgres.fetchrow(sql, *arguments)) is None or row[0] != wanted:
                await asyncio.sleep(0.01)

    async def until_serving(self, number: int, *, cleared: bool = True) -> None:
        """Returns once a generation is in use, and those before it are cleared away."""
        await self.until("SELECT state FROM index_generations WHERE generation = $1", number, wanted="serving")
        if cleared:
            sql = "SELECT bool_and(cleared_at IS NOT NULL) FROM index_generations WHERE state = 'retired'"
            await self.until(sql)


@asynccontextmanager
async def index_database(stack: LocalStack) -> AsyncIterator[str]:
    """A new database of the stack's Postgres, as the processor wants it; given as its DSN, gone at the end."""
    name = f"index_{secrets.token_hex(6)}"
    server: str = stack.facts["postgres"]
    dsn = server.rpartition("/")[0] + f"/{name}"
    await _execute(server, f"CREATE DATABASE {name}")
    await _execute(dsn, "CREATE EXTENSION vector SCHEMA public; CREATE SCHEMA processor")
    yield dsn
    await _execute(server, f"DROP DATABASE {name} WITH (FORCE)")


def index_postgres(dsn: str, migrations: Path = MIGRATIONS) -> Postgres:
    """The processor's connection to it."""
    return Postgres(dsn, schema="processor", migrations=migrations, max_connections=12, init=prepare_connection)


@asynccontextmanager
async def index_parts(stack: LocalStack) -> AsyncIterator[IndexParts]:
    """In a new database of the stack's Postgres; the database goes at the end."""
    async with index_database(stack) as dsn, parts_in(index_postgres(dsn)) as parts:
        yield parts


@asynccontextmanager
async def parts_in(postgres: Postgres) -> AsyncIterator[IndexParts]:
    """In the database of the connection, which is started and stopped."""
    async with asyncio.TaskGroup() as tasks, embedding_brain(8) as old, embedding_brain(4) as new:
        await postgres.start(tasks)
        brains = {OLD: old, NEW: new}
        https = {model: open_http() for model in brains}
        probers = []
        readers: dict[str, BrainReader] = {}
        for model, brain in brains.items():
            client = BrainClient(
                https[model], endpoint=brain.endpoint, timeout_seconds=SECONDS, embedding_dimensions=brain.dimensions
            )
            breaker = BrainBreaker(client.healthy, policy=BreakerPolicy(base_seconds=0.05, cap_seconds=0.1))
            probers.append(tasks.create_task(breaker.run()))
            policy = RetryPolicy(tries=2, base_seconds=0.01, cap_seconds=0.02)
            readers[model] = BrainReader(client, breaker, pages=2, embeddings=4, policy=policy)
        try:
            yield IndexParts(postgres, brains, EmbeddingModels(readers))
        finally:
            for prober in probers:
                prober.cancel()
            for http in https.values():
                await http.aclose()
            await postgres.stop()


async def _execute(dsn: str, *statements: str) -> None:
    connection = await asyncpg.connect(dsn, ssl=False)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()
