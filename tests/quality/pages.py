"""The pages that reading is measured on, by kind: files of one page with the text that a perfect reader reads in them.

All but the real scans are made here, from the texts of `page_texts`, and are the same on every machine and every time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from tests.quality.page_pictures import (
    Picture,
    blurred,
    drawn,
    faded,
    jpeg_bytes,
    noisy,
    png_bytes,
    skewed,
    turned,
    two_tone,
    unevenly_lit,
)
from tests.quality.page_setting import columns_pdf, notes_pdf, table_pdf
from tests.quality.page_texts import ENGLISH, GERMAN, HYPHENATED, NOTES, SPANISH, TABLES

_PNG = "image/png"
_JPEG = "image/jpeg"
_PDF = "application/pdf"
_FAMILIES = ("Helvetica", "Times", "Courier")
_PAIRS = (ENGLISH, GERMAN, SPANISH)


@dataclass(frozen=True)
class KnownPage:
    """A file of one page, and its true text in reading order: columns one by one, tables row by row, words whole."""

    name: str
    truth: str
    data: bytes
    media_type: str


@dataclass(frozen=True)
class PageKind:
    """Pages that are alike in what makes them easy or hard. `make` takes up to a second."""

    name: str
    make: Callable[[], list[KnownPage]]


def page_kinds(samples: Path | None) -> list[PageKind]:
    """All kinds; that of real scans only where `samples` is a directory that has them."""
    kinds = [
        PageKind("text layer", _text_layers),
        PageKind("clean 300 dpi", _clean_300),
        PageKind("clean 200 dpi", partial(_clean, 200)),
        PageKind("clean 150 dpi", partial(_clean, 150)),
        PageKind("small print", _small_print),
        PageKind("skewed 1-3 degrees", partial(_skewed, (1.0, -1.7, 2.4, -3.0))),
        PageKind("skewed 4-7 degrees", partial(_skewed, (-4.2, 5.0, -6.1, 7.0))),
        PageKind("turned", _turned),
        PageKind("turned and skewed", _turned_and_skewed),
        PageKind("noise", _noisy),
        PageKind("faint or two-tone", _faint),
        PageKind("photo in uneven light", _photos),
        PageKind("columns", partial(_columns, _PNG)),
        PageKind("skewed columns", _skewed_columns),
        PageKind("hyphenated", _hyphenated),
        PageKind("dense page", _dense),
        PageKind("tables", partial(_tables, _PNG)),
        PageKind("skewed or turned tables", _skewed_tables),
    ]
    if samples is not None and (samples / "phototest.tif").is_file():
        kinds.append(PageKind("real scans", partial(_real_scans, samples)))
    return kinds


def _page(name: str, truth: str, picture: Picture) -> KnownPage:
    return KnownPage(name, truth, png_bytes(picture), _PNG)


def _text_layers() -> list[KnownPage]:
    plain = [
        KnownPage(f"{notes.language} {family}", notes.text, notes_pdf(notes, family, 11), _PDF)
        for notes, family in zip(NOTES, (*_FAMILIES, *_FAMILIES), strict=True)
    ]
    return [*plain, *_columns(_PDF), *_tables(_PDF)]


def _clean_300() -> list[KnownPage]:
    return [
        _page(f"{notes.language} {family} {points}", notes.text, drawn(notes_pdf(notes, family, points), 300))
        for notes, family, points in zip(NOTES, (*_FAMILIES, *_FAMILIES), (11, 12, 10, 14, 10, 11), strict=True)
    ]


def _clean(dpi: int) -> list[KnownPage]:
    return [
        _page(f"{notes.language} {family}", notes.text, drawn(notes_pdf(notes, family, 11), dpi))
        for notes, family in zip(NOTES[:3], ("Times", "Courier", "Helvetica"), strict=True)
    ]


def _small_print() -> list[KnownPage]:
    """Down to an x-height of some six pixels."""
    return [
        _page(f"{notes.language} {points} pt at {dpi} dpi", notes.text, drawn(notes_pdf(notes, family, points), dpi))
        for notes, family, points, dpi in (
            (ENGLISH[1], "Times", 6, 300),
            (SPANISH[1], "Helvetica", 7, 150),
            (GERMAN[0], "Times", 8, 120),
        )
    ]


def _skewed(angles: tuple[float, ...]) -> list[KnownPage]:
    return [
        _page(f"{notes.language} {degrees}", notes.text, skewed(drawn(notes_pdf(notes, family, 11), 200), degrees))
        for notes, family, degrees in zip(NOTES, (*_FAMILIES, *_FAMILIES), angles, strict=False)
    ]


def _turned() -> list[KnownPage]:
    return [
        _page(
            f"{notes.language} {90 * quarters}", notes.text, turned(drawn(notes_pdf(notes, "Times", 11), dpi), quarters)
        )
        for notes, dpi, quarters in zip(NOTES, (200, 200, 200, 300, 150), (1, 2, 3, 1, 3), strict=False)
    ]


def _turned_and_skewed() -> list[KnownPage]:
    pages = []
    for notes, quarters, degrees in zip(NOTES[3:], (1, 2, 3), (2.0, -3.5, 5.0), strict=True):
        picture = skewed(drawn(notes_pdf(notes, "Helvetica", 11), 200), degrees)
        pages.append(_page(f"{notes.language} {90 * quarters} {degrees}", notes.text, turned(picture, quarters)))
    return pages


def _noisy() -> list[KnownPage]:
    spoiled = ((18.0, 0.004), (40.0, 0.0), (12.0, 0.03))
    return [
        _page(
            f"{notes.language} spread {spread} specks {specks}",
            notes.text,
            noisy(drawn(notes_pdf(notes, family, 11), 200), seed, spread=spread, specks=specks),
        )
        for seed, (notes, family, (spread, specks)) in enumerate(zip(NOTES[:3], _FAMILIES, spoiled, strict=True))
    ]


def _faint() -> list[KnownPage]:
    grey = noisy(faded(drawn(notes_pdf(ENGLISH[0], "Times", 11), 200), ink=165, paper=225), 5, spread=5.0)
    fax = two_tone(blurred(drawn(notes_pdf(SPANISH[0], "Helvetica", 11), 150), 0.7))
    slide = faded(drawn(notes_pdf(GERMAN[1], "Helvetica", 13), 150), ink=240, paper=40)
    return [
        _page("en faint", ENGLISH[0].text, grey),
        _page("es two-tone", SPANISH[0].text, fax),
        _page("de light on dark", GERMAN[1].text, slide),
    ]


def _photos() -> list[KnownPage]:
    pages = []
    for seed, (notes, degrees, radius, quality) in enumerate(
        zip(NOTES[3:], (1.2, -2.0, 0.6), (1.2, 2.0, 1.6), (40, 45, 15), strict=True)
    ):
        picture = skewed(drawn(notes_pdf(notes, "Times", 12), 200), degrees)
        picture = noisy(unevenly_lit(blurred(picture, radius)), seed, spread=6.0)
        name = f"{notes.language} blur {radius} quality {quality}"
        pages.append(KnownPage(name, notes.text, jpeg_bytes(picture, quality), _JPEG))
    return pages


def _columns(media_type: str) -> list[KnownPage]:
    """Two columns in each language, one of the pages below a title; and three."""
    pages = []
    for pair, family, points, title in zip(
        _PAIRS, _FAMILIES, (8.5, 9.5, 7), ("", "Wiederholung zum Abitur: Biologie und Stochastik", ""), strict=True
    ):
        truth = "\n\n".join([*([title] if title else []), *(notes.text for notes in pair)])
        pdf = columns_pdf(pair, family, points, title=title)
        pages.append(_set(media_type, f"{pair[0].language} {family}", truth, pdf))
    three = (GERMAN[0], SPANISH[1], ENGLISH[1])
    pdf = columns_pdf(three, "Times", 7.5)
    return [*pages, _set(media_type, "three columns", "\n\n".join(notes.text for notes in three), pdf)]


def _skewed_columns() -> list[KnownPage]:
    return [
        _page(
            f"{pair[0].language} {degrees} {90 * quarters}",
            "\n\n".join(notes.text for notes in pair),
            turned(skewed(drawn(columns_pdf(pair, family, 8.5), 250), degrees), quarters),
        )
        for pair, family, degrees, quarters in zip(
            _PAIRS, ("Times", "Times", "Helvetica"), (2.5, -5.0, 3.0), (0, 0, 1), strict=True
        )
    ]


def _hyphenated() -> list[KnownPage]:
    pages = []
    for notes, family in zip(HYPHENATED, ("Times", "Helvetica"), strict=True):
        pdf = columns_pdf([notes, notes], family, 10, justified=True)
        pages.append(_page(f"{notes.language} {family}", f"{notes.text}\n\n{notes.text}", drawn(pdf, 200)))
    return pages


def _dense() -> list[KnownPage]:
    """A whole A4 sheet of small print at 300 dpi: what a page may cost."""
    sides = [replace(pair[0], paragraphs=(*pair[0].paragraphs, *pair[1].paragraphs)) for pair in (ENGLISH, SPANISH)]
    pdf = columns_pdf(sides, "Times", 9.5, tall=True)
    return [_page("A4", "\n\n".join(side.text for side in sides), drawn(pdf, 300))]


def _tables(media_type: str) -> list[KnownPage]:
    return [
        _set(media_type, f"{table.language} {family}", table.text, table_pdf(table, family, 10, ruled=ruled))
        for table, family, ruled in zip(
            TABLES, ("Helvetica", "Times", "Helvetica", "Times"), (True, False, False, False), strict=True
        )
    ]


def _skewed_tables() -> list[KnownPage]:
    return [
        _page(
            f"{table.language} {degrees} {90 * quarters}",
            table.text,
            turned(skewed(drawn(table_pdf(table, "Times", 10, ruled=ruled), 200), degrees), quarters),
        )
        for table, ruled, degrees, quarters in zip(
            TABLES, (True, False, True, False), (2.0, -4.0, 0.0, 1.5), (0, 0, 3, 0), strict=True
        )
    ]


def _set(media_type: str, name: str, truth: str, pdf: bytes) -> KnownPage:
    return KnownPage(name, truth, pdf, _PDF) if media_type == _PDF else _page(name, truth, drawn(pdf, 300))


def _real_scans(samples: Path) -> list[KnownPage]:
    files = (
        ("phototest.tif", "phototest.txt", "image/tiff"),
        ("phototest-rotated-180.png", "phototest.txt", _PNG),
        ("eurotext.tif", "eurotext.txt", "image/tiff"),
    )
    return [
        KnownPage(name, (samples / truth).read_text(encoding="utf-8"), (samples / name).read_bytes(), media_type)
        for name, truth, media_type in files
    ]
