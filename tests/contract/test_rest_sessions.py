"""Signing in by cookie, and tickets: what a browser may do with them, and what other sites and other times may not."""

from __future__ import annotations

import time
from http.cookies import SimpleCookie

import httpx
import pytest

from tests.contract.rest import Document, Rest, assert_problem, found
from tests.local_stack import LocalStack

SAME_SITE = {"Sec-Fetch-Site": "same-origin"}


@pytest.fixture
async def browser(bare_gateway: str) -> Rest:
    """Without any identity."""
    async with Rest(bare_gateway) as caller:
        yield caller  # type: ignore[misc]


async def sign_in(browser: Rest, token: str) -> Document:
    session: Document = found(await browser.http.post("/session", json={"token": token}, headers=SAME_SITE))
    return session


def cookie_of(response: httpx.Response) -> SimpleCookie:
    [line] = response.headers.get_list("set-cookie")
    return SimpleCookie(line)


class TestSession:
    async def test_a_token_becomes_a_cookie_that_scripts_and_other_sites_do_not_get(
        self, browser: Rest, stack: LocalStack
    ) -> None:
        token = stack.user_token("maria", {"biology-101": "editor", "art": "reader"})
        for headers, body in (({"Authorization": f"Bearer {token}"}, None), ({}, {"token": token})):
            response = await browser.http.post("/session", json=body, headers=headers)
            session = found(response)
            assert session | {"expires_at": ""} == {
                "subject": "maria", "courses": {"biology-101": "editor", "art": "reader"}, "operator": False,
                "expires_at": "", "features": ["search", "ask"],
            }  # fmt: skip
            [(name, morsel)] = cookie_of(response).items()
            assert (name, morsel["path"], morsel["samesite"].lower()) == ("materials_session", "/", "strict")
            assert (morsel["httponly"], morsel["secure"], morsel["domain"]) == (True, "", "")
            assert morsel["expires"]
            assert token not in morsel.value

    async def test_over_https_the_cookie_is_for_https_alone(self, browser: Rest, stack: LocalStack) -> None:
        response = await browser.http.post(
            "/session", json={"token": stack.user_token("maria")}, headers={"X-Forwarded-Proto": "https"}
        )
        assert cookie_of(response)["materials_session"]["secure"] is True
        assert response.headers["strict-transport-security"]

    async def test_the_cookie_is_an_identity_until_one_signs_out(self, browser: Rest, stack: LocalStack) -> None:
        assert_problem(await browser.http.get("/session"), "TOKEN_MISSING")
        session = await sign_in(browser, stack.user_token("maria", {"*": "editor"}, operator=True))
        assert (session["operator"], session["courses"]) == (True, {"*": "editor"})
        assert await browser.get("/session") == session
        assert await browser.get("/materials") == []
        assert (await browser.http.head("/session")).status_code == 200
        response = await browser.http.delete("/session", headers=SAME_SITE)
        assert (response.status_code, response.content) == (204, b"")
        assert_problem(await browser.http.get("/session"), "TOKEN_MISSING")
        assert (await browser.http.delete("/session")).status_code == 204, "twice is once"

    async def test_with_the_cookie_only_pages_of_this_site_change_anything(
        self, browser: Rest, stack: LocalStack, course: str
    ) -> None:
        await sign_in(browser, stack.user_token("maria", {course: "editor"}))
        upload, host = f"/courses/{course}/materials", browser.address
        file = {"file": ("a.md", b"# Cells\n")}
        for refused in (
            {}, {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Origin": "https://evil.example"},
            {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site", "Origin": f"http://{host}"},
        ):  # fmt: skip
            assert_problem(await browser.http.post(upload, files=file, headers=refused), "CROSS_ORIGIN_REFUSED")
            assert_problem(await browser.http.delete("/session", headers=refused), "CROSS_ORIGIN_REFUSED")
            assert_problem(await browser.http.delete("/materials/x", headers=refused), "CROSS_ORIGIN_REFUSED")
            tickets = await browser.http.post("/tickets", json={"purpose": "sign-in"}, headers=refused)
            assert_problem(tickets, "CROSS_ORIGIN_REFUSED")
            assert (await browser.http.get(upload, headers=refused)).status_code == 200, "looking changes nothing"
        for taken in (SAME_SITE, {"Sec-Fetch-Site": "none"}, {"Origin": f"http://{host}"}):
            found(await browser.http.post(upload, files=file, headers=taken), 201)

    async def test_another_site_cannot_sign_anybody_in(self, browser: Rest, stack: LocalStack) -> None:
        response = await browser.http.post(
            "/session", json={"token": stack.user_token("mallory")}, headers={"Origin": "https://evil.example"}
        )
        assert_problem(response, "CROSS_ORIGIN_REFUSED")
        assert "set-cookie" not in response.headers

    async def test_a_header_goes_before_the_cookie(self, browser: Rest, stack: LocalStack) -> None:
        await sign_in(browser, stack.user_token("maria"))
        other = {"Authorization": f"Bearer {stack.user_token('john')}"}
        assert found(await browser.http.get("/session", headers=other))["subject"] == "john"
        assert_problem(await browser.http.get("/session", headers={"Authorization": "Bearer x"}), "TOKEN_INVALID")

    async def test_what_is_no_token_opens_no_session(self, browser: Rest, stack: LocalStack) -> None:
        over = stack.user_token("maria", exp=int(time.time()) - 60)
        for body, reason in [
            ({"token": "x"}, "TOKEN_INVALID"), ({"token": ""}, "TOKEN_INVALID"), ({"token": over}, "TOKEN_EXPIRED"),
            ({}, "TOKEN_MISSING"), (None, "TOKEN_MISSING"), ({"ticket": "x"}, "TICKET_INVALID"),
        ]:  # fmt: skip
            response = await browser.http.post("/session", json=body)
            assert_problem(response, reason)
            assert response.headers["www-authenticate"].startswith("Bearer")
            assert "set-cookie" not in response.headers

    async def test_a_token_with_more_courses_than_a_cookie_holds_is_refused(
        self, browser: Rest, stack: LocalStack
    ) -> None:
        token = stack.user_token("maria", {f"course-{number:04}": "reader" for number in range(150)})
        assert_problem(await browser.http.post("/session", json={"token": token}), "FIELD_INVALID", "token")

    @pytest.mark.parametrize("cookie", ["x", "gAAAAA", "", "\xff", '"', "a=b; materials_session=c"])
    async def test_a_cookie_of_another_maker_is_refused(self, browser: Rest, cookie: str) -> None:
        headers = {"Cookie": f"materials_session={cookie}".encode("latin-1")}
        response = await browser.http.get("/session", headers=headers)  # type: ignore[arg-type]
        assert response.status_code == 401

    @pytest.mark.parametrize("name", ["token", "access_token", "bearer", "jwt", "authorization", "Token"])
    async def test_a_token_in_the_url_is_refused_even_beside_a_good_one(
        self, bare_rest: Rest, stack: LocalStack, name: str
    ) -> None:
        query = {name: stack.facts["token"]}
        for method, path in [("GET", "/materials"), ("POST", "/session"), ("GET", "/materials/x/content")]:
            assert_problem(await bare_rest.http.request(method, path, params=query), "TOKEN_IN_URL")


class TestTicket:
    async def issue(self, rest: Rest, **request: str) -> Document:
        ticket: Document = found(await rest.http.post("/tickets", json=request), 201)
        return ticket

    async def test_a_ticket_downloads_once_without_any_other_identity(
        self, bare_rest: Rest, browser: Rest, course: str
    ) -> None:
        material = await bare_rest.upload(course)
        path = f"/materials/{material['id']}/content"
        issued = await self.issue(bare_rest, purpose="content", material_id=material["id"])
        assert issued["url"] == f"{path}?ticket={issued['ticket']}"
        response = await browser.http.get(issued["url"])
        assert (response.status_code, response.headers["etag"]) == (200, f'"{material["sha256"]}"')
        assert_problem(await browser.http.get(issued["url"]), "TICKET_INVALID")

    async def test_a_ticket_is_for_one_thing_and_not_used_up_by_another(
        self, bare_rest: Rest, browser: Rest, course: str
    ) -> None:
        one, other = await bare_rest.upload(course), await bare_rest.upload(course)
        issued = await self.issue(bare_rest, purpose="content", material_id=one["id"])
        query = {"ticket": issued["ticket"]}
        for path in (
            f"/materials/{other['id']}/content",
            f"/materials/{one['id']}/events",
            f"/courses/{course}/events",
        ):
            assert_problem(await browser.http.get(path, params=query), "TICKET_INVALID")
        for path in (f"/materials/{one['id']}", f"/materials/{one['id']}/history", "/materials", "/session"):
            assert_problem(await browser.http.get(path, params=query), "TOKEN_MISSING")
        assert_problem(await browser.http.post("/session", json=query), "TICKET_INVALID")
        assert (await browser.http.get(issued["url"])).status_code == 200

    async def test_a_ticket_opens_a_stream_once(self, bare_rest: Rest, browser: Rest, course: str) -> None:
        issued = await self.issue(bare_rest, purpose="events", course_id=course)
        async with browser.http.stream("GET", issued["url"]) as response:
            assert response.status_code == 200
            assert response.headers["content-type"].startswith("text/event-stream")
        assert_problem(await browser.http.get(issued["url"]), "TICKET_INVALID")

    async def test_a_ticket_signs_a_browser_in_once(self, bare_rest: Rest, browser: Rest) -> None:
        issued = await self.issue(bare_rest, purpose="sign-in")
        assert issued["url"] == f"/#sign-in={issued['ticket']}"
        session = found(await browser.http.post("/session", json={"ticket": issued["ticket"]}, headers=SAME_SITE))
        assert session["subject"] == "demo-user"
        assert await browser.get("/session") == session
        browser.http.cookies.clear()
        assert_problem(await browser.http.post("/session", json={"ticket": issued["ticket"]}), "TICKET_INVALID")

    async def test_beside_a_header_a_ticket_is_not_used(self, bare_rest: Rest, browser: Rest, course: str) -> None:
        material = await bare_rest.upload(course)
        issued = await self.issue(bare_rest, purpose="content", material_id=material["id"])
        for caller in (bare_rest, bare_rest, browser):
            assert (await caller.http.get(issued["url"])).status_code == 200

    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({"purpose": "all"}, "purpose"), ({}, "purpose"), ({"purpose": "content"}, "purpose"),
            ({"purpose": "events"}, "purpose"), ({"purpose": "content", "course_id": "a"}, "purpose"),
            ({"purpose": "sign-in", "course_id": "a"}, "purpose"),
            ({"purpose": "events", "course_id": "a", "material_id": "b"}, "purpose"),
            ({"purpose": "events", "course_id": "a/b"}, "course_id"), ({"purpose": "events", "course_id": ""}, "course_id"),
            ({"purpose": "content", "material_id": "x"}, "material_id"),
            ({"purpose": "sign-in", "for": "me"}, "for"),
        ],
    )  # fmt: skip
    async def test_a_request_that_makes_no_sense_names_its_field(
        self, bare_rest: Rest, body: Document, field: str
    ) -> None:
        assert_problem(await bare_rest.http.post("/tickets", json=body), "FIELD_INVALID", field)
