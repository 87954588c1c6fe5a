"""What a file's letters need before they are text: ligatures taken apart, words joined that a line end cut, accents composed.

Each step keeps to what is certain:

- Ligatures of Latin letters (ﬁ, ﬂ, ﬀ, ﬃ, ﬄ, ﬅ, ﬆ) become their letters. Nothing else is taken apart: NFC, never NFKC, so ² stays ².
- A soft hyphen at a line's end joins the word; elsewhere it is nothing.
- A hyphen at a line's end joins the word when the next line begins with a small letter ("exam-" "ple"). The hyphen stays, and the parts are still joined,
  where something says that it is real: the page has the word with its hyphen within a line; the part before it has a hyphen already
  ("state-of-the-" "art"), is a single letter ("e-" "mail") or a word that makes such compounds ("well-" "known", "self-" "test"); or what follows is a capital
  or a digit ("Jean-" "Paul", "COVID-" "19").
- Nothing is joined before a word like "and", "und", "y" ("Haupt-" "und Nebensatz"), after a digit (a range, a difference), or where the
  hyphen stands alone.

A compound whose hyphen stands at a line's end, and nowhere else on the page, loses it ("fine-" "grained" becomes "finegrained"), unless both its parts are
words of the page by themselves and the two joined are none.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter

SOFT_HYPHEN = "\u00ad"
_LIGATURES = str.maketrans({"ﬀ": "ff", "ﬁ": "fi", "ﬂ": "fl", "ﬃ": "ffi", "ﬄ": "ffl", "ﬅ": "st", "ﬆ": "st"})
#: Spaces of other widths are spaces; characters that only steer are nothing.
_SPACES = str.maketrans(
    dict.fromkeys("\u00a0\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\t", " ")
    | dict.fromkeys("\u200b\u2060\ufeff", "")
)
#: Bullets of the fonts Symbol and Wingdings, as Word writes them; pieces of large brackets are nothing.
_PRIVATE = str.maketrans(
    dict.fromkeys("\uf0b7\uf0a7\uf076\uf06e\uf0a8\uf0d8", "•")
    | {"\uf0fc": "✓", "\uf0e0": "→", "\uf02d": "–"}
    | {chr(code): "" for code in range(0xF8E5, 0xF8FF)}
)
_STRUCK = re.compile("\u0338 ?(\\S)")
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_COMPOUND_STARTS = frozenset((
    "all", "cross", "ex", "first", "five", "four", "half", "high", "left", "long", "low", "multi", "non", "one", "right", "second", "self", "semi", "short",
    "third", "three", "two", "well",
))  # fmt: skip
_AND = frozenset((
    "a", "and", "bzw", "e", "eller", "en", "et", "i", "ja", "o", "och", "oder", "of", "og", "or", "oraz", "ou", "sowie", "tai", "u", "und", "y",
))  # fmt: skip
_HYPHENS = "-\u2010\u00ad"
_WORD_END = re.compile(r"[^\W\d_]+\Z")
_WORD_START = re.compile(r"[^\W_]+")
_LONGEST_WORD = 60
#: Words of four letters and more that have no hyphen.
_ALONE = re.compile(r"(?<![\w\-\u2010\u00ad])[^\W\d_]{4,60}(?![\w\-\u2010\u00ad])")


def mend(text: str) -> str:
    """The page's text, mended; lines stay lines. A word that a line end cut is whole at the end of the upper line."""
    text = _CONTROLS.sub("", text.translate(_LIGATURES).translate(_SPACES).translate(_PRIVATE))
    text = unicodedata.normalize("NFC", _STRUCK.sub("\\1\u0338", text))
    text = join_cut_words(text)
    return text.replace(SOFT_HYPHEN, "")


def join_cut_words(text: str) -> str:
    """`text` with the words joined that a hyphen at a line's end cut, by the rules above."""
    page = text.lower()
    alone = Counter(_ALONE.findall(page))
    lines: list[str | None] = list(text.split("\n"))
    below: int | None = None  # the next line that is not blank
    # From the end, so that a word cut twice is whole when its first part is come to.
    for index in range(len(lines) - 1, -1, -1):
        line = (lines[index] or "").rstrip(" ")
        if not line:
            continue
        if below is not None and line[-1] in _HYPHENS:
            word, _, rest = (lines[below] or "").lstrip(" ").partition(" ")
            between = _between(line[:-1], line[-1], word, page, alone)
            if between is not None:
                # An empty line between the two, where a column ends, stays.
                lines[index] = line[:-1] + between + word
                lines[below] = rest or None
        below = index
    return "\n".join(line for line in lines if line is not None)


def _between(before: str, mark: str, after: str, page: str, alone: Counter[str]) -> str | None:
    """What stands between the two parts of a word: nothing, the hyphen, or None when they are not to be joined."""
    if mark == SOFT_HYPHEN:
        return ""
    left, right = _WORD_END.search(before, max(0, len(before) - _LONGEST_WORD)), _WORD_START.match(after)
    if left is None or right is None or right.group().lower() in _AND:
        return None
    first, second = left.group(), right.group()[:_LONGEST_WORD]
    if not second[0].islower():
        return mark if second[0].isupper() or second[0].isdigit() else None
    is_compound = before[: left.start()].endswith(("-", "\u2010"))
    if is_compound or len(first) == 1 or first.lower() in _COMPOUND_STARTS or f"{first}{mark}{second}".lower() in page:
        return mark
    # The second part itself begins a line: once more makes it a word.
    both = alone[first.lower()] > 0 and alone[second] > 1 and not alone[first.lower() + second]
    return mark if both else ""
