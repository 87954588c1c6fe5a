"""Search by words in a real Postgres: rarity decides, nothing that is typed is an operator, and only what is in scope is looked at."""

from __future__ import annotations

from collections.abc import AsyncIterator

import numpy as np
import pytest

from processor_service.index.search_words import query_words
from processor_service.search import words_store
from processor_service.search.search_store import ModelChanged, Scope
from processor_service.search.words_store import (
    PLACES_BY_INDEX,
    PLACES_READ_THROUGH,
    READ_THROUGH_TIMES,
    as_query,
    places_of_words,
)
from tests.integration.search_index import DIMENSIONS, MODEL, SearchIndex, made_vectors, search_index
from tests.local_stack import LocalStack

BAYES = "Bayes published the rule in 1763, after his death."
THEOREM = "Theorem 2.3.1. Every bounded sequence has a limit point."
OTHER_THEOREM = "Theorem 2.3.2. Every limit point of the sequence is in the closure."
CHINESE = "植物的光合作用把光能储存在糖里。"
SPANISH = "La desviación estándar es una medida de la dispersión."
FILLERS = [f"The lecture on the topic of week {number} is about the usual things." for number in range(20)]
TEXTS = [BAYES, THEOREM, OTHER_THEOREM, CHINESE, SPANISH, *FILLERS]


@pytest.fixture(scope="module")
async def index(stack: LocalStack) -> AsyncIterator[SearchIndex]:
    async with search_index(stack) as made:
        await made.add("course", TEXTS)
        await made.add("other", ["Bayes 1763 in another course, twice: Bayes 1763.", *FILLERS])
        yield made


@pytest.mark.parametrize(
    ("query", "first"),
    [
        ("Bayes 1763", BAYES),
        ("what did bayes publish in 1763?", BAYES),
        ("theorem 2.3.1", THEOREM),
        ("THEOREM 2.3.2", OTHER_THEOREM),
        ("光合作用", CHINESE),
        ("desviacion estandar", SPANISH),
        ("the lecture of week 7", FILLERS[7]),
    ],
)
async def test_passage_with_the_rarest_words_comes_first(index: SearchIndex, query: str, first: str) -> None:
    assert (await index.worded(query, "course"))[0] == first


async def test_coverage_is_the_share_of_the_query_that_a_passage_has(index: SearchIndex) -> None:
    whole, part, *_ = (await index.find("theorem 2.3.1", "course")).worded
    assert whole.coverage == pytest.approx(1.0)
    assert 0 < part.coverage < 0.7


async def test_words_in_most_passages_find_nothing(index: SearchIndex) -> None:
    assert await index.worded("the", "course") == []
    assert (await index.worded("the lecture about Bayes", "course")) == [BAYES]


@pytest.mark.parametrize(
    "query",
    [
        "bayes & !bayes | (",
        "bayes:*",
        "'bayes'",
        'bayes "1763"',
        "bayes <-> 1763",
        "bayes%_' OR TRUE; --",
        "ba\\yes bayes",
        "bayes\0bayes",
        "bayes' \\",
    ],
)
async def test_operators_are_nothing_but_what_stands_between_words(index: SearchIndex, query: str) -> None:
    assert (await index.worded(query, "course"))[0] == BAYES


@pytest.mark.parametrize(
    "query", ["& | ! ( ) <-> :* ' \" \\", "%", "_", "baye", "bay*", "🌍", "of", "x" * 500, "世" * 500]
)
async def test_what_is_no_word_of_the_course_finds_nothing_by_words(index: SearchIndex, query: str) -> None:
    found = await index.find(query, "course")
    assert found.worded == []
    assert len(found.nearest) == 10


async def test_as_many_words_as_a_query_can_have(index: SearchIndex) -> None:
    query = " ".join(chr(ord("a") + first) + chr(ord("a") + second) for first in range(6) for second in range(26))
    assert (await index.worded(f"bayes {query}"[:500], "course"))[0] == BAYES


async def test_only_the_course_and_where_given_the_owner_count(index: SearchIndex) -> None:
    assert await index.worded("Bayes 1763", "course") == [BAYES]
    assert await index.worded("Bayes 1763", "nowhere") == []
    await index.add("shared", [THEOREM, *FILLERS], owner="one")
    await index.add("shared", [BAYES, *FILLERS], owner="two")
    assert await index.worded("theorem 2.3.1 bayes", "shared", owner="one") == [THEOREM]
    found = await index.find("theorem", "shared", owner="two", depth=100)
    assert found.worded == []
    assert len(found.nearest) == 1 + len(FILLERS)


async def test_equally_good_ones_are_ordered_by_meaning(index: SearchIndex) -> None:
    texts = [f"Enzymes, example {number}." for number in range(5)]
    vectors = made_vectors(len(texts) + len(FILLERS))
    await index.add("ties", [*texts, *FILLERS], vectors)
    found = await index.find("enzymes", "ties", vector=vectors[3])
    assert found.worded[0].hit.text == texts[3]
    similarities = [each.similarity for each in found.worded]
    assert similarities == sorted(similarities, reverse=True)
    assert len(similarities) == len(texts)


async def test_only_the_generation_in_use_is_searched_and_only_with_its_model(stack: LocalStack) -> None:
    async with search_index(stack) as index:
        await index.add("course", [BAYES, *FILLERS])
        await index.add("course", ["Bayes, cut anew.", *FILLERS], generation=2)
        assert await index.worded("bayes", "course") == [BAYES]
        await index.serve(2, "another model")
        embedding = np.ones(DIMENSIONS, dtype=np.float32)
        words = query_words("bayes")
        with pytest.raises(ModelChanged):
            await index.store().candidates(embedding, MODEL, words, Scope("course"), 10)
        found = await index.store().candidates(embedding, "another model", words, Scope("course"), 100)
        assert [each.hit.text for each in found.worded] == ["Bayes, cut anew."]
        assert len(found.nearest) == 1 + len(FILLERS)


async def test_reading_a_small_course_through_finds_what_the_index_of_words_finds(
    stack: LocalStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    queries = ("Bayes 1763", "theorem 2.3.1 sequence limit", "the lecture of week 7", "光合作用", "unheard of")
    asked = list[str]()

    def chosen(passages: int, in_index: int) -> str:
        asked.append(places_of_words(passages, in_index))
        return asked[-1]

    monkeypatch.setattr(words_store, "places_of_words", chosen)
    async with search_index(stack) as index:
        await index.add("course", TEXTS)
        by_index = [await index.find(query, "course") for query in queries]
        assert set(asked) == {PLACES_BY_INDEX}
        asked.clear()
        await index.add("other", [f"Bayes, number {number}." for number in range(len(TEXTS) * READ_THROUGH_TIMES)])
        await index.analyze()
        assert [await index.find(query, "course") for query in queries] == by_index
        assert set(asked) == {PLACES_READ_THROUGH}


async def test_words_everywhere_in_a_large_course_are_not_looked_for_again(
    index: SearchIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(words_store, "COMMON_PASSAGES", 5)
    store, scope, nowhere = index.store(), Scope("course"), np.ones(DIMENSIONS, dtype=np.float32)
    looked_for = list[tuple[str, ...]]()

    def noted(word: str) -> str:
        looked_for[-1] += (word,)
        return as_query(word)

    monkeypatch.setattr(words_store, "as_query", noted)
    found = []
    for _ in range(2):
        looked_for.append(())
        found.append(await store.candidates(nowhere, MODEL, ("lecture", "bayes"), scope, 10))
    assert found[0] == found[1]
    assert [each.hit.text for each in found[0].worded] == [BAYES]
    assert "lecture" in looked_for[0]
    assert set(looked_for[1]) == {"bayes"}
