"""From OCR boxes to text: lines, paragraphs, columns, tilt."""

from __future__ import annotations

import math
import random
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from local_brain.layout import TextBox, reading_order, upside_down

LINE = 40.0  # pitch of single-spaced lines, px
HEIGHT = 34.0


def line(text: str, *, left: float, row: float, width: float = 600.0) -> TextBox:
    return TextBox(text, x=left + width / 2, y=100 + row * LINE, width=width, height=HEIGHT)


def shuffled(boxes: list[TextBox]) -> list[TextBox]:
    return random.Random(7).sample(boxes, len(boxes))


def turned(boxes: list[TextBox], degrees: float) -> list[TextBox]:
    angle = math.radians(degrees)
    return [
        replace(
            box,
            x=box.x * math.cos(angle) - box.y * math.sin(angle),
            y=box.x * math.sin(angle) + box.y * math.cos(angle),
            slope=math.tan(angle),
        )
        for box in boxes
    ]


def test_a_page_without_boxes_is_empty() -> None:
    assert reading_order([]) == ""


def test_lines_come_from_top_to_bottom_whatever_order_the_model_gave() -> None:
    boxes = [line(f"line {row}", left=50, row=row) for row in range(6)]
    assert reading_order(shuffled(boxes)) == "\n".join(f"line {row}" for row in range(6))


def test_fragments_at_one_height_are_one_line_from_left_to_right() -> None:
    boxes = [
        line("total", left=50, row=0, width=100),
        replace(line("43.50", left=700, row=0, width=90), y=106.0),
        line("tax", left=50, row=1, width=60),
        line("8.27", left=700, row=1, width=70),
    ]
    assert reading_order(shuffled(boxes)) == "total 43.50\ntax 8.27"


def test_a_gap_clearly_larger_than_the_line_spacing_starts_a_paragraph() -> None:
    rows = [0, 1, 2, 3.8, 4.8]
    boxes = [line(f"at {row}", left=50, row=row) for row in rows]
    assert reading_order(boxes) == "at 0\nat 1\nat 2\n\nat 3.8\nat 4.8"


def test_double_spaced_text_stays_one_paragraph() -> None:
    boxes = [line(str(row), left=50, row=row * 1.7) for row in range(5)]
    assert reading_order(boxes) == "0\n1\n2\n3\n4"


def test_two_columns_are_read_one_after_the_other() -> None:
    left = [line(f"left {row}", left=50, row=row) for row in range(8)]
    right = [line(f"right {row}", left=720, row=row + 0.3) for row in range(8)]
    expected = "\n".join(box.text for box in left) + "\n\n" + "\n".join(box.text for box in right)
    assert reading_order(shuffled(left + right)) == expected


def test_a_heading_across_the_columns_parts_what_is_above_from_what_is_below() -> None:
    title = line("title", left=200, row=0, width=1000)
    heading = line("heading", left=200, row=7, width=1000)
    upper = [line(f"a{column}{row}", left=50 + 670 * column, row=row + 2) for column in (0, 1) for row in range(4)]
    lower = [line(f"b{column}{row}", left=50 + 670 * column, row=row + 9) for column in (0, 1) for row in range(4)]
    words = reading_order(shuffled([title, heading, *upper, *lower])).split()
    assert words == ["title", *[box.text for box in upper], "heading", *[box.text for box in lower]]


def test_three_columns_are_read_from_left_to_right() -> None:
    boxes = [
        line(f"c{column}r{row}", left=50 + 450 * column, row=row, width=400) for column in range(3) for row in range(5)
    ]
    assert reading_order(shuffled(boxes)).split() == [box.text for box in boxes]


def test_a_table_of_short_cells_is_read_row_by_row() -> None:
    boxes = [
        line(f"r{row}c{column}", left=50 + 300 * column, row=row, width=90) for row in range(5) for column in range(4)
    ]
    assert reading_order(shuffled(boxes)).split() == [box.text for box in boxes]


def test_a_table_of_long_cells_is_read_row_by_row() -> None:
    widths = [(200, 700), (330, 480), (260, 610), (240, 350), (420, 800), (220, 500)]
    boxes = [
        line(f"r{row}c{column}", left=50 + 500 * column, row=row * 1.5, width=width)
        for row, cells in enumerate(widths)
        for column, width in enumerate(cells)
    ]
    assert reading_order(shuffled(boxes)).split() == [box.text for box in boxes]


def test_columns_of_prose_whose_lines_are_at_the_same_heights_are_no_table() -> None:
    widths = [590, 600, 575, 598, 585, 240]
    boxes = [
        line(f"c{column}r{row}", left=50 + 670 * column, row=row, width=width)
        for column in (0, 1)
        for row, width in enumerate(widths)
    ]
    assert reading_order(shuffled(boxes)).split() == [box.text for box in boxes]


def test_a_mark_found_apart_from_its_word_is_put_back_and_one_further_off_is_not() -> None:
    boxes = [
        line("twelve percent", left=50, row=0, width=300),
        line(",", left=352, row=0, width=12),
        line("then", left=380, row=0, width=80),
        line("?", left=700, row=0, width=20),
    ]
    assert reading_order(shuffled(boxes)) == "twelve percent, then ?"


def test_a_tilted_scan_reads_as_a_straight_one() -> None:
    left = [line(f"left {row}", left=50, row=row) for row in range(8)]
    right = [line(f"right {row}", left=1500, row=row) for row in range(8)]
    straight = reading_order(left + right)
    for degrees in (-2.0, -0.7, 0.7, 2.0):
        assert reading_order(shuffled(turned(left + right, degrees))) == straight


def test_an_upside_down_page_reads_as_an_upright_one() -> None:
    boxes = [line(f"line {row}", left=50, row=row) for row in range(4)]
    assert reading_order(upside_down(upside_down(boxes, 800, 1000), 800, 1000)) == reading_order(boxes)
    assert reading_order(upside_down(boxes, 800, 1000)).splitlines() == [f"line {row}" for row in (3, 2, 1, 0)]


coordinate = st.floats(0, 4000, allow_nan=False)
any_box = st.builds(
    TextBox,
    text=st.integers(0, 10**9).map(str),
    x=coordinate,
    y=coordinate,
    width=st.floats(1, 3000),
    height=st.floats(1, 300),
    slope=st.floats(-0.3, 0.3),
)


@given(st.lists(any_box, max_size=40))
def test_no_text_is_lost_or_repeated_on_any_page(boxes: list[TextBox]) -> None:
    assert sorted(reading_order(boxes).split()) == sorted(box.text for box in boxes)
