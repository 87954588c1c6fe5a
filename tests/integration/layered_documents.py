"""PDFs with a text layer, made from known text, so that what is read out of them can be held against it."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import pypdfium2
from fpdf import FPDF
from PIL import Image

#: A font with letters beyond Latin-1; on machines without it the tests that need it are left out.
WIDE_FONT = Path("/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf")

ENGLISH = (
    "Glaciers form where more snow falls than melts, year after year. The weight of new layers presses the older ones into ice, and the ice "
    "begins to flow. It carries rock with it, grinds the valley floor, and leaves moraines where it ends.",
    "A well-known example is the Aletsch glacier, which has lost more than 3.2 km of its length since 1870 (about 40 m per year in the last "
    "decade). Measurements are made with GPS, radar and laser altimetry; their uncertainty is about ±0.5 %.",
    "Meltwater reaches the bed through crevasses and moulins. There it lubricates the motion, so that velocity peaks in early summer and falls "
    "once efficient channels have opened. See Section 4.2 for the equations, and Table 1 for typical values.",
)
GERMAN = (
    "Gletscher entstehen, wo über viele Jahre mehr Schnee fällt, als schmilzt. Das Gewicht der neuen Schichten preßt die älteren zu Eis; "
    "größere Flächen fließen talwärts und hobeln dabei den Untergrund ab. Übrig bleiben Moränen.",
)
SPANISH = (
    "Los glaciares se forman donde cada año cae más nieve de la que se derrite. ¿Qué ocurre después? El peso de las capas nuevas comprime las "
    "más antiguas; el hielo empieza a fluir y arrastra rocas del tamaño de un camión.",
)
FRENCH = (
    "Là où il tombe plus de neige qu'il n'en fond, naît un glacier ; sa masse s'écoule à l'œil nu très lentement. L'été, l'eau de fonte pénètre "
    "jusqu'au lit : « la vitesse augmente », note un élève à Noël.",
)


def words(text: str) -> str:
    """The text without its line ends: where a line is broken is the layout's, not the author's."""
    return re.sub(r"\s+", " ", text).strip()


def new_page(font: str = "helvetica", size: float = 11) -> FPDF:
    pdf = FPDF(unit="pt", format="A4")
    pdf.add_page()
    if font == "wide":
        pdf.add_font("wide", "", WIDE_FONT)
    pdf.set_font(font, size=size)
    return pdf


def written(pdf: FPDF, text: str, *, style: str = "", size: float = 11, align: str = "J") -> None:
    """`text` as a paragraph, with some room below."""
    pdf.set_font(style=style, size=size)
    pdf.multi_cell(0, size * 1.25, text=text, align=align, new_x="LMARGIN", new_y="NEXT")
    pdf.ln(size * 0.7)


def chapter(paragraphs: Sequence[str], *, font: str = "helvetica", size: float = 11, align: str = "J") -> bytes:
    """A title, and paragraphs below it."""
    pdf = new_page(font, size)
    written(pdf, "1 Glaciers and Climate", style="" if font == "wide" else "B", size=size * 1.5, align="L")
    for paragraph in paragraphs:
        written(pdf, paragraph, size=size, align=align)
    return bytes(pdf.output())


def columns(title: str, paragraphs: Iterable[str], *, font: str, size: float, gutter: float) -> bytes:
    """A title over the page, and two columns."""
    pdf = new_page(font, size)
    pdf.set_font(style="B", size=18)
    pdf.cell(0, text=title, align="C", new_x="LMARGIN", new_y="NEXT")
    pdf.ln(10)
    pdf.set_font(style="", size=size)
    with pdf.text_columns(ncols=2, gutter=gutter, text_align="J", line_height=1.2) as both:
        for text in paragraphs:
            with both.paragraph(bottom_margin=size * 0.6) as paragraph:
                paragraph.write(text)
    return bytes(pdf.output())


def table(before: str, rows: Sequence[Sequence[str]], after: str) -> bytes:
    """A ruled table between two paragraphs; its cells are broken where they are too long."""
    pdf = new_page()
    written(pdf, before)
    with pdf.table() as drawn:
        for cells in rows:
            row = drawn.row()
            for cell in cells:
                row.cell(cell)
    pdf.ln(8)
    written(pdf, after)
    return bytes(pdf.output())


def turned(content: bytes, degrees: int) -> bytes:
    """The first page shown turned, by its own entry."""
    document = pypdfium2.PdfDocument(content)
    document[0].set_rotation(degrees)
    file = io.BytesIO()
    document.save(file)
    return file.getvalue()


def over_image(text: str, *, share: float, invisible: bool = False, below: bool = False) -> bytes:
    """A page of `text` and a picture over `share` of it, from the top; `below`: the text is drawn first, and so lies below the picture."""
    pdf = new_page("times", 12)

    def picture() -> None:
        height = pdf.h * share
        pdf.image(Image.effect_noise((200, 200), 60), x=0, y=0, w=pdf.w, h=height, keep_aspect_ratio=False)

    if not below:
        picture()
    with pdf.local_context(text_mode="INVISIBLE" if invisible else "FILL"):
        pdf.multi_cell(0, 15, text=text)
    if below:
        picture()
    return bytes(pdf.output())
