"""From a page's characters to its text in reading order. Pure, on plain values.

A PDF has no lines and no columns, only characters at places, in the order in which a program happened to draw them. Five steps: accents (`text_accents`),
runs (`text_runs`), columns (`text_columns`), lines and rows (`text_lines`), and paragraphs, here: a pitch clearly larger than the usual one, an indented first
line or another size of type starts one. A line, or two, of larger or bold type is a heading: a line of its own between empty lines, by which passages know it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from statistics import median

from processor_service.documents.text_accents import with_accents
from processor_service.documents.text_columns import blocks
from processor_service.documents.text_lines import Line, lines_of
from processor_service.documents.text_runs import Glyph, Rule, Run, runs_of

#: More runs are no page of prose: the layout costs the square of them.
MAX_RUNS = 6_000
#: More rules are a drawing, or squared paper.
MAX_RULES = 400
# A paragraph starts where the pitch is this much larger than the usual one.
_PARAGRAPH_PITCH = 1.3
_HEADING_SIZE = 1.12
_HEADING_CHARS = 160
_HEADING_LETTERS = 4  # fewer are a large sign of a formula
_JOINED_HEADING_CHARS = 80


class TooManyRuns(Exception):
    """The characters are strewn over the page rather than written."""


def page_text(directions: Mapping[int, Sequence[Glyph]], rules: Sequence[Rule] = ()) -> str:
    """The page's text: lines end with a newline, paragraphs are parted by an empty line.

    `directions`: by angle, the characters whose text runs in that direction, in the order of drawing and turned to run to the right. The one with the most
    characters comes first, others (a note along the margin) after it. `rules` are those of the page as it lies, direction 0. Raises TooManyRuns.
    """
    ordered = sorted(directions, key=lambda angle: len(directions[angle]), reverse=True)
    runs = {angle: runs_of(with_accents(directions[angle])) for angle in ordered}
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
        paragraph
        for block in blocks(list(runs), rules)
        for paragraph in _paragraphs(lines_of(block, rules), body_size, body_bold)
    ]
    return "\n\n".join(paragraphs)


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
            or (abs(line.size - before.size) > 0.1 * max(line.size, before.size) and kinds[index])
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
