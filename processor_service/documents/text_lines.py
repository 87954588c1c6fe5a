"""The lines of a region, and the rows of its tables. Pure, on plain values.

Runs at the same height are one line, from left to right. Lines that reach into one another's height are one row, read cell by cell: a fraction and what is
beside it, a table's cells that are set in the middle of their row. So are lines between two rules that stand in more than one cell.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from processor_service.documents.text_runs import SCRIPT_SHIFT, Rule, Run, by_line

# A row of a table is no higher, in sizes of the type.
_ROW_HEIGHT = 12
# Lines nearer than this reach into one another.
_ROW_OVERLAP = 0.75
# A paragraph's large first letter is larger than this many sizes of its text.
_INITIAL_SIZE = 1.8


@dataclass(frozen=True, slots=True)
class Line:
    """Runs at one height, from left to right."""

    text: str
    left: float
    right: float
    baseline: float
    size: float
    bold: bool


def lines_of(runs: Sequence[Run], rules: Sequence[Rule]) -> list[Line]:
    """The lines of a region, from the top."""
    ruled, rest = _ruled_rows(runs, rules)
    lines = [_line(_cells([row])) for row in ruled]
    for row in _rows(by_line(rest)):
        cells = _cells(row) if len(row) > 1 else []
        # Where all of it hangs together these are lines that touch, not cells beside one another.
        lines.extend([_line(cells)] if len(cells) > 1 else [_line([[run] for run in cluster]) for cluster in row])
    return sorted(lines, key=lambda line: line.baseline - 0.3 * line.size)


def _ruled_rows(runs: Sequence[Run], rules: Sequence[Rule]) -> tuple[list[list[Run]], list[Run]]:
    """Rows of a table between two rules, which have more than one cell and a cell of more than one line; and all other runs."""
    between: dict[tuple[float, float], list[Run]] = {}
    rest: list[Run] = []
    for run in runs:
        middle = (run.left + run.right) / 2
        heights = [rule.height for rule in rules if rule.left <= middle <= rule.right]
        above = max((height for height in heights if height <= run.middle), default=None)
        below = min((height for height in heights if height > run.middle), default=None)
        if above is None or below is None or below - above > _ROW_HEIGHT * run.size:
            rest.append(run)
        else:
            between.setdefault((round(above), round(below)), []).append(run)
    rows = []
    for row in between.values():
        cells, lines = _cells([row]), by_line(row)
        if 1 < len(cells) < len(row) and len(lines) > 1 and not _has_rows(cells, lines):
            rows.append(row)
        else:
            rest.extend(row)
    return rows, rest


def _has_rows(cells: list[list[Run]], lines: list[list[Run]]) -> bool:
    """Whether each line has something in each cell: these are rows that no rule parts, rather than cells of several lines."""
    return all(len(line) >= len(cells) for line in lines)


def _rows(clusters: list[list[Run]]) -> list[list[list[Run]]]:
    """Lines that reach into one another's height together: cells of a table set in the middle of their row, a fraction and what is beside it."""
    rows: list[list[list[Run]]] = []
    for cluster in clusters:
        above = rows[-1][-1] if rows else []
        overlap = _ROW_OVERLAP * min(run.size for run in (*above, *cluster))
        if above and min(run.middle for run in cluster) - max(run.middle for run in above) < overlap:
            rows[-1].append(cluster)
        else:
            rows.append([cluster])
    return rows


def _cells(row: list[list[Run]]) -> list[list[Run]]:
    """The runs of a row by what stands above one another, from left to right, each from the top."""
    cells: list[list[Run]] = []
    reach = float("-inf")
    for run in sorted((run for cluster in row for run in cluster), key=lambda run: run.left):
        if run.left < reach - 0.1 * run.size:
            cells[-1].append(run)
        else:
            cells.append([run])
        reach = max(reach, run.right)
    return [[run for line in by_line(cell) for run in line] for cell in cells]


def _line(cells: list[list[Run]]) -> Line:
    runs = [run for cell in cells for run in cell]
    letters = sum(run.letters for run in runs)
    main = max(runs, key=lambda run: run.letters)
    return Line(
        text=_joined(runs),
        left=min(run.left for run in runs),
        right=max(run.right for run in runs),
        baseline=main.baseline,
        size=main.size,
        bold=sum(run.bold for run in runs) >= 0.9 * letters,
    )


def _joined(runs: list[Run]) -> str:
    text = runs[0].text
    for before, run in pairwise(runs):
        size = min(before.size, run.size)
        level = abs(run.baseline - before.baseline) < SCRIPT_SHIFT * size
        touching = level and run.left - before.right < 0.1 * size and run.left > before.left
        text += run.text if touching or _is_initial(before, run) else " " + run.text
    return text


def _is_initial(before: Run, run: Run) -> bool:
    """Whether `before` is a large letter, as high as two lines or more, that begins the word of which `run` has the rest."""
    near = run.left - before.right < 0.5 * run.size
    return (
        before.letters == 1
        and before.text.isalpha()
        and run.text[:1].islower()
        and before.size > _INITIAL_SIZE * run.size
        and near
    )
