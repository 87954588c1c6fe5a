"""Fusion of rankings: order, scores from 0 to 1, and what weights and strengths change."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from processor_service.search.fusion import Place, Ranking, fuse


def ranking(keys: str, weight: float = 1.0) -> Ranking[str]:
    return Ranking([Place(key) for key in keys], weight)


RANKINGS = st.lists(
    st.builds(
        lambda keys, strengths, weight: Ranking(
            [Place(key, strength) for key, strength in zip(keys, sorted(strengths, reverse=True), strict=False)], weight
        ),
        st.lists(st.sampled_from("abcdefghij"), unique=True, max_size=8),
        st.lists(st.floats(0.01, 1.0), min_size=8, max_size=8),
        st.floats(0.1, 3.0),
    ),
    max_size=3,
)


def test_nothing_is_fused_from_nothing() -> None:
    assert fuse([]) == []
    assert fuse([ranking(""), ranking("")]) == []


def test_one_ranking_keeps_its_order() -> None:
    assert [key for key, _ in fuse([ranking("dacb")])] == ["d", "a", "c", "b"]


def test_first_of_all_rankings_scores_one_and_comes_first() -> None:
    [(first, score), *rest] = fuse([ranking("abc"), ranking("acb", 2.0)])
    assert (first, score) == ("a", 1.0)
    assert all(other < 1.0 for _, other in rest)


def test_being_in_both_outweighs_a_better_place_in_one() -> None:
    assert next(iter(fuse([ranking("abx"), ranking("cdx")])))[0] == "x"


def test_heavier_ranking_decides_between_firsts() -> None:
    assert [key for key, _ in fuse([ranking("ab"), ranking("ba", 2.0)])] == ["b", "a"]


def test_weak_match_does_not_pull_down_what_the_other_ranking_found() -> None:
    by_meaning = ranking("abcdefgh")
    weak = Ranking([Place("h", 0.01), Place("g", 0.01)], 2.0)
    strong = Ranking([Place("h", 1.0), Place("g", 0.01)], 2.0)
    assert fuse([by_meaning, weak])[0][0] == "a"
    assert fuse([by_meaning, strong])[0][0] == "h"


def test_equals_come_in_the_order_they_were_named_in() -> None:
    assert [key for key, _ in fuse([ranking("a"), ranking("b")])] == ["a", "b"]


@given(rankings=RANKINGS)
def test_every_key_once_with_falling_scores_above_zero_and_at_most_one(rankings: list[Ranking[str]]) -> None:
    fused = fuse(rankings)
    assert sorted(key for key, _ in fused) == sorted({place.key for each in rankings for place in each.places})
    scores = [score for _, score in fused]
    assert scores == sorted(scores, reverse=True)
    assert all(0.0 < score <= 1.0 for score in scores)
