"""The columns of a page, in the order in which they are read. Pure, on plain values.

A gutter with prose on both sides parts a region into columns, read one after the other. Lines across it (a title) part the region in bands above and below
(the XY-cut of Nagy and Seth, 1984, with spanning lines as horizontal cuts). The cells of a table fill their columns less than prose does, or stand in rows: a
table stays row by row. A header and a footer that stand apart are taken off first: they may be as parted as the columns are.

What can go wrong: a table whose cells are long lines of prose is read column by column.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import pairwise
from statistics import median

from processor_service.documents.text_runs import Rule, Run, by_line

_MAX_DEPTH = 12
# So many times a side of a gutter is parted again to see whether it is columns, at so many of its gaps: a table has many.
_NESTED = 2
_GAPS, _NESTED_GAPS = 16, 4
# A column holds at least this many lines of at least this width in line heights: less is a table or a label.
_COLUMN_LINES = 3
_COLUMN_WIDTH = 6.0
# Prose fills this share of its column's width, at least in some lines; a table's cells fill less.
_COLUMN_FILL = 0.6
_FULL_LINE = 0.85
# The rows of a table have a pitch of this many sizes and more, and stand at the same heights in both columns.
_ROW_PITCH = 1.5
_ROW_SHARE = 0.8
# Where they stand closer, prose at the same heights fills its column by this share; cells fill less.
_PROSE_FILL = 0.75
# Columns that share fewer of their heights than this have nothing to do with one another, if they have so many lines.
_INDEPENDENT_LINES = 8
_INDEPENDENT_SHARE = 0.4
_INDEPENDENT_CROSSING = 0.03
_SAME_HEIGHT = 0.06
# A gutter may be crossed by this share of a region's runs (titles, wide formulas), not more.
_SPANNING_SHARE = 0.2
# A gutter is at least this wide, in sizes of the type, where there is one so wide.
_GUTTER_GAP = 0.7
# The rows between two rules of a table are no higher, in sizes; its rules end at the same places, to so many points.
_RULED_SIZES = 12
_SAME_END = 3.0
# A header or footer stands this many line heights apart from the rest.
_EDGE_GAP = 0.8


def blocks(runs: list[Run], rules: Sequence[Rule] = ()) -> list[list[Run]]:
    """The regions of the page in reading order; `rules` tell of tables across its columns."""
    header, body, footer = _parted_edges(runs)
    return [block for block in (header, *_columns(body, rules, _MAX_DEPTH), footer) if block]


def _parted_edges(runs: list[Run]) -> tuple[list[Run], list[Run], list[Run]]:
    """The header line, the body and the footer line; a header or footer is empty where none stands apart."""
    lines = by_line(runs)
    if len(lines) < 4:
        return [], runs, []
    heights = median(run.size for run in runs)
    header = lines[0] if _gap(lines[0], lines[1]) > _EDGE_GAP * heights else []
    footer = lines[-1] if _gap(lines[-2], lines[-1]) > _EDGE_GAP * heights else []
    taken = {id(run) for run in (*header, *footer)}
    return header, [run for run in runs if id(run) not in taken], footer


def _gap(above: list[Run], below: list[Run]) -> float:
    return min(run.baseline - run.size for run in below) - max(run.baseline for run in above)


def _columns(runs: list[Run], rules: Sequence[Rule], depth: int) -> list[list[Run]]:
    gutter = _gutter(runs) if depth else None
    if gutter is None:
        return [runs] if runs else []
    bands = _ruled_bands(rules, gutter, _RULED_SIZES * median(run.size for run in runs))
    across = {id(run) for run in runs if run.left < gutter < run.right or _is_in(run, bands)}
    spanning = sorted((run for run in runs if id(run) in across), key=lambda run: run.baseline)
    blocks: list[list[Run]] = []
    heading: list[Run] = []
    top = float("-inf")
    beside = sorted((run for run in runs if id(run) not in across), key=lambda run: run.baseline)
    baselines = [run.baseline for run in beside]
    for end in [*spanning, None]:
        bottom = end.baseline if end else float("inf")
        band = beside[bisect_right(baselines, top) : bisect_right(baselines, bottom)]
        if end and band:
            # What stands at the height of the spanning line is of that line.
            first = bisect_left([run.baseline for run in band], bottom - 0.3 * end.size)
            heading_mates, band = band[first:], band[:first]
        else:
            heading_mates = []
        if band:
            blocks.extend([heading] if heading else [])
            heading = []
            blocks.extend(_columns([run for run in band if run.right <= gutter], rules, depth - 1))
            blocks.extend(_columns([run for run in band if run.left >= gutter], rules, depth - 1))
        heading.extend([end, *heading_mates] if end else [])
        top = bottom
    return [*blocks, heading] if heading else blocks


def _ruled_bands(rules: Sequence[Rule], gutter: float, most: float) -> list[tuple[float, float]]:
    """Tops and bottoms between rules of one length that cross the gutter, no more than `most` apart: a table's, or a box's."""
    crossing = sorted((rule for rule in rules if rule.left < gutter < rule.right), key=lambda rule: rule.height)
    return [
        (above.height, below.height)
        for above, below in pairwise(crossing)
        if below.height - above.height <= most
        and abs(above.left - below.left) < _SAME_END
        and abs(above.right - below.right) < _SAME_END
    ]


def _is_in(run: Run, bands: list[tuple[float, float]]) -> bool:
    return any(top < run.middle < bottom for top, bottom in bands)


def _gutter(runs: list[Run], nested: int = _NESTED) -> float | None:
    """The x that parts the region into two columns crossed by the fewest runs, or None where there is one column.

    Either side may be `nested` times parted again: of three columns, one side has two.
    """
    for x in _gaps(runs)[: _GAPS if nested == _NESTED else _NESTED_GAPS]:
        left = [run for run in runs if run.right <= x]
        right = [run for run in runs if run.left >= x]
        if not _side_by_side(left, right) or _stand_in_rows(left, right, pitch=_ROW_PITCH):
            continue
        parted = [side for side in (left, right) if not _is_column(side)]
        if not parted and _stand_in_rows(left, right) and min(_fill(left), _fill(right)) < _PROSE_FILL:
            continue
        if not parted or (nested and all(_gutter(side, nested - 1) is not None for side in parted)):
            return x
        crossing = len(runs) - len(left) - len(right)
        if crossing <= _INDEPENDENT_CROSSING * len(runs) and _are_independent(left, right):
            return x
    return None


def _gaps(runs: list[Run]) -> list[float]:
    """Where a gutter may be, the likeliest first: what is crossed by the fewest runs."""
    if len(runs) < 2 * _COLUMN_LINES:
        return []
    step = max(1.0, median(run.size for run in runs) / 2)
    lefts, rights = sorted(run.left for run in runs), sorted(run.right for run in runs)
    middle = (lefts[0] + rights[-1]) / 2
    gaps: dict[tuple[int, int], tuple[int, bool, float, float]] = {}
    for start in {round(left / step) for left in lefts}:
        x = (start - 0.5) * step
        first = bisect_left(lefts, x)
        before, beyond = bisect_right(rights, x), len(runs) - first
        crossing = len(runs) - before - beyond
        if crossing > _SPANNING_SHARE * len(runs) or min(before, beyond) < _COLUMN_LINES:
            continue
        # Of gaps that are wide enough the most central: before a column of page numbers there is a wider one.
        is_narrow = lefts[first] - rights[before - 1] < _GUTTER_GAP * 2 * step
        rank = (crossing, is_narrow, abs(x - middle), x)
        # Places that part the runs in the same way are one.
        gaps[before, beyond] = min(rank, gaps.get((before, beyond), rank))
    return [rank[3] for rank in sorted(gaps.values())]


def _is_column(runs: list[Run]) -> bool:
    """Whether these are lines of prose, one below the other, rather than the cells of a table."""
    if sum(run.width >= _COLUMN_WIDTH * run.size for run in runs) < _COLUMN_LINES:
        return False
    width = max(run.right for run in runs) - min(run.left for run in runs)
    full = sum(run.width >= _FULL_LINE * width and run.width >= 3 * _COLUMN_WIDTH * run.size for run in runs)
    return _fill(runs) >= _COLUMN_FILL or full >= _COLUMN_LINES


def _fill(runs: list[Run]) -> float:
    """The share of their column that the lines fill: by their own width, so that long lines tell and the pieces of formulas do not."""
    width = max(run.right for run in runs) - min(run.left for run in runs)
    return sum(run.width**2 for run in runs) / max(1e-6, sum(run.width for run in runs) * width)


def _stand_in_rows(left: list[Run], right: list[Run], *, pitch: float = 0.0) -> bool:
    """Whether each height on one side is one on the other, and these are `pitch` sizes apart, as a table's rows are."""
    size = median(run.size for run in left)
    heights = [sorted({round(run.baseline / size * 5) for run in side}) for side in (left, right)]
    fewer, more = sorted(heights, key=len)
    near = {height + shift for height in more for shift in (-1, 0, 1)}
    pitches = [below - above for above, below in pairwise(fewer)]
    shared = sum(height in near for height in fewer)
    return bool(pitches) and shared >= _ROW_SHARE * len(more) and median(pitches) >= pitch * 5


def _are_independent(left: list[Run], right: list[Run]) -> bool:
    """Whether both have many lines, as near to one another as those of prose, at heights of their own: no rows go across, whatever stands in them."""
    size = median(run.size for run in left)
    lefts, rights = (sorted(lines[0].baseline for lines in by_line(side)) for side in (left, right))
    fewer, more = sorted((lefts, rights), key=len)
    long = min(sum(run.width >= _COLUMN_WIDTH * run.size for run in side) for side in (left, right))
    if min(len(fewer), long) < _INDEPENDENT_LINES:
        return False
    if any(
        median(below - above for above, below in pairwise(heights)) >= _ROW_PITCH * size for heights in (lefts, rights)
    ):
        return False
    shared = sum(_is_near(height, more, _SAME_HEIGHT * size) for height in fewer)
    return shared <= _INDEPENDENT_SHARE * len(fewer)


def _is_near(height: float, heights: list[float], distance: float) -> bool:
    first = bisect_left(heights, height - distance)
    return first < len(heights) and heights[first] <= height + distance


def _side_by_side(left: list[Run], right: list[Run]) -> bool:
    tops = [min(run.baseline for run in side) for side in (left, right)]
    bottoms = [max(run.baseline for run in side) for side in (left, right)]
    shared = min(bottoms) - max(tops)
    return shared >= 0.3 * min(bottom - top for top, bottom in zip(tops, bottoms, strict=True)) and shared > 0
