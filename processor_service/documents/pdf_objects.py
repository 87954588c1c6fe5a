"""What a page of a PDF shows beside its text: images, rules, outlines, annotations. Runs in the rendering child only.

A page may hold millions of objects, in forms within forms: they are looked at up to a limit, and every number is checked before it is used.
Lengths are in points of the page.
"""

from __future__ import annotations

import ctypes
import math
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from processor_service.documents.text_layout import MAX_RULES
from processor_service.documents.text_runs import Rule

if TYPE_CHECKING:
    import pypdfium2

#: Objects of a page that are looked at; a page of more is a drawing.
MAX_OBJECTS = 50_000
_MAX_DEPTH = 5
#: Outlines of letters are about this large, in points.
_LETTER_SIDES = (1.5, 40.0)
_LETTER_SEGMENTS = 6
_RULE_LENGTH, _RULE_THICKNESS = 15.0, 2.5
#: An image over this share of the page covers the page.
COVERING = 0.6
#: More grounds are a drawing.
_MAX_GROUNDS = 200
#: What is as light as this, of 255, is white.
_WHITE = 250


#: Left, bottom, right, top.
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class PageObjects:
    """What a page shows beside text: the share of its area under images, and filled outlines of a letter's size.

    `covered`: text comes before an image over most of the page, and so lies below it. `annotated`: it has annotations that are drawn and may be text, of which
    PDFium's text has nothing: filled fields, notes typed onto the page, stamps, handwriting. `grounds`: left, bottom, right, top of what is filled with a
    colour other than white, so that white text can be read on it; None when these are too many to be told apart.
    """

    image_share: float
    covered: bool
    shapes: int
    annotated: bool
    rules: tuple[Rule, ...]
    grounds: tuple[Box, ...] | None


def read_objects(page: pypdfium2.PdfPage) -> PageObjects:
    """What the page shows beside text; a page too deep or too full to be looked through counts as an image. Raises PdfiumError."""
    return _Objects(page).look_through()


class Fill(Enum):
    """What an object is filled with; COLOUR too where that is not known."""

    NOTHING = "NOTHING"
    WHITE = "WHITE"
    COLOUR = "COLOUR"


def fill_of(raw: Any, item: object) -> Fill:
    """What a path or text is filled with when it is filled."""
    red, green, blue, alpha = (ctypes.c_uint() for _ in range(4))
    if not raw.FPDFPageObj_GetFillColor(item, red, green, blue, alpha):
        return Fill.COLOUR
    if alpha.value == 0:
        return Fill.NOTHING
    return Fill.WHITE if min(red.value, green.value, blue.value) >= _WHITE else Fill.COLOUR


class _Objects:
    """One look through the objects of a page, those in forms included."""

    def __init__(self, page: pypdfium2.PdfPage) -> None:
        from pypdfium2 import raw  # noqa: PLC0415

        self._raw, self._page = raw, page
        self._left, self._bottom, self._right, self._top = page.get_bbox()
        self._sides = tuple(ctypes.c_float() for _ in range(4))
        self._seen = self._texts = self._shapes = 0
        self._image_share = 0.0
        self._covered = False
        self._rules: list[Rule] = []
        self._grounds: list[Box] = []

    def look_through(self) -> PageObjects:
        complete = self._look_into(self._page.raw, None, _Matrix(), 0)
        share = min(1.0, self._image_share) if complete else 1.0
        grounds = tuple(self._grounds) if complete and len(self._grounds) <= _MAX_GROUNDS else None
        return PageObjects(share, self._covered, self._shapes, self._is_annotated(), tuple(self._rules), grounds)

    def _is_annotated(self) -> bool:
        raw = self._raw
        kinds = (raw.FPDF_ANNOT_FREETEXT, raw.FPDF_ANNOT_STAMP, raw.FPDF_ANNOT_INK, raw.FPDF_ANNOT_WIDGET)
        for index in range(min(raw.FPDFPage_GetAnnotCount(self._page.raw), MAX_OBJECTS)):
            annotation = raw.FPDFPage_GetAnnot(self._page.raw, index)
            if not annotation:
                continue
            try:
                appearance = raw.FPDFAnnot_GetAP(annotation, raw.FPDF_ANNOT_APPEARANCEMODE_NORMAL, None, 0)
                # Its length in bytes, with two for the end.
                if appearance > 2 and raw.FPDFAnnot_GetSubtype(annotation) in kinds:
                    return True
            finally:
                raw.FPDFPage_CloseAnnot(annotation)
        return False

    def _look_into(self, page: object, form: object | None, matrix: _Matrix, depth: int) -> bool:
        """False when there is more than is looked at."""
        raw = self._raw
        count = raw.FPDFPage_CountObjects(page) if form is None else raw.FPDFFormObj_CountObjects(form)
        for index in range(count):
            self._seen += 1
            if self._seen > MAX_OBJECTS:
                return False
            item = raw.FPDFPage_GetObject(page, index) if form is None else raw.FPDFFormObj_GetObject(form, index)
            kind = raw.FPDFPageObj_GetType(item)
            if kind == raw.FPDF_PAGEOBJ_TEXT:
                self._texts += 1
            elif kind == raw.FPDF_PAGEOBJ_PATH:
                self._add_path(item, matrix)
            elif kind == raw.FPDF_PAGEOBJ_IMAGE:
                self._add_image(item, matrix)
            elif kind == raw.FPDF_PAGEOBJ_SHADING:
                self._add_ground(self._bounds(item, matrix))
            elif kind == raw.FPDF_PAGEOBJ_FORM:
                own = raw.FS_MATRIX()
                if depth == _MAX_DEPTH or not raw.FPDFPageObj_GetMatrix(item, own):
                    return False
                inner = _Matrix(own.a, own.b, own.c, own.d, own.e, own.f).then(matrix)
                if not self._look_into(page, item, inner, depth + 1):
                    return False
        return True

    def _bounds(self, item: object, matrix: _Matrix) -> Box | None:
        left, bottom, right, top = self._sides
        if not self._raw.FPDFPageObj_GetBounds(item, left, bottom, right, top):
            return None
        return matrix.bounds(left.value, bottom.value, right.value, top.value)

    def _add_ground(self, bounds: Box | None) -> None:
        if len(self._grounds) <= _MAX_GROUNDS:
            self._grounds.append(bounds or (-math.inf, -math.inf, math.inf, math.inf))

    def _add_path(self, item: object, matrix: _Matrix) -> None:
        bounds = self._bounds(item, matrix)
        if bounds is None or not all(map(math.isfinite, bounds)):
            return
        left, bottom, right, top = bounds
        mode, stroked = ctypes.c_int(), ctypes.c_int()
        self._raw.FPDFPath_GetDrawMode(item, mode, stroked)
        if mode.value != 0 and fill_of(self._raw, item) is Fill.COLOUR:
            self._add_ground(bounds)
        if self._raw.FPDFPath_CountSegments(item) >= _LETTER_SEGMENTS:
            low, high = _LETTER_SIDES
            self._shapes += mode.value != 0 and low / 8 <= right - left <= high and low <= top - bottom <= high
        elif right - left >= _RULE_LENGTH and len(self._rules) <= MAX_RULES:
            # Thin boxes are lines, the edges of others are two.
            heights = {-top, -bottom} if top - bottom > _RULE_THICKNESS else {-(top + bottom) / 2}
            self._rules.extend(Rule(left - 1, right + 1, height) for height in heights)

    def _add_image(self, item: object, matrix: _Matrix) -> None:
        bounds = self._bounds(item, matrix)
        if bounds is None:
            return
        self._add_ground(bounds)
        width = min(bounds[2], self._right) - max(bounds[0], self._left)
        height = min(bounds[3], self._top) - max(bounds[1], self._bottom)
        area = max(1.0, (self._right - self._left) * (self._top - self._bottom))
        share = max(0.0, width) * max(0.0, height) / area
        if math.isfinite(share):
            self._image_share += share
            self._covered = self._covered or (share > COVERING and self._texts > 0)


@dataclass(frozen=True)
class _Matrix:
    a: float = 1.0
    b: float = 0.0
    c: float = 0.0
    d: float = 1.0
    e: float = 0.0
    f: float = 0.0

    def then(self, outer: _Matrix) -> _Matrix:
        return _Matrix(
            self.a * outer.a + self.b * outer.c,
            self.a * outer.b + self.b * outer.d,
            self.c * outer.a + self.d * outer.c,
            self.c * outer.b + self.d * outer.d,
            self.e * outer.a + self.f * outer.c + outer.e,
            self.e * outer.b + self.f * outer.d + outer.f,
        )

    def bounds(self, left: float, bottom: float, right: float, top: float) -> tuple[float, float, float, float]:
        """Left, bottom, right, top of a rectangle behind this matrix."""
        xs = [self.a * x + self.c * y + self.e for x in (left, right) for y in (bottom, top)]
        ys = [self.b * x + self.d * y + self.f for x in (left, right) for y in (bottom, top)]
        return min(xs), min(ys), max(xs), max(ys)
