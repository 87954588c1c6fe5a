"""The SQL of operators' calls and of admission, by name. Each statement walks a partial index that COMPLETED rows are not in, however many there are."""

from __future__ import annotations

from materials.v1 import material_pb2

# Part of other statements: read in the same snapshot as what it decides about.
PAUSED = "EXISTS (SELECT FROM processing_pauses WHERE resumed_at IS NULL)"
_PAUSE_COLUMNS = "paused_at, paused_by, reason"

PAUSE = f"""
    INSERT INTO processing_pauses AS standing (paused_at, paused_by, reason) VALUES (clock_timestamp(), $1, $2)
    ON CONFLICT ((resumed_at IS NULL)) WHERE resumed_at IS NULL DO UPDATE SET reason = standing.reason
    RETURNING {_PAUSE_COLUMNS}
"""
RESUME = f"""
    UPDATE processing_pauses SET resumed_at = clock_timestamp(), resumed_by = $1 WHERE resumed_at IS NULL
    RETURNING {_PAUSE_COLUMNS}
"""
STANDING_PAUSE = f"SELECT {_PAUSE_COLUMNS} FROM processing_pauses WHERE resumed_at IS NULL"

HEARTBEAT = f"""
    INSERT INTO processors AS p (worker_id, slots, busy, breaker, breaker_since, seen_at)
    VALUES ($1, $2, $3, $4, clock_timestamp(), clock_timestamp())
    ON CONFLICT (worker_id) DO UPDATE SET
        slots = EXCLUDED.slots, busy = EXCLUDED.busy, breaker = EXCLUDED.breaker, seen_at = EXCLUDED.seen_at,
        breaker_since = CASE WHEN p.breaker = EXCLUDED.breaker THEN p.breaker_since ELSE EXCLUDED.breaker_since END
    RETURNING {PAUSED} AS paused
"""
SIGN_OFF = f"WITH gone AS (DELETE FROM processors WHERE worker_id = $1) SELECT {PAUSED} AS paused"
PROCESSORS = """
    SELECT worker_id, slots, busy, breaker, breaker_since, seen_at FROM processors
    WHERE seen_at > clock_timestamp() - make_interval(secs => $1) ORDER BY worker_id
"""
FORGET_PROCESSORS = "DELETE FROM processors WHERE seen_at < clock_timestamp() - make_interval(secs => $1)"

# The two halves of the outbox, each with its index.
PURGING = """
    SELECT (SELECT count(*) FROM materials WHERE announced_at IS NULL AND deleted_at IS NOT NULL AND purged_parts <> 3)
         + (SELECT count(*) FROM materials WHERE announced_at IS NOT NULL AND deleted_at IS NOT NULL AND purged_parts <> 3)
"""
# What waits for its time is announced when it comes: that nobody was told of it yet is as it should be.
UNFINISHED = """
    SELECT
        count(*) FILTER (WHERE status = 1) AS waiting,
        count(*) FILTER (WHERE status = 1 AND not_before > clock_timestamp()) AS delayed,
        count(*) FILTER (WHERE status = 1 AND announced_at IS NULL
                           AND (not_before IS NULL OR not_before <= clock_timestamp())) AS unannounced,
        count(*) FILTER (WHERE status = 2) AS working
    FROM materials WHERE status IN (1, 2) AND deleted_at IS NULL
"""
# For the metrics: all of it in one statement, over the same partial indexes.
AS_METRICS = f"""
    WITH unfinished AS (
        SELECT
            count(*) FILTER (WHERE status = 1) AS waiting,
            count(*) FILTER (WHERE status = 1 AND not_before > clock_timestamp()) AS delayed,
            count(*) FILTER (WHERE status = 1 AND announced_at IS NULL
                               AND (not_before IS NULL OR not_before <= clock_timestamp())) AS unannounced,
            count(*) FILTER (WHERE status = 2) AS working,
            count(*) FILTER (WHERE status = 2 AND lease_expires_at > clock_timestamp()) AS leases,
            coalesce(extract(epoch FROM clock_timestamp() - min(greatest(updated_at, not_before))
                FILTER (WHERE status = 1 AND (not_before IS NULL OR not_before <= clock_timestamp()))), 0) AS oldest
        FROM materials WHERE status IN (1, 2) AND deleted_at IS NULL
    ), failures AS (
        SELECT failure_reason, count(*) AS count FROM materials WHERE status = 4 AND deleted_at IS NULL GROUP BY failure_reason
    )
    SELECT unfinished.*, {PAUSED} AS paused, ({PURGING}) AS purging,
        (SELECT coalesce(json_object_agg(failure_reason, count), '{{}}')::text FROM failures) AS failed
    FROM unfinished
"""
OLDEST_WAITING = """
    SELECT material_id, created_at FROM materials WHERE status = 1 AND deleted_at IS NULL ORDER BY created_at, material_id LIMIT 1
"""
FAILED = """
    SELECT failure_reason, count(*) AS count, count(*) FILTER (WHERE retryable) AS retryable
    FROM materials WHERE status = 4 AND deleted_at IS NULL GROUP BY failure_reason ORDER BY 2 DESC, 1
"""

# Three scopes instead of one with optional filters: each has its index.
EVERYWHERE, IN_COURSE, OF_OWNER = "$1::text IS NULL", "course_id = $1", "owner_id = $1"
_FAILED_FOR = f"""
    status = 4 AND deleted_at IS NULL
    AND ($2::smallint = 0 AND failure_reason <> {int(material_pb2.FAILURE_REASON_CANCELLED)} OR failure_reason = $2)
"""


def retryable(scope: str) -> str:
    """The oldest materials that may be retried: $1 of the scope, $2 the reason or 0, $3 how many."""
    return f"""
        SELECT material_id FROM materials WHERE {scope} AND {_FAILED_FOR} AND retryable
        ORDER BY created_at, material_id LIMIT $3
    """


def still_failed(scope: str) -> str:
    """How many of the same are left, and how many failed for good: $1 and $2 as above."""
    return f"""
        SELECT count(*) FILTER (WHERE retryable) AS remaining, count(*) FILTER (WHERE NOT retryable) AS not_retryable
        FROM materials WHERE {scope} AND {_FAILED_FOR}
    """


# $3 is as far as is worth counting.
# One owner's are counted once, however many uploads they ask for.
ADMISSION = """
    WITH asked AS (SELECT * FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS u(owner_id, request_id, place)),
    counted AS (
        SELECT o.owner_id, (SELECT count(*) FROM (
            SELECT FROM materials m WHERE m.owner_id = o.owner_id AND m.status IN (1, 2) AND m.deleted_at IS NULL LIMIT $3) AS pending
        ) AS unfinished
        FROM (SELECT DISTINCT owner_id FROM asked) AS o
    )
    SELECT
        current_setting('transaction_read_only') = 'on' AS read_only,
        EXISTS (
            SELECT FROM materials m WHERE m.owner_id = a.owner_id AND m.request_id = a.request_id AND m.request_id <> ''
        ) AS recorded,
        unfinished
    FROM asked a JOIN counted USING (owner_id) ORDER BY a.place
"""
