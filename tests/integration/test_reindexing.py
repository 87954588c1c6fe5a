"""The builder of a new index: it waits for a Brain that is away, goes on where another died, and leaves out what the model takes not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID

import pytest

from processor_service.index.page_passages import passages_of
from tests.integration.index_parts import NEW, OLD, SECONDS, IndexParts, index_parts
from tests.local_stack import LocalStack

HEART = "The heart pumps blood through the body."
LUNGS = "The lungs take oxygen from the air."
MESSAGE = "SELECT status_message FROM index_generations WHERE generation = 2"


@pytest.fixture
async def parts(stack: LocalStack) -> AsyncIterator[IndexParts]:
    async with index_parts(stack) as parts:
        yield parts


async def test_every_page_is_cut_and_embedded_anew_and_the_old_passages_go(parts: IndexParts) -> None:
    materials = [await parts.read([f"{HEART} {number}", LUNGS, ""]) for number in range(3)]
    await parts.generations.start(NEW)
    async with parts.builder():
        await parts.until_serving(2)
    for material in materials:
        rows = await parts.passages(material)
        assert [(row["page_number"], row["generation"], row["numbers"]) for row in rows] == [(1, 2, 4), (2, 2, 4)]
        assert {(row["owner_id"], row["course_id"], row["attempt"]) for row in rows} == {("owner", "course", 1)}
    assert sorted(parts.brains[NEW].texts) == sorted(parts.brains[OLD].texts)


async def test_running_lines_are_left_out_of_the_passages(parts: IndexParts) -> None:
    pages = [
        f"Biology for beginners\n\n{text}\n\n- {number} -" for number, text in enumerate([HEART, LUNGS, "Skin."], 1)
    ]
    material = await parts.read(pages)
    await parts.generations.start(NEW)
    async with parts.builder():
        await parts.until_serving(2)
    rows = await parts.passages(material)
    assert [row["text"] for row in rows] == [HEART, LUNGS, "Skin."]
    assert [pages[row["page_number"] - 1][row["start_offset"] : row["end_offset"]] for row in rows] == [
        row["text"] for row in rows
    ]


async def test_page_read_meanwhile_is_in_the_new_index_too(parts: IndexParts) -> None:
    first = await parts.read([HEART])
    new = parts.brains[NEW]
    new.held = {"heart"}
    await parts.generations.start(NEW)
    async with parts.builder():
        await asyncio.wait_for(new.waiting.wait(), SECONDS)
        second = await parts.read([LUNGS])
        assert [row["generation"] for row in await parts.passages(second)] == [1]
        new.answering.set()
        await parts.until_serving(2)
    assert [row["generation"] for row in await parts.passages(first) + await parts.passages(second)] == [2, 2]


async def test_document_deleted_while_its_page_is_embedded_leaves_nothing(parts: IndexParts) -> None:
    gone, kept = await parts.read([HEART]), await parts.read([LUNGS])
    new = parts.brains[NEW]
    new.held = {"heart"}
    await parts.generations.start(NEW)
    async with parts.builder():
        await asyncio.wait_for(new.waiting.wait(), SECONDS)
        await parts.index.purge(UUID(gone.id))
        new.answering.set()
        await parts.until_serving(2)
    assert await parts.passages(gone) == []
    assert len(await parts.passages(kept)) == 1


async def test_brain_that_is_away_is_waited_for_and_told_of(parts: IndexParts) -> None:
    material = await parts.read([HEART])
    parts.brains[NEW].away = True
    await parts.generations.start(NEW)
    async with parts.builder():
        await parts.until("SELECT status_message LIKE 'waits: %AI Brain%' FROM index_generations WHERE generation = 2")
        assert (await parts.generations.serving()).number == 1
        parts.brains[NEW].away = False
        await parts.until_serving(2)
    assert [row["generation"] for row in await parts.passages(material)] == [2]
    await parts.until(MESSAGE, wanted="")


@pytest.mark.parametrize("trouble", ["refused", "failing"])
async def test_passage_that_the_model_does_not_take_is_left_out_and_counted(parts: IndexParts, trouble: str) -> None:
    long = "# Skin\n\n" + "The skin keeps water in. " * 60 + "\n\n# Poison\n\n" + "The poison of the frog. " * 30
    material = await parts.read([long, HEART])
    setattr(parts.brains[NEW], trouble, {"poison"})
    await parts.generations.start(NEW)
    async with parts.builder():
        await parts.until_serving(2)
    expected = [(1, each.text) for each in passages_of(long, []) if "poison" not in each.text] + [(2, HEART)]
    assert len(expected) > 2
    assert [(row["page_number"], row["text"]) for row in await parts.passages(material)] == expected
    left_out = len(passages_of(long, [])) - len(expected) + 1
    assert (await parts.generations.serving()).passages_left_out == left_out


async def test_brain_that_fails_at_everything_leaves_nothing_out(parts: IndexParts) -> None:
    material = await parts.read([HEART])
    new = parts.brains[NEW]
    new.failing = {""}
    await parts.generations.start(NEW)
    async with parts.builder():
        async with asyncio.timeout(SECONDS):
            while not any("every model" in text for text in new.texts):  # the control: it has been tried alone
                await asyncio.sleep(0.01)
        new.failing = set()
        await parts.until_serving(2)
    assert [row["text"] for row in await parts.passages(material)] == [HEART]
    assert (await parts.generations.serving()).passages_left_out == 0


async def test_builder_goes_on_where_another_died(parts: IndexParts) -> None:
    await parts.read([f"Page {number}. {HEART if number % 2 else LUNGS}" for number in range(1, 21)])
    new = parts.brains[NEW]
    new.held = {"Page 15"}
    await parts.generations.start(NEW)
    async with parts.builder("first"):
        await asyncio.wait_for(new.waiting.wait(), SECONDS)
        await parts.until("SELECT count(*) >= 8 FROM passages WHERE generation = 2")
    # It has handed its lease back; as if it had been killed, it has not.
    await parts.postgres.execute(
        "UPDATE index_generations SET builder = 'first', builder_lease_expires_at = clock_timestamp() + interval '1 s' WHERE generation = 2"
    )
    built = {row["text"] for row in await parts.passages() if row["generation"] == 2}
    new.answering.set()
    new.texts.clear()
    async with parts.builder("second"):
        await parts.until_serving(2)
    assert not built & set(new.texts)
    assert [(row["page_number"], row["generation"]) for row in await parts.passages()] == [
        (number, 2) for number in range(1, 21)
    ]


async def test_builders_of_all_processors_build_each_page_once(parts: IndexParts) -> None:
    await parts.read([f"Page {number}. {HEART if number % 2 else LUNGS}" for number in range(1, 21)])
    await parts.generations.start(NEW)
    async with parts.builder("first"), parts.builder("second"), parts.builder("third"):
        await parts.until_serving(2)
    assert len(parts.brains[NEW].texts) == 20
    assert len(await parts.passages()) == 20


async def test_what_was_given_up_is_cleared_away_and_the_next_one_is_whole(parts: IndexParts) -> None:
    material = await parts.read([f"Page {number}. {HEART if number % 2 else LUNGS}" for number in range(1, 11)])
    new = parts.brains[NEW]
    new.held = {"Page 9"}
    await parts.generations.start(NEW)
    async with parts.builder() as builder:
        await asyncio.wait_for(new.waiting.wait(), SECONDS)
        await parts.until("SELECT count(*) >= 4 FROM passages WHERE generation = 2")
        await parts.generations.cancel()
        new.held = set()
        new.answering.set()
        await parts.until("SELECT cleared_at IS NOT NULL FROM index_generations WHERE generation = 2")
        assert [row["generation"] for row in await parts.passages(material)] == [1] * 10
        await parts.generations.start(NEW)
        builder.wake()
        await parts.until_serving(3)
    assert [(row["page_number"], row["generation"]) for row in await parts.passages(material)] == [
        (number, 3) for number in range(1, 11)
    ]


async def test_index_of_a_model_that_no_setting_names_is_left_to_others(parts: IndexParts) -> None:
    await parts.read([HEART])
    await parts.generations.start("a third model")
    async with parts.builder():
        await parts.until("SELECT count(*) FROM index_generations WHERE state = 'building' AND builder = ''", wanted=1)
        await parts.generations.cancel()
        await parts.until("SELECT cleared_at IS NOT NULL FROM index_generations WHERE generation = 2")
    assert (await parts.generations.serving()).number == 1
