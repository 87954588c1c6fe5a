-- the record of materials, their history and the revision of each course
-- depends:

-- migrate: apply

-- One row a material: the one truth about it. The row is also the outbox of its announcements.
CREATE TABLE materials (
    material_id uuid PRIMARY KEY,
    owner_id text NOT NULL,
    course_id text NOT NULL,
    name text NOT NULL,
    file_path text NOT NULL,
    file_type text NOT NULL,
    media_type text NOT NULL,
    file_size bigint NOT NULL CHECK (file_size > 0),
    sha256 text NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    request_id text NOT NULL DEFAULT '',
    traceparent text NOT NULL DEFAULT '',
    status smallint NOT NULL CHECK (status BETWEEN 1 AND 4),
    revision bigint NOT NULL,
    course_revision bigint NOT NULL,
    attempt integer NOT NULL DEFAULT 0,
    attempt_outcome text NOT NULL DEFAULT '',
    pages_done integer NOT NULL DEFAULT 0,
    pages_total integer NOT NULL DEFAULT 0,
    stage smallint NOT NULL DEFAULT 0,
    has_embedding boolean NOT NULL DEFAULT false,
    failure_reason smallint NOT NULL DEFAULT 0,
    error_message text NOT NULL DEFAULT '',
    retryable boolean NOT NULL DEFAULT false,
    status_message text NOT NULL DEFAULT '',
    processed_at timestamptz,
    not_before timestamptz,
    lease_worker text NOT NULL DEFAULT '',
    lease_claim_id text NOT NULL DEFAULT '',
    lease_expires_at timestamptz,
    failures integer NOT NULL DEFAULT 0,
    crashes integer NOT NULL DEFAULT 0,
    announcement bigint NOT NULL DEFAULT 1,
    announced_at timestamptz,
    announced_incarnation text NOT NULL DEFAULT '',
    announced_sequence bigint NOT NULL DEFAULT 0,
    announce_lease_expires_at timestamptz,
    deleted_at timestamptz,
    purged_parts smallint NOT NULL DEFAULT 0
);

-- A repeated upload finds its first self.
CREATE UNIQUE INDEX materials_request_id ON materials (owner_id, request_id) WHERE request_id <> '';
-- Lists, newest first.
CREATE INDEX materials_course_newest ON materials (course_id, created_at DESC, material_id DESC) WHERE deleted_at IS NULL;
CREATE INDEX materials_owner_newest ON materials (owner_id, created_at DESC, material_id DESC) WHERE deleted_at IS NULL;
-- Watches: what is newer than a course revision.
CREATE INDEX materials_course_revision ON materials (course_id, course_revision);
-- Announcer: never announced, or announced and still waiting. Finished rows are in neither.
CREATE INDEX materials_unannounced ON materials (created_at)
    WHERE announced_at IS NULL AND ((deleted_at IS NULL AND status = 1) OR (deleted_at IS NOT NULL AND purged_parts <> 3));
CREATE INDEX materials_announced ON materials (announced_at)
    WHERE announced_at IS NOT NULL AND ((deleted_at IS NULL AND status = 1) OR (deleted_at IS NOT NULL AND purged_parts <> 3));
-- Leases that run out.
CREATE INDEX materials_leased ON materials (lease_expires_at) WHERE status = 2;
-- The dead letters: failed by reason.
CREATE INDEX materials_failed ON materials (failure_reason, created_at DESC) WHERE status = 4 AND deleted_at IS NULL;
-- Tombstones to be forgotten.
CREATE INDEX materials_tombstones ON materials (deleted_at) WHERE purged_parts = 3;

-- Counts the changes of a course in the order of their commits: the row is locked by each change until it is committed.
CREATE TABLE courses (
    course_id text PRIMARY KEY,
    revision bigint NOT NULL
);

-- Who did what when, and why.
CREATE TABLE transitions (
    material_id uuid NOT NULL REFERENCES materials ON DELETE CASCADE,
    revision bigint NOT NULL,
    from_status smallint NOT NULL,
    to_status smallint NOT NULL,
    event text NOT NULL,
    actor text NOT NULL,
    failure_reason smallint NOT NULL,
    message text NOT NULL,
    attempt integer NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (material_id, revision)
);

-- migrate: rollback

DROP TABLE transitions;
DROP TABLE courses;
DROP TABLE materials;
