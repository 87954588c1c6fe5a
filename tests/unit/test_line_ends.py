"""Words parted at line ends are made whole, and hyphens that belong to their words stay."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local_brain.line_ends import words_made_whole

# Two words of the page are parted, so that its lines are known to part words.
USUAL = ["the chloro-", "phyll and the re-", "action"]


def test_words_of_a_page_that_parts_words_are_whole_and_go_up() -> None:
    assert words_made_whole(["Photo-", "synthese, und die Re-", "aktion"]) == ["Photosynthese,", "und die Reaktion"]


def test_a_word_that_runs_over_three_lines_is_whole() -> None:
    assert words_made_whole(["the con-", "sti-", "tution of 1812"]) == ["the constitution", "of 1812"]


def test_a_single_hyphen_at_a_line_end_stays() -> None:
    lines = ["a well-", "known result"]
    assert words_made_whole(lines) == lines


def test_a_single_parted_word_is_whole_where_the_page_has_it_whole() -> None:
    assert words_made_whole(["Enzymes: an en-", "zyme is a protein.", "An enzyme works"]) == [
        "Enzymes: an enzyme",
        "is a protein.",
        "An enzyme works",
    ]


def test_a_word_that_has_its_hyphen_elsewhere_on_the_page_keeps_it() -> None:
    lines = [*USUAL, "the light-dependent part; the light-", "dependent part"]
    assert words_made_whole(lines)[-2:] == ["the light-dependent part; the light-", "dependent part"]


@pytest.mark.parametrize(
    ("upper", "lower"),
    [
        ("Meinungs-", "und Pressefreiheit"),
        ("in Nord-", "Amerika"),
        ("DNA-", "analyse"),
        ("pages 10-", "20"),
        ("vitamin B-", "complex"),
        ("a dash -", "and more"),
        ("parted by a paragraph-", ""),
    ],
)
def test_other_hyphens_stay(upper: str, lower: str) -> None:
    assert words_made_whole([*USUAL, "", upper, lower])[-2:] == [upper, lower]


def test_no_lines_are_no_lines() -> None:
    assert words_made_whole([]) == []
    assert words_made_whole([""]) == [""]


@given(st.lists(st.text(st.sampled_from("ab- ,"), max_size=12), max_size=12))
def test_nothing_but_hyphens_and_spaces_is_lost_on_any_page(lines: list[str]) -> None:
    def letters(texts: list[str]) -> str:
        return "".join(texts).replace("-", "").replace(" ", "")

    assert letters(words_made_whole(lines)) == letters(lines)
