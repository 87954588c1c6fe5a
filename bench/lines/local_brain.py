"""Pages a minute with the real local Brain: a made scan at 300 dpi, from its upload until it can be found."""

from __future__ import annotations

import io
import random
import time
from contextlib import AsyncExitStack

from materials.v1 import material_pb2
from PIL import Image

from bench.bed import Bed
from bench.processes import spending
from bench.rows import Row
from tests.local_stack import unique_course
from tests.quality.page_pictures import drawn
from tests.quality.page_setting import notes_pdf
from tests.quality.page_texts import NOTES

DPI, POINTS = 300, 11
FAMILIES = ("Helvetica", "Times", "Courier")
READING_SECONDS = 180.0


def scanned_pdf(pages: int) -> bytes:
    """So many pages of print as pictures without a text layer; no two documents are of the same bytes, since one pixel of each page is random."""
    sheets = []
    for number in range(pages):
        picture = drawn(notes_pdf(NOTES[number % len(NOTES)], FAMILIES[number % len(FAMILIES)], POINTS), DPI)
        picture[random.randrange(20), random.randrange(picture.shape[1])] = random.randrange(250)
        sheets.append(Image.fromarray(picture))
    file = io.BytesIO()
    sheets[0].save(file, "PDF", resolution=DPI, save_all=True, append_images=sheets[1:], quality=90)
    return file.getvalue()


async def measure(bed: Bed) -> list[Row]:
    """One row, without a target. Raises RuntimeError when not every page was read."""
    pages = bed.sized(12, 3)
    async with AsyncExitStack() as exits:
        stack = await exits.enter_async_context(bed.stack())
        client = await exits.enter_async_context(stack.client())
        course, pids = unique_course(), stack.current()["pids"]
        bed.say("the Brain reads its first page")
        first = await client.upload(scanned_pdf(1), course=course, name="scan.pdf")
        await client.watch_to_end(first.id, seconds=READING_SECONDS)
        document = scanned_pdf(pages)
        bed.say(f"the Brain reads {pages} pages")
        began = time.monotonic()
        with spending([pids["brain"]]) as brain, spending([pids["processor"]]) as processor:
            material = await client.upload(document, course=course, name="scan.pdf")
            ended = (await client.watch_to_end(material.id, seconds=READING_SECONDS))[-1]
            seconds = time.monotonic() - began
    if ended.processing_status != material_pb2.PROCESSING_STATUS_COMPLETED or ended.pages_done != pages:
        raise RuntimeError(f"{ended.pages_done} of {pages} pages were read: {ended.error_message}")
    return [
        Row(
            "pages of print at 300 dpi read by the local Brain",
            pages * 60 / seconds,
            "pages/min",
            shown=f"{brain.seconds / pages:.2f} s CPU of the Brain a page, {processor.seconds / pages:.2f} s of the processor",
        )
    ]
