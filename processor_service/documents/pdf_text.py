"""The characters of a PDF page as PDFium finds them, with their places. Runs in the rendering child only.

A million characters, a font of no size, a matrix that turns them to nothing: all of it may be in a file. So characters are counted before they are fetched
(no more than `MAX_CHARS` are), and every number is checked before it is used.

PDFium gives the characters in the order in which they are drawn, lines of right-to-left scripts in the order in which they are read. It adds spaces and line
ends where it sees gaps ("generated"): its spaces within a line are used, its line ends are not, since the places say more.

Lengths are in points of the page; a character's are turned so that its text runs from left to right, with y growing downwards.
"""

from __future__ import annotations

import ctypes
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from processor_service.documents.pdf_objects import Box, Fill, fill_of
from processor_service.documents.tex_symbols import symbols_of
from processor_service.documents.text_layer_check import MAX_CHARS
from processor_service.documents.text_runs import Glyph, Style

if TYPE_CHECKING:
    import pypdfium2

_SIZES = (0.1, 10_000.0)  # of type, in points
_BOLD_WEIGHT = 600
_BOLD_NAME = re.compile(r"bold|black|heavy|semibold|demi(?!c)|CMBX|SFBX|CMSSBX|LMRoman.*-Bold", re.IGNORECASE)
_INVISIBLE = (3, 7)  # text render modes: nothing, and a path to clip by
_NOTHING = "\x00\r\n"
_HYPHEN = "\x02"  # PDFium's sign for a hyphen at the end of a line


@dataclass(frozen=True)
class PageCharacters:
    """`glyphs` are in PDFium's order, by the angle at which their text runs (whole degrees); what is invisible is only counted.

    `unmapped`: of which it is not known what or where they are. `downwards`: that stand right below the one before.
    """

    glyphs: dict[int, list[Glyph]]
    chars: int
    unmapped: int
    invisible: int
    downwards: int


def read_characters(page: pypdfium2.PdfPage, grounds: Sequence[Box] | None = None) -> PageCharacters:
    """All characters on the page; none when there are more than `MAX_CHARS`, of which only the number is told. Raises PdfiumError.

    White ones are invisible but on one of `grounds`; None: they may be on any.
    """
    text_page = page.get_textpage()
    try:
        count = text_page.count_chars()
        if count > MAX_CHARS:
            return PageCharacters({}, count, 0, 0, 0)
        return _Characters(text_page.raw, page.get_bbox(), grounds).read(count)
    finally:
        text_page.close()


@dataclass(frozen=True)
class _Written:
    """What the characters of a text object have in common; `symbols` are what codes without a map mean in its font."""

    style: Style
    angle: int
    visible: bool
    white: bool
    symbols: dict[int, str]


class _Characters:
    """One reading of a text page. Style and direction belong to a text object: they are asked for once for each."""

    def __init__(self, text_page: object, bounds: Box, grounds: Sequence[Box] | None) -> None:
        from pypdfium2 import raw  # noqa: PLC0415

        self._raw, self._page = raw, text_page
        self._left, self._bottom, self._right, self._top = bounds
        self._grounds = grounds
        self._box, self._matrix = raw.FS_RECTF(), raw.FS_MATRIX()
        self._x, self._y = ctypes.c_double(), ctypes.c_double()
        self._written: dict[int | None, _Written | None] = {}
        self._names: dict[int | None, str] = {}

    def read(self, count: int) -> PageCharacters:
        raw, page = self._raw, self._page
        glyphs: dict[int, list[Glyph]] = {}
        chars = unmapped = invisible = downwards = 0
        space = False  # before the next character
        last: Glyph | None = None
        for index, char in self._chars(count):
            is_unmapped = raw.FPDFText_HasUnicodeMapError(page, index) == 1
            if not is_unmapped and (char in _NOTHING or char.isspace()):
                space = space or char not in _NOTHING
                continue
            raw.FPDFText_GetCharOrigin(page, index, self._x, self._y)
            if not self._is_on_page():
                continue  # nobody sees it
            chars += 1
            written = self._describe(index)
            if written is None:
                unmapped += 1
                continue
            if not written.visible or (written.white and not self._is_on_ground()):
                invisible += 1
                continue
            if is_unmapped:
                unmapped += ord(char) not in written.symbols
                char = written.symbols.get(ord(char), char)  # noqa: PLW2901
            glyph = self._glyph(index, "-" if char == _HYPHEN and not is_unmapped else char, written, space)
            if glyph is None:
                continue
            if last is not None and abs(glyph.left - last.left) < 0.3 * glyph.style.size:
                downwards += 0.7 * glyph.style.size < glyph.baseline - last.baseline < 1.6 * glyph.style.size
            glyphs.setdefault(written.angle, []).append(glyph)
            last, space = glyph, False
        return PageCharacters(glyphs, chars, unmapped, invisible, downwards)

    def _chars(self, count: int) -> Iterator[tuple[int, str]]:
        """Places in the text page and the characters there. PDFium gives one beyond 16 bits (mathematical letters are) as two halves: it is at the second's."""
        high: int | None = None
        for index in range(count):
            code = self._raw.FPDFText_GetUnicode(self._page, index)
            if 0xD800 <= code < 0xDC00:
                high = code
                continue
            if 0xDC00 <= code < 0xE000:
                code = 0xFFFD if high is None else 0x10000 + ((high - 0xD800) << 10) + (code - 0xDC00)
            yield index, chr(code) if code < 0x110000 else "\ufffd"
            high = None

    def _is_on_page(self) -> bool:
        return self._left <= self._x.value <= self._right and self._bottom <= self._y.value <= self._top

    def _is_on_ground(self) -> bool:
        x, y = self._x.value, self._y.value
        if self._grounds is None:
            return True
        return any(left <= x <= right and bottom <= y <= top for left, bottom, right, top in self._grounds)

    def _glyph(self, index: int, char: str, written: _Written, space: bool) -> Glyph | None:
        """None for what has no place, or is nothing."""
        if not char or char in _NOTHING or not self._raw.FPDFText_GetLooseCharBox(self._page, index, self._box):
            return None
        left, right, baseline = _turned(self._x.value, self._y.value, self._box, written.angle)
        if not (math.isfinite(left) and math.isfinite(right) and math.isfinite(baseline)):
            return None
        return Glyph(char, left, right, baseline, written.style, space)

    def _describe(self, index: int) -> _Written | None:
        """None for what has no size."""
        text_object = self._raw.FPDFText_GetTextObject(self._page, index)
        key = ctypes.cast(text_object, ctypes.c_void_p).value
        if key not in self._written:
            self._written[key] = self._describe_object(text_object, index)
        return self._written[key]

    def _describe_object(self, text_object: object, index: int) -> _Written | None:
        raw, matrix = self._raw, self._matrix
        if not text_object or not raw.FPDFText_GetMatrix(self._page, index, matrix):
            return None
        size = abs(raw.FPDFText_GetFontSize(self._page, index) * math.hypot(matrix.c, matrix.d))
        if not _SIZES[0] < size < _SIZES[1] or not math.isfinite(matrix.a + matrix.b):
            return None
        font = raw.FPDFTextObj_GetFont(text_object)
        name = self._name(font)
        bold = bool(_BOLD_NAME.search(name)) or (bool(font) and raw.FPDFFont_GetWeight(font) >= _BOLD_WEIGHT)
        angle = round(math.degrees(math.atan2(matrix.b, matrix.a))) % 360
        mode = raw.FPDFTextObj_GetTextRenderMode(text_object)
        fill = fill_of(raw, text_object) if mode == raw.FPDF_TEXTRENDERMODE_FILL else Fill.COLOUR
        visible, white = mode not in _INVISIBLE and fill is not Fill.NOTHING, fill is Fill.WHITE
        return _Written(Style(size, bold), angle, visible, white, symbols_of(name))

    def _name(self, font: object) -> str:
        if not font:
            return ""
        key = ctypes.cast(font, ctypes.c_void_p).value  # type: ignore[arg-type]
        if key not in self._names:
            buffer = ctypes.create_string_buffer(256)
            length = self._raw.FPDFFont_GetBaseFontName(font, buffer, len(buffer))
            self._names[key] = buffer.value.decode("utf-8", "replace") if length <= len(buffer) else ""
        return self._names[key]


def _turned(x: float, y: float, box: object, angle: int) -> tuple[float, float, float]:
    """Left, right and baseline of a character at (x, y) whose text runs at `angle`, when that is turned to run to the right."""
    left, right, bottom, top = box.left, box.right, box.bottom, box.top  # type: ignore[attr-defined]
    if angle == 0:
        return left, right, -y
    if angle == 90:
        return bottom, top, x
    if angle == 180:
        return -right, -left, y
    if angle == 270:
        return -top, -bottom, -x
    sine, cosine = math.sin(math.radians(angle)), math.cos(math.radians(angle))
    start = x * cosine + y * sine
    # The box stands upright around a character that does not: its width and height are those of the character, mixed.
    width = min(right - left, top - bottom)
    return start, start + width, x * sine - y * cosine
