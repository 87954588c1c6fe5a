"""Documents for the page's tests."""

from __future__ import annotations

from fpdf import FPDF

MITOSIS = "Mitosis makes two cells of one. Before it begins, the chromosomes are copied, so that each daughter cell receives a complete set."
MEIOSIS = (
    "Meiosis makes egg and sperm cells. It halves the number of chromosomes, and crossing over is why siblings differ."
)
LIGHT = "Photosynthesis turns light into sugar. In the light reactions water is split and oxygen is released."


def pdf(*pages: str, password: str = "") -> bytes:
    """A PDF with one small page for each text: quickly read."""
    document = FPDF(format=(120, 60))
    document.set_font("Helvetica", size=11)
    if password:
        document.set_encryption(owner_password="owner", user_password=password)
    for text in pages:
        document.add_page()
        document.multi_cell(0, 6, text)
    return bytes(document.output())
