"""The record's SQL, by name. Constant text; lists travel as arrays, so every statement is planned once.

What changes rows here locks them in the order that the batch_store tells of.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from typing import Any

import asyncpg

from status_service.record import Record

COLUMN_LIST = ", ".join(f"m.{field.name}" for field in fields(Record))

# The ids in a query of their own, whose length the planner does not see: else few looked cheaper than any, and were planned anew each time.
GET = f"SELECT {COLUMN_LIST} FROM materials m WHERE m.material_id = ANY((SELECT $1::uuid[])::uuid[]) AND m.deleted_at IS NULL"
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
# In one incarnation a sequence belongs to one event: a stream that gives it to another one was set back, and has lost the first, which is due again. A
# reader of its position alone would be too late where as many have been published again.
MARK_ANNOUNCED = """
    WITH published AS (
        SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::text[], $4::bigint[]) AS u(material_id, announcement, incarnation, sequence)
    ),
    held AS (
        SELECT m.material_id, m.announcement,
            EXISTS (
                SELECT FROM published p
                WHERE m.announced_sequence = p.sequence AND m.announced_incarnation = p.incarnation AND m.material_id <> p.material_id
            ) AND m.announced_at IS NOT NULL
            AND ((m.deleted_at IS NULL AND m.status = 1) OR (m.deleted_at IS NOT NULL AND m.purged_parts <> 3)) AS lost
        FROM materials m
        WHERE m.material_id = ANY($1::uuid[])
           OR (m.announced_sequence = ANY($4::bigint[]) AND m.announced_at IS NOT NULL
               AND ((m.deleted_at IS NULL AND m.status = 1) OR (m.deleted_at IS NOT NULL AND m.purged_parts <> 3)))
        ORDER BY m.material_id FOR UPDATE OF m
    )
    UPDATE materials m SET
        announced_at = CASE WHEN p.sequence IS NOT NULL THEN clock_timestamp() END, announce_lease_expires_at = NULL,
        announced_incarnation = coalesce(p.incarnation, m.announced_incarnation), announced_sequence = coalesce(p.sequence, m.announced_sequence)
    FROM held LEFT JOIN published p USING (material_id, announcement)
    WHERE m.material_id = held.material_id AND (p.sequence IS NOT NULL OR held.lost)
    RETURNING m.material_id, p.sequence IS NULL AS lost
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


def to_record(row: Iterable[Any]) -> Record:
    """From the columns of COLUMN_LIST."""
    return Record(*row)
