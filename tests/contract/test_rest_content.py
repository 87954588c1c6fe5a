"""GET and HEAD /materials/{id}/content: the bytes, parts of them, and headers that let no document act as a page of ours."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import unquote

import httpx
import pytest

from tests.contract.bare_services import BareServices
from tests.contract.rest import Rest, assert_problem
from tests.local_stack import unique_course

COURSE = unique_course()
CONTENT = b"".join(b"line %05d of a file that is more than one piece long\n" % number for number in range(30_000))


@dataclass
class File:
    """One that was uploaded."""

    path: str
    etag: str
    rest: Rest


@pytest.fixture
async def file(bare_rest: Rest) -> File:
    material = await bare_rest.upload(COURSE, CONTENT, name="lines.txt", key="the-content-of-the-tests")
    return File(f"/materials/{material['id']}/content", f'"{material["sha256"]}"', bare_rest)


def assert_safe(headers: httpx.Headers) -> None:
    expected = {
        "x-content-type-options": "nosniff",
        "content-security-policy": "sandbox; default-src 'none'",
        "cache-control": "private, no-cache",
        "cross-origin-resource-policy": "same-origin",
    }
    assert {name: headers.get(name) for name in expected} == expected


async def test_the_whole_file_comes_as_it_was_uploaded(file: File) -> None:
    response = await file.rest.http.get(file.path)
    assert (response.status_code, response.content == CONTENT) == (200, True)
    expected = {
        "content-length": str(len(CONTENT)),
        "content-type": "text/plain; charset=utf-8",
        "etag": file.etag,
        "accept-ranges": "bytes",
        "content-disposition": "attachment; filename=\"lines.txt\"; filename*=UTF-8''lines.txt",
    }
    assert {name: response.headers.get(name) for name in expected} == expected
    assert_safe(response.headers)


@pytest.mark.parametrize(
    ("header", "begin", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=0-99", 0, 100),
        (f"bytes=999999-{len(CONTENT) + 5}", 999_999, len(CONTENT)),
        ("bytes=1400000-", 1_400_000, len(CONTENT)),
        ("bytes=-7", len(CONTENT) - 7, len(CONTENT)),
        (f"bytes=-{len(CONTENT) + 1}", 0, len(CONTENT)),
        (f"bytes={len(CONTENT) - 1}-", len(CONTENT) - 1, len(CONTENT)),
    ],
)
async def test_a_range_is_that_part_of_the_file(file: File, header: str, begin: int, end: int) -> None:
    response = await file.rest.http.get(file.path, headers={"Range": header})
    assert (response.status_code, response.content == CONTENT[begin:end]) == (206, True)
    assert response.headers["content-range"] == f"bytes {begin}-{end - 1}/{len(CONTENT)}"
    assert response.headers["content-length"] == str(end - begin)
    assert response.headers["etag"] == file.etag
    assert_safe(response.headers)


@pytest.mark.parametrize("header", [f"bytes={len(CONTENT)}-", "bytes=-0", f"bytes={10**15}-{10**16}"])
async def test_a_range_outside_is_refused_with_the_size(file: File, header: str) -> None:
    response = await file.rest.http.get(file.path, headers={"Range": header})
    assert_problem(response, "RANGE_INVALID")
    assert response.headers["content-range"] == f"bytes */{len(CONTENT)}"


@pytest.mark.parametrize(
    "header", ["bytes=5-2", "bytes=0-1,5-6", "lines=0-1", "bytes=" + "9" * 3_000 + "-", "nonsense"]
)
async def test_a_range_that_is_none_is_not_looked_at(file: File, header: str) -> None:
    response = await file.rest.http.get(file.path, headers={"Range": header})
    assert (response.status_code, response.content == CONTENT) == (200, True)


async def test_a_range_holds_only_for_the_file_that_the_client_knows(file: File) -> None:
    for if_range, status in [
        (file.etag, 206), ('"another"', 200), (f"W/{file.etag}", 200), ("Wed, 21 Oct 2015 07:28:00 GMT", 200),
    ]:  # fmt: skip
        response = await file.rest.http.get(file.path, headers={"Range": "bytes=0-9", "If-Range": if_range})
        assert (response.status_code, len(response.content)) == (status, 10 if status == 206 else len(CONTENT))


async def test_who_has_the_file_is_not_sent_it_again(file: File) -> None:
    for known in (file.etag, f"W/{file.etag}", f'"other", {file.etag}', "*"):
        for method in ("GET", "HEAD"):
            response = await file.rest.http.request(method, file.path, headers={"If-None-Match": known})
            assert (response.status_code, response.content) == (304, b"")
            assert response.headers["etag"] == file.etag
            assert "content-length" not in response.headers
    for other in ('"other"', file.etag.strip('"'), ""):
        response = await file.rest.http.get(file.path, headers={"If-None-Match": other, "Range": "bytes=0-0"})
        assert response.status_code == 206


async def test_head_tells_the_same_without_the_bytes(file: File) -> None:
    whole, head = [await file.rest.http.request(method, file.path) for method in ("GET", "HEAD")]
    assert (head.status_code, head.content) == (200, b"")
    assert {**head.headers, "date": ""} == {**whole.headers, "date": ""}
    # Of HEAD a Range means nothing.
    with_range = await file.rest.http.head(file.path, headers={"Range": "bytes=0-9"})
    assert (with_range.status_code, with_range.headers["content-length"]) == (200, str(len(CONTENT)))
    gone = await file.rest.http.head("/materials/unknown/content")
    assert (gone.status_code, gone.content) == (404, b"")


@pytest.mark.parametrize(
    "name", ['say "hi".md', "Zellen 🦠.md", "../../up.md", "a;b=c.md", "100%25.md", "a\\b.md", "'.md", "<script>.html"]
)
async def test_a_file_is_offered_under_the_name_it_has(bare_rest: Rest, course: str, name: str) -> None:
    material = await bare_rest.upload(course, name=name)
    response = await bare_rest.http.get(f"/materials/{material['id']}/content")
    header = response.headers["content-disposition"]
    assert header.startswith('attachment; filename="')
    assert unquote(header.partition("filename*=UTF-8''")[2]) == name
    assert_safe(response.headers)


async def test_a_page_of_html_is_never_one_of_ours(bare_rest: Rest, course: str) -> None:
    material = await bare_rest.upload(course, b"# Cells\n<script>alert(1)</script>\n", name="page.html")
    response = await bare_rest.http.get(f"/materials/{material['id']}/content")
    assert response.headers["content-type"].startswith(("text/plain", "text/markdown"))
    assert_safe(response.headers)


async def test_bytes_that_have_gone_are_a_problem_and_no_empty_file(
    bare: BareServices, bare_rest: Rest, course: str
) -> None:
    material = await bare_rest.upload(course)
    [stored] = [path for path in bare.stored_files() if material["id"] in str(path)]
    stored.unlink()
    for headers in ({}, {"Range": "bytes=0-9"}):
        response = await bare_rest.http.get(f"/materials/{material['id']}/content", headers=headers)
        assert_problem(response, "MATERIAL_NOT_FOUND")
        assert "content-disposition" not in response.headers


async def test_clients_that_go_away_in_the_middle_keep_nobody_from_downloading(file: File) -> None:
    for _ in range(20):
        async with file.rest.http.stream("GET", file.path) as response:
            await anext(response.aiter_raw(1_000))
    assert (await file.rest.http.get(file.path)).content == CONTENT
