"""List, get, history, retry, cancel and delete over HTTP, and who may do which."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass

import pytest

from tests.contract.rest import ORIGINAL_FIELDS, Rest, assert_problem, found
from tests.local_stack import LocalStack, unique_course


@dataclass
class Others:
    """Everybody beside the demo user."""

    reader: Rest
    stranger: Rest


@pytest.fixture
async def others(bare_gateway: str, stack: LocalStack, course: str) -> AsyncIterator[Others]:
    tokens = [stack.user_token("reader", {course: "reader"}), stack.user_token("stranger", {"another": "editor"})]
    async with AsyncExitStack() as exits:
        yield Others(*[await exits.enter_async_context(Rest(bare_gateway, token)) for token in tokens])


class TestList:
    async def test_the_newest_comes_first_each_as_it_is_alone(self, bare_rest: Rest, course: str) -> None:
        assert await bare_rest.get(f"/courses/{course}/materials") == []
        uploaded = [await bare_rest.upload(course, name=f"{number}.md") for number in range(3)]
        listed = await bare_rest.get(f"/courses/{course}/materials")
        assert listed == uploaded[::-1]
        assert all(material.keys() >= ORIGINAL_FIELDS for material in listed)

    async def test_pages_are_walked_by_their_links(self, bare_rest: Rest, course: str) -> None:
        course += "-é🦠"
        uploaded = [(await bare_rest.upload(course))["id"] for _ in range(5)]
        url: str | None = f"/courses/{course}/materials?page_size=2&status=pending&status=processing"
        walked, sizes = [], []
        while url is not None:
            response = await bare_rest.http.get(url)
            assert response.headers.get("link", "").isascii()
            page = [material["id"] for material in found(response)]
            walked += page
            sizes.append(len(page))
            url = response.links.get("next", {}).get("url")
            assert url is None or ("page_size=2" in url and url.count("status=") == 2), "the same query, further on"
        assert walked == uploaded[::-1]
        assert sizes == [2, 2, 1]

    async def test_a_page_token_of_another_query_is_refused(self, bare_rest: Rest, course: str) -> None:
        for _ in range(2):
            await bare_rest.upload(course)
        first = await bare_rest.http.get(f"/courses/{course}/materials?page_size=1")
        token = first.links["next"]["url"].partition("page_token=")[2]
        other = await bare_rest.http.get(f"/courses/{unique_course()}/materials?page_token={token}")
        assert_problem(other, "PAGE_TOKEN_INVALID")
        for token in ("x", "%00", "ä", "a" * 500):
            path = f"/courses/{course}/materials"
            assert_problem(await bare_rest.http.get(path, params={"page_token": token}), "PAGE_TOKEN_INVALID")

    async def test_states_and_reasons_are_asked_for_by_name(self, bare_rest: Rest, course: str) -> None:
        pending = (await bare_rest.upload(course))["id"]
        cancelled = (await bare_rest.upload(course))["id"]
        found(await bare_rest.http.post(f"/materials/{cancelled}:cancel"))
        for query, expected in [
            ({"status": "pending"}, [pending]),
            ({"status": "failed"}, [cancelled]),
            ({"status": ["pending", "failed"]}, [cancelled, pending]),
            ({"status": "completed"}, []),
            ({"failure_reason": "cancelled"}, [cancelled]),
            ({"failure_reason": "file_encrypted"}, []),
            ({"status": "pending", "failure_reason": "cancelled"}, []),
        ]:
            assert await bare_rest.listed(course, **query) == expected

    @pytest.mark.parametrize(
        ("query", "field"),
        [
            ("status=done", "status"), ("status=PENDING", "status"), ("status=", "status"),
            ("failure_reason=bad_luck", "failure_reason"), ("page_size=-1", "page_size"),
            ("page_size=x", "page_size"), ("page_size=99999999999999999999", "page_size"),
        ],
    )  # fmt: skip
    async def test_a_query_that_makes_no_sense_names_its_field(
        self, bare_rest: Rest, course: str, query: str, field: str
    ) -> None:
        assert_problem(await bare_rest.http.get(f"/courses/{course}/materials?{query}"), "FIELD_INVALID", field)

    @pytest.mark.parametrize("course_id", ["%00", "two%20words", "%20", "x" * 129, "a%E2%80%AEb"])
    async def test_what_is_no_course_is_refused(self, bare_rest: Rest, course_id: str) -> None:
        assert_problem(await bare_rest.http.get(f"/courses/{course_id}/materials"), "FIELD_INVALID", "course_id")

    async def test_ones_own_of_all_courses_are_listed(self, bare_gateway: str, stack: LocalStack, course: str) -> None:
        courses = [course, unique_course()]
        token = stack.user_token(f"owner-{course}", dict.fromkeys(courses, "editor"))
        async with Rest(bare_gateway, token) as owner:
            uploaded = [(await owner.upload(each))["id"] for each in courses]
            assert [material["id"] for material in await owner.get("/materials")] == uploaded[::-1]
            assert [material["id"] for material in await owner.get("/materials", page_size=1)] == uploaded[1:]

    async def test_a_stranger_is_shown_nothing_of_the_course(
        self, bare_rest: Rest, others: Others, course: str
    ) -> None:
        material = await bare_rest.upload(course)
        assert await others.reader.listed(course) == [material["id"]]
        assert await others.stranger.listed(course) == []


class TestOne:
    @pytest.mark.parametrize(
        "material_id",
        ["9b0a1c62-5d3e-4f8a-8a57-2f1f6c0d7e34", "x", "%00", "..%2F..", "x" * 3_000, "%F0%9F%A6%A0"],
    )
    async def test_what_is_not_there_is_not_found_by_any_call(self, bare_rest: Rest, material_id: str) -> None:
        material_id = material_id.replace("%2F", "")
        for method, path in [
            ("GET", ""), ("DELETE", ""), ("GET", "/content"), ("GET", "/history"), ("POST", ":retry"), ("POST", ":cancel"),
        ]:  # fmt: skip
            problem = assert_problem(
                await bare_rest.http.request(method, f"/materials/{material_id}{path}"), "MATERIAL_NOT_FOUND"
            )
            assert problem["detail"] == "there is no such material"

    async def test_a_deleted_material_is_gone_for_every_call(self, bare_rest: Rest, course: str) -> None:
        material = await bare_rest.upload(course)
        path = f"/materials/{material['id']}"
        response = await bare_rest.http.delete(path)
        assert (response.status_code, response.content) == (204, b"")
        for method, what in [("GET", ""), ("DELETE", ""), ("GET", "/content"), ("GET", "/history"), ("POST", ":retry")]:
            assert_problem(await bare_rest.http.request(method, path + what), "MATERIAL_NOT_FOUND")
        assert await bare_rest.listed(course) == []

    async def test_cancel_and_retry_may_be_repeated(self, bare_rest: Rest, course: str) -> None:
        path = f"/materials/{(await bare_rest.upload(course))['id']}"
        cancelled = found(await bare_rest.http.post(f"{path}:cancel"))
        assert (cancelled["processing_status"], cancelled["failure_reason"]) == ("failed", "cancelled")
        assert (cancelled["retryable"], bool(cancelled["error_message"])) == (True, True)
        assert cancelled["processed_at"] is not None
        assert found(await bare_rest.http.post(f"{path}:cancel")) == cancelled
        retried = found(await bare_rest.http.post(f"{path}:retry"))
        assert (retried["processing_status"], retried["error_message"]) == ("pending", None)
        assert (retried["failure_reason"], retried["processed_at"]) == (None, None)
        assert found(await bare_rest.http.post(f"{path}:retry")) == retried

    async def test_what_another_attempt_cannot_mend_is_not_retried(self, rest: Rest, course: str) -> None:
        material = await rest.upload(course, b"%PDF-1.7\nthis is no PDF\n", name="broken.pdf")
        failed = await rest.ended(material["id"])
        assert (failed["processing_status"], failed["retryable"]) == ("failed", False)
        assert_problem(await rest.http.post(f"/materials/{material['id']}:retry"), "MATERIAL_NOT_RETRYABLE")
        counts = found(await rest.http.post(f"/courses/{course}/materials:retry-failed", json={}))
        assert counts == {"retried": 0, "remaining": 0, "not_retryable": 1}

    async def test_history_tells_who_did_what(self, bare_rest: Rest, course: str) -> None:
        material = await bare_rest.upload(course)
        path = f"/materials/{material['id']}"
        for call in ("cancel", "retry"):
            found(await bare_rest.http.post(f"{path}:{call}"))
        history = await bare_rest.get(f"{path}/history")
        assert [(each["from_status"], each["to_status"]) for each in history] == [
            (None, "pending"), ("pending", "failed"), ("failed", "pending"),
        ]  # fmt: skip
        assert {each["actor"] for each in history} == {"demo-user"}
        assert {each["material_id"] for each in history} == {material["id"]}
        assert (history[0]["created_at"], history[1]["failure_reason"]) == (material["created_at"], "cancelled")
        response = await bare_rest.http.get(f"{path}/history?page_size=2")
        assert found(response) == history[:2]
        assert found(await bare_rest.http.get(response.links["next"]["url"])) == history[2:]


class TestOthers:
    async def test_a_reader_sees_and_changes_nothing(self, bare_rest: Rest, others: Others, course: str) -> None:
        material = await bare_rest.upload(course)
        path = f"/materials/{material['id']}"
        assert await others.reader.get(path) == material
        for method, what in [("DELETE", ""), ("POST", ":retry"), ("POST", ":cancel")]:
            assert_problem(await others.reader.http.request(method, path + what), "COURSE_WRITE_DENIED")
        refused = await others.reader.http.post(f"/courses/{course}/materials:retry-failed", json={})
        assert_problem(refused, "COURSE_WRITE_DENIED")
        assert await bare_rest.get(path) == material

    async def test_a_stranger_is_answered_as_if_it_were_not_there(
        self, bare_rest: Rest, others: Others, course: str
    ) -> None:
        material = await bare_rest.upload(course)
        for method, what in [
            ("GET", ""), ("DELETE", ""), ("GET", "/content"), ("GET", "/history"), ("POST", ":retry"), ("POST", ":cancel"),
        ]:  # fmt: skip
            answers = [
                (response.status_code, response.content)
                for each in (material["id"], str(uuid.uuid4()))
                for response in [await others.stranger.http.request(method, f"/materials/{each}{what}")]
            ]
            assert answers[0] == answers[1]
            assert answers[0][0] == 404
        assert await bare_rest.get(f"/materials/{material['id']}") == material


class TestRetryFailed:
    async def test_all_failed_of_a_course_are_retried(self, bare_rest: Rest, course: str) -> None:
        ids = [(await bare_rest.upload(course))["id"] for _ in range(3)]
        for each in ids:
            found(await bare_rest.http.post(f"/materials/{each}:cancel"))
        path = f"/courses/{course}/materials:retry-failed"
        first = found(await bare_rest.http.post(path, json={"failure_reason": "cancelled", "max_count": 2}))
        assert first == {"retried": 2, "remaining": 1, "not_retryable": 0}
        second = found(await bare_rest.http.post(path, json={"failure_reason": "cancelled"}))
        assert second == {"retried": 1, "remaining": 0, "not_retryable": 0}
        assert len(await bare_rest.listed(course, status="pending")) == 3

    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({"failure_reason": "bad_luck"}, "failure_reason"), ({"max_count": -1}, "max_count"),
            ({"max_count": "many"}, "max_count"), ({"count": 1}, "count"), ([], "body"), ("x", "body"),
        ],
    )  # fmt: skip
    async def test_a_body_that_makes_no_sense_names_its_field(
        self, bare_rest: Rest, course: str, body: object, field: str
    ) -> None:
        response = await bare_rest.http.post(f"/courses/{course}/materials:retry-failed", json=body)
        assert_problem(response, "FIELD_INVALID", field)
