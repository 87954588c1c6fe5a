"""The job that a peer does in the background, the same that the product's Processor does for a one-page image: Brain's reading, Brain's embedding, rows.

Pooled connections that are kept alive and statements that are prepared, in an asynchronous variant and in one for workers that are processes.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import psycopg
from pgvector import HalfVector
from pgvector.asyncpg import register_vector
from pgvector.psycopg import register_vector as register_vector_with_psycopg

from bench.peers import statements
from bench.peers.deployment import Deployment

PROMPT = "Extract all text from this page in reading order. Return only the text of the page, without comments."
BRAIN_SECONDS = 60.0
CONNECTIONS = 10


class Job:
    """For asynchronous workers; any number at once."""

    def __init__(self, pool: asyncpg.Pool[asyncpg.Record], brain: httpx.AsyncClient) -> None:
        self._pool, self._brain = pool, brain

    @classmethod
    @asynccontextmanager
    async def open(cls, deployment: Deployment) -> AsyncIterator[Job]:
        """Its connections are open within the block."""
        async with (
            asyncpg.create_pool(
                deployment.database,
                min_size=CONNECTIONS,
                max_size=CONNECTIONS,
                command_timeout=statements.DEADLINE_SECONDS,
                init=register_vector,
            ) as pool,
            httpx.AsyncClient(base_url=deployment.brain, timeout=BRAIN_SECONDS, trust_env=False) as brain,
        ):
            yield cls(pool, brain)

    async def run(self, material_id: str) -> None:
        """From PROCESSING to COMPLETED; FAILED and the error when something goes wrong."""
        try:
            await self._read(material_id)
        except Exception:
            await self._pool.execute(statements.FAIL, material_id)
            raise

    async def _read(self, material_id: str) -> None:
        record = await self._pool.fetchrow(statements.BEGIN, material_id)
        if record is None:
            raise LookupError(f"there is no material {material_id}")
        content = Path(record["file_path"]).read_bytes()
        await self._pool.execute(statements.PROGRESS, material_id, 0, 1)
        reading = await self._brain.post("/router", data={"prompt": PROMPT}, files=page(content))
        text = answer(reading, "response").strip()
        embedding = await self._brain.post("/utility/embed", params={"text": text})
        vector = HalfVector(answer(embedding, "embedding"))
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute(statements.INSERT_PAGE, material_id, text)
            await connection.execute(
                statements.INSERT_PASSAGE, material_id, record["course_id"], record["owner_id"], text, vector
            )
        await self._pool.execute(statements.PROGRESS, material_id, 1, 1)
        await self._pool.execute(statements.COMPLETE, material_id)


class BlockingJob:
    """For a worker that is a process of its own and does one job at a time."""

    def __init__(self, connection: psycopg.Connection[dict[str, Any]], brain: httpx.Client) -> None:
        self._connection, self._brain = connection, brain

    @classmethod
    @contextmanager
    def open(cls, deployment: Deployment) -> Iterator[BlockingJob]:
        """Its connections are open within the block."""
        with (
            # `prepare_threshold`: at the first execution already.
            psycopg.Connection[dict[str, Any]].connect(
                deployment.database, autocommit=True, prepare_threshold=0, row_factory=psycopg.rows.dict_row
            ) as connection,
            httpx.Client(base_url=deployment.brain, timeout=BRAIN_SECONDS, trust_env=False) as brain,
        ):
            connection.cursor_factory = psycopg.RawCursor
            register_vector_with_psycopg(connection)
            yield cls(connection, brain)

    def run(self, material_id: str) -> None:
        """As `Job.run`."""
        try:
            self._read(material_id)
        except Exception:
            self._connection.execute(statements.FAIL, (material_id,))
            raise

    def _read(self, material_id: str) -> None:
        execute = self._connection.execute
        record = execute(statements.BEGIN, (material_id,)).fetchone()
        if record is None:
            raise LookupError(f"there is no material {material_id}")
        content = Path(record["file_path"]).read_bytes()
        execute(statements.PROGRESS, (material_id, 0, 1))
        reading = self._brain.post("/router", data={"prompt": PROMPT}, files=page(content))
        text = answer(reading, "response").strip()
        embedding = self._brain.post("/utility/embed", params={"text": text})
        vector = HalfVector(answer(embedding, "embedding"))
        with self._connection.transaction():
            execute(statements.INSERT_PAGE, (material_id, text))
            execute(statements.INSERT_PASSAGE, (material_id, record["course_id"], record["owner_id"], text, vector))
        execute(statements.PROGRESS, (material_id, 1, 1))
        execute(statements.COMPLETE, (material_id,))


def page(content: bytes) -> dict[str, tuple[str, bytes, str]]:
    """A page's image as a form has it."""
    return {"image": ("page.png", content, "image/png")}


def answer(response: httpx.Response, key: str) -> Any:
    """What the Brain answers. Raises HTTPStatusError, ValueError, KeyError."""
    response.raise_for_status()
    return json.loads(response.content)[key]
