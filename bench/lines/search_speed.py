"""Search within a course, the Brain's embedding call apart: beside its bare SQL, what it finds of the ten nearest, and what a larger course costs.

One installation holds courses of several sizes. Searches go through SearchMaterials, one after another; the query is embedded by a scripted Brain at once, and
the mean time of that call, made by the same client in the same round, is taken off. The bare SQL says plainly what both lists of candidates are, the same 150
rows of each, on one connection with the vector in hand: without a call, an identity, a snapshot, the choice between exact and index, fusion, folding of
repeats, and the record's word on what may be seen. Nor has it the product's ways to find the same sooner, which are the product's to show.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from statistics import fmean, median

import numpy as np
from asyncpg import PostgresError
from materials.v1 import processor_service_pb2 as pb
from pgvector import HalfVector

from bench.bed import Bed
from bench.passage_rows import Connection, Course, Vectors, database, fill, made_texts
from bench.rounds import interleaved, ratios
from bench.rows import Row
from bench.scripted_brain import DIMENSIONS
from bench.series import thinned
from processor_service.brain.client import BrainClient, open_http
from processor_service.index.search_words import query_words
from processor_service.search.nearest_index import NearestIndex, index_name
from processor_service.search.search_store import NEAREST
from processor_service.search.searching import DEPTHS
from processor_service.search.words_store import COMMON_PASSAGES, HIT, WITHIN, as_query, rarities
from processor_service.settings import ProcessorSettings
from servicekit.errors import Unavailable
from tests.integration.search_index import started
from tests.local_stack import Client, LocalStack

#: Courses by their passages; the last is by far most of the index, and searched by the index of vectors.
SIZES, QUICK_SIZES = (100, 1_000, 10_000, 49_000), (100, 1_000, 10_000)
LARGE, MIDDLE, SMALL = 10_000, 1_000, 100
PASSAGES_EACH = 20
QUERY_WORDS = 7
#: Clusters that no query is of.
OTHER_CENTRES = 400
FOUND = 10
AT_ONCE = 8
CALL_SECONDS = 30.0
BUILD_SECONDS = 300.0
LEAST_OF_BARE_SQL, LEAST_RECALL, MOST_GROWTH = 0.5, 0.95, 2.0

BUILT = "SELECT 1 FROM pg_index WHERE indexrelid = to_regclass($1) AND indisvalid"
# In how many passages each word is, and the passages by what they have of the words that are not everywhere.
WORD_COUNTS = f"""
    SELECT count.passages FROM unnest($4::text[]) WITH ORDINALITY AS wanted (word, place)
    CROSS JOIN LATERAL (
        SELECT count(*) AS passages FROM (SELECT FROM passages p WHERE {WITHIN} AND p.words @@ wanted.word::tsquery LIMIT $5) AS found
    ) AS count
    ORDER BY wanted.place
"""
WORDED = f"""
    WITH matched AS (
        SELECT p.ctid AS place, sum(wanted.weight) AS coverage
        FROM unnest($5::text[], $6::float8[]) AS wanted (word, weight)
        CROSS JOIN LATERAL (SELECT p.ctid FROM passages p WHERE {WITHIN} AND p.words @@ wanted.word::tsquery) AS p
        GROUP BY p.ctid ORDER BY coverage DESC, p.ctid LIMIT greatest(1000, $7)
    )
    SELECT {HIT}, 1 - (p.embedding <=> $4) AS similarity, matched.coverage FROM matched JOIN passages p ON p.ctid = matched.place
    ORDER BY matched.coverage DESC, p.embedding <=> $4, p.material_id, p.page_number, p.ordinal LIMIT $7
"""

Search = Callable[[str], Awaitable[object]]


@dataclass(frozen=True)
class Searched:
    """What all parts of this line use. `queries` have words of the passages; `wordless` have none, so that only the vector finds anything."""

    bed: Bed
    client: Client
    brain: BrainClient
    connection: Connection
    queries: Sequence[str]
    wordless: Sequence[str]

    async def search(self, size: int, query: str) -> pb.SearchMaterialsResponse:
        """As anybody does."""
        request = pb.SearchMaterialsRequest(course_id=course_of(size), query=query, limit=FOUND)
        return await self.client.processor.SearchMaterials(request, metadata=self.client.metadata, timeout=CALL_SECONDS)


def course_of(size: int) -> str:
    """The course of so many passages."""
    return f"course-{size}"


async def measure(bed: Bed) -> list[Row]:
    """Rows of speed, recall and growth."""
    sizes = QUICK_SIZES if bed.quick else SIZES
    count, random = bed.sized(30, 12), np.random.default_rng(7)
    async with AsyncExitStack() as exits:
        stack, brain = await exits.enter_async_context(bed.stack_with_brain())
        http = await exits.enter_async_context(open_http())
        searched = Searched(
            bed,
            await exits.enter_async_context(stack.client()),
            BrainClient(http, endpoint=brain.facts["url"], embedding_dimensions=DIMENSIONS),
            await exits.enter_async_context(database(stack)),
            made_texts(count, random, words=QUERY_WORDS),
            [f"Q{number}?" for number in range(count)],
        )
        bed.say(f"writing {sum(sizes):,} passages")
        courses = [Course(course_of(size), size // PASSAGES_EACH, size, PASSAGES_EACH) for size in sizes]
        await fill(searched.connection, courses, await _centres(searched, random))
        built = await _build_index(bed, stack, max(sizes))
        return [*await _speed(searched), await _recall(searched, sizes, built)]


async def _centres(searched: Searched, random: np.random.Generator) -> Vectors:
    """Unit vectors: those of the queries, and others."""
    asked = [await searched.brain.embed(query) for query in (*searched.queries, *searched.wordless)]
    centres = np.concatenate([np.stack(asked), random.normal(size=(OTHER_CENTRES, DIMENSIONS)).astype(np.float32)])
    scaled: Vectors = centres / np.linalg.norm(centres, axis=1, keepdims=True)
    return scaled


async def _build_index(bed: Bed, stack: LocalStack, largest: int) -> float:
    """What the processor does within a minute, done now; how many seconds it took. Nothing, where even the largest course is searched without."""
    began = time.perf_counter()
    exact_passages = ProcessorSettings.model_fields["search_exact_passages"].default
    if largest <= exact_passages:
        return 0.0
    bed.say("building the index of vectors")
    async with asyncio.TaskGroup() as tasks, started(stack.facts["postgres"], tasks) as postgres:
        keeper = NearestIndex(postgres, exact_passages=exact_passages)
        async with asyncio.timeout(BUILD_SECONDS):
            # The processor may be at it, too: of two one is refused, and waits for what the other makes.
            while not await postgres.fetchrow(BUILT, f"processor.{index_name(1)}"):
                with suppress(Unavailable, PostgresError):
                    await keeper.keep()
                await asyncio.sleep(0.2)
    return time.perf_counter() - began


async def _speed(searched: Searched) -> list[Row]:
    bed, connection = searched.bed, searched.connection
    await connection.execute("SET plan_cache_mode = force_custom_plan")
    vectors = {query: HalfVector(await searched.brain.embed(query)) for query in searched.queries}

    async def all_of(search: Search) -> list[float]:
        return [await _timed(search, query) for query in searched.queries]

    async def at_once() -> list[float]:
        queries, began = iter([*searched.queries, *searched.queries]), time.perf_counter()

        async def ask() -> None:
            for query in queries:
                await searched.search(MIDDLE, query)

        await asyncio.gather(*(ask() for _ in range(AT_ONCE)))
        return [(time.perf_counter() - began) / (2 * len(searched.queries))]

    contestants = {
        **{str(size): _bound(all_of, searched, size) for size in (SMALL, MIDDLE, LARGE)},
        **{f"bare SQL, {size}": _bound_bare(all_of, connection, size, vectors) for size in (MIDDLE, LARGE)},
        "embedding": lambda: all_of(searched.brain.embed),
        "at once": at_once,
    }
    seconds = await interleaved(contestants, bed.rounds, order=bed.order, say=bed.say)
    p50 = {size: _medians_apart(seconds[str(size)], seconds["embedding"]) for size in (SMALL, MIDDLE, LARGE)}
    growth = ratios(p50[LARGE], p50[SMALL])
    return [
        *(_beside_bare_sql(size, seconds) for size in (MIDDLE, LARGE)),
        Row(
            f"p50 of a search in a course of {LARGE:,} passages beside one of {SMALL}",
            growth.median,
            "×",
            MOST_GROWTH,
            better="lower",
            spread=growth,
            shown=f"{median(p50[LARGE]) * 1000:.1f} ms, {median(p50[SMALL]) * 1000:.1f} ms, the embedding call apart",
            details={
                "growth": [[size, median(values) * 1000] for size, values in p50.items()],
                "growth_of": "passages of the course",
                "growth_unit": "ms a search",
                "latencies_ms": {
                    f"{size:,} passages": thinned(sorted(1000 * each for some in seconds[str(size)] for each in some))
                    for size in p50
                },
            },
        ),
    ]


def _beside_bare_sql(size: int, seconds: Mapping[str, Sequence[Sequence[float]]]) -> Row:
    """By the mean time of a search, since that is what a rate is made of."""
    ours, bare, embedding, at_once = (
        [fmean(each) for each in seconds[name]] for name in (str(size), f"bare SQL, {size}", "embedding", "at once")
    )
    apart = [whole - call for whole, call in zip(ours, embedding, strict=True)]
    of_bare = ratios(bare, apart)
    both = ratios([sql + call for sql, call in zip(bare, embedding, strict=True)], ours)
    several = f", {AT_ONCE} at once {1 / median(at_once):.0f}/s" if size == MIDDLE else ""
    return Row(
        f"searches/s in a course of {size:,} passages, the embedding call apart",
        of_bare.median,
        "of the bare SQL",
        LEAST_OF_BARE_SQL,
        spread=of_bare,
        shown=f"{1 / median(apart):.0f}/s; with the embedding {1 / median(ours):.0f}/s{several}",
        floor=f"{1 / median(bare):.0f}/s",
        details={
            "throughput": {"ours": [1 / each for each in apart], "bare SQL": [1 / each for each in bare]},
            "embedding_ms": median(embedding) * 1000,
            "note": f"With the embedding call on both sides it is {both.median:.2f}; the call takes {median(embedding) * 1000:.1f} ms.",
        },
    )


def _bound(
    all_of: Callable[[Search], Awaitable[list[float]]], searched: Searched, size: int
) -> Callable[[], Awaitable[list[float]]]:
    return lambda: all_of(lambda query: searched.search(size, query))


def _bound_bare(
    all_of: Callable[[Search], Awaitable[list[float]]],
    connection: Connection,
    size: int,
    vectors: Mapping[str, HalfVector],
) -> Callable[[], Awaitable[list[float]]]:
    return lambda: all_of(lambda query: bare_search(connection, size, query, vectors[query]))


def _medians_apart(ours: Sequence[Sequence[float]], embedding: Sequence[Sequence[float]]) -> list[float]:
    return [median(one) - median(other) for one, other in zip(ours, embedding, strict=True)]


async def _timed(search: Search, query: str) -> float:
    began = time.perf_counter()
    await search(query)
    return time.perf_counter() - began


async def bare_search(connection: Connection, size: int, query: str, vector: HalfVector) -> int:
    """Both lists of candidates of a course of so many passages; how many they are."""
    within = (course_of(size), 1, None)
    words = [as_query(word) for word in query_words(query)]
    most = min(COMMON_PASSAGES, size // 2)
    counted = [row["passages"] for row in await connection.fetch(WORD_COUNTS, *within, words, most + 1)]
    weights = rarities(dict(zip(words, counted, strict=True)), passages=size, common=most)
    worded = await connection.fetch(WORDED, *within, vector, list(weights), list(weights.values()), DEPTHS[0])
    nearest = await connection.fetch(NEAREST, *within, vector, DEPTHS[0])
    return len(worded) + len(nearest)


async def _recall(searched: Searched, sizes: Sequence[int], built: float) -> Row:
    """Of queries without a word of the passages the results are the nearest; texts are all different, so they tell which."""
    recall: dict[int, float] = {}
    for size in sizes:
        searched.bed.say(f"recall in a course of {size:,} passages")
        shares = []
        for query in searched.wordless:
            vector = HalfVector(await searched.brain.embed(query))
            exact = {
                row["text"] for row in await searched.connection.fetch(NEAREST, course_of(size), 1, None, vector, FOUND)
            }
            found = {result.excerpt for result in (await searched.search(size, query)).results}
            shares.append(len(found & exact) / FOUND)
        recall[size] = fmean(shares)
    return Row(
        f"recall of the {FOUND} nearest, the least of the courses",
        min(recall.values()),
        "of exact",
        LEAST_RECALL,
        shown=", ".join(f"{size:,}: {share:.2f}" for size, share in recall.items()),
        details={
            "recall": {str(size): share for size, share in recall.items()},
            "index_of_vectors_seconds": built,
        },
    )
