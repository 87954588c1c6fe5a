"""The error rates that the quality suite reports are right."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.quality.error_rates import character_error_rate, edit_distance, normalised, word_error_rate


@pytest.mark.parametrize(
    ("one", "other", "distance"),
    [
        ("", "", 0),
        ("kitten", "sitting", 3),
        ("flaw", "lawn", 2),
        ("abc", "", 3),
        ("", "abc", 3),
        ("abc", "abc", 0),
        ("ab", "ba", 2),
        ("xxabcxx", "abc", 4),
    ],
)
def test_known_distances(one: str, other: str, distance: int) -> None:
    assert edit_distance(one, other) == distance


def plain_distance(one: str, other: str) -> int:
    @cache
    def distance(first: int, second: int) -> int:
        if not first or not second:
            return first + second
        return min(
            distance(first - 1, second) + 1,
            distance(first, second - 1) + 1,
            distance(first - 1, second - 1) + (one[first - 1] != other[second - 1]),
        )

    return distance(len(one), len(other))


@given(st.text("abcd", max_size=12), st.text("abcd", max_size=12))
def test_the_distance_is_that_of_the_definition(one: str, other: str) -> None:
    assert edit_distance(one, other) == plain_distance(one, other)


def test_rates_are_for_each_true_character_and_word() -> None:
    assert character_error_rate("light energy", "light enemy") == pytest.approx(2 / 12)
    assert word_error_rate("light energy", "light enemy") == pytest.approx(1 / 2)
    assert word_error_rate("light energy", "lightenergy") == pytest.approx(2 / 2)
    assert character_error_rate("light energy", "lightenergy") == pytest.approx(1 / 12)


def test_rates_may_be_above_one_and_an_empty_truth_has_one() -> None:
    assert character_error_rate("a", "abc") == 2.0
    assert character_error_rate("", " \n") == word_error_rate("", "") == 0.0
    assert character_error_rate("", "speck") == word_error_rate("", "a b") == 1.0


def test_the_normal_form_folds_what_is_no_error_of_reading() -> None:
    assert normalised(" „so“\n\n ‘it’  is\u00a0— 3\u22124\u2026 ") == "\"so\" 'it' is - 3-4..."
    assert normalised("cafe\u0301 ﬁn Photo\u00adsynthese") == "café fin Photosynthese"


def test_case_accents_and_hyphens_count() -> None:
    for truth, read in [("Ion", "ion"), ("año", "ano"), ("well-known", "wellknown")]:
        assert character_error_rate(truth, read) == pytest.approx(1 / len(truth))
