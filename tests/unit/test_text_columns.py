"""Columns of prose are read one after the other, tables row by row, whatever stands across them."""

from __future__ import annotations

import random

import pytest

from processor_service.documents.text_columns import blocks
from processor_service.documents.text_lines import lines_of
from processor_service.documents.text_runs import Rule, Run

SIZE = 10.0
PITCH = 12.0


def run(text: str, left: float, baseline: float, width: float) -> Run:
    return Run(text, left, left + width, baseline, SIZE, len(text), 0)


def column(
    mark: str, left: float, *, lines: int, width: float = 150, top: float = 100.0, pitch: float = PITCH
) -> list[Run]:
    """Ragged lines of prose, the last of a paragraph short; `mark` and number are their text."""
    chance = random.Random(mark)
    widths = [width * (0.3 if number % 7 == 6 else chance.uniform(0.85, 1.0)) for number in range(lines)]
    return [run(f"{mark}{number}", left, top + pitch * number, wide) for number, wide in enumerate(widths)]


def read(runs: list[Run], rules: tuple[Rule, ...] = ()) -> list[str]:
    """The page's lines, in the order of reading."""
    shuffled = random.Random(5).sample(runs, len(runs))
    return [line.text for block in blocks(shuffled, rules) for line in lines_of(block, rules)]


def texts(*parts: list[Run]) -> list[str]:
    return [run.text for part in parts for run in part]


@pytest.mark.parametrize("count", [2, 3, 4, 5])
@pytest.mark.parametrize("shift", [0.0, 3.7], ids=["on one grid", "each on its own"])
def test_columns_are_read_from_left_to_right(count: int, shift: float) -> None:
    columns = [column("abcde"[number], 170.0 * number, lines=20, top=100 + shift * number) for number in range(count)]
    assert read([run for part in columns for run in part]) == texts(*columns)


def test_columns_of_unequal_height_below_a_title_across() -> None:
    title = [run("title", 60, 60, 400)]
    columns = [column("a", 0, lines=30), column("b", 170, lines=30), column("c", 340, lines=9)]
    assert read([run for part in (title, *columns) for run in part]) == texts(title, *columns)


def test_a_figure_in_one_column_leaves_the_others_as_they_are() -> None:
    above, below = column("a", 0, lines=6), column("b", 0, lines=6, top=400)
    label = [run("label", 60, 250, 30)]
    right = column("c", 170, lines=31)
    assert read([*above, *below, *label, *right]) == texts(above, label, below, right)


def test_hanging_indents_of_a_bibliography_are_no_columns() -> None:
    entries = {
        mark: [
            run(f"{mark}{number}", left + (20 if number % 3 else 0), 100 + PITCH * number, 130 if number % 3 else 150)
            for number in range(18)
        ]
        for mark, left in (("a", 0.0), ("b", 170.0), ("c", 340.0))
    }
    assert read([run for entry in entries.values() for run in entry]) == texts(*entries.values())


def test_the_keys_and_meanings_of_a_card_stay_together_in_each_of_its_columns() -> None:
    keys = {
        mark: [
            (run(f"{mark}{number}", left, 100 + shift + PITCH * number, 30), run(f"means{number}", left + 70, 100 + shift + PITCH * number, 65 + number))
            for number in range(15)
        ]
        for mark, left, shift in (("a", 0.0, 0.0), ("b", 170.0, 4.0), ("c", 340.0, 7.5))
    }  # fmt: skip
    cells = [cell for rows in keys.values() for row in rows for cell in row]
    assert read(cells) == [f"{key.text} {meaning.text}" for rows in keys.values() for key, meaning in rows]


@pytest.mark.parametrize("pitch", [PITCH, 20.0])
def test_a_table_of_three_columns_is_read_row_by_row(pitch: float) -> None:
    widths = [(60, 110, 40), (90, 70, 60), (50, 140, 45), (120, 80, 50), (75, 60, 90), (110, 130, 40), (40, 95, 70)] * 2
    rows = [
        [run(f"r{row}c{cell}", 170.0 * cell, 100 + pitch * row, float(width)) for cell, width in enumerate(cells)]
        for row, cells in enumerate(widths)
    ]
    assert read([cell for row in rows for cell in row]) == [" ".join(texts(row)) for row in rows]


def test_a_ruled_table_across_two_columns_is_not_cut_by_their_gutter() -> None:
    table = [[run(f"t{row}c{cell}", 70.0 + 100 * cell, 30 + PITCH * row, 25) for cell in range(3)] for row in range(4)]
    rules = tuple(Rule(60, 310, height) for height in (18.0, 34.0, 70.0))
    left, right = column("a", 0, lines=20), column("b", 170, lines=20)
    lines = read([*(cell for row in table for cell in row), *left, *right], rules)
    assert lines == [*(" ".join(texts(row)) for row in table), *texts(left, right)]


def test_a_table_of_thousands_of_cells_is_looked_at_in_a_bounded_time() -> None:
    # Sixty gaps, at each of which a side might be parted again.
    cells = [run("cell", 30.0 * cell, 10.0 * row + (cell % 7), 27) for cell in range(60) for row in range(100)]
    assert sum(len(block) for block in blocks(cells)) == len(cells)
