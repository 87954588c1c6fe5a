"""From the boxes an OCR model found on a page to text in reading order.

The model gives one box a line fragment, in no useful order: a scan is slightly rotated, a line with a wide gap comes as
two boxes, and the lines of two columns stand side by side. Three steps put that right, each on plain values:

1. **Deskew**: the median slope of the boxes is the page's, and is turned away, so that "the same height" means
   "the same line" from margin to margin.
2. **Columns**: a vertical gutter with prose on both sides parts a region into columns, read one after the other. Lines
   across the gutter (a title, a heading) part the region into bands above and below (the XY-cut of Nagy and Seth, 1984,
   with spanning lines as the horizontal cuts). Short cells on one side mean a table, which is read row by row.
3. **Lines and paragraphs**: fragments at the same height are one line, left to right; a pitch clearly larger than the
   region's usual one starts a paragraph, shown by an empty line.

Lengths are in pixels of the page, y grows downwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import median

# A column holds at least this many lines, of at least this width in line heights: less is a table or a label.
_COLUMN_LINES = 3
_COLUMN_WIDTH = 6.0
# A gutter may be crossed by this share of a region's boxes (titles, wide formulas), not more.
_SPANNING_SHARE = 0.2
# A paragraph starts where the pitch is this much larger than the usual one.
_PARAGRAPH_PITCH = 1.35
# Marks that end a word, and how far off it, in line heights, they may have been found.
_ENDING_MARKS = ".,;:!?)]»”"
_CUT_OFF = 0.3
# Side by side are the rows of a table, not columns, where this share of the lines have one at the same height beyond the
# gutter, and the lines of either side fill less than this share of its width: lines of prose run to the margin.
_ROWS_SHARE = 0.9
_FILLED_SHARE = 0.75


@dataclass(frozen=True)
class TextBox:
    """A line or a part of one: its text, centre, size along and across the line, and slope (dy/dx)."""

    text: str
    x: float
    y: float
    width: float
    height: float
    slope: float = 0.0

    @property
    def left(self) -> float:
        return self.x - self.width / 2

    @property
    def right(self) -> float:
        return self.x + self.width / 2


def reading_order(boxes: Sequence[TextBox]) -> str:
    """The page's text: lines end with a newline, paragraphs and columns are parted by an empty line."""
    return "\n\n".join(
        "\n".join(paragraph) for block in _blocks(_deskewed(boxes)) for paragraph in _paragraphs(_lines(block))
    )


def upside_down(boxes: Sequence[TextBox], page_width: float, page_height: float) -> list[TextBox]:
    """The same boxes on the page turned by 180 degrees."""
    return [replace(box, x=page_width - box.x, y=page_height - box.y) for box in boxes]


def _deskewed(boxes: Sequence[TextBox]) -> list[TextBox]:
    # Only long boxes tell the page's slope: the box of a word or a number is nearly square.
    slopes = [box.slope for box in boxes if box.width > 4 * box.height]
    slope = median(slopes) if slopes else 0.0
    return [replace(box, x=box.x + slope * box.y, y=box.y - slope * box.x) for box in boxes]


def _blocks(boxes: list[TextBox]) -> list[list[TextBox]]:
    """Regions without columns inside, in reading order."""
    gutter = _gutter(boxes)
    if gutter is None:
        return [boxes] if boxes else []
    spanning = sorted((box for box in boxes if box.left < gutter < box.right), key=lambda box: box.y)
    blocks: list[list[TextBox]] = []
    heading: list[TextBox] = []
    top = float("-inf")
    for end in [*spanning, None]:
        bottom = end.y if end else float("inf")
        band = [box for box in boxes if top < box.y <= bottom and box not in spanning]
        if band:
            blocks.extend([heading] if heading else [])
            heading = []
            blocks.extend(_blocks([box for box in band if box.x < gutter]))
            blocks.extend(_blocks([box for box in band if box.x >= gutter]))
        heading.extend([end] if end else [])
        top = bottom
    return [*blocks, heading] if heading else blocks


def _gutter(boxes: list[TextBox]) -> float | None:
    """The x that parts the region into two columns crossed by the fewest boxes, or None where there is one column."""
    if len(boxes) < 2 * _COLUMN_LINES:
        return None
    step = max(1.0, median(box.height for box in boxes) / 2)
    best: tuple[int, float, float] | None = None
    for start in sorted({round(box.left / step) for box in boxes}):
        x = (start - 1) * step
        left = [box for box in boxes if box.right <= x]
        right = [box for box in boxes if box.left >= x]
        crossing = len(boxes) - len(left) - len(right)
        if crossing > _SPANNING_SHARE * len(boxes) or not (_is_column(left) and _is_column(right)):
            continue
        if not _side_by_side(left, right) or _is_table(left, right):
            continue
        gap = min(box.left for box in right) - max(box.right for box in left)
        if best is None or (crossing, -gap) < best[:2]:
            best = (crossing, -gap, x)
    return best[2] if best else None


def _is_column(boxes: list[TextBox]) -> bool:
    return sum(box.width >= _COLUMN_WIDTH * box.height for box in boxes) >= _COLUMN_LINES


def _side_by_side(left: list[TextBox], right: list[TextBox]) -> bool:
    tops = [min(box.y for box in side) for side in (left, right)]
    bottoms = [max(box.y for box in side) for side in (left, right)]
    shared = min(bottoms) - max(tops)
    return shared >= 0.5 * min(bottom - top for top, bottom in zip(tops, bottoms, strict=True)) and shared > 0


def _is_table(left: list[TextBox], right: list[TextBox]) -> bool:
    rows = [_lines(side) for side in (left, right)]
    fewer, more = sorted(([line[0] for line in side] for side in rows), key=len)
    matched = sum(any(abs(box.y - other.y) < 0.25 * box.height for other in more) for box in fewer)
    return matched >= _ROWS_SHARE * len(more) and min(_filled(left), _filled(right)) < _FILLED_SHARE


def _filled(side: list[TextBox]) -> float:
    """How much of the width of its side the middling line takes."""
    edge = min(box.left for box in side)
    ends = [line[-1].right - edge for line in _lines(side)]
    return median(ends) / max(ends)


def _lines(boxes: list[TextBox]) -> list[list[TextBox]]:
    lines: list[list[TextBox]] = []
    for box in sorted(boxes, key=lambda box: box.y):
        # Against the line's first box, so that a run of slightly lower ones cannot drift into the next line.
        if lines and box.y - lines[-1][0].y < 0.5 * min(box.height, lines[-1][0].height):
            lines[-1].append(box)
        else:
            lines.append([box])
    return [sorted(line, key=lambda box: box.left) for line in lines]


def _paragraphs(lines: list[list[TextBox]]) -> list[list[str]]:
    if not lines:
        return []
    heights = [max(box.height for box in line) for line in lines]
    middles = [sum(box.y for box in line) / len(line) for line in lines]
    pitches = [below - above for above, below in pairwise(middles)]
    # Bounded, so that a page of single lines far apart is a page of paragraphs.
    usual = min(median(pitches), 2 * median(heights)) if pitches else 0.0
    paragraphs: list[list[str]] = [[]]
    for line, pitch in zip(lines, [0.0, *pitches], strict=True):
        if pitch > _PARAGRAPH_PITCH * usual and paragraphs[-1]:
            paragraphs.append([])
        paragraphs[-1].append(_joined(line))
    return paragraphs


def _joined(line: list[TextBox]) -> str:
    """The fragments with a space between; none before a mark that was cut off the word that it ends."""
    text = line[0].text
    for before, box in pairwise(line):
        is_cut_off = not box.text.strip(_ENDING_MARKS) and box.left - before.right < _CUT_OFF * before.height
        text += box.text if is_cut_off else f" {box.text}"
    return text
