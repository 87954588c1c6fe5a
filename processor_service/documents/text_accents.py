"""Accents that a file draws as characters of their own, put onto their letters. Pure, on plain values.

TeX with its older fonts sets "ã" as a tilde above an "a", each a character of the page; so do some typewriters' successors. Drawn one over the other they are
one letter to the reader, while the text would have "a˜", with the accent anywhere in its line. Only what stands over, or under, a letter that has such
a form in Unicode is joined: a tilde or an accent in a formula or a program stays.
"""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from processor_service.documents.text_runs import Glyph

_ACCENTS = {
    "`": "\u0300", "´": "\u0301", "ˆ": "\u0302", "^": "\u0302", "˜": "\u0303", "~": "\u0303", "¯": "\u0304", "˘": "\u0306", "˙": "\u0307", "¨": "\u0308",
    "˚": "\u030a", "˝": "\u030b", "ˇ": "\u030c", "¸": "\u0327", "˛": "\u0328",
}  # fmt: skip
_DOTLESS = {"ı": "i", "ȷ": "j"}
# In sizes of the type: an accent is set this much higher over a capital.
_RAISED = 0.45
_SIZE_RATIO = 0.6
_SPACE_GAP = 0.1
# Sides of the squares in which letters are looked up, and how many of a square are looked at, since a file may heap up any number.
_SQUARE = 24.0
_MOST = 50


def with_accents(glyphs: Sequence[Glyph]) -> list[Glyph]:
    """`glyphs` with accents joined to the letters that they stand over, in the same order."""
    marks = [index for index, glyph in enumerate(glyphs) if _mark(glyph.char)]
    if not marks:
        return list(glyphs)
    squares: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
    for index, glyph in enumerate(glyphs):
        square = squares[_square(glyph.left, glyph.baseline)]
        if len(square) < _MOST and glyph.char.isalpha() and not _mark(glyph.char):
            square.append(index)
    joined: dict[int, Glyph | None] = {}
    for index in marks:
        letter = _letter_under(glyphs[index], glyphs, squares)
        if letter is None or letter in joined:
            continue
        base = glyphs[letter]
        joined[letter] = replace(base, char=_composed(base.char, glyphs[index].char))
        joined[index] = None
    result: list[Glyph] = []
    after_mark = False
    for index, glyph in enumerate(glyphs):
        kept = joined.get(index, glyph)
        if kept is not None:
            if after_mark and result:
                # A space beside an accent may have been seen in the gap that it made: the letters' own places say more.
                gap = kept.left - result[-1].right
                kept = replace(kept, space=kept.space and gap > _SPACE_GAP * kept.style.size)
            result.append(kept)
        after_mark = kept is None
    return result


def _letter_under(mark: Glyph, glyphs: Sequence[Glyph], squares: dict[tuple[int, int], list[int]]) -> int | None:
    """The letter whose middle is nearest to the accent's, of those that the accent's middle is over."""
    middle = (mark.left + mark.right) / 2
    column, row = _square(middle, mark.baseline)
    best: tuple[float, int] | None = None
    for square in ((column + across, row + down) for across in (-1, 0) for down in (-1, 0, 1)):
        for index in squares.get(square, ()):
            letter = glyphs[index]
            sizes = sorted((letter.style.size, mark.style.size))
            if not letter.left <= middle <= letter.right or sizes[0] < _SIZE_RATIO * sizes[1]:
                continue
            if abs(letter.baseline - mark.baseline) > _RAISED * sizes[1] or not _composed(letter.char, mark.char):
                continue
            distance = abs((letter.left + letter.right) / 2 - middle)
            if best is None or (distance, index) < best:
                best = distance, index
    return best[1] if best else None


def _square(x: float, baseline: float) -> tuple[int, int]:
    return int(x // _SQUARE), int(baseline // _SQUARE)


def _mark(char: str) -> str:
    """The combining character that `char` stands for; "" for all that is no accent."""
    return char if "\u0300" <= char <= "\u036f" else _ACCENTS.get(char, "")


def _composed(letter: str, mark: str) -> str:
    """The letter with its accent; "" where there is no such letter."""
    composed = unicodedata.normalize("NFC", _DOTLESS.get(letter, letter) + _mark(mark))
    return composed if len(composed) == 1 else ""
