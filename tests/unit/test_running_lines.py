"""Headers, footers and page numbers are told from a page's own text by their coming back."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processor_service.index.running_lines import Body, running_spans

HEADER, FOOTER = "CS 229 – Machine Learning", "Stanford University {} Fall 2018"


def page(number: int, body: str = "") -> str:
    name = chr(96 + number)
    return f"{HEADER}\n\n{body or f'What page {name} is about.'}\nIt goes on, {name}.\n\n{FOOTER.format(number)}"


def body_of(text: str, *neighbours: str) -> str:
    body = running_spans(text, neighbours)
    return text[body.start : body.end]


def test_header_and_footer_that_neighbours_have_are_left_out() -> None:
    assert body_of(page(3), page(1), page(2)) == "What page c is about.\nIt goes on, c."


def test_neighbours_may_be_behind_and_of_another_kind() -> None:
    assert body_of(page(1), "A plate without text", page(2), page(3)) == "What page a is about.\nIt goes on, a."


@pytest.mark.parametrize("neighbours", [(), (page(2),), (page(2), "Another page\n\nof its own")])
def test_a_line_that_fewer_than_two_neighbours_have_is_the_page_s_own(neighbours: tuple[str, ...]) -> None:
    assert running_spans(page(1), neighbours) == Body(0, len(page(1)))


@pytest.mark.parametrize("form", ["{}", "- {} -", "Page {} of 12", "{} | Chapter 2"])
def test_page_numbers_are_left_out(form: str) -> None:
    pages = [f"Text of its own, {name}.\n{form.format(number)}" for number, name in ((9, "a"), (10, "b"), (11, "c"))]
    assert body_of(pages[2], *pages[:2]) == "Text of its own, c."


def test_roman_page_numbers_are_left_out() -> None:
    pages = [f"Preface, {name}.\n\n{number}" for number, name in (("ii", "a"), ("iii", "b"), ("iv", "c"))]
    assert body_of(pages[2], *pages[:2]) == "Preface, c."


def test_a_line_is_compared_at_its_own_edge_only() -> None:
    assert body_of("Notes\nmine\nmore\nlast", "a\nb\nc\nd\nNotes", "e\nf\ng\nh\nNotes") == "Notes\nmine\nmore\nlast"


def test_what_repeats_below_the_page_s_own_first_line_stays() -> None:
    text = "A title of its own\nCS 229\nbody"
    assert body_of(text, "CS 229\nx\ny\nz", "CS 229\nu\nv\nw") == text


def test_a_page_of_running_lines_only_has_no_body() -> None:
    text = f"{HEADER}\n{FOOTER.format(3)}"
    assert body_of(text, page(1), page(2)) == ""


def test_an_empty_page_is_whole() -> None:
    assert running_spans("", [page(1), page(2)]) == Body(0, 0)
    assert running_spans("\n \n", [page(1), page(2)]) == Body(0, 3)


@given(st.text(alphabet="ab1\n ", max_size=60), st.lists(st.text(alphabet="ab1\n ", max_size=60), max_size=4))
@settings(derandomize=True, database=None, deadline=None)
def test_the_body_is_always_a_slice_and_parted_from_the_rest_at_line_ends(text: str, neighbours: list[str]) -> None:
    body = running_spans(text, neighbours)
    assert 0 <= body.start <= body.end <= len(text)
    if body.start < body.end:
        assert body.start == 0 or text[body.start - 1] == "\n"
        assert body.end == len(text) or text[body.end] == "\n"


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("{} Eine Einführung", "2.1 Abbildungen {}"),
        ("Some Author, {}", "{} A Title"),
        ("{} gnuplot 5.4", "gnuplot 5.4 {}"),
    ],
)
@pytest.mark.parametrize("at_top", [True, False])
def test_left_and_right_pages_may_have_lines_of_their_own(left: str, right: str, at_top: bool) -> None:
    edges = [(right if number % 2 else left).format(number) for number in (61, 62, 63, 64)]
    bodies = [f"What page {name} is about." for name in "abcd"]
    pages = [f"{edge}\n\n{body}" if at_top else f"{body}\n\n{edge}" for edge, body in zip(edges, bodies, strict=True)]
    assert body_of(pages[3], *pages[:3]) == bodies[3]
    assert body_of(pages[0], *pages[1:]) == bodies[0]


def test_a_line_of_one_neighbour_stays_where_no_page_lies_between_by_its_number() -> None:
    text = "Exercise 4\nIts text."
    assert body_of(text, "Exercise 2\nIts text, too.", "A page\nwithout a number") == text
    assert body_of(text, "Exercise 3\nIts text, too.", "3 apples\nand pears") == text
