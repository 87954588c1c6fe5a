"""Characters of a page that belong together: runs, which are lines or parts of one. Pure, on plain values.

Characters that follow one another, in the order of drawing and on the paper, are a run. Smaller characters set higher or lower right beside it (powers,
indices, note marks) belong to it. A gap is a space when it is wide for the font, or when the file says so; PDFs without any spaces are common.

Right-to-left runs keep the order in which their characters came, which is that of reading. Lengths are in points, y grows downwards.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

# In sizes of the type: a gap this wide is a space even when the file has none; one this wide ends the run.
_SPACE_GAP = 0.2
_RUN_GAP = 1.2
# Smaller type within this much of the line's base is a power or an index.
_SCRIPT_SIZE = 0.88
# A larger difference is a paragraph's large first letter.
_SMALLEST_SCRIPT = 0.4
SCRIPT_SHIFT = 0.65
# Runs that differ in height by less are on one line.
_SAME_LINE = 0.3


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
class Rule:
    """A line drawn across the page, or an edge of a box; `height` grows downwards, as a baseline does."""

    left: float
    right: float
    height: float


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
    if min(glyph.style.size, base.style.size) < size * _SMALLEST_SCRIPT:
        return False
    same_size = min(glyph.style.size, base.style.size) > size * _SCRIPT_SIZE
    if shift > (0.12 if same_size else SCRIPT_SHIFT) * size:
        return False
    if is_right_to_left(glyph.char) or is_right_to_left(previous.char):
        return -_RUN_GAP * size < max(glyph.left - previous.right, previous.left - glyph.right) < _RUN_GAP * size
    if glyph.left - previous.right > _RUN_GAP * size:
        return False
    # An index below a power begins where the power began.
    return glyph.left > min(previous.left, base.right) - 0.4 * size


def _run(glyphs: Sequence[Glyph]) -> Run:
    parts: list[str] = []
    largest = max(glyph.style.size for glyph in glyphs)
    sizes: Counter[float] = Counter()
    right_to_left = any(is_right_to_left(glyph.char) for glyph in glyphs)
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


def is_right_to_left(char: str) -> bool:
    return char > "\u0590" and unicodedata.bidirectional(char[0]) in ("R", "AL")


def by_line(runs: Iterable[Run]) -> list[list[Run]]:
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
    right_to_left = sum(map(is_right_to_left, "".join(run.text for run in line))) * 2
    backwards = right_to_left > sum(run.letters for run in line)
    return sorted(line, key=lambda run: -run.right if backwards else run.left)
