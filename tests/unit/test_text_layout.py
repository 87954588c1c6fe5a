"""Characters at places become lines, columns, tables and paragraphs in the order in which a reader takes them."""

from __future__ import annotations

import pytest

from processor_service.documents.text_layout import MAX_RUNS, TooManyRuns, page_text
from processor_service.documents.text_runs import Glyph, Rule, Style

SIZE = 10.0


def line(text: str, x: float, y: float, *, size: float = SIZE, bold: bool = False) -> list[Glyph]:
    """Characters half as wide as high, from (x, y)."""
    style = Style(size, bold)
    return [
        Glyph(
            char, x + index * size / 2, x + (index + 1) * size / 2, y, style, space=index > 0 and text[index - 1] == " "
        )
        for index, char in enumerate(text)
        if char != " "
    ]


def read(*lines: list[Glyph], rules: tuple[Rule, ...] = ()) -> str:
    return page_text({0: [glyph for part in lines for glyph in part]}, rules)


def prose(x: float, y: float, mark: str, count: int = 8) -> list[Glyph]:
    """Lines of 30 letters, 150 points wide."""
    return [
        glyph
        for number in range(count)
        for glyph in line(f"{mark}{number} running text in a line.", x, y + 12 * number)
    ]


def test_the_order_of_drawing_does_not_matter_for_lines() -> None:
    assert read(line("third", 0, 24), line("first", 0, 0), line("second", 0, 12)) == "first\nsecond\nthird"


def test_a_gap_is_a_space_when_the_file_has_none() -> None:
    assert read(line("two", 0, 0), line("words", 19, 0)) == "two words"
    assert read(line("one", 0, 0), line("word", 15.5, 0)) == "oneword"


def test_columns_are_read_one_after_the_other_with_a_title_above_both() -> None:
    rows = [
        glyph
        for number in range(8)
        for x, mark in ((0, "L"), (170, "R"))
        for glyph in line(f"{mark}{number} running text in a line.", x, 40 + 12 * number)
    ]
    text = read(line("A title that stands above both of the columns", 40, 10, size=14), rows)
    order = ["A title", *(f"L{number}" for number in range(8)), *(f"R{number}" for number in range(8))]
    places = [text.index(mark) for mark in order]
    assert places == sorted(places)


def test_a_title_between_parts_the_columns_in_bands() -> None:
    upper = prose(0, 0, "a") + prose(170, 0, "b")
    lower = prose(0, 160, "c") + prose(170, 160, "d")
    text = read(upper, line("A title that stands across both of the columns", 40, 130), lower)
    places = [text.index(mark) for mark in ("a0", "a7", "b0", "b7", "A title", "c0", "c7", "d0", "d7")]
    assert places == sorted(places)


def test_a_header_of_two_parts_is_one_line_above_the_columns() -> None:
    header = line("Course of Lectures", 0, 0) + line("Some Author", 250, 0)
    text = read(header, prose(0, 40, "L"), prose(170, 40, "R"))
    assert text.startswith("Course of Lectures Some Author\n\nL0")


def test_cells_without_rules_stay_row_by_row() -> None:
    rows = [
        line(f"Planet {number}", 0, 20 * number) + line(f"{number}.5 million km", 170, 20 * number)
        for number in range(8)
    ]
    assert read(*rows).split() == " ".join(f"Planet {number} {number}.5 million km" for number in range(8)).split()


def test_a_cell_of_two_lines_between_rules_is_read_whole() -> None:
    rules = tuple(Rule(-5, 300, height) for height in (-15, 25, 65))
    first = line("no atmosphere", 150, 0) + line("to speak of", 150, 12) + line("Mercury", 0, 6)
    second = line("turns the", 150, 40) + line("other way", 150, 52) + line("Venus", 0, 46)
    assert (
        read(first, second, rules=rules).replace("\n\n", "\n")
        == "Mercury no atmosphere to speak of\nVenus turns the other way"
    )


def test_a_fraction_and_what_is_beside_it_are_one_line() -> None:
    assert read(line("a + b", 30, -6), line("c", 40, 6), line("x =", 0, 0), line("+ y", 70, 0)) == "x = a + b c + y"


def test_powers_belong_to_their_line() -> None:
    parts = line("E = mc", 0, 0) + line("2", 30, -4, size=6) + line("holds", 38, 0)
    assert read(parts, line("below it", 0, 12)) == "E = mc2 holds\nbelow it"


def test_a_paragraph_begins_after_a_larger_gap_or_an_indent() -> None:
    gap = [line(f"line number {number}", 0, y) for number, y in enumerate((0, 12, 24, 44, 56, 68))]
    assert [len(part.split("\n")) for part in read(*gap).split("\n\n")] == [3, 3]
    indent = [line(f"line number {number}", 15 if number == 3 else 0, 12 * number) for number in range(6)]
    assert [len(part.split("\n")) for part in read(*indent).split("\n\n")] == [3, 3]


@pytest.mark.parametrize(("size", "bold"), [(13.0, False), (10.0, True)], ids=["larger", "bold"])
def test_a_heading_stands_by_itself(size: float, bold: bool) -> None:
    heading = line("Movement of Ice", 0, 24, size=size, bold=bold)
    text = read(line("body text one", 0, 0), line("body text two", 0, 12), heading, line("body text three", 0, 36))
    assert text == "body text one\nbody text two\n\nMovement of Ice\n\nbody text three"


def test_a_bold_word_at_a_line_s_beginning_is_no_heading() -> None:
    lines = [line("Event", 0, 0, bold=True) + line("is a subset of it", 30, 0), line("and has a chance", 0, 12)]
    assert read(*lines) == "Event is a subset of it\nand has a chance"


def test_right_to_left_keeps_the_order_of_reading() -> None:
    word = "שלום"
    glyphs = [Glyph(char, 100 - 5 * index, 105 - 5 * index, 0, Style(SIZE)) for index, char in enumerate(word)]
    assert read(glyphs) == word


def test_text_in_another_direction_comes_after_the_page_s_own() -> None:
    directions = {90: line("a note along the margin", 0, 0), 0: prose(0, 0, "L")}
    text = page_text(directions)
    assert text.startswith("L0")
    assert text.endswith("\n\na note along the margin")


def test_letters_strewn_over_the_page_are_refused() -> None:
    strewn = [glyph for number in range(MAX_RUNS + 1) for glyph in line("a", (number * 37) % 600, (number * 53) % 800)]
    with pytest.raises(TooManyRuns):
        read(strewn)
