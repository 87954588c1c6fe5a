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
from dataclasses import dataclass
from typing import TYPE_CHECKING

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


def read_characters(page: pypdfium2.PdfPage) -> PageCharacters:
    """All characters of the page; none when there are more than `MAX_CHARS`, of which only the number is told. Raises PdfiumError."""
    text_page = page.get_textpage()
    try:
        count = text_page.count_chars()
        if count > MAX_CHARS:
            return PageCharacters({}, count, 0, 0, 0)
        return _Characters(text_page.raw, page.get_bbox()).read(count)
    finally:
        text_page.close()


@dataclass(frozen=True)
class _Written:
    """What the characters of a text object have in common; `symbols` are what codes without a map mean in its font."""

    style: Style
    angle: int
    visible: bool
    symbols: dict[int, str]


class _Characters:
    """One reading of a text page. Style and direction belong to a text object: they are asked for once for each."""

    def __init__(self, text_page: object, bounds: tuple[float, float, float, float]) -> None:
        from pypdfium2 import raw  # noqa: PLC0415

        self._raw, self._page = raw, text_page
        self._left, self._bottom, self._right, self._top = bounds
        self._box, self._matrix = raw.FS_RECTF(), raw.FS_MATRIX()
        self._x, self._y = ctypes.c_double(), ctypes.c_double()
        self._written: dict[int | None, _Written | None] = {}
        self._names: dict[int | None, str] = {}

    def read(self, count: int) -> PageCharacters:
        raw, page, box = self._raw, self._page, self._box
        glyphs: dict[int, list[Glyph]] = {}
        chars = unmapped = invisible = downwards = 0
        space = False  # before the next character
        last: Glyph | None = None
        for index in range(count):
            code = raw.FPDFText_GetUnicode(page, index)
            is_unmapped = raw.FPDFText_HasUnicodeMapError(page, index) == 1
            char = chr(code) if code < 0x110000 else "\ufffd"
            if not is_unmapped and (char in _NOTHING or char.isspace()):
                space = space or char not in _NOTHING
                continue
            chars += 1
            written = self._describe(index)
            if written is None:
                unmapped += 1
                continue
            style, angle = written.style, written.angle
            if not written.visible:
                invisible += 1
                continue
            if is_unmapped:
                unmapped += code not in written.symbols
                char = written.symbols.get(code, char)
            elif char == _HYPHEN:
                char = "-"
            if not char or char in _NOTHING:
                continue
            if not raw.FPDFText_GetLooseCharBox(page, index, box):
                continue
            raw.FPDFText_GetCharOrigin(page, index, self._x, self._y)
            x, y = self._x.value, self._y.value
            if not (self._left <= x <= self._right and self._bottom <= y <= self._top):
                continue  # beside the page, where nobody sees it
            left, right, baseline = _turned(x, y, box, angle)
            if not (math.isfinite(left) and math.isfinite(right) and math.isfinite(baseline)):
                continue
            glyph = Glyph(char, left, right, baseline, style, space)
            if last is not None and abs(glyph.left - last.left) < 0.3 * style.size:
                downwards += 0.7 * style.size < glyph.baseline - last.baseline < 1.6 * style.size
            glyphs.setdefault(angle, []).append(glyph)
            last, space = glyph, False
        return PageCharacters(glyphs, chars, unmapped, invisible, downwards)

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
        visible = raw.FPDFTextObj_GetTextRenderMode(text_object) not in _INVISIBLE
        return _Written(Style(size, bold), angle, visible, symbols_of(name))

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
