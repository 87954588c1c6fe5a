"""SearchMaterials through pages of results: each passage once, the same order, near-repeats folded, and tokens good for one caller and query."""

from __future__ import annotations

import asyncio

import pytest
from materials.v1 import material_pb2
from materials.v1 import processor_service_pb2 as pb

from tests.contract.refusals import refused
from tests.local_stack import Client, LocalStack, unique_course

SHEETS = 120
BAYES = "Thomas Bayes left an essay towards solving a problem in the doctrine of chances; it was published in 1763."
THEOREM = "Theorem 2.3.1. Every bounded sequence of real numbers has a subsequence that converges to a limit."


async def page(client: Client, **fields: object) -> pb.SearchMaterialsResponse:
    request = pb.SearchMaterialsRequest(**fields)  # type: ignore[arg-type]
    return await client.processor.SearchMaterials(request, metadata=client.metadata, timeout=30)


async def all_pages(client: Client, **fields: object) -> list[pb.SearchMaterialsResponse]:
    pages = [await page(client, **fields)]
    while pages[-1].next_page_token:
        pages.append(await page(client, **fields, page_token=pages[-1].next_page_token))
    return pages


def place(result: pb.SearchResult) -> tuple[str, int, int]:
    return result.material_id, result.page_number, result.start_offset


async def read(client: Client, text: str, course: str, name: str) -> material_pb2.Material:
    material = await client.upload(text.encode(), course=course, name=name)
    ended = (await client.watch_to_end(material.id))[-1]
    assert ended.processing_status == material_pb2.PROCESSING_STATUS_COMPLETED
    return ended


@pytest.fixture(scope="module")
async def library(stack: LocalStack) -> str:
    """A course with a book of many pages, and two short texts."""
    course = unique_course()
    book = "\f".join(f"Chapter {number}. The lecture on glaciers, part {number}." for number in range(1, SHEETS + 1))
    async with stack.client() as client:
        await asyncio.gather(
            read(client, book, course, "book.txt"),
            read(client, f"{BAYES}\n", course, "bayes.txt"),
            read(client, f"{THEOREM}\n", course, "theorem.txt"),
        )
    return course


async def test_pages_hold_a_hundred_results_each_once_in_falling_order(client: Client, library: str) -> None:
    pages = await all_pages(client, course_id=library, query="glaciers", limit=10)
    results = [result for each in pages for result in each.results]
    assert [len(each.results) for each in pages] == [10] * 10
    assert len({place(result) for result in results}) == 100
    scores = [result.score for result in results]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] == pytest.approx(1.0)
    assert scores[-1] > 0


async def test_pages_of_a_length_that_does_not_divide_a_hundred_end_there_too(client: Client, library: str) -> None:
    pages = await all_pages(client, course_id=library, query="glaciers", limit=9)
    assert [len(each.results) for each in pages] == [9] * 11 + [1]


async def test_last_page_has_no_token(client: Client, course: str) -> None:
    await read(client, f"{BAYES}\f{THEOREM}", course, "two.txt")
    first = await page(client, course_id=course, query="chances", limit=1)
    assert len(first.results) == 1
    second = await page(client, course_id=course, query="chances", limit=1, page_token=first.next_page_token)
    assert (len(second.results), second.next_page_token) == (1, "")
    whole = await page(client, course_id=course, query="chances", limit=2)
    assert [place(each) for each in whole.results] == [place(each) for each in (*first.results, *second.results)]
    assert whole.next_page_token == ""


@pytest.mark.parametrize(
    ("query", "first"),
    [("Bayes 1763", BAYES), ("theorem 2.3.1", THEOREM), ("BAYES", BAYES), ("chapter 77", "Chapter 77")],
)
async def test_exact_words_come_first(client: Client, library: str, query: str, first: str) -> None:
    [best] = (await page(client, course_id=library, query=query, limit=1)).results
    assert best.excerpt.startswith(first)
    assert -1.0 <= best.similarity <= 1.0


@pytest.mark.parametrize(
    "query", ["bayes & !chances | (", "'bayes':*", 'bayes "', "bayes\\", "bayes%_", "bayes\0", "the of and", "世" * 500]
)
async def test_operators_and_common_words_are_an_ordinary_search(client: Client, library: str, query: str) -> None:
    results = (await page(client, course_id=library, query=query)).results
    assert len(results) == 3
    if "bayes" in query:
        assert results[0].excerpt == BAYES


async def test_near_repeats_are_one_result_that_tells_how_many_it_stands_for(client: Client, course: str) -> None:
    await asyncio.gather(
        read(client, f"{BAYES}\f{THEOREM}", course, "first.txt"),
        read(client, f"{BAYES.upper()}\n", course, "again.txt"),
        read(client, f"{BAYES} Indeed.\n", course, "once-more.txt"),
    )
    results = (await page(client, course_id=course, query="doctrine of chances", limit=10)).results
    assert [result.repeats for result in results] == [2, 0]
    assert results[1].excerpt == THEOREM


async def test_page_token_is_good_only_as_it_was_given_to_this_caller_for_this_query(
    stack: LocalStack, client: Client, library: str
) -> None:
    asked = {"course_id": library, "query": "glaciers", "limit": 5}
    token = (await page(client, **asked)).next_page_token
    assert token
    altered = [token[:at] + ("A" if token[at] != "A" else "B") + token[at + 1 :] for at in range(0, len(token), 7)]
    for bad in [*altered, token[:-1], token[1:], f"{token}=", f" {token}", "garbage", "é", "="]:
        with refused("INVALID_ARGUMENT", "PAGE_TOKEN_INVALID"):
            await page(client, **asked, page_token=bad)
    for other in ({"course_id": f"{library}-2"}, {"query": "glacier"}, {"limit": 4}, {"limit": 0}):
        with refused("INVALID_ARGUMENT", "PAGE_TOKEN_INVALID"):
            await page(client, **{**asked, **other}, page_token=token)
    async with stack.client(stack.user_token("reader", {library: "reader"})) as reader:
        with refused("INVALID_ARGUMENT", "PAGE_TOKEN_INVALID"):
            await page(reader, **asked, page_token=token)
    assert len((await page(client, **asked, page_token=token)).results) == 5


async def test_token_of_a_list_is_none_of_a_search_nor_the_other_way_round(
    stack: LocalStack, client: Client, library: str
) -> None:
    from materials.v1 import status_service_pb2

    of_search = (await page(client, course_id=library, query="glaciers")).next_page_token
    listing = status_service_pb2.ListMaterialsRequest(course_id=library, page_size=1)
    of_list = (await client.status.ListMaterials(listing, metadata=client.metadata, timeout=20)).next_page_token
    with refused("INVALID_ARGUMENT", "PAGE_TOKEN_INVALID"):
        await page(client, course_id=library, query="glaciers", page_token=of_list)
    listing.page_token = of_search
    with refused("INVALID_ARGUMENT", "PAGE_TOKEN_INVALID"):
        await client.status.ListMaterials(listing, metadata=client.metadata, timeout=20)
