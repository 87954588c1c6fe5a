"""What a page costs when a material has 1,000 of them, and what an upload costs when 10,000 are there: the same as the first ones.

Costs are computing time of the services, Postgres and NATS. Of pages the marginal cost is compared, what 900 more pages cost beside what 90 more cost, so that
what every material costs once counts for neither. Uploads are taken while processing is paused: all of them are unfinished, which is the worst case for
whatever looks through what waits.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from statistics import median

from materials.v1 import material_pb2, status_service_pb2

from bench.bed import Bed
from bench.paged_documents import picture_pdf, text_pdf
from bench.processes import spending
from bench.rounds import interleaved, spread
from bench.rows import Row
from bench.sampling import MemoryOverTime, memory_over_time
from bench.series import marginal, thinned
from tests.local_stack import Client, LocalStack, unique_course

PARTS = ("ingest", "status", "processor", "postgres", "nats")
MOST_GROWTH = 1.5
MOST_MEMORY = 1.1
SMALL_ROUNDS = 3
READING_SECONDS = 120.0
CALL_SECONDS = 10.0
UPLOAD_BYTES = 16 * 1024
#: Owners take turns: none may have more than 1,000 materials unfinished.
OWNERS = 16
UPLOADS_AT_ONCE = 16
#: Uploads that are measured together, one after the other.
WINDOWS, QUICK_WINDOWS = (250, 250, 500, 1000, 2000, 3000, 3000), (250, 250)
COURSE = "course-growth"


@dataclass(frozen=True)
class Cost:
    """Of one material, from its upload to its end: milliseconds of computing time, and of time."""

    cpu_ms: float
    wall_ms: float


async def measure(bed: Bed) -> list[Row]:
    """Rows of pages, of memory over the longest material, and of uploads."""
    async with AsyncExitStack() as exits:
        stack, _ = await exits.enter_async_context(bed.stack_with_brain())
        client = await exits.enter_async_context(stack.client())
        return [*await _pages(bed, stack, client), await _uploads(bed, stack, client)]


async def _pages(bed: Bed, stack: LocalStack, client: Client) -> list[Row]:
    small, most = (10, bed.sized(100, 50)), bed.sized(1000, 200)
    contestants = {pages: partial(_read, stack, client, pages) for pages in small}
    costs = await interleaved(
        {str(pages): read for pages, read in contestants.items()},
        bed.sized(SMALL_ROUNDS, 1),
        order=bed.order,
        say=bed.say,
    )
    bed.say(f"a material of {most} pages")
    async with memory_over_time({"processor": stack.current()["pids"]["processor"]}) as memory:
        long = await _read(stack, client, most)
    born_digital = bed.sized(300, 50)
    bed.say(f"a material of {born_digital} pages with texts of their own")
    texts = await _read(stack, client, born_digital, own_texts=True)

    few, many = (costs[str(pages)] for pages in small)
    first = [(some.cpu_ms - one.cpu_ms) / (small[1] - small[0]) for one, some in zip(few, many, strict=True)]
    last = (long.cpu_ms - median(each.cpu_ms for each in many)) / (most - small[1])
    whole = [(pages, median(each.cpu_ms for each in costs[str(pages)])) for pages in small] + [(most, long.cpu_ms)]
    compared = spread([last / each for each in first])
    fixed = whole[0][1] - small[0] * median(first)
    return [
        Row(
            f"a page of {most:,} beside one of {small[1]}, marginal",
            compared.median,
            "×",
            MOST_GROWTH,
            better="lower",
            spread=compared,
            shown=f"{last:.1f} ms CPU beside {median(first):.1f} ms; {long.wall_ms / most:.0f} ms each",
            details={
                "growth": {
                    "each further page": [list(point) for point in marginal(whole)],
                    "all pages, what a material costs once included": [[pages, cost / pages] for pages, cost in whole],
                },
                "growth_of": "pages of a material",
                "growth_unit": "CPU ms a page",
                "wall_ms_a_page": {str(most): long.wall_ms / most, "10": median(each.wall_ms for each in few) / 10},
                "note": f"What a material costs once is {max(0.0, fixed):.0f} ms of computing time.",
            },
        ),
        Row(
            f"a page that has its own text, of {born_digital:,}",
            texts.cpu_ms / born_digital,
            "CPU ms",
            shown=f"{texts.wall_ms / born_digital:.0f} ms each",
        ),
        _memory_row(memory, most),
    ]


def _memory_row(memory: MemoryOverTime, pages: int) -> Row:
    """The last fifth beside the second: in the first the rendering child is being started."""
    held = [mib for _, mib in memory["processor"]]
    fifth = max(1, len(held) // 5)
    early, late = median(held[fifth : 2 * fifth] or held), median(held[-fifth:])
    return Row(
        f"processor's memory at the end of {pages:,} pages beside the beginning",
        late / early,
        "×",
        MOST_MEMORY,
        better="lower",
        shown=f"{late:.0f} MiB, {early:.0f} MiB at first, with the rendering child",
        details={"memory_mib": {"processor": thinned(memory["processor"])}},
    )


async def _read(stack: LocalStack, client: Client, pages: int, *, own_texts: bool = False) -> Cost:
    """Raises RuntimeError when not every page was read."""
    document = (text_pdf if own_texts else picture_pdf)(pages)
    began = time.monotonic()
    with spending(_pids(stack)) as spent:
        material = await client.upload(document, course=unique_course(), name="book.pdf")
        states = await client.watch_to_end(material.id, seconds=READING_SECONDS)
        seconds = time.monotonic() - began
    ended = states[-1]
    if ended.processing_status != material_pb2.PROCESSING_STATUS_COMPLETED or ended.pages_done != pages:
        raise RuntimeError(f"{ended.pages_done} of {pages} pages were read: {ended.error_message}")
    return Cost(spent.seconds * 1000, seconds * 1000)


async def _uploads(bed: Bed, stack: LocalStack, client: Client) -> Row:
    windows = QUICK_WINDOWS if bed.quick else WINDOWS
    await client.status.PauseProcessing(
        status_service_pb2.PauseProcessingRequest(), metadata=client.metadata, timeout=CALL_SECONDS
    )
    # Operators, so that the calls a second of one owner are not what is measured.
    tokens = [stack.user_token(f"owner-{n}", {COURSE: "editor"}, operator=True) for n in range(OWNERS)]
    await _upload(bed, stack, tokens, windows[0])
    uploaded, costs = 0, []
    for count in windows:
        bed.say(f"uploads {uploaded + 1:,} to {uploaded + count:,}")
        costs.append([uploaded + count, await _upload(bed, stack, tokens, count)])
        uploaded += count
    first, last = costs[0][1], costs[-1][1]
    return Row(
        f"the {uploaded:,}th upload beside the first, with all of them waiting",
        last / first,
        "×",
        MOST_GROWTH,
        better="lower",
        shown=f"{last:.2f} ms CPU, {first:.2f} ms at first",
        details={"growth": costs, "growth_of": "uploads so far", "growth_unit": "CPU ms an upload"},
    )


async def _upload(bed: Bed, stack: LocalStack, tokens: Sequence[str], count: int) -> float:
    """Milliseconds of computing time an upload. Raises RuntimeError when one has failed."""
    identities = [argument for token in tokens for argument in ("--token", token)]
    arguments = (
        *("-m", "bench.upload_clients", "grpc", "--target", stack.facts["ingest"], *identities, "--course", COURSE),
        *("--count", str(count), "--concurrency", str(UPLOADS_AT_ONCE), "--bytes", str(UPLOAD_BYTES)),
    )
    with spending(_pids(stack)) as spent:
        async with bed.child(*arguments) as clients:
            if clients.facts["failed"]:
                raise RuntimeError(clients.facts["failure"])
    return spent.seconds * 1000 / (count + UPLOADS_AT_ONCE)


def _pids(stack: LocalStack) -> list[int]:
    pids = stack.current()["pids"]
    return [pids[part] for part in PARTS]
