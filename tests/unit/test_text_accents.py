"""Accents drawn as characters of their own belong to the letters that they stand over."""

from __future__ import annotations

from dataclasses import replace

import pytest

from processor_service.documents.text_accents import with_accents
from processor_service.documents.text_layout import page_text
from processor_service.documents.text_runs import Glyph, Style

SIZE = 10.0


def line(text: str, y: float = 0.0) -> list[Glyph]:
    return [
        Glyph(char, index * 5.0, index * 5.0 + 5, y, Style(SIZE), index > 0 and text[index - 1] == " ")
        for index, char in enumerate(text)
        if char != " "
    ]


def over(glyph: Glyph, mark: str, *, raised: float = 0.0, space: bool = False) -> Glyph:
    """`mark` drawn over the glyph."""
    return replace(
        glyph, char=mark, left=glyph.left + 1, right=glyph.right - 1, baseline=glyph.baseline - raised, space=space
    )


@pytest.mark.parametrize(
    ("letter", "mark", "whole"),
    [("a", "˜", "ã"), ("o", "´", "ó"), ("c", "¸", "ç"), ("u", "¨", "ü"), ("e", "`", "è"), ("ı", "´", "í"), ("r", "ˇ", "ř"), ("e", "\u0301", "é")],
)  # fmt: skip
@pytest.mark.parametrize("place", ["before", "after", "end"])
def test_an_accent_is_joined_wherever_it_was_drawn(letter: str, mark: str, whole: str, place: str) -> None:
    glyphs = line(f"x{letter}x word")
    at = {"before": 1, "after": 2, "end": len(glyphs)}[place]
    glyphs.insert(at, over(glyphs[1], mark, space=True))
    glyphs[at + 1 : at + 2] = [replace(glyph, space=True) for glyph in glyphs[at + 1 : at + 2]]
    assert page_text({0: glyphs}) == f"x{whole}x word"


def test_an_accent_over_a_capital_stands_higher() -> None:
    glyphs = line("Uber")
    assert page_text({0: [over(glyphs[0], "¨", raised=2.5), *glyphs]}) == "Über"


def test_a_space_behind_an_accented_letter_stays() -> None:
    glyphs = line("la")
    word = [Glyph("e", 11.5, 16.5, 0, Style(SIZE), space=True)]
    assert page_text({0: [*glyphs, over(glyphs[1], "`"), *word]}) == "là e"


@pytest.mark.parametrize("text", ["a ˜ b", "x^2", "~/home", "`code`", "f´(x)"])
def test_what_stands_beside_a_letter_is_left(text: str) -> None:
    assert with_accents(line(text)) == line(text)


def test_an_accent_over_no_letter_that_takes_it_is_left() -> None:
    glyphs = line("x7")
    marked = [*glyphs, over(glyphs[1], "˜"), over(replace(glyphs[0], char="b"), "¸")]
    assert [glyph.char for glyph in with_accents(marked)] == ["x", "7", "˜", "¸"]


def test_letters_and_accents_heaped_up_in_one_place_are_no_great_work() -> None:
    letters = [Glyph("a", 0, 5, 0, Style(SIZE))] * 20_000
    marks = [Glyph("˜", 1, 4, 0, Style(SIZE))] * 20_000
    joined = with_accents([*letters, *marks])
    assert "ã" in {glyph.char for glyph in joined}
