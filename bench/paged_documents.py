"""PDFs of many small pages, no two documents of the same bytes: pictures that the Brain has to read, or pages with a text of their own."""

from __future__ import annotations

import io
import random
from collections.abc import Iterator

from fpdf import FPDF
from PIL import Image, ImageDraw, ImageFont

from bench.scripted_brain import SENTENCES

#: Of a picture, in pixels; the page is 2 x 1.5 inches, so that drawing it costs little beside what is around it.
WIDTH, HEIGHT, DPI = 300, 225, 150
LINES_A_PAGE = 16


def picture_pdf(pages: int) -> bytes:
    """A PDF without any text layer: each page a picture of two lines, and the Brain is asked about every one."""
    mark, font = random.getrandbits(64), ImageFont.load_default(18)

    def drawn() -> Iterator[Image.Image]:
        for number in range(1, pages + 1):
            page = Image.new("L", (WIDTH, HEIGHT), 250)
            drawing = ImageDraw.Draw(page)
            drawing.text((20, 40), f"Page {number}", fill=20, font=font)
            drawing.text((20, 100), f"of {mark:020d}", fill=20, font=font)
            yield page

    frames, file = drawn(), io.BytesIO()
    next(frames).save(file, "PDF", resolution=DPI, save_all=True, append_images=frames)
    return file.getvalue()


def text_pdf(pages: int) -> bytes:
    """A born-digital PDF: each page has a good text of its own, and the Brain is asked for embeddings only."""
    mark, pdf = random.getrandbits(64), FPDF(unit="pt", format=(420, 330))
    pdf.set_font("Helvetica", size=10)
    for number in range(1, pages + 1):
        pdf.add_page()
        for line in range(LINES_A_PAGE):
            sentence = SENTENCES[(number + line) % len(SENTENCES)]
            pdf.text(
                20, 24 + line * 18, f"{sentence} ({number}.{line})" if line else f"Chapter {number} of {mark:020d}"
            )
    return bytes(pdf.output())
