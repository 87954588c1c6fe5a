"""Both lists of a search at once, by two connections: what one connection finds, in one snapshot, and nothing that goes on when a search has failed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import asyncpg
import pytest

from processor_service.search import search_store
from processor_service.search.search_store import Candidates, Nearest, NearestBeside, Scope, SearchStore
from processor_service.search.words_store import WordedPassages
from servicekit.errors import Unavailable
from servicekit.postgres import Postgres
from tests.integration.index_parts import index_postgres
from tests.integration.search_index import MODEL, SearchIndex, made_vectors, search_index
from tests.local_stack import LocalStack

LARGE = 50
SIZE = 60
CONNECTIONS = 12  # as index_postgres has
[QUERY] = made_vectors(1)
Find = Callable[[Nearest, Any], Awaitable[list[asyncpg.Record]]]


class AtOnce:
    """A store with several connections, and how often it has looked for the nearest by a second one."""

    def __init__(self, index: SearchIndex, postgres: Postgres) -> None:
        self.index, self.postgres = index, postgres
        self.store = SearchStore(postgres, exact_passages=20_000)
        self.looked = 0

    async def search(self) -> Candidates:
        async with asyncio.timeout(60):
            return await self.store.candidates(QUERY, MODEL, ("passage", "7"), Scope("course"), 150)


@pytest.fixture
async def at_once(stack: LocalStack, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[AtOnce]:
    monkeypatch.setattr(search_store, "AT_ONCE_FROM", LARGE)
    async with search_index(stack) as index, asyncio.TaskGroup() as tasks:
        await index.add("course", [f"passage {number}" for number in range(SIZE)])
        postgres = index_postgres(index.dsn)
        await postgres.start(tasks)
        made, look = AtOnce(index, postgres), NearestBeside.look

        def counted(beside: NearestBeside, snapshot: str, nearest: Nearest) -> None:
            made.looked += 1
            look(beside, snapshot, nearest)

        monkeypatch.setattr(NearestBeside, "look", counted)
        try:
            yield made
        finally:
            await postgres.stop()


async def test_two_connections_find_what_one_finds_from_the_second_search_of_a_large_course_on(at_once: AtOnce) -> None:
    alone = at_once.index.store()
    found = [await alone.candidates(QUERY, MODEL, ("passage", "7"), Scope("course"), 150) for _ in range(2)]
    assert at_once.looked == 0  # that pool has only one
    assert len(found[0].nearest) == SIZE
    assert await at_once.search() == found[0]
    assert at_once.looked == 0
    assert await at_once.search() == found[1]
    assert at_once.looked == 1


async def test_more_at_once_than_there_are_connections_all_end(at_once: AtOnce) -> None:
    alone = await at_once.search()
    assert all(each == alone for each in await asyncio.gather(*(at_once.search() for _ in range(30))))
    assert at_once.looked > 0


async def test_course_that_is_large_no_more_is_searched_by_one(at_once: AtOnce) -> None:
    await at_once.search()
    await at_once.index.postgres.execute("DELETE FROM passages WHERE page_number > 10")
    for _ in range(3):
        assert len((await at_once.search()).nearest) == 10
    assert at_once.looked == 1


async def test_both_lists_are_of_one_snapshot(at_once: AtOnce, monkeypatch: pytest.MonkeyPatch) -> None:
    await at_once.search()
    find: Find = Nearest.find

    async def later(nearest: Nearest, connection: Any) -> list[asyncpg.Record]:
        await at_once.index.add("course", ["passage 7, again"])
        return await find(nearest, connection)

    monkeypatch.setattr(Nearest, "find", later)
    found = await at_once.search()
    assert at_once.looked == 1
    assert len(found.nearest) == SIZE
    assert {each.hit.text for each in found.worded} == {"passage 7"}
    monkeypatch.setattr(Nearest, "find", find)
    assert len((await at_once.search()).nearest) == SIZE + 1


async def test_without_a_second_connection_after_all_the_first_one_does_it(
    at_once: AtOnce, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = await at_once.search()
    monkeypatch.setattr(at_once.postgres, "has_spare_connection", lambda: True)
    async with AsyncExitStack() as held:
        for _ in range(CONNECTIONS - 1):
            await held.enter_async_context(at_once.postgres.connection())
        assert await at_once.search() == alone
    assert at_once.looked == 1


async def test_second_connection_that_is_lost_costs_nothing_but_its_time(
    at_once: AtOnce, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = await at_once.search()
    find: Find = Nearest.find
    asked: list[object] = []

    async def lost(nearest: Nearest, connection: Any) -> list[asyncpg.Record]:
        asked.append(connection)
        if len(asked) == 1:
            raise asyncpg.PostgresConnectionError("gone")
        return await find(nearest, connection)

    monkeypatch.setattr(Nearest, "find", lost)
    assert await at_once.search() == alone
    assert len(asked) == 2
    assert at_once.postgres.connections_in_use == 0


async def test_when_both_are_lost_the_search_is(at_once: AtOnce, monkeypatch: pytest.MonkeyPatch) -> None:
    await at_once.search()

    async def lost(nearest: Nearest, connection: Any) -> list[asyncpg.Record]:
        raise asyncpg.PostgresConnectionError("gone")

    with monkeypatch.context() as patched:
        patched.setattr(Nearest, "find", lost)
        with pytest.raises(Unavailable):
            await at_once.search()
    assert at_once.postgres.connections_in_use == 0
    assert len((await at_once.search()).nearest) == SIZE


async def test_search_that_fails_leaves_nothing_behind(at_once: AtOnce, monkeypatch: pytest.MonkeyPatch) -> None:
    await at_once.search()
    looking = asyncio.Event()

    async def for_ever(nearest: Nearest, connection: Any) -> list[asyncpg.Record]:
        looking.set()
        return await asyncio.get_running_loop().create_future()

    async def failed(*_: Any, **__: Any) -> list[asyncpg.Record]:
        await looking.wait()
        raise ZeroDivisionError

    with monkeypatch.context() as patched:
        patched.setattr(Nearest, "find", for_ever)
        patched.setattr(WordedPassages, "find", failed)
        with pytest.raises(ZeroDivisionError):
            await at_once.search()
    assert at_once.postgres.connections_in_use == 0
    assert len((await at_once.search()).nearest) == SIZE
