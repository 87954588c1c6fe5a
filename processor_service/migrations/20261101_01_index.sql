-- documents being read, their pages, and the passages that search looks through
-- depends:

-- migrate: apply

-- The fence: writes of an attempt below this number are refused. A purged document keeps a row whose number no attempt reaches.
CREATE TABLE documents (
    material_id uuid PRIMARY KEY,
    attempt integer NOT NULL,
    purged_at timestamptz
);

-- A finished page: the checkpoint of an attempt, and what people read.
CREATE TABLE pages (
    material_id uuid NOT NULL REFERENCES documents ON DELETE CASCADE,
    page_number integer NOT NULL CHECK (page_number > 0),
    attempt integer NOT NULL,
    text text NOT NULL,
    source smallint NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (material_id, page_number)
);

CREATE TABLE passages (
    material_id uuid NOT NULL REFERENCES documents ON DELETE CASCADE,
    page_number integer NOT NULL,
    ordinal integer NOT NULL,
    attempt integer NOT NULL,
    course_id text NOT NULL,
    owner_id text NOT NULL,
    start_offset integer NOT NULL,
    end_offset integer NOT NULL,
    heading text NOT NULL,
    text text NOT NULL,
    embedding public.halfvec NOT NULL,
    PRIMARY KEY (material_id, page_number, ordinal)
);

-- In line and uncompressed: exact search reads every vector of a course, and is 3-4 times faster this way.
ALTER TABLE passages ALTER COLUMN embedding SET STORAGE PLAIN;

-- Exact search within a course.
CREATE INDEX passages_course ON passages (course_id);

-- migrate: rollback

DROP TABLE passages;
DROP TABLE pages;
DROP TABLE documents;
