"""Whether the Brain is kept busy: the share of the time that its slots spend reading pages while a backlog waits.

Pages are drawn and passages embedded beside it.
"""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import Sequence

import httpx

from bench.bed import Bed
from bench.page_images import page_sheet
from bench.rounds import spread
from bench.rows import Row
from tests.local_stack import unique_course

SLOTS = 4
#: One more material than the Brain has slots: while one ends and the next is opened, the slot has another's page.
MATERIALS_AT_ONCE = SLOTS + 1
LATENCY, EMBED_LATENCY = 0.5, 0.02
LEAST = 0.98
BOOK_PAGES = 24
#: Seconds: until the number of calls at once has found its level, and what is looked at after that.
WARM_UP, WINDOW, WINDOWS = 14.0, 4.0, 5
CALL_SECONDS = 10.0


def book() -> bytes:
    """A PDF of scanned pages, each another picture."""
    pages = [page_sheet() for _ in range(BOOK_PAGES)]
    pdf = io.BytesIO()
    pages[0].save(pdf, "PDF", save_all=True, append_images=pages[1:], resolution=100)
    return pdf.getvalue()


def busy_share(calls: Sequence[tuple[str, float, float]], since: float, until: float) -> float:
    """Of SLOTS slots from `since` to `until`, which lie between the first call and the last, the share spent in reading calls."""
    reading = sum(max(0.0, min(ended, until) - max(began, since)) for kind, began, ended in calls if kind == "read")
    return reading / (SLOTS * (until - since))


async def measure(bed: Bed) -> list[Row]:
    """One row."""
    windows = bed.sized(WINDOWS, 1)
    seconds = WARM_UP + WINDOW * windows
    # What is not read in time is left: calls are told when they have ended.
    books = round(seconds / LATENCY * SLOTS / BOOK_PAGES) + MATERIALS_AT_ONCE
    script = ("--slots", str(SLOTS), "--latency", str(LATENCY), "--embed-latency", str(EMBED_LATENCY))
    settings = {"AI_BRAIN_CONCURRENCY": str(SLOTS), "PROCESSOR_SLOTS": str(MATERIALS_AT_ONCE)}
    contents = await asyncio.to_thread(lambda: [book() for _ in range(books)])
    async with bed.stack_with_brain(brain=script, environment=settings) as (stack, brain), stack.client() as client:
        course = unique_course()
        for content in contents:
            await client.upload(content, course=course, name="book.pdf")
        bed.say("the Brain reads")
        began = time.monotonic() + WARM_UP
        await asyncio.sleep(seconds + LATENCY)
        async with httpx.AsyncClient(timeout=CALL_SECONDS) as http:
            calls = (await http.get(f"{brain.facts['url']}/calls")).raise_for_status().json()
    shares = [busy_share(calls, began + WINDOW * each, began + WINDOW * (each + 1)) for each in range(windows)]
    seen = spread(shares)
    embedded = sum(kind == "embed" and began <= started for kind, started, _ in calls)
    return [
        Row(
            f"time of the Brain's {SLOTS} slots spent reading, with a backlog",
            seen.median,
            "of the time",
            LEAST,
            spread=seen,
            shown=f"{seen.median:.1%}",
            details={"shares": shares, "embedded_meanwhile": embedded},
        )
    ]
