"""Measures how well pages are read, on the way that an upload's pages go: the processor's renderer, then the local Brain over HTTP.

The renderer runs in its child process, as in the service, and gives a page's text layer or its picture; the Brain is a
process of its own. `python -m tests.quality.page_quality [KIND ...]` prints the pages' rates; with `--reader-alone` pictures go
to the Brain's reader in this process and nothing else takes part, which is what to use while changing the reader.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from threading import Event

import httpx

from processor_service.documents.rendering import DocumentRenderer
from tests.quality.error_rates import character_error_rate, word_error_rate
from tests.quality.pages import KnownPage, PageKind, page_kinds
from tests.quality.rows import Row


@dataclass(frozen=True)
class Floor:
    """The worst mean rates of a kind that pass: wrong characters for each true one, and wrong words for each true one."""

    characters: float
    words: float


@dataclass(frozen=True)
class ReadPage:
    """One page's rates, and the seconds that it took."""

    name: str
    characters: float
    words: float
    seconds: float


# Users may rely on 1 % of the characters on clean pages at 300 dpi, 2 % on skewed or turned ones, 0.1 % where there is a text
# layer. The other floors are what is reached (0 to 0.2 %) with room for what another processor's arithmetic reads differently.
FLOORS = {
    "text layer": Floor(0.001, 0.005),
    "clean 300 dpi": Floor(0.01, 0.03),
    "clean 200 dpi": Floor(0.005, 0.02),
    "clean 150 dpi": Floor(0.005, 0.02),
    "small print": Floor(0.005, 0.02),
    "skewed 1-3 degrees": Floor(0.02, 0.04),
    "skewed 4-7 degrees": Floor(0.02, 0.04),
    "turned": Floor(0.02, 0.04),
    "turned and skewed": Floor(0.02, 0.04),
    "noise": Floor(0.005, 0.02),
    "faint or two-tone": Floor(0.01, 0.04),
    "photo in uneven light": Floor(0.005, 0.03),
    "columns": Floor(0.004, 0.015),
    "skewed columns": Floor(0.005, 0.02),
    "hyphenated": Floor(0.005, 0.02),
    "dense page": Floor(0.004, 0.015),
    "tables": Floor(0.004, 0.015),
    "skewed or turned tables": Floor(0.005, 0.02),
    "real scans": Floor(0.005, 0.02),
}

ReadText = Callable[[KnownPage], Awaitable[str]]


def page_rows(samples: Path | None) -> list[Row]:
    """The rows of all kinds, in about two minutes on two cores; real scans only where `samples` has them."""

    async def measure() -> list[Row]:
        with tempfile.TemporaryDirectory(prefix="page-quality-") as work:
            return await _by_processor_and_brain(Path(work), page_kinds(samples))

    return asyncio.run(measure())


async def _by_processor_and_brain(work: Path, kinds: Sequence[PageKind], *, shown: bool = False) -> list[Row]:
    from tests.contract.started_brain import started_brain

    with started_brain(work / "brain.log") as (_, started):
        async with httpx.AsyncClient(base_url=started.base_url, timeout=120, trust_env=False) as brain:

            async def read(page: KnownPage) -> str:
                file = work / "page"
                file.write_bytes(page.data)
                async with DocumentRenderer() as renderer:
                    await renderer.open(file, page.media_type)
                    rendered = await renderer.render(0)
                if rendered.text is not None:
                    return rendered.text
                assert rendered.png is not None
                files = {"image": ("page.png", rendered.png, "image/png")}
                reply = await brain.post("/router", data={"prompt": "Extract all text"}, files=files)
                reply.raise_for_status()
                return str(reply.json()["response"])

            return await _rows(kinds, read, shown=shown)


async def _rows(kinds: Sequence[PageKind], read: ReadText, *, shown: bool) -> list[Row]:
    rows = []
    for kind in kinds:
        pages = [await _measured(page, read) for page in kind.make()]
        if shown:
            print(kind.name)
            for page in pages:
                print(f"    {page.characters:7.2%} {page.words:7.2%} {page.seconds:5.1f} s  {page.name}")
        floor = FLOORS[kind.name]
        rows += [
            Row("pages", kind.name, "CER", fmean(page.characters for page in pages), len(pages), floor.characters),
            Row("pages", kind.name, "WER", fmean(page.words for page in pages), len(pages), floor.words),
            Row("pages", kind.name, "seconds a page", fmean(page.seconds for page in pages), len(pages)),
        ]
    return rows


async def _measured(page: KnownPage, read: ReadText) -> ReadPage:
    started = time.perf_counter()
    text = await read(page)
    seconds = time.perf_counter() - started
    return ReadPage(page.name, character_error_rate(page.truth, text), word_error_rate(page.truth, text), seconds)


async def _by_reader_alone(kinds: Sequence[PageKind]) -> list[Row]:
    from local_brain.documents import document_text
    from local_brain.reading import PageReader

    reader = PageReader(threads=2)
    reader.warm_up()

    async def read(page: KnownPage) -> str:
        return document_text(page.data, pdf=page.media_type == "application/pdf", read=reader.read, abandoned=Event())

    return await _rows(kinds, read, shown=True)


def _main() -> None:
    from tests.conftest import SAMPLES

    parser = argparse.ArgumentParser(
        prog="python -m tests.quality.page_quality", description="Rates of reading, page by page."
    )
    parser.add_argument("kinds", nargs="*", help="kinds of pages, all when none is named")
    parser.add_argument(
        "--reader-alone", action="store_true", help="without the processor and without a process of the Brain"
    )
    chosen = parser.parse_args()
    kinds = [kind for kind in page_kinds(SAMPLES) if not chosen.kinds or kind.name in chosen.kinds]
    if chosen.reader_alone:
        rows = asyncio.run(_by_reader_alone(kinds))
    else:
        with tempfile.TemporaryDirectory(prefix="page-quality-") as work:
            rows = asyncio.run(_by_processor_and_brain(Path(work), kinds, shown=True))
    for row in rows:
        floor = "" if row.floor is None else f"floor {row.floor:.4f}{'' if row.met else '  NOT MET'}"
        print(f"{row.name:24} {row.measure:15} {row.value:8.4f}  of {row.count:2}  {floor}")


if __name__ == "__main__":
    _main()
