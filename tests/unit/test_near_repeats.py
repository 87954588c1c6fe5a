"""Near-repeats: what counts as one, which of them stays, and how many each stands for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processor_service.search.near_repeats import fold_repeats

BAYES = "Bayes' theorem tells how to change a belief when new evidence arrives, and joins four quantities in one line."
CELLS = "A cell has a membrane, a nucleus and mitochondria; the last of these give it the energy it lives from."


def fold(*texts: str, at_most: int = 100) -> list[tuple[int, int]]:
    return fold_repeats(texts, at_most=at_most)


def test_nothing_from_nothing() -> None:
    assert fold() == []


@pytest.mark.parametrize(
    "again",
    [
        BAYES,
        BAYES.upper(),
        BAYES.replace(",", "\n"),
        f"{BAYES} Indeed.",
        BAYES.replace("evidence", "data"),
        " ".join(BAYES.split()[:12]),
    ],
    ids=["the same", "capitals", "other layout", "a word more", "a word changed", "the first half"],
)
def test_better_one_stays_and_stands_for_the_repeat(again: str) -> None:
    assert fold(BAYES, CELLS, again) == [(0, 1), (1, 0)]


@pytest.mark.parametrize(
    "other",
    [
        f"{BAYES} {CELLS}",
        "Bayes' theorem tells how to bake bread when new flour arrives.",
        " ".join(reversed(BAYES.split())),
    ],
    ids=["it and more", "same beginning", "same words in another order"],
)
def test_what_says_something_else_stays(other: str) -> None:
    assert fold(BAYES, other) == [(0, 0), (1, 0)]


def test_numbered_pages_of_one_pattern_are_not_repeats() -> None:
    pages = [f"Chapter {number}. The lecture on glaciers, part {number}." for number in range(30)]
    assert fold(*pages) == [(index, 0) for index in range(30)]


@pytest.mark.parametrize("short", ["Yes", "Two words", "", "?"])
def test_short_texts_repeat_only_themselves(short: str) -> None:
    assert fold(short, "Other", short) == [(0, 1), (1, 0)]


def test_unspaced_scripts_are_compared_by_their_characters() -> None:
    text = "植物在白天吸收二氧化碳并释放氧气。它们把光能储存在糖里。"
    assert fold(text, text.replace("糖", "葡"), "动物吸入氧气并呼出二氧化碳。") == [(0, 1), (2, 0)]


def test_repeats_are_counted_beyond_those_that_are_kept() -> None:
    texts = [BAYES, CELLS, *[BAYES] * 5]
    assert fold(*texts, at_most=1) == [(0, 5)]


@given(texts=st.lists(st.text("ab c", max_size=12), max_size=20), at_most=st.integers(0, 20))
def test_kept_ones_are_in_order_and_each_text_is_counted_once_at_most(texts: list[str], at_most: int) -> None:
    folded = fold_repeats(texts, at_most=at_most)
    kept = [index for index, _ in folded]
    assert kept == sorted(set(kept))
    assert len(kept) <= at_most
    assert len(kept) + sum(repeats for _, repeats in folded) <= len(texts)
    if at_most >= len(texts):
        assert len(kept) + sum(repeats for _, repeats in folded) == len(texts)


@given(
    texts=st.lists(st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=12).map(" ".join), max_size=25),
    at_most=st.integers(1, 5),
)
def test_fewer_are_the_first_of_more_with_the_same_repeats(texts: list[str], at_most: int) -> None:
    assert fold_repeats(texts, at_most=at_most) == fold_repeats(texts, at_most=len(texts))[:at_most]


@given(text=st.text(st.characters(max_codepoint=127), max_size=40))
def test_words_are_the_same_beside_letters_of_other_scripts(text: str) -> None:
    # A text of plain letters is cut into words in a way of its own.
    assert fold(f"{BAYES} {text} end", f"{BAYES} {text} end \u2013") == [(0, 1)]
