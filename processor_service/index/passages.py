"""A page's text into passages: pieces of about the size that an embedding model reads, cut where a reader would pause.

Cuts are looked for in this order: before a heading or a marked entry ("❒ Event – ..."), between paragraphs and list
items, after a sentence, between words, anywhere. A passage cut in running text begins with the last sentence (else words)
of the one before, so that a thought across the cut is found from either side. A passage is a slice of the page, never
altered, so a search result can be shown in place; what is embedded has the heading in front of it (`embedding_text`).

An entry is cut off early, at a fifth of the target: a vector of five definitions is near to none of them. Shorter than
that, two entries share a passage, since a vector of few words is near to everything. Both were measured (docs/decisions).

Lengths are budgets of weight, not characters: a letter of Latin, Greek, Cyrillic, Hebrew or Arabic weighs 1, one of the
scripts with about a token for each character (CJK, Kana, Hangul, Indic, Thai, emoji) weighs 3. So 1,200 is 1,200 Latin
letters or 400 Chinese ones, either way below the 512 tokens that embedding models commonly read.

Pure and linear in the length of the text (each cut is a binary search).
"""

import re
import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

#: Name of the rule by which pages are cut and passages embedded: a change of either is another rule, and needs the index to be built anew.
CHUNKING_RULE = "2"
MAX_HEADING_CHARS = 120

_SPACE = re.compile(r"\s+")
_FULL_STOPS = re.compile(r"[。！？｡．]+[」』”’）】\s]*")  # these end a sentence with no space behind them
_STOPS = frozenset(".!?…؟۔।॥։።")
_CLOSERS = "\"'”’»›)]}*_"
_MARKDOWN_HEADING = re.compile(r" {0,3}#{1,6}\s+(\S.*)")
_NUMBERED_TITLE = re.compile(r"(?:\d{1,3}(?:\.\d{1,3}){0,4}[.)]?|[IVXLC]{1,6}\.)\s+\S")
_SECTION_NUMBER = re.compile(r"\d{1,2}((?:\.\d{1,2}){1,4})\.?[ \t]+(?=[^\W\d_])")
_DOT_LEADERS = re.compile(r"(?:\.[ .]){2}|\.{3}|…")
_MARKED_LINE = re.compile(r"^[ \t]*([^\w\s])[ \t]+(?=\S)", re.MULTILINE)
_ITEM_MARKS = frozenset("•‣⁃∙·*-–—§")


@dataclass(frozen=True)
class Passage:
    """`text` is `page[start:end]`, trimmed; `heading` is the one in force where it begins, "" before the first."""

    ordinal: int
    text: str
    start: int
    end: int
    heading: str


def split_page(text: str, *, target_chars: int = 900, max_chars: int = 1200, overlap_chars: int = 150) -> list[Passage]:
    """The passages of one page, in order, ordinals from 0; none for a blank page.

    Every character that is not white space is in at least one passage. No passage weighs more than `max_chars` (see
    the module's text), and most about `target_chars`; up to `overlap_chars` of weight are repeated from the passage
    before. Raises ValueError unless 16 <= target_chars <= max_chars and 0 <= overlap_chars <= target_chars / 2.
    """
    if not 16 <= target_chars <= max_chars:
        raise ValueError("target_chars must be at least 16 and at most max_chars")
    if not 0 <= overlap_chars <= target_chars // 2:
        raise ValueError("overlap_chars must be between 0 and half of target_chars")
    page = _Page(text)
    passages: list[Passage] = []
    start = covered = page.skip_space(0)
    while covered < len(text):
        cut = page.cut(start, covered, target=target_chars, most=max_chars)
        body = text[start:cut].rstrip()
        passages.append(
            Passage(
                ordinal=len(passages),
                text=body,
                start=start,
                end=start + len(body),
                heading=page.heading_at(start, cut),
            )
        )
        covered = page.skip_space(cut)
        start = page.overlap_start(start, covered, overlap_chars)
    return passages


def embedding_text(passage: Passage) -> str:
    """What is embedded for a passage, and whose words word search finds it by: its text, below its heading where it does not open with that."""
    opening = passage.text.lstrip("# \t")
    if not passage.heading or opening.startswith(passage.heading):
        return passage.text
    return f"{passage.heading}\n{passage.text}"


class _Page:
    """A text with its places to cut, each a sorted list of offsets at which something begins."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._weights = _weights(text)
        self._headings: list[int] = []
        self._bodies: list[int] = []  # where the text under each heading begins
        self._titles: list[str] = []
        for start, body, title in _find_headings(text):
            self._headings.append(start)
            self._bodies.append(body)
            self._titles.append(title)
        self._entries, items = _find_entries(text)
        self._words: list[int] = []
        paragraphs: set[int] = {*self._entries, *items}
        sentences: set[int] = {match.end() for match in _FULL_STOPS.finditer(text)}
        for space in _SPACE.finditer(text):
            self._words.append(space.end())
            if space.group().count("\n") > 1:
                paragraphs.add(space.end())
            if _ends_sentence(text, space.start()):
                sentences.add(space.end())
        self._paragraphs = sorted(paragraphs)
        self._sentences = sorted(sentences)

    def skip_space(self, position: int) -> int:
        match = _SPACE.match(self._text, position)
        return match.end() if match else position

    def cut(self, start: int, covered: int, *, target: int, most: int) -> int:
        """Where the passage that begins at `start` ends; beyond `covered`, the end of what came before."""
        limit = self._reach(start, most)
        heading = _first(self._headings, max(covered, self._reach(start, target // 4)), limit)
        entry = _first(self._entries, max(covered, self._reach(start, target // 5)), limit)
        if heading is not None or entry is not None:
            return min(place for place in (heading, entry) if place is not None)
        if limit == len(self._text):
            return limit
        low = max(covered, self._reach(start, target // 2))
        aim = max(low, self._reach(start, target))
        for places in (self._paragraphs, self._sentences, self._words):
            place = _last(places, low, aim)
            if place is None:
                place = _first(places, aim, limit)
            if place is not None:
                return place
        return limit

    def overlap_start(self, previous: int, covered: int, overlap: int) -> int:
        """Where the passage that is to go on at `covered` begins: after `previous`, within `overlap` of `covered`."""
        if any(_first(places, covered - 1, covered) is not None for places in (self._headings, self._entries)):
            return covered  # a new section owes nothing to the one before
        earliest = max(previous, bisect_left(self._weights, self._weights[covered] - overlap) - 1)
        for places in (self._sentences, self._words):
            place = _first(places, earliest, covered - 1)
            if place is not None and self._weights[covered] - self._weights[place] <= overlap:
                return place
        return covered

    def heading_at(self, start: int, cut: int) -> str:
        """The last heading before `start`, or the last of those that the passage up to `cut` opens with."""
        index = bisect_right(self._headings, start) - 1
        if index < 0:
            return ""
        if self._headings[index] == start:
            while index + 1 < len(self._headings) and self._headings[index + 1] == self._bodies[index] < cut:
                index += 1
        return self._titles[index]

    def _reach(self, start: int, weight: int) -> int:
        """The furthest offset with no more than `weight` between it and `start`."""
        return bisect_right(self._weights, self._weights[start] + weight) - 1


def _first(places: Sequence[int], after: int, until: int) -> int | None:
    """The first place in (after, until]."""
    index = bisect_right(places, after)
    return places[index] if index < len(places) and places[index] <= until else None


def _last(places: Sequence[int], after: int, until: int) -> int | None:
    """The last place in (after, until]."""
    index = bisect_right(places, until) - 1
    return places[index] if index >= 0 and places[index] > after else None


def _weights(text: str) -> Sequence[int]:
    """The weight of `text[:offset]` for every offset."""
    if text.isascii():
        return range(len(text) + 1)
    return list(accumulate((3 if _is_wide(char) else 1 for char in text), initial=0))


def _is_wide(char: str) -> bool:
    # Between U+1D00 and U+2E80 are Latin and Greek extensions, punctuation and symbols.
    return "\u0900" <= char < "\u1d00" or char >= "\u2e80"


def _ends_sentence(text: str, position: int) -> bool:
    """Whether what ends at `position` is the end of a sentence: a stop, perhaps with quotes or brackets behind it."""
    for _ in range(3):
        if position > 0 and text[position - 1] in _CLOSERS:
            position -= 1
    return position > 0 and text[position - 1] in _STOPS


def _find_headings(text: str) -> list[tuple[int, int, str]]:
    """Of each heading: where its line begins, where the next text begins, and its title.

    Headings are Markdown's `#` lines outside code fences, lines that stand like a title (`_is_title`), and lines with a section's number
    ("2.3.1 Limits") even where no blank line is left of the page's layout; several of one depth in a row are a table of contents, or of numbers.
    """
    headings: list[tuple[int, int, str]] = []
    fenced = False
    after_blank = True
    offset = 0
    lines = text.split("\n")
    depths = [_section_depth(line) for line in lines]
    for index, line in enumerate(lines):
        start, offset = offset, min(offset + len(line) + 1, len(text))
        stripped = line.strip()
        if stripped.startswith(("```", "~~~")):
            fenced = not fenced
        alone = depths[index] not in (0, *depths[max(0, index - 1) : index], *depths[index + 1 : index + 2])
        title = "" if fenced else _title_of(line, after_blank or alone)
        after_blank = not stripped
        if title:
            space = _SPACE.match(text, offset)
            body = space.end() if space else offset
            if body < len(text):  # a last line heads nothing
                headings.append((start + len(line) - len(line.lstrip()), body, title))
    return headings


def _find_entries(text: str) -> tuple[list[int], list[int]]:
    """Where lines with a mark of their own begin: entries, which a symbol marks (❒, ■, ►), and items of a list."""
    entries: list[int] = []
    items: list[int] = []
    for marked in _MARKED_LINE.finditer(text):
        mark = marked.group(1)
        if mark in _ITEM_MARKS:
            items.append(marked.start(1))
        elif unicodedata.category(mark) == "So":
            entries.append(marked.start(1))
    return entries, items


def _section_depth(line: str) -> int:
    """How deep the section is whose number the line begins with: 2 for "2.3 Limits"; 0 when it begins with none."""
    number = _SECTION_NUMBER.match(line.strip())
    return 1 + number.group(1).count(".") if number else 0


def _title_of(line: str, after_blank: bool) -> str:
    markdown = _MARKDOWN_HEADING.match(line)
    if markdown:
        return markdown.group(1).strip().rstrip("#").strip()[:MAX_HEADING_CHARS]
    stripped = line.strip()
    return stripped if after_blank and _is_title(stripped) else ""


def _is_title(line: str) -> bool:
    """A short line by itself that begins like a title (capital, caseless letter or section number) and ends in none of
    the marks of running text. Languages without capitals pass by their length alone."""
    if not 2 <= len(line) <= 80 or sum(3 if _is_wide(char) else 1 for char in line) > 80 or len(line.split()) > 12:
        return False
    if not (line[-1].isalnum() or line[-1] in ")]?") or _DOT_LEADERS.search(line):
        return False
    if _NUMBERED_TITLE.match(line):
        return True
    return line[0].isalpha() and not line[0].islower()
