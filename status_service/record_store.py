"""The record's SQL, by name. Constant text; lists travel as arrays, so every statement is planned once.

Lock order, the same in every transaction of every replica, so that none can deadlock: rows of `materials` by id, then rows of `courses` by id, then inserts
by (owner, request id). A course's row stays locked until the commit: its revisions are therefore numbered in the order of their commits, and a reader
that has seen revision N of a course can never meet a smaller one later.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, fields
from datetime import datetime
from operator import attrgetter
from typing import Any
from uuid import UUID

import asyncpg

from servicekit.postgres import Connection
from status_service.queue_store import PAUSED
from status_service.record import Record
from status_service.state_machine import Transition

_TYPES = {
    "material_id": "uuid",
    "file_size": "bigint",
    "created_at": "timestamptz",
    "updated_at": "timestamptz",
    "status": "smallint",
    "revision": "bigint",
    "course_revision": "bigint",
    "attempt": "integer",
    "pages_done": "integer",
    "pages_total": "integer",
    "stage": "smallint",
    "has_embedding": "boolean",
    "failure_reason": "smallint",
    "retryable": "boolean",
    "processed_at": "timestamptz",
    "not_before": "timestamptz",
    "lease_expires_at": "timestamptz",
    "claimed_at": "timestamptz",
    "failures": "integer",
    "crashes": "integer",
    "announcement": "bigint",
    "announced_at": "timestamptz",
    "announced_sequence": "bigint",
    "announce_lease_expires_at": "timestamptz",
    "deleted_at": "timestamptz",
    "purged_parts": "smallint",
}
_NEVER_UPDATED = {
    "owner_id",
    "course_id",
    "file_path",
    "file_type",
    "media_type",
    "file_size",
    "sha256",
    "created_at",
    "traceparent",
}
_COLUMNS = [field.name for field in fields(Record)]
_UPDATED = [name for name in _COLUMNS if name not in _NEVER_UPDATED]
_values, _updated_values = attrgetter(*_COLUMNS), attrgetter(*_UPDATED)


def _arrays(columns: Sequence[str]) -> str:
    return ", ".join(f"${index}::{_TYPES.get(name, 'text')}[]" for index, name in enumerate(columns, 1))


COLUMN_LIST = ", ".join(f"m.{name}" for name in _COLUMNS)

LOCK = f"""
    SELECT {COLUMN_LIST} FROM materials m WHERE m.material_id = ANY($1::uuid[]) ORDER BY m.material_id FOR UPDATE
"""
# The commit's time, not the transaction's start: leases are measured from when they were decided. With it, whether processing is paused: asked where
# claims are decided, so that no replica is ever behind.
MOMENT = f"SELECT clock_timestamp() AS now, {PAUSED} AS paused"
INSERT = f"""
    INSERT INTO materials ({", ".join(_COLUMNS)}) SELECT * FROM unnest({_arrays(_COLUMNS)})
    ON CONFLICT DO NOTHING RETURNING material_id
"""
UPDATE = f"""
    UPDATE materials m SET {", ".join(f"{name} = u.{name}" for name in _UPDATED if name != "material_id")}
    FROM unnest({_arrays(_UPDATED)}) AS u({", ".join(_UPDATED)}) WHERE m.material_id = u.material_id
"""
ADVANCE_COURSES = """
    INSERT INTO courses AS c (course_id, revision)
    SELECT u.course_id, u.changes FROM unnest($1::text[], $2::bigint[]) AS u(course_id, changes) ORDER BY u.course_id
    ON CONFLICT (course_id) DO UPDATE SET revision = c.revision + EXCLUDED.revision
    RETURNING c.course_id, c.revision
"""
INSERT_TRANSITIONS = """
    INSERT INTO transitions SELECT * FROM unnest(
        $1::uuid[], $2::bigint[], $3::smallint[], $4::smallint[], $5::text[], $6::text[], $7::smallint[], $8::text[], $9::integer[],
        $10::timestamptz[])
"""
BY_REQUEST_ID = f"""
    SELECT {COLUMN_LIST} FROM materials m
    WHERE m.material_id = ANY($1::uuid[])
       OR (m.request_id <> '' AND (m.owner_id, m.request_id) IN (SELECT * FROM unnest($2::text[], $3::text[])))
"""
GET = f"SELECT {COLUMN_LIST} FROM materials m WHERE m.material_id = ANY($1::uuid[]) AND m.deleted_at IS NULL"
# Three listings instead of one with optional filters: each has its index.
_PAGE = """
    AND m.deleted_at IS NULL
    AND ($2::timestamptz IS NULL OR (m.created_at, m.material_id) < ($2, $3::uuid))
    AND (cardinality($4::smallint[]) = 0 OR m.status = ANY($4))
    AND ($5::smallint = 0 OR m.failure_reason = $5)
    ORDER BY m.created_at DESC, m.material_id DESC LIMIT $6
"""
LIST_COURSE = f"SELECT {COLUMN_LIST} FROM materials m WHERE m.course_id = $1 {_PAGE}"
LIST_OWNER = f"SELECT {COLUMN_LIST} FROM materials m WHERE m.owner_id = $1 {_PAGE}"
LIST_OWNER_IN_COURSE = f"SELECT {COLUMN_LIST} FROM materials m WHERE m.owner_id = $1 AND m.course_id = $7 {_PAGE}"
COURSE_SINCE = f"""
    SELECT {COLUMN_LIST} FROM materials m
    WHERE m.course_id = $1 AND m.course_revision > $2 ORDER BY m.course_revision LIMIT $3
"""
COURSE_REVISION = "SELECT revision FROM courses WHERE course_id = $1"
# One query for all watched courses: what is newer than each one's revision. Quiet courses cost an index probe.
COURSES_SINCE = f"""
    SELECT {COLUMN_LIST}
    FROM unnest($1::text[], $2::bigint[]) AS w(course_id, seen)
    JOIN courses c ON c.course_id = w.course_id AND c.revision > w.seen
    JOIN materials m ON m.course_id = w.course_id AND m.course_revision > w.seen
    ORDER BY m.course_id, m.course_revision LIMIT $3
"""
TRANSITIONS = """
    SELECT * FROM transitions WHERE material_id = $1 AND revision > $2 ORDER BY revision LIMIT $3
"""
EXPIRED_LEASES = """
    SELECT material_id FROM materials WHERE status = 2 AND lease_expires_at < clock_timestamp() ORDER BY lease_expires_at LIMIT $1
"""
_LEASE_ANNOUNCEMENT = """
    UPDATE materials m SET
        announcement = m.announcement + 1, announced_at = NULL,
        announce_lease_expires_at = clock_timestamp() + make_interval(secs => $2)
    FROM due WHERE m.material_id = due.material_id
"""
LEASE_UNANNOUNCED = f"""
    WITH due AS (
        SELECT material_id FROM materials
        WHERE announced_at IS NULL AND ((deleted_at IS NULL AND status = 1) OR (deleted_at IS NOT NULL AND purged_parts <> 3))
          AND (announce_lease_expires_at IS NULL OR announce_lease_expires_at < clock_timestamp())
          AND (not_before IS NULL OR not_before <= clock_timestamp() OR deleted_at IS NOT NULL)
        ORDER BY created_at LIMIT $1 FOR UPDATE SKIP LOCKED
    ) {_LEASE_ANNOUNCEMENT} RETURNING {COLUMN_LIST}
"""
LEASE_LOST = f"""
    WITH due AS (
        SELECT material_id FROM materials
        WHERE announced_at IS NOT NULL AND ((deleted_at IS NULL AND status = 1) OR (deleted_at IS NOT NULL AND purged_parts <> 3))
          AND announced_at < clock_timestamp() - make_interval(secs => $6)
          AND (announced_incarnation <> $3 OR announced_sequence > $4
               OR announced_at < clock_timestamp() - make_interval(secs => $5))
        ORDER BY announced_at LIMIT $1 FOR UPDATE SKIP LOCKED
    ) {_LEASE_ANNOUNCEMENT} RETURNING {COLUMN_LIST}
"""
MARK_ANNOUNCED = """
    WITH held AS (SELECT material_id FROM materials WHERE material_id = ANY($1::uuid[]) ORDER BY material_id FOR UPDATE)
    UPDATE materials m SET
        announced_at = clock_timestamp(), announce_lease_expires_at = NULL,
        announced_incarnation = u.incarnation, announced_sequence = u.sequence
    FROM held JOIN unnest($1::uuid[], $2::bigint[], $3::text[], $4::bigint[])
          AS u(material_id, announcement, incarnation, sequence) USING (material_id)
    WHERE m.material_id = held.material_id AND m.announcement = u.announcement
"""
# In one incarnation a sequence belongs to one event: a stream that gives it to another one was set back, and has lost the first. A reader of its
# position alone would be too late where as many have been published again.
TAKE_BACK_OVERWRITTEN = """
    WITH lost AS (
        SELECT m.material_id FROM materials m
        WHERE m.announced_sequence = ANY($3::bigint[]) AND m.announced_at IS NOT NULL
          AND ((m.deleted_at IS NULL AND m.status = 1) OR (m.deleted_at IS NOT NULL AND m.purged_parts <> 3))
          AND EXISTS (
            SELECT FROM unnest($1::uuid[], $2::text[], $3::bigint[]) AS u(material_id, incarnation, sequence)
            WHERE m.announced_sequence = u.sequence AND m.announced_incarnation = u.incarnation AND m.material_id <> u.material_id)
        ORDER BY m.material_id FOR UPDATE OF m
    )
    UPDATE materials m SET announced_at = NULL, announce_lease_expires_at = NULL FROM lost
    WHERE m.material_id = lost.material_id RETURNING m.material_id
"""
FORGET_TOMBSTONES = """
    DELETE FROM materials WHERE material_id IN (
        SELECT material_id FROM materials WHERE purged_parts = 3 AND deleted_at < clock_timestamp() - make_interval(days => $1) LIMIT 1000
        FOR UPDATE SKIP LOCKED)
"""


async def prefer_indexes(connection: asyncpg.Connection[asyncpg.Record]) -> None:
    """For a new connection. Every statement of the record has its index; a plan made while the table was small would read all of it, and be kept when it is
    small no more: until the next ANALYZE an upload then costs the more the more wait."""
    await connection.execute("SET enable_seqscan = off", timeout=5.0)


def to_record(row: asyncpg.Record) -> Record:
    """A row selected by COLUMN_LIST."""
    return Record(*row)


async def lock(connection: Connection, material_ids: Iterable[UUID]) -> dict[UUID, Record]:
    """The rows of these materials, deleted ones too, locked until the end of the transaction."""
    rows = await connection.fetch(LOCK, sorted(material_ids))
    return {row["material_id"]: to_record(row) for row in rows}


async def insert(connection: Connection, records: Sequence[Record]) -> set[UUID]:
    """Inserts those whose id and request id are new; returns the ids inserted."""
    ordered = sorted(records, key=lambda record: (record.owner_id, record.request_id, record.material_id))
    rows = await connection.fetch(INSERT, *_columns([_values(record) for record in ordered]))
    return {row["material_id"] for row in rows}


async def find_by_request(connection: Connection, records: Sequence[Record]) -> list[Record]:
    """Those in the table with the id or the owner and request id of any of the given."""
    rows = await connection.fetch(
        BY_REQUEST_ID,
        [record.material_id for record in records],
        [record.owner_id for record in records],
        [record.request_id for record in records],
    )
    return [to_record(row) for row in rows]


async def update(connection: Connection, records: Sequence[Record]) -> None:
    """Writes everything that may change of rows that are locked."""
    await connection.execute(UPDATE, *_columns([_updated_values(record) for record in records]))


async def advance_courses(connection: Connection, changes: Mapping[str, int]) -> dict[str, int]:
    """Adds to each course's revision the number of its changes; returns the revisions after."""
    rows = await connection.fetch(ADVANCE_COURSES, list(changes), list(changes.values()))
    return {row["course_id"]: row["revision"] for row in rows}


async def insert_transitions(
    connection: Connection, lines: Sequence[tuple[UUID, int, Transition]], now: datetime
) -> None:
    """Appends to the history: (material, revision, transition)."""
    await connection.execute(
        INSERT_TRANSITIONS,
        *_columns([(material_id, revision, *astuple(line), now) for material_id, revision, line in lines]),
    )


def _columns(rows: Sequence[tuple[Any, ...]]) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)]
