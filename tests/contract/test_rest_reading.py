"""Text and search over HTTP."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

import pytest

from tests.contract.refusals import eventually
from tests.contract.rest import Document, Rest, assert_problem, found
from tests.local_stack import LocalStack, unique_course

PAGES = [
    "Mitochondria turn sugar into ATP, which the cell uses as energy.",
    "A volcano erupts when molten rock rises from below the crust of the Earth.",
    "A contract is made by an offer and its acceptance.",
    "The sonata form has an exposition, a development and a recapitulation.",
]
QUESTION, ANSWERING_PAGE = "Where does lava come from?", 2


@dataclass
class Read:
    """A document of several pages that was read."""

    course: str
    material: Document


@pytest.fixture(scope="session")
async def read(stack: LocalStack) -> Read:
    course = unique_course()
    async with Rest(stack.facts["gateway"], stack.facts["token"]) as rest:
        material = await rest.upload(course, "\f".join(PAGES).encode(), name="four-subjects.txt")
        await _text_grows(rest, material["id"])
        ended = await rest.ended(material["id"])
    assert (ended["processing_status"], ended["has_embedding"], ended["failure_reason"]) == ("completed", True, None)
    assert ended["pages_done"] == ended["pages_total"] == len(PAGES)
    return Read(course, ended)


async def _text_grows(rest: Rest, material_id: str) -> None:
    """While it is read, each answer is whole, and none has less than the one before."""
    before: list[Document] = []

    async def is_read() -> bool:
        nonlocal before
        now = (await rest.get(f"/materials/{material_id}/text"))["pages"]
        assert now[: len(before)] == before or len(now) > len(before)
        before = now
        return bool((await rest.get(f"/materials/{material_id}"))["processing_status"] == "completed")

    await eventually(is_read, "the document is read", seconds=60)


class TestText:
    async def test_pages_come_in_order_with_where_they_were_read(self, rest: Rest, read: Read) -> None:
        text = await rest.get(f"/materials/{read.material['id']}/text")
        assert text.keys() == {"material_id", "pages"}
        assert text["material_id"] == read.material["id"]
        assert text["pages"] == [
            {"page_number": number, "text": said, "source": "file"} for number, said in enumerate(PAGES, 1)
        ]

    async def test_some_pages_are_asked_for(self, rest: Rest, read: Read) -> None:
        path = f"/materials/{read.material['id']}/text"
        pages = (await rest.get(path))["pages"]
        for query, expected in [
            ({"first_page": 2}, pages[1:]),
            ({"first_page": 0, "page_count": 1}, pages[:1]),
            ({"first_page": 2, "page_count": 1}, pages[1:2]),
            ({"page_count": 2_000_000_000}, pages),
            ({"first_page": 2_000_000_000}, []),
        ]:
            assert (await rest.get(path, **query))["pages"] == expected
        for field in ("first_page", "page_count"):
            for value in ("-1", "x", "99999999999"):
                assert_problem(await rest.http.get(path, params={field: value}), "FIELD_INVALID", field)

    async def test_head_tells_that_there_is_text(self, rest: Rest, read: Read) -> None:
        response = await rest.http.head(f"/materials/{read.material['id']}/text")
        assert (response.status_code, response.content) == (200, b"")
        assert response.headers["content-type"] == "application/json"

    async def test_what_is_not_there_is_a_problem_and_no_text(self, rest: Rest) -> None:
        for material_id in (str(uuid.uuid4()), "x"):
            assert_problem(await rest.http.get(f"/materials/{material_id}/text"), "MATERIAL_NOT_FOUND")

    async def test_nothing_read_yet_is_no_pages(self, rest: Rest, course: str) -> None:
        material = await rest.upload(course, b"%PDF-1.7\nthis is no PDF\n", name="broken.pdf")
        await rest.ended(material["id"])
        assert (await rest.get(f"/materials/{material['id']}/text"))["pages"] == []


class TestSearch:
    async def test_by_query_and_by_body_the_same_is_found(self, rest: Rest, read: Read) -> None:
        question = QUESTION
        path = f"/courses/{read.course}/search"
        by_query = await rest.get(path, query=question, limit=2)
        assert by_query == found(await rest.http.post(path, json={"query": question, "limit": 2}))
        assert by_query["query"] == question
        best, *others = by_query["results"]
        assert len(others) <= 1
        assert (best["material_id"], best["material_name"]) == (read.material["id"], read.material["name"])
        assert best["page_number"] == ANSWERING_PAGE
        assert all(best["score"] >= other["score"] for other in others)
        page = (await rest.get(f"/materials/{best['material_id']}/text"))["pages"][best["page_number"] - 1]
        assert best["excerpt"] in page["text"][best["start_offset"] : best["end_offset"]]
        assert len((await rest.get(path, query=question))["results"]) <= 3

    async def test_a_course_without_anything_has_no_results(self, rest: Rest, course: str) -> None:
        answer = await rest.get(f"/courses/{course}/search", query="cells")
        assert answer == {"query": "cells", "results": [], "next_page_token": ""}

    async def test_results_go_on_page_by_page_until_all_are_told(self, rest: Rest, read: Read) -> None:
        path, told, token = f"/courses/{read.course}/search", list[tuple[int, int]](), ""
        while True:
            by_query = await rest.get(path, query=QUESTION, limit=1, page_token=token)
            body = {"query": QUESTION, "limit": 1, "page_token": token}
            by_body = found(await rest.http.post(path, json=body))
            assert by_query["results"] == by_body["results"]
            told += [(each["page_number"], each["start_offset"]) for each in by_query["results"]]
            if not (token := by_query["next_page_token"]):
                break
        assert told[0][0] == ANSWERING_PAGE
        assert len(told) == len(set(told)) > 1

    async def test_a_page_token_of_another_query_is_refused_both_ways(self, rest: Rest, read: Read) -> None:
        path = f"/courses/{read.course}/search"
        token = (await rest.get(path, query=QUESTION, limit=1))["next_page_token"]
        for given in (token, "x"):
            query = {"query": "another", "limit": 1, "page_token": given}
            assert_problem(await rest.http.get(path, params=query), "PAGE_TOKEN_INVALID")
            assert_problem(await rest.http.post(path, json=query), "PAGE_TOKEN_INVALID")

    async def test_each_result_tells_its_likeness_and_how_many_say_the_same(self, rest: Rest, read: Read) -> None:
        [best] = (await rest.get(f"/courses/{read.course}/search", query=QUESTION, limit=1))["results"]
        assert 0 < best["score"] <= 1
        assert -1 <= best["similarity"] <= 1
        assert best["repeats"] == 0

    async def test_only_those_who_may_see_it_find_it(self, stack: LocalStack, read: Read) -> None:
        for courses, number in (({read.course: "reader"}, 1), ({"another": "editor"}, 0)):
            async with Rest(stack.facts["gateway"], stack.user_token("somebody", courses)) as somebody:
                answer = await somebody.get(f"/courses/{read.course}/search", query=QUESTION, limit=1)
            assert len(answer["results"]) == number

    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({"query": ""}, "query"), ({"query": "x" * 501}, "query"), ({"query": "x", "limit": 11}, "limit"),
            ({"query": "x", "limit": -1}, "limit"), ({"query": "x", "limit": 10**30}, "limit"),
            ({"query": "x", "limit": 2.5}, "limit"),
        ],
    )  # fmt: skip
    async def test_both_ways_name_the_field_that_is_wrong(self, rest: Rest, body: Document, field: str) -> None:
        problems = [
            assert_problem(response, "FIELD_INVALID", field)
            for response in (
                await rest.http.post("/courses/a/search", json=body),
                await rest.http.get("/courses/a/search", params=body),
            )
        ]
        if isinstance(body.get("limit", 0), int) and abs(body.get("limit", 0)) < 100:
            assert problems[0] == problems[1], "in the service's own words"

    @pytest.mark.parametrize(
        ("body", "content_type", "field", "words"),
        [
            (b"{}", "application/json", "query", "is missing"),
            (b'{"query": "x", "size": 3}', "application/json", "size", "is not known here"),
            (b'{"query": 3}', "application/json", "query", ""),
            (b'{"query": null}', "application/json", "query", ""),
            (b'{"query": "x"', "application/json", "body", "must be JSON"),
            (b"\xff", "application/json", "body", "must be JSON"),
            (b"[" * 60_000, "application/json", "body", "must be JSON"),
            (b'{"query": "x", "limit": ' + b"9" * 5_000 + b"}", "application/json", "body", "must be JSON"),
            (b'{"query": "\\ud800"}', "application/json", "body", "surrogate"),
            (b'{"\\ud800": 1, "query": "x"}', "application/json", "body", "surrogate"),
            (b'{"query": "x"}', "application/x-www-form-urlencoded", "body", "Content-Type: application/json"),
            (b'{"query": "x"}', "text/plain", "body", "Content-Type: application/json"),
            (b"null", "application/json", "body", ""),
            (b"", "application/json", "body", "is missing"),
        ],
    )  # fmt: skip
    async def test_a_body_that_is_no_query_says_what_is_wrong(
        self, rest: Rest, body: bytes, content_type: str, field: str, words: str
    ) -> None:
        response = await rest.http.post("/courses/a/search", content=body, headers={"Content-Type": content_type})
        assert words in assert_problem(response, "FIELD_INVALID", field)["detail"]

    async def test_a_body_larger_than_any_query_is_refused(self, rest: Rest) -> None:
        for content_type in ("application/json", "multipart/form-data; boundary=x"):
            response = await rest.http.post(
                "/courses/a/search", content=b" " * 100_000, headers={"Content-Type": content_type}
            )
            assert_problem(response, "REQUEST_TOO_LARGE")

    async def test_a_query_may_have_any_character(self, rest: Rest, read: Read) -> None:
        for query in ("a\x00b", "🦠" * 500, "%", "'; --", "\u202e"):
            answer = found(await rest.http.post(f"/courses/{read.course}/search", json={"query": query}))
            assert answer["query"] == query
