"""From a page's characters to its text in reading order: lines, columns, paragraphs, headings. Pure, on plain values.

A PDF has no lines and no columns, only characters at places, in the order in which a program happened to draw them. Four steps:

1. **Runs.** Characters that follow one another, in the order of drawing and on the paper, are a run: a line or a part of one. Smaller characters set higher or
   lower right beside it (powers, indices, note marks) belong to it. A gap is a space when it is wide for the font, or when the file says so.
2. **Columns.** A gutter with prose on both sides parts a region into columns, read one after the other. Lines across it (a title) part the region in bands
   above and below (the XY-cut of Nagy and Seth, 1984, with spanning lines as horizontal cuts). The cells of a table fill their columns less than prose does, so a
   table stays row by row. A header and a footer that stand apart are taken off first: they may be as parted as the columns are.
3. **Lines.** Runs at the same height are one line, from left to right. Lines that reach into one another's height are one row, read cell by cell: a fraction
   and what is beside it, a table's cells that are set in the middle of their row.
4. **Paragraphs.** A pitch clearly larger than the usual one, an indented first line or another size of type starts a paragraph. A line, or two, of larger or bold type
   is a heading: a line of its own between empty lines.

Right-to-left lines keep the order in which they came, which is that of reading. Lengths are in points, y grows downwards.
"""

from __future__ import annotations

import unicodedata
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

#: More runs are no page of prose: the layout costs the square of them.
MAX_RUNS = 6_000
#: More rules are a drawing, or squared paper.
MAX_RULES = 400
_MAX_DEPTH = 12

# In sizes of the type: a gap this wide is a space even when the file has none; one this wide ends the run.
_SPACE_GAP = 0.2
_RUN_GAP = 1.2
# Smaller type within this much of the line's base is a power or an index.
_SCRIPT_SIZE = 0.88
_SCRIPT_SHIFT = 0.65
# A column holds at least this many lines of at least this width in line heights: less is a table or a label.
_COLUMN_LINES = 3
_COLUMN_WIDTH = 6.0
# Prose fills this share of its column's width, at least in some lines; a table's cells fill less.
_COLUMN_FILL = 0.6
_FULL_LINE = 0.85
# The rows of a table have a pitch of this many sizes and more, and stand at the same heights in both columns.
_ROW_PITCH = 1.5
_ROW_SHARE = 0.8
# A gutter may be crossed by this share of a region's runs (titles, wide formulas), not more.
_SPANNING_SHARE = 0.2
# A gutter is at least this wide, in sizes of the type, where there is one so wide.
_GUTTER_GAP = 0.7
# A paragraph starts where the pitch is this much larger than the usual one.
_PARAGRAPH_PITCH = 1.3
_HEADING_SIZE = 1.12
_HEADING_CHARS = 160
_HEADING_LETTERS = 4  # fewer are a large sign of a formula
_JOINED_HEADING_CHARS = 80
# Runs that differ in height by less are on one line.
_SAME_LINE = 0.3
# A row of a table is no higher.
_ROW_HEIGHT = 12
# Lines nearer than this, in sizes of the type, reach into one another.
_ROW_OVERLAP = 0.75
# A header or footer stands this many line heights apart from the rest.
_EDGE_GAP = 0.8


@dataclass(frozen=True, slots=True)
class Style:
    """`size` of the type in points."""

    size: float
    bold: bool = False


@dataclass(frozen=True, slots=True)
class Glyph:
    """A character that is no space; `space`: the file has one, or several, before it. `baseline` grows downwards."""

    char: str
    left: float
    right: float
    baseline: float
    style: Style
    space: bool = False


@dataclass(frozen=True, slots=True)
class Run:
    """Text on one line without a wide gap. `size` is that of most of its letters, `bold` the number of bold ones."""

    text: str
    left: float
    right: float
    baseline: float
    size: float
    letters: int
    bold: int

    @property
    def width(self) -> float:
        return self.right - self.left

    @property
    def middle(self) -> float:
        return self.baseline - 0.3 * self.size


@dataclass(frozen=True, slots=True)
class Line:
    """Runs at one height, from left to right."""

    text: str
    left: float
    right: float
    baseline: float
    size: float
    bold: bool


@dataclass(frozen=True, slots=True)
class Rule:
    """A line drawn across the page, or an edge of a box; `height` grows downwards, as a baseline does."""

    left: float
    right: float
    height: float


class TooManyRuns(Exception):
    """The characters are strewn over the page rather than written."""


def page_text(directions: Mapping[int, Sequence[Glyph]], rules: Sequence[Rule] = ()) -> str:
    """The page's text: lines end with a newline, paragraphs are parted by an empty line.

    `rules` are those of the page as it lies, direction 0. Each of `directions` holds the characters whose text runs in one direction, in the order of drawing and turned to run to the right; the one with the most
    characters comes first, others (a note along the margin) after it. Raises TooManyRuns.
    """
    ordered = sorted(directions, key=lambda angle: len(directions[angle]), reverse=True)
    runs = {angle: runs_of(directions[angle]) for angle in ordered}
    if sum(map(len, runs.values())) > MAX_RUNS:
        raise TooManyRuns
    texts = [_text_of(runs[angle], rules if angle == 0 and len(rules) <= MAX_RULES else ()) for angle in ordered]
    return "\n\n".join(filter(None, texts))


def _text_of(runs: Sequence[Run], rules: Sequence[Rule]) -> str:
    if not runs:
        return ""
    sizes: Counter[tuple[float, bool]] = Counter()
    for run in runs:
        size = round(run.size * 2) / 2
        sizes[size, True] += run.bold
        sizes[size, False] += run.letters - run.bold
    (body_size, body_bold), _ = sizes.most_common(1)[0]
    paragraphs = [
        paragraph for block in _blocks(list(runs)) for paragraph in _paragraphs(_lines(block, rules), body_size, body_bold)
    ]
    return "\n\n".join(paragraphs)


# --- runs ----------------------------------------------------------------------------------------------------------


def runs_of(glyphs: Sequence[Glyph]) -> list[Run]:
    """The runs, in the order of drawing."""
    runs: list[Run] = []
    current: list[Glyph] = []
    base = previous = None
    for glyph in glyphs:
        if base is None or previous is None or not _follows(glyph, base, previous):
            if current:
                runs.append(_run(current))
            current, base = [], glyph
        elif _is_base(glyph, base):
            base = glyph
        current.append(glyph)
        previous = glyph
    if current:
        runs.append(_run(current))
    return runs


def _is_base(glyph: Glyph, base: Glyph) -> bool:
    """Whether what follows is measured from `glyph`: it stands where `base` does, or is what a mark before it belongs to."""
    return glyph.style.size > base.style.size * _SCRIPT_SIZE


def _follows(glyph: Glyph, base: Glyph, previous: Glyph) -> bool:
    """Whether `glyph` is of the run that `previous` ended, where `base` was the last of full size."""
    size = max(glyph.style.size, base.style.size)
    shift = abs(glyph.baseline - base.baseline)
    same_size = min(glyph.style.size, base.style.size) > size * _SCRIPT_SIZE
    if shift > (0.12 if same_size else _SCRIPT_SHIFT) * size:
        return False
    if _is_right_to_left(glyph.char) or _is_right_to_left(previous.char):
        return -_RUN_GAP * size < max(glyph.left - previous.right, previous.left - glyph.right) < _RUN_GAP * size
    if glyph.left - previous.right > _RUN_GAP * size:
        return False
    # An index below a power begins where the power began.
    return glyph.left > min(previous.left, base.right) - 0.4 * size


def _run(glyphs: Sequence[Glyph]) -> Run:
    parts: list[str] = []
    largest = max(glyph.style.size for glyph in glyphs)
    sizes: Counter[float] = Counter()
    right_to_left = any(_is_right_to_left(glyph.char) for glyph in glyphs)
    reach = glyphs[0].left
    for index, glyph in enumerate(glyphs):
        if index and (glyph.space or (not right_to_left and glyph.left - reach > _SPACE_GAP * glyph.style.size)):
            parts.append(" ")
        parts.append(glyph.char)
        sizes[round(glyph.style.size, 1)] += 1
        reach = max(reach, glyph.right) if glyph.left > reach - 2 * largest else glyph.right
    bases = [glyph.baseline for glyph in glyphs if glyph.style.size > largest * _SCRIPT_SIZE]
    return Run(
        text="".join(parts),
        left=min(glyph.left for glyph in glyphs),
        right=max(glyph.right for glyph in glyphs),
        baseline=median(bases),
        size=sizes.most_common(1)[0][0],
        letters=len(glyphs),
        bold=sum(glyph.style.bold for glyph in glyphs),
    )


def _is_right_to_left(char: str) -> bool:
    return char > "\u0590" and unicodedata.bidirectional(char[0]) in ("R", "AL")


# --- columns -------------------------------------------------------------------------------------------------------


def _blocks(runs: list[Run]) -> list[list[Run]]:
    """The regions of the page in reading order."""
    header, body, footer = _parted_edges(runs)
    return [block for block in (header, *_columns(body, _MAX_DEPTH), footer) if block]


def _parted_edges(runs: list[Run]) -> tuple[list[Run], list[Run], list[Run]]:
    """The header line, the body and the footer line; a header or footer is empty where none stands apart."""
    lines = _clusters(runs)
    if len(lines) < 4:
        return [], runs, []
    heights = median(run.size for run in runs)
    header = lines[0] if _gap(lines[0], lines[1]) > _EDGE_GAP * heights else []
    footer = lines[-1] if _gap(lines[-2], lines[-1]) > _EDGE_GAP * heights else []
    taken = {id(run) for run in (*header, *footer)}
    return header, [run for run in runs if id(run) not in taken], footer


def _gap(above: list[Run], below: list[Run]) -> float:
    return min(run.baseline - run.size for run in below) - max(run.baseline for run in above)


def _columns(runs: list[Run], depth: int) -> list[list[Run]]:
    gutter = _gutter(runs) if depth else None
    if gutter is None:
        return [runs] if runs else []
    spanning = sorted((run for run in runs if run.left < gutter < run.right), key=lambda run: run.baseline)
    blocks: list[list[Run]] = []
    heading: list[Run] = []
    top = float("-inf")
    beside = sorted((run for run in runs if not run.left < gutter < run.right), key=lambda run: run.baseline)
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
            blocks.extend(_columns([run for run in band if run.right <= gutter], depth - 1))
            blocks.extend(_columns([run for run in band if run.left >= gutter], depth - 1))
        heading.extend([end, *heading_mates] if end else [])
        top = bottom
    return [*blocks, heading] if heading else blocks


def _gutter(runs: list[Run]) -> float | None:
    """The x that parts the region into two columns crossed by the fewest runs, or None where there is one column."""
    if len(runs) < 2 * _COLUMN_LINES:
        return None
    step = max(1.0, median(run.size for run in runs) / 2)
    lefts, rights = sorted(run.left for run in runs), sorted(run.right for run in runs)
    middle = (lefts[0] + rights[-1]) / 2
    best: tuple[int, bool, float, float] | None = None
    for start in sorted({round(run.left / step) for run in runs}):
        x = (start - 0.5) * step
        # Counted first: most places are crossed by far too many to be looked at.
        beyond = len(runs) - bisect_left(lefts, x)
        before = bisect_right(rights, x)
        crossing = len(runs) - before - beyond
        if crossing > _SPANNING_SHARE * len(runs) or min(before, beyond) < _COLUMN_LINES:
            continue
        left = [run for run in runs if run.right <= x]
        right = [run for run in runs if run.left >= x]
        if not (_is_column(left) and _is_column(right) and _side_by_side(left, right)) or _are_rows(left, right):
            continue
        gap = min(run.left for run in right) - max(run.right for run in left)
        # Of gaps that are wide enough the most central: before a column of page numbers there is a wider one.
        rank = (crossing, gap < _GUTTER_GAP * 2 * step, abs(x - middle), x)
        if best is None or rank < best:
            best = rank
    return best[3] if best else None


def _is_column(runs: list[Run]) -> bool:
    """Whether these are lines of prose, one below the other, rather than the cells of a table."""
    if sum(run.width >= _COLUMN_WIDTH * run.size for run in runs) < _COLUMN_LINES:
        return False
    width = max(run.right for run in runs) - min(run.left for run in runs)
    # By their own width, so that long lines tell and the pieces of formulas do not.
    filled = sum(run.width**2 for run in runs) / max(1e-6, sum(run.width for run in runs))
    full = sum(run.width >= _FULL_LINE * width and run.width >= 3 * _COLUMN_WIDTH * run.size for run in runs)
    return filled >= _COLUMN_FILL * width or full >= _COLUMN_LINES


def _are_rows(left: list[Run], right: list[Run]) -> bool:
    """Whether the two are a table's columns: each height on one side is one on the other, and rows are further apart than lines."""
    size = median(run.size for run in left)
    heights = [sorted({round(run.baseline / size * 5) for run in side}) for side in (left, right)]
    fewer, more = sorted(heights, key=len)
    near = {height + shift for height in more for shift in (-1, 0, 1)}
    pitches = [below - above for above, below in pairwise(fewer)]
    shared = sum(height in near for height in fewer)
    return bool(pitches) and shared >= _ROW_SHARE * len(more) and median(pitches) >= _ROW_PITCH * 5


def _side_by_side(left: list[Run], right: list[Run]) -> bool:
    tops = [min(run.baseline for run in side) for side in (left, right)]
    bottoms = [max(run.baseline for run in side) for side in (left, right)]
    shared = min(bottoms) - max(tops)
    return shared >= 0.3 * min(bottom - top for top, bottom in zip(tops, bottoms, strict=True)) and shared > 0


# --- lines and paragraphs ------------------------------------------------------------------------------------------


def _clusters(runs: Iterable[Run]) -> list[list[Run]]:
    """Runs by line, from the top, each line from left to right."""
    lines: list[list[Run]] = []
    for run in sorted(runs, key=lambda run: run.middle):
        # Against the line's first run, so that a row of slightly lower ones cannot drift into the next line.
        if lines and run.middle - lines[-1][0].middle < _SAME_LINE * min(run.size, lines[-1][0].size):
            lines[-1].append(run)
        else:
            lines.append([run])
    return [_in_order(line) for line in lines]


def _in_order(line: list[Run]) -> list[Run]:
    right_to_left = sum(map(_is_right_to_left, "".join(run.text for run in line))) * 2
    backwards = right_to_left > sum(run.letters for run in line)
    return sorted(line, key=lambda run: -run.right if backwards else run.left)


def _lines(runs: Sequence[Run], rules: Sequence[Rule]) -> list[Line]:
    """The lines of a region, from the top."""
    ruled, rest = _ruled_rows(runs, rules)
    lines = [_line(_cells([row])) for row in ruled]
    for row in _rows(_clusters(rest)):
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
        if 1 < len(_cells([row])) < len(row) and len(_clusters(row)) > 1:
            rows.append(row)
        else:
            rest.extend(row)
    return rows, rest


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
    return [sorted(cell, key=lambda run: (run.middle, run.left)) for cell in cells]


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
        level = abs(run.baseline - before.baseline) < _SCRIPT_SHIFT * size
        touching = level and run.left - before.right < 0.1 * size and run.left > before.left
        text += run.text if touching else " " + run.text
    return text


def _paragraphs(lines: list[Line], body_size: float, body_bold: bool) -> list[str]:
    if not lines:
        return []
    usual = _usual_pitch(lines)
    margin = median(line.left for line in lines)
    groups: list[list[Line]] = [[lines[0]]]
    kinds = [_is_heading(line, body_size, body_bold) for line in lines]
    for index in range(1, len(lines)):
        before, line = lines[index - 1], lines[index]
        # A power's line may be measured from above, a larger type has a larger pitch of its own.
        limit = _PARAGRAPH_PITCH * max(usual, min(before.size, line.size) * 1.15)
        parted = (
            kinds[index] != kinds[index - 1]
            or line.baseline - before.baseline > limit
            or abs(line.size - before.size) > 0.1 * max(line.size, before.size) and kinds[index]
            or _is_indented(lines, index, margin)
        )  # fmt: skip
        if parted:
            groups.append([])
        groups[-1].append(line)
    return [_paragraph(group, _is_heading(group[0], body_size, body_bold)) for group in groups]


def _paragraph(lines: list[Line], heading: bool) -> str:
    texts = [line.text for line in lines]
    if heading and sum(map(len, texts)) + len(texts) <= _JOINED_HEADING_CHARS:
        return " ".join(texts)
    return "\n".join(texts)


def _usual_pitch(lines: list[Line]) -> float:
    """The pitch of running text: the commonest of those that lines near one another have, since a page of headings has none."""
    size = median(line.size for line in lines)
    pitches = [(below.baseline - above.baseline) / size for above, below in pairwise(lines)]
    near = Counter(round(pitch, 1) for pitch in pitches if 0.8 < pitch < 2.6)
    if not near:
        return 1.2 * size
    return size * max(near, key=lambda pitch: (near[pitch], -pitch))


def _is_heading(line: Line, body_size: float, body_bold: bool) -> bool:
    if len(line.text) > _HEADING_CHARS or sum(map(str.isalpha, line.text)) < _HEADING_LETTERS:
        return False
    return line.size > _HEADING_SIZE * body_size or (line.bold and not body_bold and line.size > 0.9 * body_size)


def _is_indented(lines: list[Line], index: int, margin: float) -> bool:
    """Whether the line begins further in than the one before and the one behind, as a paragraph's first does."""
    line, before = lines[index], lines[index - 1]
    indent = line.left - margin
    if not 0.8 * line.size < indent < 4 * line.size or abs(before.left - margin) > 0.5 * line.size:
        return False
    behind = lines[index + 1] if index + 1 < len(lines) else None
    return behind is not None and abs(behind.left - margin) < 0.5 * line.size
