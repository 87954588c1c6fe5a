"""The SQL of the record's writer: what a batch decides on is read by one statement, and what it decides is written by one, each a transaction of its own.

Nothing is locked between the two. Instead the write names the version of each row that was decided on, and writes nothing at all when one of them is another
by now (optimistic concurrency control): the batch is then decided anew, with its rows locked. Every decision that changes a row changes its version, and so
does who leases its announcement. That an announcement was published does not: it is marked just when the material is claimed. So no decision writes these
columns, but for taking the announcement back.

Lock order, the same in every transaction of every replica, so that none can deadlock: rows of `materials` by id, then rows of `courses` by id, then inserts
by (owner, request id). A course's row stays locked until the commit: its revisions are therefore numbered in the order of their commits, and a reader
that has seen revision N of a course can never meet a smaller one later.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import astuple, dataclass, fields
from datetime import datetime
from functools import cache
from itertools import count
from math import inf
from operator import attrgetter
from typing import Any
from uuid import UUID

from servicekit.postgres import Connection
from status_service.queue_store import PAUSED
from status_service.record import PENDING, Record
from status_service.record_store import COLUMN_LIST, to_record
from status_service.state_machine import Transition

_TYPES = {
    "material_id": "uuid",
    "file_size": "bigint",
    "updated_at": "timestamptz",
    "status": "smallint",
    "revision": "bigint",
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
    "deleted_at": "timestamptz",
    "purged_parts": "smallint",
    "from_status": "smallint",
    "to_status": "smallint",
    "changes": "bigint",
    "behind": "bigint",
}
#: What a new material brings; all else is as the table has it by default, or as the statement says.
_BROUGHT = (
    "material_id", "owner_id", "course_id", "name", "file_path", "file_type", "media_type", "file_size", "sha256", "request_id", "traceparent",
)  # fmt: skip
_VERSION = ("revision", "announcement", "purged_parts", "lease_expires_at")
_NEVER_UPDATED = {
    "owner_id",
    "file_path",
    "file_type",
    "media_type",
    "file_size",
    "sha256",
    "created_at",
    "traceparent",
}
#: The key; what the course gives; how the announcement fares.
_OTHERWISE = {
    "material_id", "course_id", "course_revision", "announced_at", "announced_incarnation", "announced_sequence", "announce_lease_expires_at",
}  # fmt: skip
_UPDATED = tuple(field.name for field in fields(Record) if field.name not in _NEVER_UPDATED | _OTHERWISE)
#: What changes while a material is read.
_PROGRESS = ("updated_at", "revision", "pages_done", "pages_total", "stage", "lease_expires_at", "failures", "crashes")
_LINE = ["material_id", "revision", *(field.name for field in fields(Transition))]
_brought_values, _updated_values, version = attrgetter(*_BROUGHT), attrgetter(*_UPDATED), attrgetter(*_VERSION)
_progress = attrgetter(*_PROGRESS)
_beside_progress = attrgetter(*(name for name in _UPDATED if name not in _PROGRESS))
#: How far the time of a decision may be from that of its write, in seconds, where it was reckoned.
_RECKONED_SECONDS = 1.0
_IN_TIME = "abs(extract(epoch FROM clock_timestamp() - $1::timestamptz)) <= $2::float8"


# The time of the decision, by the database's clock: leases are measured from it. With it, whether processing is paused: asked where claims are decided,
# so that no replica is ever behind. The ids in a query of their own: see `_write`.
READ = f"""
    SELECT clock_timestamp() AS now, {PAUSED} AS paused, {COLUMN_LIST}
    FROM (VALUES (1)) AS always LEFT JOIN materials m ON m.material_id = ANY((SELECT $1::uuid[])::uuid[])
"""
LOCK = "SELECT FROM materials m WHERE m.material_id = ANY($1::uuid[]) ORDER BY m.material_id FOR UPDATE"
# Most changes are of this kind: one material is still being read. It is what `_write` would do, at half the cost, since it is for nothing else. $9: whether
# anybody is to see it.
WRITE_PROGRESS = f"""
    WITH held AS (
        SELECT clock_timestamp() AS clock FROM materials m
        WHERE m.material_id = $3 AND {" AND ".join(f"m.{name} IS NOT DISTINCT FROM ${number}" for number, name in enumerate(_VERSION, 4))} AND {_IN_TIME}
        FOR UPDATE),
    advanced AS (
        INSERT INTO courses AS c (course_id, revision) SELECT $8, 1 FROM held WHERE $9
        ON CONFLICT (course_id) DO UPDATE SET revision = c.revision + 1 RETURNING c.revision)
    UPDATE materials m SET
        course_revision = coalesce(a.revision, m.course_revision), {", ".join(f"{name} = ${number}" for number, name in enumerate(_PROGRESS, 10))}
    FROM held LEFT JOIN advanced a ON true WHERE m.material_id = $3
    RETURNING held.clock, m.course_revision
"""
BY_REQUEST_ID = f"""
    SELECT {COLUMN_LIST} FROM materials m
    WHERE m.material_id = ANY($1::uuid[])
       OR (m.request_id <> '' AND (m.owner_id, m.request_id) IN (SELECT * FROM unnest($2::text[], $3::text[])))
"""


@dataclass(frozen=True, slots=True)
class Reading:
    """What a batch is decided on. `now` is None where nothing was read; `asked`: of the database, just now."""

    now: datetime | None
    paused: bool
    records: dict[UUID, Record]
    asked: bool = True

    @property
    def margin(self) -> float:
        """Seconds by which `now` may differ from the database's clock when it is written. What the database said itself is right, however long ago: a slow
        one is not to be asked for ever."""
        return inf if self.asked else _RECKONED_SECONDS


NOTHING = Reading(None, False, {})


@dataclass(frozen=True, slots=True)
class Writing:
    """What a batch has decided. `changed`: the materials, new ones too, whose watchers have something to see, in the order of the changes."""

    new: Collection[Record]
    updated: Collection[Record]
    changed: Iterable[Record]
    lines: Sequence[tuple[UUID, int, Transition]]


@dataclass(frozen=True, slots=True)
class Written:
    """When it was decided, what the database's clock said as it was written, and the course revisions of the rows that are written: of new ones those that
    were new."""

    now: datetime
    clock: datetime
    course_revisions: dict[UUID, int]


async def lock(connection: Connection, material_ids: Iterable[UUID]) -> None:
    """Nobody else changes these until the end of the transaction."""
    await connection.execute(LOCK, sorted(material_ids))


async def read(connection: Connection, material_ids: Iterable[UUID]) -> Reading:
    """These materials, deleted ones too."""
    rows = await connection.fetch(READ, list(material_ids))
    records = {row["material_id"]: to_record(row[2:]) for row in rows if row["material_id"]}
    return Reading(rows[0]["now"], rows[0]["paused"], records)


async def write(connection: Connection, writing: Writing, reading: Reading, announce_lease: float) -> Written | None:
    """Writes all of it; or nothing, with None, when a row of `updated` is not the one that was read, or the time was reckoned wrong. New materials are
    leased to be announced for `announce_lease` seconds."""
    if len(writing.updated) == 1 and not (writing.new or writing.lines):
        [record] = writing.updated
        if _beside_progress(record) == _beside_progress(reading.records[record.material_id]):
            return await _write_progress(connection, record, reading, seen=bool(writing.changed))
    changes: Counter[str] = Counter()
    behind: dict[UUID, int] = {}
    for record in writing.updated:
        changes[record.course_id] = 0
    for record in reversed([*writing.changed]):
        behind[record.material_id] = changes[record.course_id]
        changes[record.course_id] += 1
    courses: list[list[Any]] = [list(changes), list(changes.values())]
    arguments = courses
    if writing.updated:
        ids = [record.material_id for record in writing.updated]
        arguments = [ids, *_columns(version(reading.records[key]) for key in ids), *courses, ids]
        arguments += [[record.course_id for record in writing.updated], [behind.get(key) for key in ids]]
        arguments += _columns(map(_updated_values, writing.updated))
    if writing.new:
        arguments += _columns(map(_brought_values, writing.new))
        arguments += [[behind[record.material_id] for record in writing.new]]
    if writing.lines:
        arguments += _columns((material_id, revision, *astuple(line)) for material_id, revision, line in writing.lines)
    alone = all(len(column) == 1 for column in arguments)
    if alone:
        arguments = [value for [value] in arguments]
    statement = _write(new=bool(writing.new), updated=bool(writing.updated), lines=bool(writing.lines), alone=alone)
    rows = await connection.fetch(statement, reading.now, reading.margin, announce_lease, *arguments)
    if not rows:
        return None
    return Written(
        rows[0]["now"],
        rows[0]["clock"],
        {row["material_id"]: row["course_revision"] for row in rows if row["material_id"]},
    )


async def _write_progress(connection: Connection, record: Record, reading: Reading, *, seen: bool) -> Written | None:
    key, now = record.material_id, reading.now
    read = version(reading.records[key])
    row = await connection.fetchrow(
        WRITE_PROGRESS, now, reading.margin, key, *read, record.course_id, seen, *_progress(record)
    )
    if row is None or now is None:
        return None
    return Written(now, row["clock"], {key: row["course_revision"]})


async def find_by_request(connection: Connection, records: Sequence[Record]) -> list[Record]:
    """Those in the table with the id or the owner and request id of any of the given."""
    rows = await connection.fetch(
        BY_REQUEST_ID,
        [record.material_id for record in records],
        [record.owner_id for record in records],
        [record.request_id for record in records],
    )
    return [to_record(row) for row in rows]


@cache
def _write(*, new: bool, updated: bool, lines: bool, alone: bool) -> str:
    """The statement that writes batches with materials whose columns are updated, new ones, lines of the history: those without would pay for what they do not
    have.

    `moment` has no row when a version or the time is another, and then nothing has. `behind`: how many changes of the same course come after this one in the
    batch; NULL for a row whose change nobody sees.
    """
    parameters = count(4)

    def given(alias: str, *columns: str) -> str:
        if alone:
            values = [f"${next(parameters)}::{_TYPES.get(name, 'text')}" for name in columns]
            return f"(VALUES ({', '.join(values)})) AS {alias}({', '.join(columns)})"
        arrays = [f"${next(parameters)}::{_TYPES.get(name, 'text')}[]" for name in columns]
        # In a query of its own the planner does not see its length. Else batches of one looked cheaper than any, and were planned anew each time.
        return f"unnest((SELECT {arrays[0]}), {', '.join(arrays[1:])}) AS {alias}({', '.join(columns)})"

    steps, told = {}, []
    moment = "SELECT coalesce($1::timestamptz, clock_timestamp()) AS now, clock_timestamp() AS clock, $2::float8 AS margin, $3::float8 AS announce_lease"
    written = ["SELECT now, clock, NULL::uuid AS material_id, NULL::bigint AS course_revision FROM moment"]
    if updated:
        steps["held"] = f"""
            SELECT m.material_id FROM {given("d", "material_id", *_VERSION)} JOIN materials m
            ON m.material_id = d.material_id AND {" AND ".join(f"m.{name} IS NOT DISTINCT FROM d.{name}" for name in _VERSION)}
            ORDER BY m.material_id FOR UPDATE OF m"""
        moment += f"""
            WHERE (SELECT count(*) FROM held) = {1 if alone else "cardinality($4)"} AND {_IN_TIME}"""
    steps["moment"] = moment
    steps["advanced"] = f"""
        INSERT INTO courses AS c (course_id, revision)
        SELECT n.course_id, n.changes FROM moment, {given("n", "course_id", "changes")} WHERE n.changes > 0 ORDER BY n.course_id
        ON CONFLICT (course_id) DO UPDATE SET revision = c.revision + EXCLUDED.revision RETURNING c.course_id, c.revision"""
    if updated:
        values = given("d", "material_id", "course_id", "behind", *_UPDATED)
        steps["changed"] = f"""
            UPDATE materials m SET
                course_revision = coalesce(a.revision - d.behind, m.course_revision),
                announced_at = CASE WHEN d.announcement = m.announcement THEN m.announced_at END,
                announce_lease_expires_at = CASE WHEN d.announcement = m.announcement THEN m.announce_lease_expires_at END,
                {", ".join(f"{name} = d.{name}" for name in _UPDATED)}
            FROM moment, {values} LEFT JOIN advanced a ON a.course_id = d.course_id WHERE m.material_id = d.material_id
            RETURNING m.material_id, m.course_revision"""
        written.append("SELECT now, clock, material_id, course_revision FROM moment, changed")
    if new:
        values = given("n", *_BROUGHT, "behind")
        steps["created"] = f"""
            INSERT INTO materials (
                {", ".join(_BROUGHT)}, status, revision, course_revision, created_at, updated_at, announce_lease_expires_at)
            SELECT {", ".join(f"n.{name}" for name in _BROUGHT)}, {PENDING}, 1, a.revision - n.behind, now, now,
                now + make_interval(secs => announce_lease)
            FROM moment, {values} JOIN advanced a ON a.course_id = n.course_id ORDER BY n.owner_id, n.request_id, n.material_id
            ON CONFLICT DO NOTHING RETURNING material_id, course_revision, owner_id"""
        written.append("SELECT now, clock, material_id, course_revision FROM moment, created")
        told.append(f"SELECT material_id, 1, 0, {PENDING}, 'created', owner_id, 0, '', 0, now FROM moment, created")
    if lines:
        told.append(f"SELECT l.*, now FROM moment, {given('l', *_LINE)}")
    if told:
        steps["told"] = f"INSERT INTO transitions ({', '.join(_LINE)}, created_at) {' UNION ALL '.join(told)}"
    return f"WITH {', '.join(f'{name} AS ({step})' for name, step in steps.items())} {' UNION ALL '.join(written)}"


def _columns(rows: Iterable[tuple[Any, ...]]) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)]
