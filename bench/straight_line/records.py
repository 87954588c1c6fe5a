"""A record row per upload in Postgres, and a writer that commits those that wait together."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from uuid import UUID

import asyncpg

#: The columns that any such system keeps of a file and of the work on it, and the index that its list needs.
MATERIALS_TABLE = """
    CREATE TABLE IF NOT EXISTS materials (
        material_id uuid PRIMARY KEY,
        owner_id text NOT NULL,
        course_id text NOT NULL,
        name text NOT NULL,
        file_path text NOT NULL,
        file_size bigint NOT NULL,
        sha256 text NOT NULL,
        status text NOT NULL DEFAULT 'PENDING',
        pages_done integer NOT NULL DEFAULT 0,
        pages_total integer NOT NULL DEFAULT 0,
        created_at timestamptz NOT NULL DEFAULT now(),
        updated_at timestamptz NOT NULL DEFAULT now()
    );
    CREATE INDEX IF NOT EXISTS materials_course_newest ON materials (course_id, created_at DESC);
"""
INSERT = """
    INSERT INTO materials (material_id, owner_id, course_id, name, file_path, file_size, sha256)
    SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bigint[], $7::text[])
"""
MAX_WAITING = 10_000
MAX_BATCH = 200
COMMIT_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Record:
    """One row, in the order of INSERT's arguments."""

    material_id: UUID
    owner_id: str
    course_id: str
    name: str
    file_path: str
    file_size: int
    sha256: str

    def values(self) -> tuple[object, ...]:
        """By column."""
        return (
            self.material_id, self.owner_id, self.course_id, self.name, self.file_path, self.file_size, self.sha256,
        )  # fmt: skip


class GroupCommit:
    """One connection, one commit at a time: rows that come meanwhile make up the next."""

    def __init__(self, connection: asyncpg.Connection[asyncpg.Record]) -> None:
        self._connection = connection
        self._waiting: asyncio.Queue[tuple[Record, asyncio.Future[None]]] = asyncio.Queue(MAX_WAITING)

    async def add(self, record: Record) -> None:
        """Returns when the row is durable. Raises what its commit raised."""
        committed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        await self._waiting.put((record, committed))
        await committed

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            batch = [await self._waiting.get()]
            while len(batch) < MAX_BATCH and not self._waiting.empty():
                batch.append(self._waiting.get_nowait())
            failure: Exception | None = None
            try:
                columns = zip(*(record.values() for record, _ in batch), strict=True)
                await self._connection.execute(INSERT, *map(list, columns), timeout=COMMIT_SECONDS)
            except Exception as error:  # Whatever it is, those who wait hear of it.
                failure = error
            for _, committed in batch:
                if committed.cancelled():
                    continue
                if failure is None:
                    committed.set_result(None)
                else:
                    committed.set_exception(failure)
