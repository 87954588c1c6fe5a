"""What a page of another site, a link, or somebody who looks over a shoulder can do with a session, a token in a URL, or a ticket: nothing."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.local_stack import unique_course
from tests.security.attacked import TEXT, Attacked, World
from tests.security.routes import ROUTES, Route, routes

COOKIE = "materials_session"
FOREIGN = {
    "another site": {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"},
    "a sibling": {"Origin": "https://a.example", "Sec-Fetch-Site": "same-site"},
    "an old browser": {"Origin": "https://evil.example"},
    "a frame without an origin": {"Origin": "null"},
    "neither header": {},
    "an origin that only begins like ours": {"Origin": "http://GATEWAY.evil.example"},
    "our host at another port": {"Origin": "http://127.0.0.1:1"},
    "no word of ours": {"Sec-Fetch-Site": "whatever"},
}
WRITES = [name for name in ROUTES if name.partition(" ")[0] in ("POST", "DELETE") and name != "POST /session"]


@pytest.fixture
def signed_in(attacked: Attacked, world: World) -> Iterator[httpx.Client]:
    """A browser with the owner's cookie, and no more."""
    with attacked.http() as http:
        answer = http.post("/session", json={"token": world.owner.token})
        assert answer.status_code == 200
        yield http


class TestCookie:
    def test_cookie_is_for_this_site_alone_and_no_script_sees_it(self, signed_in: httpx.Client, world: World) -> None:
        again = signed_in.post("/session", headers={"Authorization": f"Bearer {world.owner.token}"})
        cookie = again.headers["set-cookie"]
        attributes = {part.strip().lower() for part in cookie.split(";")[1:]}
        assert {"httponly", "samesite=strict", "path=/"} <= attributes
        assert not any(attribute.startswith("domain") for attribute in attributes)
        assert world.owner.token not in cookie
        assert world.owner.token not in again.text

    @pytest.mark.parametrize("name", WRITES)
    @pytest.mark.parametrize("who", FOREIGN)
    def test_write_from_elsewhere_is_refused(
        self, attacked: Attacked, signed_in: httpx.Client, world: World, name: str, who: str
    ) -> None:
        for header, value in FOREIGN[who].items():
            signed_in.headers[header] = value.replace("GATEWAY", attacked.gateway)
        answer = Route(name, ROUTES[name]).send(signed_in, material_id=world.material.id, course_id=world.course)
        assert (answer.status_code, answer.json()["reason"]) == (403, "CROSS_ORIGIN_REFUSED")
        assert "access-control-allow-origin" not in answer.headers
        assert COOKIE in signed_in.cookies
        world.still_serves()

    @pytest.mark.parametrize("media_type", ["text/plain", "application/x-www-form-urlencoded", "application/json"])
    def test_form_of_another_site_signs_nobody_in(self, attacked: Attacked, world: World, media_type: str) -> None:
        """Else somebody works, without knowing, in an attacker's session."""
        with attacked.http() as http:
            answer = http.post(
                "/session",
                content=json.dumps({"token": world.stranger.token}),
                headers={"Content-Type": media_type, "Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"},
            )
        assert answer.status_code in (401, 403, 415, 422), answer.text
        assert "set-cookie" not in answer.headers

    @pytest.mark.parametrize(
        "same", [{"Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "none"}, {"Origin": "http://GATEWAY"}]
    )
    def test_write_of_this_very_site_is_taken(
        self, attacked: Attacked, signed_in: httpx.Client, world: World, same: dict[str, str]
    ) -> None:
        """So that the others are refused for where they come from."""
        headers = {name: value.replace("GATEWAY", attacked.gateway) for name, value in same.items()}
        assert signed_in.post(f"/materials/{world.material.id}:cancel", headers=headers).status_code == 200

    def test_no_answer_lets_another_site_read(self, signed_in: httpx.Client, world: World) -> None:
        origin = {"Origin": "https://evil.example"}
        for answer in (
            signed_in.get(f"/materials/{world.material.id}", headers=origin),
            signed_in.get("/openapi.json", headers=origin),
            signed_in.options("/materials", headers={**origin, "Access-Control-Request-Method": "DELETE"}),
        ):
            assert not [name for name in answer.headers if name.startswith("access-control-")]
            assert answer.headers["cross-origin-resource-policy"] == "same-origin"

    def test_altered_cookie_opens_nothing(self, attacked: Attacked, signed_in: httpx.Client, world: World) -> None:
        good = signed_in.cookies[COOKIE]
        made_up = [
            "",
            "garbage",
            world.owner.token,
            "x" * 10_000,
            json.dumps({"token": world.owner.token}).replace('"', "'"),
        ]
        altered = [good[:at] + ("A" if good[at] != "A" else "B") + good[at + 1 :] for at in range(0, len(good) - 1, 23)]
        ticket = issue(attacked, world.owner.token, purpose="sign-in")["ticket"]
        for cookie in [*made_up, *altered, good[:-4], good + "A", ticket]:
            with attacked.http() as http:
                answer = http.get("/session", headers={"Cookie": f"{COOKIE}={cookie}"})
            assert answer.status_code == 401, (cookie, answer.text)
            assert answer.headers["www-authenticate"].startswith("Bearer")

    def test_bad_bearer_token_is_not_mended_by_a_good_cookie(self, signed_in: httpx.Client, world: World) -> None:
        answer = signed_in.get(f"/materials/{world.material.id}", headers={"Authorization": "Bearer garbage"})
        assert (answer.status_code, answer.json()["reason"]) == (401, "TOKEN_INVALID")

    def test_expired_token_in_a_cookie_opens_nothing(self, attacked: Attacked) -> None:
        with attacked.http() as http:
            answer = http.post("/session", json={"token": attacked.stack.user_token("ann", exp=1)})
        assert (answer.status_code, answer.json()["reason"]) == (401, "TOKEN_EXPIRED")
        assert "set-cookie" not in answer.headers


class TestTokenInUrl:
    @routes()
    def test_token_in_a_url_is_refused(self, attacked: Attacked, world: World, route: Route) -> None:
        for name in ("token", "access_token", "Access_Token", "bearer", "jwt", "authorization"):
            with attacked.http(params={name: world.owner.token}) as http:
                answer = route.send(http, material_id=world.material.id, course_id=world.course)
            assert answer.status_code == 400, answer.text
            assert "set-cookie" not in answer.headers
            if answer.content:
                assert answer.json()["reason"] == "TOKEN_IN_URL"
                assert world.owner.token not in answer.text

    def test_token_in_a_url_is_refused_whoever_else_is_signed_in(self, signed_in: httpx.Client, world: World) -> None:
        answer = signed_in.get("/materials", params={"access_token": world.owner.token})
        assert (answer.status_code, answer.json()["reason"]) == (400, "TOKEN_IN_URL")


class TestTickets:
    def test_ticket_is_good_once(self, attacked: Attacked, world: World) -> None:
        for purpose, material in (("events", world.material.id), ("content", world.material.id)):
            issued = issue(attacked, world.reader.token, purpose=purpose, material_id=material)
            with attacked.http() as nobody:
                assert nobody.get(issued["url"]).status_code == 200
                assert_invalid_ticket(nobody.get(issued["url"]))

    def test_sign_in_ticket_is_good_once(self, attacked: Attacked, world: World) -> None:
        ticket = issue(attacked, world.reader.token, purpose="sign-in")["ticket"]
        with attacked.http() as nobody:
            assert nobody.post("/session", json={"ticket": ticket}).status_code == 200
        with attacked.http() as nobody:
            answer = nobody.post("/session", json={"ticket": ticket})
            assert_invalid_ticket(answer)
            assert "set-cookie" not in answer.headers

    def test_ticket_is_good_for_its_one_thing_alone(self, attacked: Attacked, world: World) -> None:
        course = unique_course()
        uploader = attacked.caller(courses={course: "editor"})
        with attacked.http(uploader.token) as http:
            files = [
                http.post(f"/courses/{course}/materials", files={"file": ("a.txt", TEXT)}).json()["id"] for _ in "ab"
            ]
        paths = {
            f"/materials/{files[0]}/events", f"/materials/{files[0]}/content", f"/materials/{files[1]}/events",
            f"/materials/{files[1]}/content", f"/courses/{course}/events", f"/courses/{course}-2/events",
            f"/materials/{files[0]}", f"/materials/{files[0]}/text", f"/materials/{files[0]}/history", "/materials", "/session",
            f"/courses/{course}/materials", f"/courses/{course}/search?query=cells",
        }  # fmt: skip
        for wanted in (
            {"purpose": "events", "material_id": files[0]},
            {"purpose": "content", "material_id": files[0]},
            {"purpose": "events", "course_id": course},
            {"purpose": "sign-in"},
        ):
            issued = issue(attacked, uploader.token, **wanted)
            own = issued["url"].partition("?")[0]
            with attacked.http() as nobody:
                for path in paths - {own}:
                    answer = nobody.get(path, params={"ticket": issued["ticket"]} | dict(httpx.URL(path).params))
                    assert answer.status_code == 401, (wanted, path)
                for path in (f"/materials/{files[0]}:cancel", f"/courses/{course}/materials", "/tickets"):
                    assert nobody.post(path, params={"ticket": issued["ticket"]}).status_code == 401
                assert nobody.delete(f"/materials/{files[0]}", params={"ticket": issued["ticket"]}).status_code == 401
                if wanted["purpose"] != "sign-in":
                    assert_invalid_ticket(nobody.post("/session", json={"ticket": issued["ticket"]}))
        for material in files:
            uploader.delete(material)

    def test_altered_or_made_up_ticket_is_none(self, attacked: Attacked, world: World, signed_in: httpx.Client) -> None:
        path = f"/materials/{world.material.id}/content"
        good = issue(attacked, world.reader.token, purpose="content", material_id=world.material.id)["ticket"]
        altered = [good[:at] + ("A" if good[at] != "A" else "B") + good[at + 1 :] for at in range(0, len(good) - 1, 29)]
        made_up = [
            "",
            "garbage",
            str(uuid.uuid4()),
            world.reader.token,
            signed_in.cookies[COOKIE],
            "é",
            "x" * 12_000,
            good * 2,
        ]
        with attacked.http() as nobody:
            for ticket in [*altered, *made_up]:
                assert_invalid_ticket(nobody.get(path, params={"ticket": ticket}))
            assert nobody.get(path, params={"ticket": good}).status_code == 200, "tries with others do not use it up"

    def test_ticket_holds_nothing_that_can_be_read(self, attacked: Attacked, world: World) -> None:
        issued = issue(attacked, world.reader.token, purpose="content", material_id=world.material.id)
        assert world.reader.subject not in json.dumps(issued)
        assert world.reader.token[:40] not in json.dumps(issued)

    def test_requests_for_tickets_that_make_no_sense_are_refused(self, attacked: Attacked, world: World) -> None:
        with attacked.http(world.reader.token) as http:
            for body in (
                {},
                {"purpose": "everything"},
                {"purpose": "content"},
                {"purpose": "content", "course_id": world.course},
                {"purpose": "events", "course_id": "../x"},
                {"purpose": "events", "material_id": "../../etc/passwd"},
                {"purpose": "events", "material_id": world.material.id, "course_id": world.course},
                {"purpose": "sign-in", "material_id": world.material.id},
                {"purpose": "sign-in", "exp": 2**40},
            ):
                answer = http.post("/tickets", json=body)
                assert (answer.status_code, answer.json()["reason"]) == (422, "FIELD_INVALID")


def issue(attacked: Attacked, token: str, **wanted: str) -> dict[str, Any]:
    """A ticket of whoever has the token."""
    with attacked.http(token) as http:
        answer = http.post("/tickets", json=wanted)
    assert answer.status_code == 201, answer.text
    issued: dict[str, Any] = answer.json()
    return issued


def assert_invalid_ticket(answer: httpx.Response) -> None:
    """One answer for whatever is wrong with it."""
    assert (answer.status_code, answer.json()["reason"]) == (401, "TICKET_INVALID"), answer.text
    assert answer.json()["detail"] == "this ticket is used up, expired, or for something else; get a new one"
