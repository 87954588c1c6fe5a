"""An index from before there were generations is the first generation, found by words too, and can be built anew."""

from __future__ import annotations

import asyncio
import shutil
import uuid
from pathlib import Path

import numpy as np
from pgvector import HalfVector

from processor_service.index.page_passages import passages_of
from processor_service.search.search_store import Scope, SearchStore
from tests.integration.index_parts import MIGRATIONS, NEW, OLD, index_database, index_postgres, parts_in
from tests.local_stack import LocalStack

#: What a processor of before there were generations writes.
OLDER_BEGIN = "INSERT INTO documents (material_id, attempt) VALUES ($1, $2)"
OLDER_PAGE = """
    INSERT INTO pages (material_id, page_number, attempt, text, source) VALUES ($1, 1, $2, $3, 1)
    ON CONFLICT (material_id, page_number) DO NOTHING RETURNING page_number
"""
OLDER_PASSAGE = """
    INSERT INTO passages (material_id, page_number, attempt, course_id, owner_id, ordinal, start_offset, end_offset, heading, text, embedding)
    VALUES ($1, 1, $2, 'course', 'owner', 0, 0, $3, '', $4, $5)
"""
TEXT = "The heart pumps blood through the body."
ATTEMPT = 3


async def test_index_from_before_goes_on_and_can_be_built_anew(stack: LocalStack, tmp_path: Path) -> None:
    shutil.copy(MIGRATIONS / "20261101_01_index.sql", tmp_path)
    material_id, blank_id = uuid.uuid4(), uuid.uuid4()
    async with index_database(stack) as dsn:
        before = index_postgres(dsn, tmp_path)
        async with asyncio.TaskGroup() as tasks:
            await before.start(tasks)
            for each, text in ((material_id, TEXT), (blank_id, "")):
                await before.execute("INSERT INTO documents (material_id, attempt) VALUES ($1, $2)", each, ATTEMPT)
                await before.execute(
                    "INSERT INTO pages (material_id, page_number, attempt, text, source) VALUES ($1, 1, $2, $3, 1)",
                    each,
                    ATTEMPT,
                    text,
                )
            await before.execute(
                "INSERT INTO passages VALUES ($1, 1, 0, $2, 'course', 'owner', 0, $3, '', $4, $5)",
                material_id,
                ATTEMPT,
                len(TEXT),
                TEXT,
                HalfVector(np.ones(8)),
            )
            await before.stop()
        async with parts_in(index_postgres(dsn)) as parts:
            serving = await parts.generations.serving()
            assert (serving.number, serving.embedding_model, serving.chunking_rule) == (1, OLD, "1")
            (row,) = await parts.passages()
            assert (row["generation"], "heart" in row["words"]) == (1, True)
            await parts.generations.start(NEW)
            async with parts.builder():
                await parts.until_serving(2)
            (row,) = await parts.passages()
            assert (row["material_id"], row["generation"], row["numbers"]) == (material_id, 2, 4)
            assert (row["owner_id"], row["course_id"], row["attempt"]) == ("owner", "course", ATTEMPT)
            assert row["text"] == passages_of(TEXT, [])[0].text


async def test_older_processor_beside_this_one_writes_into_the_index_in_use(stack: LocalStack) -> None:
    material_id = uuid.uuid4()
    async with index_database(stack) as dsn, parts_in(index_postgres(dsn)) as parts:
        assert (await parts.generations.serving()).number == 1
        await parts.postgres.execute(OLDER_BEGIN, material_id, ATTEMPT)
        assert await parts.postgres.fetchrow(OLDER_PAGE, material_id, ATTEMPT, TEXT) is not None
        await parts.postgres.execute(OLDER_PASSAGE, material_id, ATTEMPT, len(TEXT), TEXT, HalfVector(np.ones(8)))
        search = SearchStore(parts.postgres, exact_passages=100)
        found = await search.candidates(np.ones(8, np.float32), OLD, (), Scope("course", "owner"), 10)
        assert [each.hit.material_id for each in found.nearest] == [material_id]
        await parts.generations.start(NEW)
        async with parts.builder():
            await parts.until_serving(2)
        found = await search.candidates(np.ones(4, np.float32), NEW, (), Scope("course", "owner"), 10)
        assert [each.hit.material_id for each in found.nearest] == [material_id]
        assert ["heart" in row["words"] for row in await parts.passages()] == [True]


async def test_this_processor_goes_on_where_an_older_one_stopped(stack: LocalStack) -> None:
    """What that one read is kept, and given to no other upload as read by the rule of today."""
    async with index_database(stack) as dsn, parts_in(index_postgres(dsn)) as parts:
        material = await parts.open(sha256="a" * 64)
        await parts.postgres.execute("DELETE FROM documents")
        await parts.postgres.execute(OLDER_BEGIN, uuid.UUID(material.id), 1)
        await parts.postgres.execute(OLDER_PAGE, uuid.UUID(material.id), 1, TEXT)
        material.attempt = 2
        assert await parts.begin(material) == {1}
        await parts.read_page(material, 2, TEXT)
        await parts.seal(material, 2)
        assert await parts.reuse.take_over(parts.wanted(await parts.open(sha256="a" * 64))) is None
