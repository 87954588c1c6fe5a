"""Tables and statements of a peer: a record per material, its page, and its passage with words and vector, as the product's search index has them."""

from __future__ import annotations

from collections.abc import Sequence

import asyncpg

from bench.straight_line.records import MATERIALS_TABLE

DEADLINE_SECONDS = 10.0

TABLES = f"""
    CREATE EXTENSION IF NOT EXISTS vector;
    {MATERIALS_TABLE}
    CREATE TABLE pages (
        material_id uuid NOT NULL REFERENCES materials ON DELETE CASCADE,
        page_number integer NOT NULL,
        text text NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (material_id, page_number)
    );
    CREATE TABLE passages (
        material_id uuid NOT NULL REFERENCES materials ON DELETE CASCADE,
        page_number integer NOT NULL,
        ordinal integer NOT NULL,
        course_id text NOT NULL,
        owner_id text NOT NULL,
        text text NOT NULL,
        embedding halfvec(1024) NOT NULL,
        words tsvector NOT NULL,
        PRIMARY KEY (material_id, page_number, ordinal)
    );
    ALTER TABLE passages ALTER COLUMN embedding SET STORAGE PLAIN;
    CREATE INDEX passages_course ON passages (course_id);
    CREATE INDEX passages_words ON passages USING gin (words) WITH (fastupdate = off);
"""
INSERT_MATERIAL = """
    INSERT INTO materials (material_id, owner_id, course_id, name, file_path, file_size, sha256)
    VALUES ($1, $2, $3, $4, $5, $6, $7)
"""
COUNT = """
    SELECT count(*) FILTER (WHERE status = 'COMPLETED') AS completed, count(*) FILTER (WHERE status = 'FAILED') AS failed
    FROM materials
"""
FORGET_ALL = "TRUNCATE materials, pages, passages"

# The job's: a durable change of the status each.
BEGIN = """
    UPDATE materials SET status = 'PROCESSING', updated_at = now() WHERE material_id = $1
    RETURNING file_path, course_id, owner_id
"""
PROGRESS = "UPDATE materials SET pages_done = $2, pages_total = $3, updated_at = now() WHERE material_id = $1"
COMPLETE = "UPDATE materials SET status = 'COMPLETED', updated_at = now() WHERE material_id = $1"
FAIL = "UPDATE materials SET status = 'FAILED', updated_at = now() WHERE material_id = $1"
INSERT_PAGE = """
    INSERT INTO pages (material_id, page_number, text) VALUES ($1, 1, $2) ON CONFLICT (material_id, page_number) DO NOTHING
"""
INSERT_PASSAGE = """
    INSERT INTO passages (material_id, page_number, ordinal, course_id, owner_id, text, embedding, words)
    VALUES ($1, 1, 0, $2, $3, $4::text, $5, to_tsvector('simple', $4::text)) ON CONFLICT DO NOTHING
"""


async def once(database: str, statements: Sequence[str]) -> None:
    """Runs them on a connection of their own. Raises what Postgres raises."""
    connection = await asyncpg.connect(database, timeout=DEADLINE_SECONDS)
    try:
        for statement in statements:
            await connection.execute(statement, timeout=DEADLINE_SECONDS)
    finally:
        await connection.close(timeout=DEADLINE_SECONDS)
