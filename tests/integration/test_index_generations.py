"""The generations of the index: what is written goes into the one in use, and the switch to another leaves no page behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID

import numpy as np
import pytest
from materials.v1 import material_pb2

from processor_service.index.generation_store import GenerationChanged, hold
from processor_service.index.index_store import FencedOut, PageText
from processor_service.index.page_passages import passages_of
from processor_service.index.passage_rows import PageKey
from processor_service.index.passages import CHUNKING_RULE
from processor_service.index.rebuild_store import Place
from tests.integration.index_parts import NEW, OLD, IndexParts, index_parts
from tests.local_stack import LocalStack

TEXT = "The heart pumps blood through the body."


@pytest.fixture
async def parts(stack: LocalStack) -> AsyncIterator[IndexParts]:
    async with index_parts(stack) as parts:
        yield parts


def key(material: material_pb2.Material, number: int, generation: int) -> PageKey:
    return PageKey(UUID(material.id), number, material.attempt, material.owner_id, material.course_id, generation)


async def write(parts: IndexParts, material: material_pb2.Material, number: int, generation: int) -> None:
    """A page as `finish_page` writes it, without asking a Brain."""
    passages = passages_of(TEXT, [])
    await parts.index.finish_page(
        PageText(number, TEXT, 2), key(material, number, generation), passages=passages, embeddings=[np.ones(8)]
    )


async def build_all(parts: IndexParts, generation: int) -> None:
    """Takes every page into the generation."""
    for page in await parts.rebuild.older_pages(generation, Place(), 100):
        passages = passages_of(page.text, [])
        vectors = [np.ones(4, np.float32)] * len(passages)
        await parts.rebuild.build_page(generation, page, passages=passages, embeddings=vectors, left_out=0)


class TestTheFirst:
    async def test_is_named_by_the_first_processor_and_keeps_the_name(self, parts: IndexParts) -> None:
        serving = await parts.generations.serving()
        assert (serving.number, serving.embedding_model, serving.chunking_rule) == (1, OLD, CHUNKING_RULE)
        parts.generations = type(parts.generations)(parts.postgres, first_model="another")
        assert (await parts.generations.serving()).embedding_model == OLD

    async def test_keeps_the_rule_that_cut_what_is_in_it(self, parts: IndexParts) -> None:
        material = await parts.open()
        await write(parts, material, 1, 1)
        assert (await parts.generations.serving()).chunking_rule == "1"


class TestStarting:
    async def test_at_once_by_many_makes_one(self, parts: IndexParts) -> None:
        started = await asyncio.gather(*(parts.generations.start(NEW) for _ in range(6)))
        assert {(each.number, each.embedding_model) for each in started} == {(2, NEW)}

    async def test_after_one_was_given_up_never_takes_its_number_again(self, parts: IndexParts) -> None:
        await parts.generations.start(NEW)
        await parts.generations.cancel()
        assert await parts.generations.building() is None
        assert (await parts.generations.start(NEW)).number == 3
        assert (await parts.generations.serving()).number == 1


class TestWriting:
    async def test_for_a_generation_that_is_not_in_use_writes_nothing(self, parts: IndexParts) -> None:
        material = await parts.open()
        await parts.generations.start(NEW)
        for other in (2, 3):
            with pytest.raises(GenerationChanged):
                await write(parts, material, 1, other)
        assert await parts.index.pages_from(UUID(material.id), 1) == []
        assert await parts.passages() == []

    async def test_stores_words_of_heading_and_text(self, parts: IndexParts) -> None:
        material = await parts.read(["# Öffentliche Häuser\n\nDie Königin's garden"])
        sql = (
            "SELECT count(*) FROM passages WHERE material_id = $1 AND words @@ to_tsquery('simple', 'hauser & garden')"
        )
        row = await parts.postgres.fetchrow(sql, UUID(material.id))
        assert row is not None
        assert row[0] == 1

    async def test_embeds_again_when_the_index_changed_meanwhile(self, parts: IndexParts) -> None:
        material = await parts.open()
        old, new = parts.brains[OLD], parts.brains[NEW]
        old.held = {"heart"}
        reading = asyncio.create_task(parts.read_page(material, 1, TEXT))
        await old.waiting.wait()
        await parts.generations.start(NEW)
        assert await parts.generations.switch(2)
        old.answering.set()
        await reading
        assert [(row["generation"], row["numbers"]) for row in await parts.passages(material)] == [(2, 4)]
        assert new.texts == old.texts


class TestTheSwitch:
    async def test_waits_for_a_page_being_written_and_then_finds_it(self, parts: IndexParts) -> None:
        material = await parts.open()
        await parts.generations.start(NEW)
        async with parts.postgres.connection() as writer:
            transaction = writer.transaction()
            await transaction.start()
            await hold(writer, 1, "serving")
            await writer.execute(
                "INSERT INTO pages (material_id, page_number, attempt, text, source, generation) VALUES ($1, 1, 1, 'x', 2, 1)",
                UUID(material.id),
            )
            switching = asyncio.create_task(parts.generations.switch(2))
            await parts.until("SELECT count(*) FROM pg_locks WHERE NOT granted", wanted=1)
            assert not switching.done()
            await transaction.commit()
        assert await switching is False
        assert (await parts.generations.serving()).number == 1

    async def test_keeps_a_page_out_that_was_embedded_for_the_old_one(self, parts: IndexParts) -> None:
        material = await parts.open()
        await parts.generations.start(NEW)
        async with parts.postgres.connection() as switcher:
            transaction = switcher.transaction()
            await transaction.start()
            await switcher.execute("UPDATE index_generations SET state = 'retired' WHERE generation = 1")
            await switcher.execute("UPDATE index_generations SET state = 'serving' WHERE generation = 2")
            writing = asyncio.create_task(write(parts, material, 1, 1))
            await parts.until("SELECT count(*) FROM pg_locks WHERE NOT granted", wanted=1)
            await transaction.commit()
        with pytest.raises(GenerationChanged):
            await writing
        assert await parts.index.pages_from(UUID(material.id), 1) == []

    async def test_of_what_was_given_up_is_refused(self, parts: IndexParts) -> None:
        await parts.generations.start(NEW)
        await parts.generations.cancel()
        with pytest.raises(GenerationChanged):
            await parts.generations.switch(2)

    async def test_under_a_stream_of_pages_loses_and_doubles_none(self, parts: IndexParts) -> None:
        materials = [await parts.open() for _ in range(4)]
        written = 0

        async def keep_writing(material: material_pb2.Material) -> None:
            nonlocal written
            for number in range(1, 26):
                await parts.read_page(material, number, f"Fact {number}: {TEXT}")
                written += 1

        async with parts.builder() as builder:
            writing = [asyncio.create_task(keep_writing(material)) for material in materials]
            for number in (2, 3, 4):
                await parts.generations.start(NEW if number % 2 == 0 else OLD)
                builder.wake()
                await parts.until_serving(number, cleared=False)
            await asyncio.gather(*writing)
            await parts.until_serving(4)
        assert written == 100
        rows = await parts.passages()
        assert len(rows) == 100
        assert {(row["generation"], row["numbers"]) for row in rows} == {(4, 4)}
        assert [await parts.seal(material, 25) for material in materials] == [25] * 4


class TestBuilding:
    async def test_page_of_a_deleted_document_gets_nothing_back(self, parts: IndexParts) -> None:
        material = await parts.read([TEXT])
        await parts.generations.start(NEW)
        pages = await parts.rebuild.older_pages(2, Place(), 10)
        await parts.index.purge(UUID(material.id))
        await parts.rebuild.build_page(2, pages[0], passages=passages_of(TEXT, []), embeddings=[np.ones(4)], left_out=0)
        assert await parts.passages() == []
        assert await parts.generations.switch(2)

    async def test_page_is_built_once(self, parts: IndexParts) -> None:
        await parts.read([TEXT])
        await parts.generations.start(NEW)
        pages = await parts.rebuild.older_pages(2, Place(), 10)
        await build_all(parts, 2)
        await parts.rebuild.build_page(2, pages[0], passages=passages_of(TEXT, []), embeddings=[np.ones(4)], left_out=0)
        assert [row["generation"] for row in await parts.passages()] == [1, 2]

    async def test_what_was_given_up_takes_no_more_pages(self, parts: IndexParts) -> None:
        await parts.read([TEXT])
        await parts.generations.start(NEW)
        await parts.generations.cancel()
        with pytest.raises(GenerationChanged):
            await build_all(parts, 2)

    async def test_passages_go_with_the_attempt_that_takes_the_document_over(self, parts: IndexParts) -> None:
        material = await parts.read([TEXT])
        await parts.generations.start(NEW)
        await build_all(parts, 2)
        material.attempt = 2
        assert await parts.begin(material) == {1}
        assert [(row["generation"], row["attempt"]) for row in await parts.passages()] == [(1, 2), (2, 2)]
        material.attempt = 1
        with pytest.raises(FencedOut):
            await write(parts, material, 2, 1)

    async def test_pages_with_passages_left_out_are_built_at_once(self, parts: IndexParts) -> None:
        """Each holds the generation, and writes how many were left out to it."""
        material = await parts.read([TEXT] * 2)
        await parts.generations.start(NEW)
        pages = await parts.rebuild.older_pages(2, Place(), 10)
        async with parts.postgres.connection() as other, other.transaction():
            await other.execute("SELECT FROM pages WHERE material_id = $1 FOR UPDATE", UUID(material.id))
            built = [
                asyncio.create_task(parts.rebuild.build_page(2, page, passages=[], embeddings=[], left_out=1))
                for page in pages
            ]
            await parts.until("SELECT count(*) FROM pg_locks WHERE NOT granted", wanted=2)
        await asyncio.gather(*built)
        assert await parts.generations.switch(2)
        assert (await parts.generations.serving()).passages_left_out == 2

    async def test_clearing_waits_for_who_holds_the_document(self, parts: IndexParts) -> None:
        """And so meets neither a new attempt nor a purge in the middle of its passages."""
        material = await parts.read([TEXT])
        await parts.generations.start(NEW)
        await build_all(parts, 2)
        assert await parts.generations.switch(2)
        async with parts.postgres.connection() as other, other.transaction():
            await other.execute("SELECT FROM documents WHERE material_id = $1 FOR NO KEY UPDATE", UUID(material.id))
            clearing = asyncio.create_task(parts.rebuild.clear_some(1, Place()))
            await parts.until("SELECT count(*) FROM pg_locks WHERE NOT granted", wanted=1)
            await other.execute("UPDATE passages SET attempt = 2 WHERE material_id = $1", UUID(material.id))
        assert await clearing == Place(1, UUID(material.id), 1)
        # What was changed while it waited is deleted all the same.
        assert [row["generation"] for row in await parts.passages()] == [2]

    async def test_lease_is_one_builders_until_it_runs_out(self, parts: IndexParts) -> None:
        await parts.generations.start(NEW)
        assert await parts.generations.claim_building("first") is not None
        assert await parts.generations.claim_building("second") is None
        assert await parts.generations.renew(2, "first", "building")
        await parts.postgres.execute("UPDATE index_generations SET builder_lease_expires_at = clock_timestamp()")
        assert await parts.generations.claim_building("second") is not None
        assert not await parts.generations.renew(2, "first", "building")
        await parts.generations.release("second")
        assert await parts.generations.claim_building("first") is not None
