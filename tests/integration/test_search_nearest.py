"""The nearest passages: all of them found, by comparing every one or by the index of vectors; and when that index is made, used and dropped."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import numpy as np
import pytest

from processor_service.search.nearest_index import NearestIndex, index_name
from processor_service.search.search_store import Scope, SearchStore
from servicekit.errors import Unavailable
from tests.integration.search_index import MODEL, SearchIndex, Vectors, made_vectors, search_index, started
from tests.local_stack import LocalStack

#: Passages of the courses, each a tenth of the next. The first is more than EXACT, and a small part of the whole.
SIZES = (100, 1_000, 10_000)
EXACT = 50
QUERIES = 30


@pytest.fixture(scope="module")
async def large(stack: LocalStack) -> AsyncIterator[tuple[SearchIndex, dict[int, Vectors]]]:
    """An index with a course of each size, and the vectors of each; the index of vectors is built."""
    async with search_index(stack) as index:
        vectors = {size: made_vectors(size, seed=size) for size in SIZES}
        for size, made in vectors.items():
            await index.add(f"course-{size}", [f"passage {number}" for number in range(size)], made)
        await index.analyze()
        await NearestIndex(index.postgres, exact_passages=EXACT).keep()
        yield index, vectors


async def scans(index: SearchIndex) -> int:
    """How often the index of vectors has been used so far, by this one connection."""
    await index.postgres.execute("SELECT pg_stat_force_next_flush()")
    row = await index.postgres.fetchrow(
        "SELECT idx_scan FROM pg_stat_user_indexes WHERE indexrelname = $1", index_name(1)
    )
    return int(row["idx_scan"]) if row is not None else 0


async def recall(index: SearchIndex, size: int, vectors: Vectors, *, exact_passages: int) -> float:
    """Share of the ten nearest, as numpy finds them, among the ten found."""
    store = index.store(exact_passages=exact_passages)
    found = 0
    for query in made_vectors(QUERIES, seed=99):
        candidates = await store.candidates(query, MODEL, (), Scope(f"course-{size}"), 150)
        pages = {each.hit.page_number for each in candidates.nearest[:10]}
        similarities = [each.similarity for each in candidates.nearest]
        # The index compares vectors that it has scaled, and rounded once more.
        assert similarities == pytest.approx(sorted(similarities, reverse=True), abs=1e-3)
        # Stored in half precision with four digits: of two at the same distance either is right.
        tenth = np.sort(vectors @ query)[-10] - 1e-3
        found += sum((vectors[page - 1] @ query) >= tenth for page in pages)
    return found / (10 * QUERIES)


@pytest.mark.parametrize(("size", "by_index"), [(100, False), (1_000, False), (10_000, True)])
async def test_recall_at_every_size_and_by_which_way(
    large: tuple[SearchIndex, dict[int, Vectors]], size: int, by_index: bool
) -> None:
    index, vectors = large
    before = await scans(index)
    assert await recall(index, size, vectors[size], exact_passages=EXACT) >= (0.95 if by_index else 1.0)
    assert (await scans(index) > before) == by_index


async def test_course_below_the_threshold_is_searched_exactly(large: tuple[SearchIndex, dict[int, Vectors]]) -> None:
    index, vectors = large
    before = await scans(index)
    assert await recall(index, 10_000, vectors[10_000], exact_passages=10_000) == 1.0
    assert await scans(index) == before


async def indexes(index: SearchIndex) -> dict[str, bool]:
    rows = await index.postgres.fetch(
        "SELECT c.relname, i.indisvalid FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE starts_with(c.relname, $1)",
        index_name(""),
    )
    return {row["relname"]: row["indisvalid"] for row in rows}


@pytest.fixture
async def small(stack: LocalStack) -> AsyncIterator[SearchIndex]:
    async with search_index(stack) as index:
        await index.add("course", [f"passage {number}" for number in range(60)])
        yield index


async def test_index_is_made_when_a_course_has_outgrown_exact_search_and_not_before(small: SearchIndex) -> None:
    await NearestIndex(small.postgres, exact_passages=60).keep()
    assert await indexes(small) == {}
    await NearestIndex(small.postgres, exact_passages=59).keep()
    assert await indexes(small) == {index_name(1): True}


async def test_index_of_an_empty_table_is_not_made(stack: LocalStack) -> None:
    async with search_index(stack) as index:
        await NearestIndex(index.postgres, exact_passages=1).keep()
        assert await indexes(index) == {}


async def test_no_index_is_made_when_every_course_is_a_small_part(small: SearchIndex) -> None:
    for number in range(20):
        await small.add(f"course-{number}", [f"passage {page}" for page in range(60)])
    await NearestIndex(small.postgres, exact_passages=50).keep()
    assert await indexes(small) == {}


async def test_index_of_a_generation_no_longer_in_use_is_dropped(small: SearchIndex) -> None:
    keeper = NearestIndex(small.postgres, exact_passages=59)
    await keeper.keep()
    await small.serve(2)
    await keeper.keep()
    assert await indexes(small) == {}
    await small.add("course", [f"passage {number}" for number in range(60)], generation=2)
    await keeper.keep()
    assert await indexes(small) == {index_name(2): True}


async def test_what_an_interrupted_build_left_is_not_used_and_made_anew(small: SearchIndex) -> None:
    keeper = NearestIndex(small.postgres, exact_passages=59)
    await keeper.keep()
    await small.postgres.execute(
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = $1::regclass", index_name(1)
    )
    found = await small.store(exact_passages=10).candidates(made_vectors(1)[0], MODEL, (), Scope("course"), 10)
    assert len(found.nearest) == 10
    await keeper.keep()
    assert await indexes(small) == {index_name(1): True}


async def test_two_replicas_make_one_index(small: SearchIndex) -> None:
    async with (
        asyncio.TaskGroup() as tasks,
        started(small.dsn, tasks) as first,
        started(small.dsn, tasks) as second,
    ):
        keepers = [NearestIndex(postgres, exact_passages=59) for postgres in (first, second)]
        ended = await asyncio.gather(*(keeper.keep() for keeper in keepers), return_exceptions=True)
        refused = [each for each in ended if each is not None]
        assert all(isinstance(each, Unavailable | asyncpg.PostgresError) for each in refused), refused
        for keeper in keepers:
            await keeper.keep()
    assert await indexes(small) == {index_name(1): True}


async def test_plans_are_made_with_the_values_however_often_a_connection_was_used(
    large: tuple[SearchIndex, dict[int, Vectors]],
) -> None:
    # From the sixth time on Postgres would plan without them, and take one way for all courses.
    index, _ = large
    store: SearchStore = index.store(exact_passages=EXACT)
    for query in made_vectors(10):
        await store.candidates(query, MODEL, (), Scope("course-100"), 10)
    before = await scans(index)
    for query in made_vectors(10):
        await store.candidates(query, MODEL, (), Scope("course-10000"), 10)
    assert await scans(index) == before + 10
