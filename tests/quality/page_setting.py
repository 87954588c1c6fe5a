"""Known text set as a page of a PDF, in the standard fonts (Helvetica, Times, Courier).

PDFium draws these from its own copies (Foxit Sans, Serif and Fixed), so no font of the machine is used and the pages are the
same everywhere. A page is half an A4 sheet: enough lines to have an order, few enough to be read in a second or two.
"""

from __future__ import annotations

from collections.abc import Sequence

from fpdf import FPDF
from fpdf.enums import XPos, YPos

from tests.quality.page_texts import Notes, Table

PAPER_WIDTH_MM = 180.0
PAPER_HEIGHT_MM = 150.0
MARGIN_MM = 14.0
GUTTER_MM = 8.0


def notes_pdf(notes: Notes, family: str, points: float) -> bytes:
    """One column, headed, left-aligned."""
    return columns_pdf([notes], family, points)


def columns_pdf(
    columns: Sequence[Notes],
    family: str,
    points: float,
    *,
    title: str = "",
    justified: bool = False,
    tall: bool = False,
) -> bytes:
    """Notes side by side, each with its heading, below a title across all; `tall` paper is a whole A4 sheet."""
    sheet = _sheet(297.0 if tall else PAPER_HEIGHT_MM)
    top = MARGIN_MM
    if title:
        _heading(sheet, title, family, points * 1.3)
        top = sheet.get_y() + points * 0.3
    width = (PAPER_WIDTH_MM - 2 * MARGIN_MM - GUTTER_MM * (len(columns) - 1)) / len(columns)
    for number, notes in enumerate(columns):
        edge = MARGIN_MM + number * (width + GUTTER_MM)
        sheet.set_left_margin(edge)
        sheet.set_xy(edge, top)
        _heading(sheet, notes.heading, family, points, width)
        _body(sheet, notes, family, points, width, "J" if justified else "L")
    return bytes(sheet.output())


def table_pdf(table: Table, family: str, points: float, *, ruled: bool) -> bytes:
    """A caption and a table, with lines between its cells or without."""
    sheet = _sheet(PAPER_HEIGHT_MM)
    _heading(sheet, table.caption, family, points)
    widths = [max(len(row[column]) for row in table.rows) + 3 for column in range(len(table.rows[0]))]
    unit = (PAPER_WIDTH_MM - 2 * MARGIN_MM) / sum(widths)
    for number, row in enumerate(table.rows):
        sheet.set_font(family, "B" if number == 0 else "", points)
        for width, cell in zip(widths, row, strict=True):
            sheet.cell(width * unit, points * 0.65, cell, border=int(ruled))
        sheet.ln()
    return bytes(sheet.output())


def _sheet(height: float) -> FPDF:
    sheet = FPDF(format=(PAPER_WIDTH_MM, height))
    sheet.core_fonts_encoding = "windows-1252"
    sheet.set_margin(MARGIN_MM)
    sheet.set_auto_page_break(False)
    sheet.add_page()
    return sheet


def _heading(sheet: FPDF, text: str, family: str, points: float, width: float = 0) -> None:
    sheet.set_font(family, "B", points * 1.3)
    sheet.multi_cell(width, points * 0.6, text, align="L", new_x=XPos.LMARGIN, new_y=YPos.NEXT)
    sheet.ln(points * 0.25)


def _body(sheet: FPDF, notes: Notes, family: str, points: float, width: float, align: str) -> None:
    sheet.set_font(family, "", points)
    for paragraph in notes.paragraphs:
        sheet.multi_cell(width, points * 0.45, paragraph, align=align, new_x=XPos.LMARGIN, new_y=YPos.NEXT)
        sheet.ln(points * 0.25)
    assert sheet.get_y() < sheet.h - 5, "the text runs off the page"
