"""Whether a PDF page's own text may stand for the page, or a picture of it has to be read: a pure verdict on counts.

A text layer is exact where it is good, and silently wrong where it is not. So it is believed only when nothing speaks against it; every doubt costs one
page picture for the Brain, no more. What speaks against it:

- too little: a blank page, or a page number over a drawing. Too much: more characters than a page can show.
- characters without meaning: not mapped to Unicode, U+FFFD, private use, control characters.
- glyph soup: a font with a wrong map gives letters that are no words. It shows in the share of letters and digits, and of vowels and
  common letters among Latin ones.
- invisible text: the layer that an OCR program laid behind a scan. How well it was read cannot be known; what the Brain reads is of known quality.
- images over much of the page: they may hold text themselves. The more text a page has, the larger the figures it may have. Text that was drawn before an image
  that covers most of the page lies below it, and is an OCR layer by another way.
- many small filled shapes: letters drawn as outlines, which no layer has.
- filled fields, typed notes, stamps and handwriting on the page: they are drawn, but are in no layer.
- text that runs downwards (vertical writing): the layout reads lines from left to right.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from enum import StrEnum

#: More is no page of text, and its layout would cost too much.
MAX_CHARS = 200_000
#: Above it a font is broken; below it are the few signs of a formula that no font's map has.
_UNMAPPED_SHARE = 0.03
_MEANINGLESS_SHARE = 0.002
_WORDLIKE_SHARE = 0.45
_LATIN_LETTERS = 100  # fewer tell nothing about which are common
_VOWEL_SHARE = (0.2, 0.65)
#: These make up half and more of the letters of any language in Latin script, and a third of letters that mean others.
_COMMON_LETTERS = frozenset("aeinorst")
_COMMON_SHARE = 0.42
_INVISIBLE_SHARE = 0.02
_IMAGE_SHARE = 0.4
_CHARS_FOR_A_WHOLE_SHARE = 1_000
_SHAPES = 150
_DOWNWARDS_SHARE = 0.3
#: Dots from an entry to its page.
_LEADER = re.compile(r"(?:[.·…] ?){4,}")
_VOWELS = frozenset("aeiouyæœøı")


class Verdict(StrEnum):
    """GOOD, or the first thing that speaks against the text layer."""

    GOOD = "GOOD"
    NO_TEXT = "NO_TEXT"
    TOO_MUCH = "TOO_MUCH"
    MEANINGLESS = "MEANINGLESS"
    GLYPH_SOUP = "GLYPH_SOUP"
    INVISIBLE = "INVISIBLE"
    IMAGES = "IMAGES"
    OUTLINES = "OUTLINES"
    ANNOTATED = "ANNOTATED"
    DOWNWARDS = "DOWNWARDS"


@dataclass(frozen=True)
class LayerFacts:
    """What is known of a page. `text` is what its layer shows, spaces and all; counts are of its characters but for spaces.

    `image_share`: of the page's area, 0 to 1. `shapes`: filled outlines of a letter's size. `covered`: an image over most of the page was drawn after text.
    `annotated`: annotations that may hold text are drawn on it.
    """

    text: str
    chars: int
    unmapped: int
    invisible: int
    downwards: int
    image_share: float
    covered: bool
    shapes: int
    annotated: bool = False


def judge(facts: LayerFacts) -> Verdict:
    """Whether the layer may stand for the page."""
    if facts.chars > MAX_CHARS:
        return Verdict.TOO_MUCH
    visible = facts.chars - facts.invisible
    if facts.invisible > _INVISIBLE_SHARE * facts.chars:
        return Verdict.INVISIBLE
    if visible < 1 or not facts.text.strip():
        return Verdict.NO_TEXT
    if facts.covered or facts.image_share > _IMAGE_SHARE * min(1.0, visible / _CHARS_FOR_A_WHOLE_SHARE):
        return Verdict.IMAGES
    if facts.shapes > max(_SHAPES, visible):
        return Verdict.OUTLINES
    if facts.annotated:
        return Verdict.ANNOTATED
    if facts.downwards > _DOWNWARDS_SHARE * facts.chars:
        return Verdict.DOWNWARDS
    meaningless = sum(map(_is_meaningless, facts.text))
    if facts.unmapped > _UNMAPPED_SHARE * facts.chars or meaningless > _MEANINGLESS_SHARE * facts.chars:
        return Verdict.MEANINGLESS
    return Verdict.GLYPH_SOUP if _is_soup(facts.text) else Verdict.GOOD


def _is_meaningless(char: str) -> bool:
    return char == "\ufffd" or (char not in "\n\r\t\u00ad" and unicodedata.category(char) in ("Cc", "Co", "Cn", "Cs"))


def _is_soup(text: str) -> bool:
    solid = [char for char in _LEADER.sub("", text) if not char.isspace()]
    if len(solid) >= _LATIN_LETTERS and sum(map(_is_wordlike, solid)) < _WORDLIKE_SHARE * len(solid):
        return True
    latin = [base for char in solid if (base := _latin_base(char))]
    if len(latin) < _LATIN_LETTERS:
        return False
    low, high = _VOWEL_SHARE
    vowels, common = (sum(base in chosen for base in latin) / len(latin) for chosen in (_VOWELS, _COMMON_LETTERS))
    return not low <= vowels <= high or common < _COMMON_SHARE


def _is_wordlike(char: str) -> bool:
    # Marks belong to the letters of many scripts, mathematical signs to formulas.
    category = unicodedata.category(char)
    return char.isalnum() or category[0] == "M" or (category == "Sm" and not char.isascii())


def _latin_base(char: str) -> str:
    """The plain small letter of a Latin letter; "" for all else."""
    if not char.isalpha() or char > "\u024f":
        return ""
    return unicodedata.normalize("NFD", char)[0].lower()
