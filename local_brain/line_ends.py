"""Words that were parted at a line's end are made whole, so that they are found, and quoted as one would write them.

A hyphen at a line's end may belong to the word (`well-known`) or to the line (`photo-`, `synthesis`), and only a dictionary could
tell for sure. What the page itself tells: where its other lines part words, or have the word whole, the hyphen is the
line's; where the word stands with its hyphen in the middle of a line, it is the word's. A single hyphen on a page of
unparted words stays, since it is more likely to belong to its word. A hyphen before a word such as `und` stands for
something left out (`Meinungs- und Pressefreiheit`), one behind an abbreviation or before a capital letter or a digit joins two
words: these stay.

The rest of the word goes up to the line where it began.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

_BEGINNING = re.compile(r"([^\W\d_]{2,})[-\u2010\u00ad]$")
_REST = re.compile(r"([^\W\d_]+)(\S*)\s*")
_INNER_WORD = re.compile(r"[^\W\d_]+(?:-[^\W\d_]+)*")
_CONJUNCTIONS = frozenset(
    {"and", "or", "und", "oder", "bis", "sowie", "bzw", "y", "o", "e", "u", "ni", "et", "ou", "ed"}
)
# From so many parted words on, a page is one whose lines part words.
_USUAL = 2


def words_made_whole(lines: Sequence[str]) -> list[str]:
    """The lines of a page, in reading order, with parted words whole. A line of which nothing is left is gone."""
    known = {word.lower() for line in lines for word in _INNER_WORD.findall(line.rstrip("-\u2010\u00ad"))}
    usual = sum(_parts(upper, lower) is not None for upper, lower in pairwise(lines)) >= _USUAL
    whole = list(lines)
    # From the last line up, so that a word that runs over three lines is whole, too.
    for index in range(len(whole) - 2, -1, -1):
        parts = _parts(whole[index], whole[index + 1])
        if parts is None or not _hyphen_is_the_lines(*parts, known, usual):
            continue
        rest = _REST.match(whole[index + 1])
        assert rest is not None
        whole[index] = whole[index][:-1] + rest[1] + rest[2]
        whole[index + 1] = whole[index + 1][rest.end() :]
        if not whole[index + 1]:
            del whole[index + 1]
    return whole


def _parts(upper: str, lower: str) -> tuple[str, str] | None:
    """The two halves of a word that may be parted between these lines."""
    beginning, rest = _BEGINNING.search(upper), _REST.match(lower)
    if beginning is None or rest is None or beginning[1].isupper():
        return None
    return None if not rest[1][0].islower() or rest[1] in _CONJUNCTIONS else (beginning[1], rest[1])


def _hyphen_is_the_lines(beginning: str, rest: str, known: set[str], usual: bool) -> bool:
    if f"{beginning}-{rest}".lower() in known:
        return False
    return usual or f"{beginning}{rest}".lower() in known
