-- pauses of all processing, the processors as they last told of themselves, and indexes for the queue and for admission
-- depends: 20261101_01_materials

-- migrate: apply

-- Who paused when and why, and who ended it. Kept.
CREATE TABLE processing_pauses (
    paused_at timestamptz NOT NULL,
    paused_by text NOT NULL,
    reason text NOT NULL,
    resumed_at timestamptz,
    resumed_by text
);

-- At most one pause stands, however many replicas are asked for one at once.
CREATE UNIQUE INDEX processing_pauses_standing ON processing_pauses ((resumed_at IS NULL)) WHERE resumed_at IS NULL;

-- Heartbeats. Unlogged: each processor tells again within seconds, so a crash may take them, and no heartbeat waits for a disk.
CREATE UNLOGGED TABLE processors (
    worker_id text PRIMARY KEY,
    slots integer NOT NULL,
    busy integer NOT NULL,
    breaker integer NOT NULL,
    breaker_since timestamptz NOT NULL,
    seen_at timestamptz NOT NULL
);

-- The queue, and how much of it is one owner's.
CREATE INDEX materials_unfinished ON materials (owner_id) WHERE status IN (1, 2) AND deleted_at IS NULL;
-- What may be retried in bulk, oldest first: of all, of a course, of an owner.
CREATE INDEX materials_failed_oldest ON materials (created_at, material_id) WHERE status = 4 AND deleted_at IS NULL;
CREATE INDEX materials_failed_course ON materials (course_id, created_at) WHERE status = 4 AND deleted_at IS NULL;
CREATE INDEX materials_failed_owner ON materials (owner_id, created_at) WHERE status = 4 AND deleted_at IS NULL;

-- migrate: rollback

DROP INDEX materials_failed_owner;
DROP INDEX materials_failed_course;
DROP INDEX materials_failed_oldest;
DROP INDEX materials_unfinished;
DROP TABLE processors;
DROP TABLE processing_pauses;
