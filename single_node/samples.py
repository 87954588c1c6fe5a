"""The demo's documents, made on the spot from `sample_text.md`: a born-digital PDF and a page like a scan.

The same text gives the same bytes every time, with the same versions of fpdf2 and Pillow, so a repeated demo uploads the
same files.
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path

import numpy as np
from fpdf import FPDF
from PIL import Image, ImageDraw, ImageFont

SCAN_DPI = 200
# A4 at 200 DPI, pixels.
_SCAN_SIZE = (1654, 2339)
_PAPER, _INK = 238, 42
_SCAN_TILT_DEGREES = 0.6
_NOISE_DEVIATION = 7.0


@dataclass(frozen=True)
class Sample:
    """A document, and a question that a search by meaning should find the answer to on `expected_page` (from 1).

    The passage found holds one of `expected_words` at least, in lower case; the question holds none of them. `asked` is a question that a sentence of that
    page answers.
    """

    path: Path
    title: str
    question: str
    asked: str
    expected_page: int
    expected_words: tuple[str, ...]


def write_samples(directory: Path) -> list[Sample]:
    """Writes the documents into `directory`, which is made if need be, and replaces those of an earlier run."""
    directory.mkdir(parents=True, exist_ok=True)
    photosynthesis, respiration, bayes = _pages()
    biology = directory / "energy-in-living-cells.pdf"
    _write_pdf(biology, "Energy in living cells", [photosynthesis, respiration])
    scan = directory / "bayes-theorem-scan.png"
    _write_scan(scan, bayes)
    return [
        Sample(
            path=biology,
            title="Energy in living cells",
            question="What happens in tired muscles during a sprint when there is not enough air?",
            asked="How many molecules of ATP does glucose yield without oxygen?",
            expected_page=2,
            expected_words=("lactate", "fermentation"),
        ),
        Sample(
            path=scan,
            title="Bayes' theorem (scan)",
            question="Why is someone whose medical screening came back abnormal probably still in good health?",
            asked="How likely is it that a person who tests positive is ill?",
            expected_page=1,
            expected_words=("positive", "base rate", "false alarm"),
        ),
    ]


def _pages() -> list[str]:
    text = (files("single_node") / "sample_text.md").read_text(encoding="utf-8")
    return [page.strip() for page in text.split("\n---\n")]


def _write_pdf(path: Path, title: str, pages: list[str]) -> None:
    pdf = FPDF(format="A4")
    pdf.creation_date = datetime(2025, 1, 1, tzinfo=UTC)
    pdf.set_title(title)
    pdf.set_margins(22, 20)
    pdf.set_auto_page_break(auto=False)
    for page in pages:
        pdf.add_page()
        for block in page.split("\n\n"):
            hashes, _, heading = block.partition(" ")
            if hashes in {"#", "##"}:
                pdf.set_font("Helvetica", style="B", size=18 if hashes == "#" else 13)
                pdf.multi_cell(0, 9, heading, align="L", new_x="LMARGIN", new_y="NEXT")
            else:
                pdf.set_font("Helvetica", size=11)
                pdf.multi_cell(0, 5.6, block, align="L", new_x="LMARGIN", new_y="NEXT")
            pdf.ln(3)
    pdf.output(str(path))


def _write_scan(path: Path, text: str) -> None:
    """Draws the page, then does what a scanner does: grey paper, uneven light, a slight tilt, noise."""
    page = Image.new("L", _SCAN_SIZE, _PAPER)
    draw = ImageDraw.Draw(page)
    margin, y = 190, 210
    for block in text.split("\n\n"):
        hashes, _, heading = block.partition(" ")
        size = {"#": 56, "##": 42}.get(hashes, 33)
        body = heading if hashes in {"#", "##"} else block
        font = ImageFont.load_default(size)
        columns = int((_SCAN_SIZE[0] - 2 * margin) / (font.getlength(body) / len(body)))
        for line in textwrap.wrap(body, columns):
            draw.text((margin, y), line, fill=_INK, font=font)
            y += round(1.4 * size)
        y += size
    page = page.rotate(_SCAN_TILT_DEGREES, resample=Image.Resampling.BICUBIC, fillcolor=_PAPER)
    grey = np.asarray(page, dtype=np.float64)
    light = np.linspace(1.0, 0.93, grey.shape[1])  # darker towards the right, as next to a book's spine
    noise = np.random.default_rng(seed=1763).normal(scale=_NOISE_DEVIATION, size=grey.shape)
    scan = np.clip(grey * light + noise, 0, 255).astype(np.uint8)
    Image.fromarray(scan).save(path, dpi=(SCAN_DPI, SCAN_DPI))
