"""Words as search compares them: what meets, what stays apart, and that nothing but words comes out."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processor_service.index.search_words import (
    MAX_QUERY_WORDS,
    MAX_WORD_CHARACTERS,
    index_words,
    query_words,
    search_words,
)
from processor_service.search.words_store import as_query, rarities


def finds(query: str, text: str) -> bool:
    """Whether the text has every word of the query."""
    return set(query_words(query)) <= set(index_words(text).split(" ")) and bool(query_words(query))


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("bayes", "BAYES, 1763"),
        ("Bayes 1763", "published in 1763 by Thomas Bayes."),
        ("2.3.1", "Theorem 2.3.1. Let f be continuous"),
        ("desviacion", "la desviación estándar"),
        ("Wörter", "wörter"),
        ("wo\u0308rter", "w\u00f6rter"),
        ("STRASSE", "die Straße"),
        ("finite", "a \ufb01nite set"),
        ("Bayes", "Bayes’ rule"),
        ("Bayes", "Bayes's rule"),
        ("Jensen's", "Jensen’s inequality"),
        ("email", "an e-mail"),
        ("e-mail", "an e-mail"),
        ("validation", "cross-vali-\ndation"),
        ("performance", "perfor\ufffemance"),
        ("performance", "perfor\u00admance"),
        ("flow", "TensorFlow"),
        ("tensorflow", "TensorFlow"),
        ("x_train", "x_train = 3"),
        ("train", "x_train = 3"),
        ("θεώρημα", "ΘΕΩΡΗΜΑ"),
        ("光合作用", "植物的光合作用很重要"),
        ("氧气", "释放氧气。"),
        ("ガス", "水素ガス"),
        ("한국", "한국"),
        ("नमस्ते", "नमस्ते दुनिया"),
        ("CO2", "CO₂"),
    ],
)
def test_word_is_found(query: str, text: str) -> None:
    assert finds(query, text)


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("2.3.1", "Theorem 2.3.2"),
        ("2.3.1", "sections 2, 3 and 1"),
        ("1763", "17631"),
        ("氧气", "空气和氧"),
        ("ガ", "カ"),
        ("cat", "concatenate"),
    ],
)
def test_other_word_is_not_found(query: str, text: str) -> None:
    assert not finds(query, text)


@pytest.mark.parametrize("query", ["", "  ", "& | ! ( ) <-> :* ' \" \\", "%", "🌍🌍", "\u200b"])
def test_query_without_words_looks_for_none(query: str) -> None:
    assert query_words(query) == ()


def test_search_words_keeps_the_order_and_every_repetition() -> None:
    assert search_words("The Theorem, the PROOF: 2.3.1") == "the theorem the proof 2.3.1"


def test_query_has_so_many_words_at_most() -> None:
    assert len(query_words(" ".join(f"w{number}" for number in range(200)))) == MAX_QUERY_WORDS


@given(text=st.text(max_size=300))
def test_words_hold_nothing_that_means_anything_to_the_database(text: str) -> None:
    words = index_words(text).split(" ") if index_words(text) else []
    assert len(set(words)) == len(words)
    assert set(query_words(text)) <= set(words)
    for word in words:
        assert word
        assert len(word) <= MAX_WORD_CHARACTERS
        assert not re.search(r"[\s'’\"\\&|!():<>*\0]", word)


def test_a_word_as_a_query_is_quoted_whatever_it_is() -> None:
    assert as_query("bayes") == "'bayes'"
    assert as_query("o'x\\ | y") == "'o''x\\\\ | y'"


class TestRarities:
    def test_rarer_words_weigh_more_and_common_ones_nothing(self) -> None:
        weights = rarities({"the": 90, "theorem": 20, "bayes": 2}, passages=100, common=50)
        assert list(weights) == ["bayes", "theorem"]
        assert weights["bayes"] > weights["theorem"] > 0
        assert sum(weights.values()) == pytest.approx(1.0)

    def test_word_that_is_nowhere_counts_against_the_others(self) -> None:
        weights = rarities({"bayes": 2, "unheard": 0}, passages=100, common=50)
        assert list(weights) == ["bayes"]
        assert 0 < weights["bayes"] < 0.5

    def test_words_that_are_all_common_weigh_nothing(self) -> None:
        assert rarities({"the": 90, "of": 60}, passages=100, common=50) == {}

    def test_rarest_words_are_taken_first_when_there_are_too_many_passages(self) -> None:
        counts = {f"w{number}": 1_900 for number in range(10)} | {"rare": 1}
        weights = rarities(counts, passages=100_000, common=2_000)
        assert next(iter(weights)) == "rare"
        assert len(weights) == 5


@pytest.mark.parametrize("word", ["a" * 400_000, "aB" * 200_000 + "1"], ids=["letters", "camel case"])
def test_word_without_end_takes_no_longer_than_many_short_ones(word: str) -> None:
    """Quadratic, it would take the better part of an hour."""
    assert index_words(word).split() == [word.lower()[:100]]
