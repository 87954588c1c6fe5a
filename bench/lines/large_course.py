"""A course of 100,000 materials beside one of 1,000: listing, watching, adding to it and searching it cost the same.

Both courses are in one installation, and each thing is done in either in turn. A snapshot is the one cost that must grow, with what it shows: it is counted a
material. Both courses hold as many passages, since what those cost a search is another line's. Processing is paused, so that nothing else is going on.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial

import numpy as np
from materials.v1 import processor_service_pb2, status_service_pb2

from bench.bed import Bed
from bench.passage_rows import Course, database, fill, made_texts, vectors_around
from bench.rounds import interleaved, ratios
from bench.rows import Row
from bench.scripted_brain import DIMENSIONS
from tests.local_stack import Client

SMALL, LARGE = 1_000, 100_000
PASSAGES = 1_000
PAGE, WALKED_PAGE = 50, 1_000
QUERY_WORDS = 7
CALL_SECONDS = 60.0
#: A tree of a hundred times as many rows is a level deeper, and less of it is at hand: measured, a fiftieth. The rest is for a shared machine.
MOST_GROWTH = 1.5

Act = Callable[[], Awaitable[object]]


async def measure(bed: Bed) -> list[Row]:
    """A row for each thing that is done with a course."""
    random = np.random.default_rng(11)
    async with AsyncExitStack() as exits:
        stack, _ = await exits.enter_async_context(bed.stack_with_brain())
        client = await exits.enter_async_context(stack.client())
        connection = await exits.enter_async_context(database(stack))
        sizes = (SMALL, bed.sized(LARGE, LARGE // 5))
        courses = {size: Course(f"course-of-{size}", size, PASSAGES) for size in sizes}
        bed.say(f"writing {sum(sizes):,} materials")
        await fill(
            connection, list(courses.values()), vectors_around(np.zeros((1, DIMENSIONS), np.float32), 100, random)
        )
        pause = status_service_pb2.PauseProcessingRequest()
        await client.status.PauseProcessing(pause, metadata=client.metadata, timeout=CALL_SECONDS)
        queries = made_texts(100, random, words=QUERY_WORDS)
        rows = []
        for what, times, act in (
            ("first page of a list", (20, 20), _first_page),
            ("page in the middle of a list", (20, 20), _deep_page),
            ("upload into it", (8, 8), _upload),
            ("search in it", (8, 8), partial(_search, queries=queries)),
            # Ten seconds for the large one: once, and the small one oftener, since it is soon over.
            ("snapshot of a watch, each material of it", (1, 9), _snapshot),
        ):
            acts = {size: await act(client, course) for size, course in courses.items()}
            divisor = {size: size if act is _snapshot else 1 for size in sizes}
            measured = await interleaved(
                {str(size): partial(_seconds, acts[size], times[size == SMALL], divisor[size]) for size in sizes},
                1 if act is _snapshot else bed.rounds,
                order=bed.order,
                say=bed.say,
            )
            small, large = (measured[str(size)] for size in sizes)
            rows.append(_row(what, sizes, small, large))
        return rows


def _row(what: str, sizes: tuple[int, int], small: list[float], large: list[float]) -> Row:
    growth = ratios(large, small)
    costs = [float(np.median(each)) * 1000 for each in (small, large)]
    return Row(
        f"{what}: in a course of {sizes[1]:,} materials beside one of {sizes[0]:,}",
        growth.median,
        "×",
        MOST_GROWTH,
        better="lower",
        spread=growth,
        shown=f"{costs[1]:.3g} ms, {costs[0]:.3g} ms in the small one",
        details={
            "growth": [list(point) for point in zip(sizes, costs, strict=True)],
            "growth_of": "materials in the course",
            "growth_unit": "ms",
        },
    )


async def _seconds(act: Act, times: int, divisor: int) -> float:
    """Median of the times that it took, each for one of `divisor` parts."""
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        await act()
        taken.append(time.perf_counter() - began)
    return float(np.median(taken)) / divisor


async def _first_page(client: Client, course: Course) -> Act:
    return partial(_page, client, course, PAGE, "")


async def _deep_page(client: Client, course: Course) -> Act:
    token, seen = "", 0
    while seen < course.materials // 2:
        response = await _page(client, course, min(WALKED_PAGE, course.materials // 2), token)
        token, seen = response.next_page_token, seen + len(response.materials)
    return partial(_page, client, course, PAGE, token)


async def _page(client: Client, course: Course, size: int, token: str) -> status_service_pb2.ListMaterialsResponse:
    """Raises RuntimeError when it is not full."""
    request = status_service_pb2.ListMaterialsRequest(course_id=course.course_id, page_size=size, page_token=token)
    response = await client.status.ListMaterials(request, metadata=client.metadata, timeout=CALL_SECONDS)
    if len(response.materials) != size:
        raise RuntimeError(f"a page has {len(response.materials)} materials, not {size}")
    return response


async def _snapshot(client: Client, course: Course) -> Act:
    async def watched() -> None:
        """To the end of the snapshot. Raises RuntimeError when it misses a material."""
        request, seen = status_service_pb2.WatchCourseRequest(course_id=course.course_id), 0
        call = client.status.WatchCourse(request, metadata=client.metadata, timeout=CALL_SECONDS)
        try:
            async for response in call:
                if response.HasField("snapshot_complete"):
                    break
                seen += 1
        finally:
            call.cancel()
        if seen < course.materials:
            raise RuntimeError(f"a snapshot shows {seen} of {course.materials} materials")

    return watched


async def _upload(client: Client, course: Course) -> Act:
    return partial(client.upload, b"A short text.\n", course=course.course_id)


async def _search(client: Client, course: Course, *, queries: list[str]) -> Act:
    remaining = iter(queries * 10)

    async def search() -> None:
        request = processor_service_pb2.SearchMaterialsRequest(
            course_id=course.course_id, query=next(remaining), limit=10
        )
        response = await client.processor.SearchMaterials(request, metadata=client.metadata, timeout=CALL_SECONDS)
        if len(response.results) != 10:
            raise RuntimeError(f"a search found {len(response.results)} passages")

    return search
