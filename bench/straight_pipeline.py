"""The least code that reads a backlog of pictures with the same durability: one process, the same Brain calls, the same passages and rows, no hop in between.

It checks the file's digest, but draws and turns nothing: pictures go to the Brain as they are.
"""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

import asyncpg
import httpx
import numpy as np
from pgvector import HalfVector
from pgvector.asyncpg import register_vector

from processor_service.brain.client import DEFAULT_PROMPT, fit_url
from processor_service.index.passages import embedding_text, split_page
from processor_service.index.search_words import index_words

AT_ONCE = 4
CALL_SECONDS = 30.0

SCHEMA = """
    CREATE EXTENSION IF NOT EXISTS vector;
    CREATE TABLE materials (material_id uuid PRIMARY KEY, status smallint NOT NULL, sha256 text NOT NULL, attempt integer NOT NULL,
        updated_at timestamptz NOT NULL);
    CREATE TABLE pages (material_id uuid NOT NULL, page_number integer NOT NULL, text text NOT NULL, PRIMARY KEY (material_id, page_number));
    CREATE TABLE passages (material_id uuid NOT NULL, page_number integer NOT NULL, ordinal integer NOT NULL, text text NOT NULL,
        embedding halfvec NOT NULL, words tsvector NOT NULL, PRIMARY KEY (material_id, page_number, ordinal));
    CREATE INDEX passages_words ON passages USING gin (words) WITH (fastupdate = off);
"""
# Of a backlog there is a row a material before it is read.
ADD = "INSERT INTO materials SELECT unnest($1::uuid[]), 1, $2, 0, clock_timestamp()"
CLAIM = """
    UPDATE materials SET status = 2, attempt = attempt + 1, updated_at = clock_timestamp() WHERE material_id = $1 AND status = 1 RETURNING sha256
"""
INSERT_PAGE = "INSERT INTO pages VALUES ($1, 1, $2)"
INSERT_PASSAGES = """
    INSERT INTO passages
    SELECT $1, 1, u.ordinal, u.text, u.embedding, array_to_tsvector(string_to_array(u.words, ' '))
    FROM unnest($2::integer[], $3::text[], $4::halfvec[], $5::text[]) AS u (ordinal, text, embedding, words)
"""
COMPLETE = "UPDATE materials SET status = 3, updated_at = clock_timestamp() WHERE material_id = $1 AND status = 2"


class StraightPipeline:
    """Works off materials, AT_ONCE at a time. `completed` counts."""

    def __init__(self, pool: asyncpg.Pool[asyncpg.Record], http: httpx.AsyncClient, brain_url: str) -> None:
        self._pool, self._http, self._brain_url = pool, http, brain_url
        self.completed = 0

    @classmethod
    @asynccontextmanager
    async def open(cls, database: str, brain_url: str) -> AsyncIterator[Self]:
        """With its tables made, in an empty database."""
        connection = await asyncpg.connect(database, timeout=CALL_SECONDS)
        await connection.execute(SCHEMA, timeout=CALL_SECONDS)
        await connection.close(timeout=CALL_SECONDS)
        async with (
            asyncpg.create_pool(
                database, min_size=AT_ONCE, max_size=AT_ONCE, command_timeout=CALL_SECONDS, init=_prepare
            ) as pool,
            httpx.AsyncClient(timeout=CALL_SECONDS) as http,
        ):
            yield cls(pool, http, brain_url)

    async def drain(self, file: Path, count: int) -> None:
        """Reads the file so many times, as if it were another each time."""
        ids = [uuid.uuid4() for _ in range(count)]
        await self._pool.execute(ADD, ids, hashlib.sha256(file.read_bytes()).hexdigest())
        backlog = iter(ids)
        await asyncio.gather(*(self._work(file, backlog) for _ in range(AT_ONCE)))

    async def _work(self, file: Path, backlog: Iterator[uuid.UUID]) -> None:
        for material_id in backlog:
            sha256 = await self._pool.fetchval(CLAIM, material_id)
            content = file.read_bytes()
            if hashlib.sha256(content).hexdigest() != sha256:
                raise ValueError("not the file that was recorded")
            read = await self._call("/router", data={"prompt": DEFAULT_PROMPT}, files={"image": ("page.png", content)})
            passages = split_page(read["response"])
            texts = [embedding_text(passage) for passage in passages]
            embedded = await asyncio.gather(*(self._call(fit_url("", text)) for text in texts))
            vectors = [HalfVector(np.array(reply["embedding"], np.float32)) for reply in embedded]
            words = [index_words(text) for text in texts]
            async with self._pool.acquire() as connection, connection.transaction():
                await connection.execute(INSERT_PAGE, material_id, read["response"])
                await connection.execute(
                    INSERT_PASSAGES, material_id, [*range(len(passages))], [p.text for p in passages], vectors, words
                )
                await connection.execute(COMPLETE, material_id)
            self.completed += 1

    async def _call(self, path: str, **content: Any) -> dict[str, Any]:
        reply = await self._http.post(self._brain_url + path, **content)
        reply.raise_for_status()
        answer: dict[str, Any] = reply.json()
        return answer


async def _prepare(connection: asyncpg.Connection[asyncpg.Record]) -> None:
    await register_vector(connection, schema="public")
