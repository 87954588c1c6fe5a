"""POST /courses/{course_id}/materials: what is taken, what is answered, and that a repeat is safe."""

from __future__ import annotations

import asyncio
import hashlib
import uuid

import httpx
import pytest

from tests.contract.rest import FORM_END, FORM_TYPE, ORIGINAL_FIELDS, TEXT, Rest, assert_problem, form_part, found
from tests.local_stack import LocalStack


def field(name: str, value: str) -> bytes:
    return form_part(value.encode(), f'form-data; name="{name}"')


async def post_form(rest: Rest, course: str, *parts: bytes) -> httpx.Response:
    """The answer to a form of these parts."""
    return await rest.http.post(f"/courses/{course}/materials", content=b"".join(parts) + FORM_END, headers=FORM_TYPE)


async def test_an_upload_is_answered_with_the_pending_material(bare_rest: Rest, course: str) -> None:
    response = await bare_rest.post_file(course, TEXT, name="cells.md")
    material = found(response, 201)
    assert material.keys() >= ORIGINAL_FIELDS
    assert response.headers["location"] == f"/materials/{material['id']}"
    assert material == await bare_rest.get(response.headers["location"])
    expected = {
        "course_id": course, "name": "cells.md", "file_type": "markdown", "file_size": len(TEXT),
        "processing_status": "pending", "processed_at": None, "error_message": None, "has_embedding": False,
        "sha256": hashlib.sha256(TEXT).hexdigest(), "owner_id": "demo-user", "failure_reason": None, "stage": None,
        "attempt": 0, "pages_done": 0, "pages_total": 0,
    }  # fmt: skip
    assert {name: material[name] for name in expected} == expected
    assert material["id"] in material["file_path"]
    assert material["created_at"].endswith("Z")
    assert material["updated_at"] == material["created_at"]


async def test_fields_before_the_file_say_its_name_and_digest(bare_rest: Rest, course: str) -> None:
    digest = hashlib.sha256(TEXT).hexdigest().upper()
    fields = {"name": "Cells 🦠", "sha256": digest, "other": "means nothing"}
    response = await bare_rest.http.post(f"/courses/{course}/materials", data=fields, files={"file": ("x.md", TEXT)})
    material = found(response, 201)
    assert (material["name"], material["sha256"]) == ("Cells 🦠", digest.lower())
    wrong = await bare_rest.post_file(course, sha256="0" * 64)
    assert_problem(wrong, "FILE_SHA256_MISMATCH")
    assert_problem(await bare_rest.post_file(course, sha256="abc"), "FIELD_INVALID", "sha256")
    assert await bare_rest.listed(course) == [material["id"]]


@pytest.mark.parametrize(
    "name", ['say "hi".txt', "Zellen 🦠; a=b.txt", "100%25.txt", "a'b.txt", "../../up.txt", ".txt"]
)
async def test_a_file_keeps_the_name_it_has(bare_rest: Rest, course: str, name: str) -> None:
    assert (await bare_rest.upload(course, name=name))["name"] == name


@pytest.mark.parametrize("name", ["", "   ", "x" * 256, "a\u202etxt.exe", "a\x07b"])
async def test_a_name_that_nobody_could_read_is_refused(bare_rest: Rest, course: str, name: str) -> None:
    parts = field("name", name), form_part(TEXT)
    assert_problem(await post_form(bare_rest, course, *parts), "FIELD_INVALID", "name")
    assert await bare_rest.listed(course) == []


class TestForm:
    @pytest.mark.parametrize(
        ("parts", "reason", "fields"),
        [
            ([], "UPLOAD_MALFORMED", []),
            ([field("name", "x")], "UPLOAD_MALFORMED", []),
            ([form_part(TEXT, 'form-data; name="upload"; filename="a.md"')], "UPLOAD_MALFORMED", []),
            ([form_part(TEXT, "attachment")], "UPLOAD_MALFORMED", []),
            ([b"--B\r\nbroken"], "UPLOAD_MALFORMED", []),
            ([b"no form at all" * 1_000], "UPLOAD_MALFORMED", []),
            ([field("file", "text")], "FIELD_INVALID", ["file"]),
            ([form_part(TEXT), form_part(TEXT)], "FIELD_INVALID", ["file"]),
            ([form_part(TEXT), field("name", "too late")], "FIELD_INVALID", ["name"]),
            ([form_part(TEXT), field("sha256", "0" * 64)], "FIELD_INVALID", ["sha256"]),
            ([field("name", "x" * 5_000), form_part(TEXT)], "FIELD_INVALID", ["name"]),
            ([form_part(b"\xff", 'form-data; name="name"'), form_part(TEXT)], "FIELD_INVALID", ["name"]),
            ([form_part(b"")], "FILE_EMPTY", []),
            ([form_part(b"\x00\x01\x02" * 2_000)], "UNSUPPORTED_FILE_TYPE", []),
        ],
    )
    async def test_what_is_no_upload_of_one_file_is_refused(
        self, bare_rest: Rest, course: str, parts: list[bytes], reason: str, fields: list[str]
    ) -> None:
        assert_problem(await post_form(bare_rest, course, *parts), reason, *fields)
        assert await bare_rest.listed(course) == []

    async def test_a_field_of_no_meaning_may_follow_the_file(self, bare_rest: Rest, course: str) -> None:
        found(await post_form(bare_rest, course, form_part(TEXT), field("submit", "Upload")), 201)

    async def test_a_form_before_another_is_looked_through(self, bare_rest: Rest, course: str) -> None:
        found(await post_form(bare_rest, course, b"preamble\r\n", form_part(TEXT)), 201)

    @pytest.mark.parametrize("content_type", ["application/json", "multipart/form-data", "text/plain", ""])
    async def test_a_body_of_another_kind_is_refused(self, bare_rest: Rest, course: str, content_type: str) -> None:
        response = await bare_rest.http.post(
            f"/courses/{course}/materials", content=TEXT, headers={"Content-Type": content_type}
        )
        assert_problem(response, "UPLOAD_MALFORMED")


class TestIdempotencyKey:
    async def test_a_repeat_answers_the_same_material_quoted_or_not(self, bare_rest: Rest, course: str) -> None:
        key = str(uuid.uuid4())
        first = await bare_rest.upload(course, key=key)
        for same in (key, f'"{key}"'):
            assert (await bare_rest.upload(course, key=same))["id"] == first["id"]
        assert await bare_rest.listed(course) == [first["id"]]

    async def test_another_file_under_the_same_key_is_refused(self, bare_rest: Rest, course: str) -> None:
        key = str(uuid.uuid4())
        first = await bare_rest.upload(course, key=key)
        assert_problem(await bare_rest.post_file(course, TEXT + b"more", key=key), "REQUEST_ID_REUSED")
        assert await bare_rest.listed(course) == [first["id"]]

    async def test_without_a_key_each_is_a_material(self, bare_rest: Rest, course: str) -> None:
        assert (await bare_rest.upload(course))["id"] != (await bare_rest.upload(course))["id"]

    async def test_twenty_at_once_are_one_material(self, bare_rest: Rest, course: str) -> None:
        key = str(uuid.uuid4())
        answers = await asyncio.gather(*(bare_rest.upload(course, key=key) for _ in range(20)))
        assert await bare_rest.listed(course) == [answers[0]["id"]]
        assert {material["id"] for material in answers} == {answers[0]["id"]}

    @pytest.mark.parametrize("key", ["x" * 65, "two words", "ä"])
    async def test_a_key_that_is_none_is_refused(self, bare_rest: Rest, course: str, key: str) -> None:
        response = await bare_rest.http.post(
            f"/courses/{course}/materials",
            files={"file": ("a.md", TEXT)},
            headers={"Idempotency-Key": key.encode("latin-1")},  # type: ignore[dict-item]
        )
        assert_problem(response, "FIELD_INVALID", "request_id")


async def test_only_an_editor_of_the_course_may_upload(bare_gateway: str, stack: LocalStack, course: str) -> None:
    for courses in ({}, {course: "reader"}, {"another": "editor"}):
        async with Rest(bare_gateway, stack.user_token("reader", courses)) as reader:
            assert_problem(await reader.post_file(course), "COURSE_WRITE_DENIED")
            assert await reader.listed(course) == []
    async with Rest(bare_gateway) as nobody:
        assert_problem(await nobody.post_file(course), "TOKEN_MISSING")
