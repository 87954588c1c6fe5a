"""What was read of the same bytes is given to the same owner's next upload, whole or not at all, and to nobody else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID

import asyncpg
import pytest

from processor_service.index.index_store import FencedOut
from processor_service.index.reuse import Extraction
from tests.integration.index_parts import NEW, OLD, SECONDS, IndexParts, index_parts
from tests.local_stack import LocalStack

PAGES = ["The heart pumps blood.", "", "The lungs take oxygen. " * 100]
SHA = "a" * 64


@pytest.fixture
async def parts(stack: LocalStack) -> AsyncIterator[IndexParts]:
    async with index_parts(stack) as parts:
        yield parts


def content(rows: list[asyncpg.Record]) -> list[tuple[object, ...]]:
    """What passages say, but for whose they are."""
    columns = ("page_number", "ordinal", "start_offset", "end_offset", "heading", "text", "words", "generation")
    return [(*(row[column] for column in columns), str(row["embedding"])) for row in rows]


async def test_copy_is_whole_and_asks_no_brain(parts: IndexParts) -> None:
    source = await parts.read(PAGES, sha256=SHA)
    parts.brains[OLD].texts.clear()
    copy = await parts.open(sha256=SHA)
    taken = await parts.reuse.take_over(parts.wanted(copy))
    rows = await parts.passages(copy)
    assert taken == Extraction(3, len(rows))
    assert content(rows) == content(await parts.passages(source))
    assert [page.text for page in await parts.index.pages_from(UUID(copy.id), 1)] == PAGES
    assert parts.brains[OLD].texts == []
    await parts.index.purge(UUID(source.id))
    assert content(await parts.passages(copy)) == content(rows), "it is a copy of its own"


async def test_copy_is_a_source_too(parts: IndexParts) -> None:
    source = await parts.read(PAGES, sha256=SHA)
    copy = await parts.open(sha256=SHA)
    await parts.reuse.take_over(parts.wanted(copy))
    await parts.index.purge(UUID(source.id))
    another = await parts.open(sha256=SHA)
    assert await parts.reuse.take_over(parts.wanted(another)) is not None
    assert content(await parts.passages(another)) == content(await parts.passages(copy))


@pytest.mark.parametrize("why", ["owner", "bytes", "rule", "deleted", "unfinished", "too many pages"])
async def test_what_may_not_be_reused_is_read(parts: IndexParts, why: str) -> None:
    source = await parts.open(sha256=SHA)
    await parts.read_page(source, 1, PAGES[0])
    if why != "unfinished":
        await parts.seal(source, 1)
    if why == "deleted":
        await parts.index.purge(UUID(source.id))
    other = await parts.open(owner="other" if why == "owner" else "owner", sha256="b" * 64 if why == "bytes" else SHA)
    reuse = parts.reusing(max_pages=0 if why == "too many pages" else 100)
    wanted = parts.wanted(other, text_layers="never" if why == "rule" else "auto")
    assert await reuse.take_over(wanted) is None
    assert await parts.passages(other) == []


async def test_other_owners_get_it_when_a_setting_says_so(parts: IndexParts) -> None:
    await parts.read(PAGES, sha256=SHA)
    other = await parts.open(owner="other", sha256=SHA)
    assert await parts.reusing(across_owners=True).take_over(parts.wanted(other)) is not None
    assert {row["owner_id"] for row in await parts.passages(other)} == {"other"}


async def test_pages_of_an_earlier_attempt_stay(parts: IndexParts) -> None:
    await parts.read(PAGES, sha256=SHA)
    copy = await parts.open(sha256=SHA)
    await parts.read_page(copy, 2, "Read before, by another Brain.")
    taken = await parts.reuse.take_over(parts.wanted(copy))
    assert taken is not None
    assert taken.pages == 3
    texts = [page.text for page in await parts.index.pages_from(UUID(copy.id), 1)]
    assert texts == [PAGES[0], "Read before, by another Brain.", PAGES[2]]
    assert {row["page_number"] for row in await parts.passages(copy)} == {1, 2, 3}


async def test_attempt_whose_outcome_was_lost_finds_its_own_work(parts: IndexParts) -> None:
    material = await parts.read(PAGES, sha256=SHA)
    before = content(await parts.passages(material))
    material.attempt = 2
    await parts.begin(material)
    assert await parts.reuse.take_over(parts.wanted(material)) == Extraction(3, len(before))
    assert content(await parts.passages(material)) == before


async def test_pages_read_by_several_rules_are_nobody_elses(parts: IndexParts) -> None:
    source = await parts.open(sha256=SHA)
    await parts.read_page(source, 1, PAGES[0])
    source.attempt = 2
    assert await parts.begin(source, text_layers="never") == {1}
    await parts.read_page(source, 2, PAGES[2])
    await parts.seal(source, 2)
    copy = await parts.open(sha256=SHA)
    for text_layers in ("auto", "never"):
        assert await parts.reuse.take_over(parts.wanted(copy, text_layers=text_layers)) is None


async def test_pages_by_another_rule_do_not_matter_when_there_are_none(parts: IndexParts) -> None:
    source = await parts.open(sha256=SHA)
    source.attempt = 2
    await parts.begin(source, text_layers="never")
    await parts.read_page(source, 1, PAGES[0])
    await parts.seal(source, 1)
    copy = await parts.open(sha256=SHA)
    assert await parts.reuse.take_over(parts.wanted(copy, text_layers="never")) is not None


async def test_attempt_that_is_given_up_copies_nothing(parts: IndexParts) -> None:
    await parts.read(PAGES, sha256=SHA)
    copy = await parts.open(sha256=SHA)
    copy.attempt = 2
    await parts.begin(copy)
    copy.attempt = 1
    with pytest.raises(FencedOut):
        await parts.reuse.take_over(parts.wanted(copy))
    await parts.index.purge(UUID(copy.id))
    with pytest.raises(FencedOut):
        await parts.reuse.take_over(parts.wanted(copy))
    assert await parts.passages(copy) == []


async def test_source_without_all_its_pages_is_not_taken(parts: IndexParts) -> None:
    source = await parts.read(PAGES, sha256=SHA)
    await parts.postgres.execute("DELETE FROM pages WHERE material_id = $1 AND page_number = 2", UUID(source.id))
    copy = await parts.open(sha256=SHA)
    assert await parts.reuse.take_over(parts.wanted(copy)) is None
    assert await parts.passages(copy) == []
    assert await parts.index.pages_from(UUID(copy.id), 1) == []


async def test_source_deleted_at_the_same_time_is_copied_whole_or_not_at_all(parts: IndexParts) -> None:
    for _ in range(20):
        source = await parts.read(PAGES, sha256=SHA)
        expected = len(await parts.passages(source))
        copies = [await parts.open(sha256=SHA) for _ in range(3)]
        purging = asyncio.create_task(parts.index.purge(UUID(source.id)))
        taken = await asyncio.gather(*(parts.reuse.take_over(parts.wanted(copy)) for copy in copies))
        await purging
        for copy, extraction in zip(copies, taken, strict=True):
            assert len(await parts.passages(copy)) == (expected if extraction is not None else 0)
            await parts.index.purge(UUID(copy.id))


async def test_copy_made_while_an_index_is_built_is_in_the_new_one_too(parts: IndexParts) -> None:
    source = await parts.read(PAGES, sha256=SHA)
    new = parts.brains[NEW]
    new.held = {"lungs"}
    await parts.generations.start(NEW)
    async with parts.builder():
        await asyncio.wait_for(new.waiting.wait(), SECONDS)
        await parts.until("SELECT count(*) > 0 FROM passages WHERE generation = 2")
        copy = await parts.open(sha256=SHA)
        assert await parts.reuse.take_over(parts.wanted(copy)) is not None
        assert {row["generation"] for row in await parts.passages(copy)} <= {1, 2}
        new.answering.set()
        await parts.until_serving(2)
    assert content(await parts.passages(copy)) == content(await parts.passages(source))
    assert {row["generation"] for row in await parts.passages()} == {2}


async def test_copies_made_while_the_index_changes_are_of_one_index(parts: IndexParts) -> None:
    source = await parts.read(PAGES, sha256=SHA)
    async with parts.builder() as builder:
        copies = []
        for number in range(2, 6):
            await parts.generations.start(NEW if number % 2 == 0 else OLD)
            builder.wake()
            fresh = [await parts.open(sha256=SHA) for _ in range(5)]
            assert None not in await asyncio.gather(*(parts.reuse.take_over(parts.wanted(each)) for each in fresh))
            copies += fresh
            await parts.until_serving(number)
    expected = content(await parts.passages(source))
    assert {row["generation"] for row in await parts.passages()} == {5}
    for copy in copies:
        assert content(await parts.passages(copy)) == expected
