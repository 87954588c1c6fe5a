"""Which lines at a page's top and bottom are the document's, not the page's: running headers, footers, page numbers.

They repeat from page to page at the same edge, but for their digits. In a passage they are noise: each page would be found by the book's title. A line is
taken for a running one only when two neighbours, or more, have it too, so a chapter's first page or a document of two pages loses nothing. The left and right
pages of a book have different ones, with the page's number at one end: there one neighbour is enough, if its number is two away and a third page has the
number between. What can go wrong is a line of content that is the same on three pages in a row at the very edge; the page's own text keeps it, only the
passages do not have it.

A Roman number that stands alone counts as one. Lines are compared without their digits, case and runs of
spaces.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

#: Lines looked at from each edge, blank ones apart.
EDGE_LINES = 3
#: Neighbours that must have the line, at this edge.
NEIGHBOURS = 2
#: A longer line is a paragraph's, not a header.
MAX_LINE_CHARS = 200

_NUMBER = re.compile(r"\d+")
_PAGE_NUMBER = re.compile(r"[0-9]{1,5}")
_ROMAN = re.compile(r"[^\w]*[ivxlc]{1,7}[^\w]*\Z", re.IGNORECASE)
_SPACE = re.compile(r"\s+")


@dataclass(frozen=True)
class Body:
    """`text[start:end]` of a page is its own."""

    start: int
    end: int


def running_spans(text: str, neighbours: Sequence[str]) -> Body:
    """The part of a page between its running lines; `neighbours` are the texts of some pages before it or behind it.

    Without two neighbours that repeat a line the page is whole: `Body(0, len(text))`. The slice is empty where nothing but running lines is there.
    """
    others = [_lines(neighbour) for neighbour in neighbours]
    lines = _lines(text)
    tops = [{_shape(line.text): _page_number(line.text) for line in page[:EDGE_LINES]} for page in others]
    bottoms = [{_shape(line.text): _page_number(line.text) for line in page[-EDGE_LINES:]} for page in others]
    first = 0
    while first < min(EDGE_LINES, len(lines)) and _repeats(lines[first].text, tops):
        first += 1
    last = len(lines)
    while last > max(first, len(lines) - EDGE_LINES) and _repeats(lines[last - 1].text, bottoms):
        last -= 1
    if first == last:
        return Body(len(text), len(text)) if lines else Body(0, len(text))
    start = lines[first].start if first else 0
    end = lines[last - 1].end if last < len(lines) else len(text)
    return Body(start, end)


@dataclass(frozen=True)
class _Line:
    text: str
    start: int
    end: int


def _lines(text: str) -> list[_Line]:
    """The lines that are not blank, with their places."""
    lines = []
    offset = 0
    for line in text.split("\n"):
        if line.strip():
            lines.append(_Line(line, offset, offset + len(line)))
        offset += len(line) + 1
    return lines


def _shape(line: str) -> str:
    """The line but for its digits, spaces and case."""
    if len(line) > MAX_LINE_CHARS:
        return ""
    if _ROMAN.match(line):
        return "#"
    return _NUMBER.sub("#", _SPACE.sub(" ", line.strip())).casefold()


def _page_number(line: str) -> int | None:
    """The number at the line's beginning or end."""
    words = line.split()
    numbers = [word for word in (words[:1] + words[-1:]) if _PAGE_NUMBER.fullmatch(word)]
    return int(numbers[0]) if numbers else None


def _repeats(line: str, edges: Sequence[Mapping[str, int | None]]) -> bool:
    """`edges`: by shape, the lines at the edge of each neighbour, with their page numbers."""
    shape, number = _shape(line), _page_number(line)
    if not shape:
        return False
    if sum(shape in edge for edge in edges) >= NEIGHBOURS:
        return True
    if number is None:
        return False
    return any(
        any(edge.get(shape) == number + 2 * way for edge in edges)
        and any(number + way in edge.values() for edge in edges)
        for way in (-1, 1)
    )
