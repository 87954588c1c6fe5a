"""Documents made for a test, and what the renderer makes of them."""

import io
from pathlib import Path

import pytest
from fpdf import FPDF
from PIL import Image

from processor_service.documents.rendering import DocumentError, DocumentRenderer, RenderedPage, RenderLimits

ROOT = Path(__file__).resolve().parents[2]
#: Every page of a PDF is drawn, those that have a text of their own too.
PICTURES = RenderLimits(text_layers=False)
PDF, PNG, JPEG, TIFF, WEBP = "application/pdf", "image/png", "image/jpeg", "image/tiff", "image/webp"


def pdf_of(*texts: str, size: tuple[float, float] | None = None, colour: int = 0, password: str | None = None) -> bytes:
    """A PDF of one page for each text; sizes in points, `colour` is the red of its letters."""
    pdf = FPDF(unit="pt", format=size or "A4")
    if password is not None:
        pdf.set_encryption(owner_password="owner", user_password=password)
    for text in texts:
        pdf.add_page()
        pdf.set_font("helvetica", size=24)
        pdf.set_text_color(colour, 0, 0)
        pdf.multi_cell(0, text=text)
    return bytes(pdf.output())


def image_of(form: str, image: Image.Image, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def opened(page: RenderedPage) -> Image.Image:
    assert page.text is None
    assert page.png is not None
    image = Image.open(io.BytesIO(page.png))
    image.load()
    assert image.format == "PNG"
    return image


async def first_page(path: Path, media_type: str, limits: RenderLimits | None = None) -> RenderedPage:
    async with DocumentRenderer(limits) as renderer:
        await renderer.open(path, media_type)
        return await renderer.render(0)


async def refusal(path: Path, media_type: str, limits: RenderLimits | None = None) -> DocumentError:
    with pytest.raises(DocumentError) as raised:
        await first_page(path, media_type, limits)
    return raised.value
