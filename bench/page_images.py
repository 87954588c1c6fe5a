"""Pictures of one page, no two of the same bytes: what was read before is not read again, and would not be measured."""

from __future__ import annotations

import io
import random
from functools import cache

from PIL import Image, ImageDraw, ImageFont

from bench.scripted_brain import SENTENCES

SIZE = (800, 600)
MARGIN, LINE_HEIGHT, FONT_SIZE = 40, 26, 15
LINES, WORDS_A_LINE = 20, 11


@cache
def _sheet() -> Image.Image:
    """A gray page of 20 lines of print."""
    sheet = Image.new("L", SIZE, 255)
    drawing, font = ImageDraw.Draw(sheet), ImageFont.load_default(FONT_SIZE)
    words = " ".join(SENTENCES).split() * 4
    for line in range(LINES):
        text = " ".join(words[line * WORDS_A_LINE : (line + 1) * WORDS_A_LINE])
        drawing.text((MARGIN, MARGIN + line * LINE_HEIGHT), text, fill=0, font=font)
    return sheet


def page_sheet() -> Image.Image:
    """A page of 800 x 600 pixels with a number of its own in its first line."""
    page = _sheet().copy()
    ImageDraw.Draw(page).text((MARGIN, 12), f"Page {random.getrandbits(64):020d}", fill=0)
    return page


def page_png() -> bytes:
    """The same as a PNG."""
    png = io.BytesIO()
    page_sheet().save(png, "PNG")
    return png.getvalue()
