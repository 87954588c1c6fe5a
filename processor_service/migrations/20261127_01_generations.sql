-- generations of the index, words of passages, and what finished extractions can be reused by
-- depends: 20261101_01_index

-- migrate: apply

-- One index of all materials: passages cut by one rule and embedded by one model. One is in use, one may be built beside it.
CREATE TABLE index_generations (
    generation integer PRIMARY KEY,
    embedding_model text NOT NULL,
    chunking_rule text NOT NULL,
    state text NOT NULL CHECK (state IN ('building', 'serving', 'retired')),
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    switched_at timestamptz,
    status_message text NOT NULL DEFAULT '',
    -- Who builds it, until when: one processor at a time.
    builder text NOT NULL DEFAULT '',
    builder_lease_expires_at timestamptz,
    -- Passages that the embedding model refused.
    passages_left_out integer NOT NULL DEFAULT 0,
    -- When the passages of a retired one had been deleted.
    cleared_at timestamptz
);
CREATE UNIQUE INDEX index_generations_serving ON index_generations (state) WHERE state = 'serving';
CREATE UNIQUE INDEX index_generations_building ON index_generations (state) WHERE state = 'building';
-- What is there already was embedded by the model that the processors are set to: its name is filled in by the first that starts.
INSERT INTO index_generations (generation, embedding_model, chunking_rule, state, switched_at)
VALUES (1, '', '1', 'serving', clock_timestamp());

-- A finished extraction: the same bytes of the same owner need no other. `rule` names how its pages were read; `mixed`: not all of them by one.
ALTER TABLE documents ADD COLUMN owner_id text NOT NULL DEFAULT '';
ALTER TABLE documents ADD COLUMN course_id text NOT NULL DEFAULT '';
ALTER TABLE documents ADD COLUMN sha256 text NOT NULL DEFAULT '';
ALTER TABLE documents ADD COLUMN pages_total integer NOT NULL DEFAULT 0;
ALTER TABLE documents ADD COLUMN extraction_rule text NOT NULL DEFAULT '';
ALTER TABLE documents ADD COLUMN finished_at timestamptz;
-- Whose the passages are that are made of a page later on.
UPDATE documents d SET owner_id = p.owner_id, course_id = p.course_id
FROM (SELECT DISTINCT ON (material_id) material_id, owner_id, course_id FROM passages ORDER BY material_id) p
WHERE p.material_id = d.material_id;
CREATE INDEX documents_finished ON documents (sha256, owner_id) WHERE finished_at IS NOT NULL AND purged_at IS NULL;

-- The newest generation that has the page's passages. The defaults, here and below, are for processors of before, which may still run beside this one.
ALTER TABLE pages ADD COLUMN generation integer NOT NULL DEFAULT 1;
CREATE INDEX pages_generation ON pages (generation, material_id, page_number);

ALTER TABLE passages ADD COLUMN generation integer NOT NULL DEFAULT 1;
ALTER TABLE passages DROP CONSTRAINT passages_pkey;
ALTER TABLE passages ADD PRIMARY KEY (material_id, page_number, generation, ordinal);
DROP INDEX passages_course;
CREATE INDEX passages_course ON passages (course_id, generation);

-- Words as `search_words` normalises them. Passages from before have their words as Postgres finds them, until the index is built anew.
ALTER TABLE passages ADD COLUMN words tsvector NOT NULL DEFAULT '';
UPDATE passages SET words = to_tsvector('simple', left(text, 100000));
-- Without a list of what is still to be put in: every search would read it through.
CREATE INDEX passages_words ON passages USING gin (words) WITH (fastupdate = off);

-- migrate: rollback

DROP INDEX passages_words;
ALTER TABLE passages DROP COLUMN words;
DELETE FROM passages WHERE generation <> (SELECT generation FROM index_generations WHERE state = 'serving');
ALTER TABLE passages DROP CONSTRAINT passages_pkey;
ALTER TABLE passages ADD PRIMARY KEY (material_id, page_number, ordinal);
DROP INDEX passages_course;
CREATE INDEX passages_course ON passages (course_id);
ALTER TABLE passages DROP COLUMN generation;
DROP INDEX pages_generation;
ALTER TABLE pages DROP COLUMN generation;
DROP INDEX documents_finished;
ALTER TABLE documents DROP COLUMN finished_at;
ALTER TABLE documents DROP COLUMN extraction_rule;
ALTER TABLE documents DROP COLUMN pages_total;
ALTER TABLE documents DROP COLUMN sha256;
ALTER TABLE documents DROP COLUMN course_id;
ALTER TABLE documents DROP COLUMN owner_id;
DROP TABLE index_generations;
