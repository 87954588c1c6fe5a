"""The HNSW index of the generation in use: made when a course has outgrown exact search, dropped when its generation is used no more.

Looks every minute or so, at a sample of the table. Any number of replicas may look at once: Postgres lets one make the index of a name, and tells the others
that it is there, or that they are in the way; they look again later. A build that was cut off leaves an invalid index, which nobody uses, and which is dropped
when nobody is building. Searches need none of this: without the index they are exact, and slower.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass

import asyncpg
import structlog

from processor_service.index.generation_store import SERVING_NUMBER
from servicekit.errors import Unavailable
from servicekit.postgres import Connection, Postgres

log = structlog.get_logger()

#: The part of a generation that a course must be for the index to be of use to it.
COURSE_SHARE = 0.1
LOOK_SECONDS = 60.0
#: Pages of the table that are looked at for large courses.
SAMPLE_PAGES = 2_000
#: A build reads every passage: minutes for millions.
BUILD_SECONDS = 6 * 3600.0

INDEXES = """
    SELECT c.relname AS name, i.indisvalid AS valid
    FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
    WHERE i.indrelid = 'passages'::regclass AND starts_with(c.relname, $1)
"""
BUILDING = "SELECT EXISTS (SELECT FROM pg_stat_progress_create_index WHERE relid = 'passages'::regclass)"
TABLE_PAGES = "SELECT greatest(1, pg_relation_size('passages') / current_setting('block_size')::bigint)"
LARGEST = """
    SELECT course_id, count(*) AS sampled, sum(count(*)) OVER () AS sampled_in_all
    FROM passages TABLESAMPLE SYSTEM ($2::float4) WHERE generation = $1 GROUP BY course_id ORDER BY sampled DESC LIMIT 1
"""
COUNT = "SELECT count(*) FROM (SELECT FROM passages WHERE course_id = $1 AND generation = $2 LIMIT $3) AS counted"
# In memory a build takes a third of the time. By one process alone, whose memory grows as needed: several would share all of it from the start, which
# containers seldom have. A server that is set to more than this is left as it is set.
BUILD_MEMORY = """
    SELECT set_config('maintenance_work_mem', '512MB', false), set_config('max_parallel_maintenance_workers', '0', false)
    WHERE pg_size_bytes(current_setting('maintenance_work_mem')) < pg_size_bytes('512MB')
"""
USUAL_MEMORY = "RESET maintenance_work_mem; RESET max_parallel_maintenance_workers"
DIMENSIONS = "SELECT vector_dims(embedding) FROM passages WHERE generation = $1 LIMIT 1"


def index_name(generation: int | str) -> str:
    """The index of a generation; of "" what all their names begin with."""
    return f"passages_nearest_{generation}"


@dataclass(frozen=True, slots=True)
class Upkeep:
    """What is to be done: names of indexes to drop; whether that of the generation in use is missing."""

    drop: tuple[str, ...]
    missing: bool


def upkeep(valid: dict[str, bool], serving: int) -> Upkeep:
    """`valid`: the indexes there are, and whether each was built to its end; nobody is building one."""
    wanted = index_name(serving)
    drop = tuple(name for name, is_valid in valid.items() if name != wanted or not is_valid)
    return Upkeep(drop, missing=wanted not in valid or wanted in drop)


class NearestIndex:
    """Background work of a replica."""

    def __init__(self, postgres: Postgres, *, exact_passages: int) -> None:
        self._postgres, self._exact_passages = postgres, exact_passages

    async def keep_for_ever(self) -> None:
        """Looks after the index until it is cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS * random.uniform(0.5, 1.5))
            try:
                await self.keep()
            except (Unavailable, asyncpg.PostgresError) as error:
                # Of two that make or drop the same index, one is refused.
                log.info("the index of vectors is left as it is for now", error=type(error).__name__)

    async def keep(self) -> None:
        """Does what is to be done now. Raises Unavailable, or PostgresError when another replica is in the way."""
        async with self._postgres.connection() as connection:
            if await connection.fetchval(BUILDING):
                return
            serving = await connection.fetchval(SERVING_NUMBER)
            valid = {row["name"]: row["valid"] for row in await connection.fetch(INDEXES, index_name(""))}
            wanted = upkeep(valid, serving)
            for name in wanted.drop:
                await connection.execute(f'DROP INDEX CONCURRENTLY IF EXISTS "{name}"', timeout=BUILD_SECONDS)
            if wanted.missing and await self._is_worth_it(connection, serving):
                await self._build(connection, serving)

    async def _is_worth_it(self, connection: Connection, generation: int) -> bool:
        percent = min(100.0, 100.0 * SAMPLE_PAGES / await connection.fetchval(TABLE_PAGES))
        largest = await connection.fetchrow(LARGEST, generation, percent)
        if largest is None or largest["sampled"] < COURSE_SHARE * float(largest["sampled_in_all"]):
            return False
        count = await connection.fetchval(COUNT, largest["course_id"], generation, self._exact_passages + 1)
        return int(count) > self._exact_passages

    async def _build(self, connection: Connection, generation: int) -> None:
        name, dimensions = index_name(generation), int(await connection.fetchval(DIMENSIONS, generation))
        log.info("a course has outgrown exact search: building the index of vectors", index=name)
        await connection.fetch(BUILD_MEMORY)
        try:
            await connection.execute(
                f'CREATE INDEX CONCURRENTLY IF NOT EXISTS "{name}" ON passages '
                f"USING hnsw ((embedding::public.halfvec({dimensions})) public.halfvec_cosine_ops) "
                f"WHERE generation = {int(generation)}",
                timeout=BUILD_SECONDS,
            )
        finally:
            if not connection.is_closed():  # for whoever has the connection next
                await connection.execute(USUAL_MEMORY, timeout=5.0)
        log.info("the index of vectors is built", index=name)
