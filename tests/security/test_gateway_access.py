"""Who may use which route of the gateway: every route of its OpenAPI document, with every identity that must not get through, and nothing in the refusal that
tells a stranger's material from one that is not there."""

from __future__ import annotations

import json
import statistics
import time
import uuid
from collections.abc import Callable

import httpx
import pytest

from tests.contract.rpcs import Access
from tests.security.attacked import Attacked, World
from tests.security.bad_tokens import bad_tokens
from tests.security.routes import ROUTES, Route, routes
from tests.unit.tokens import KeyServer

UNKNOWN_IDS = (str(uuid.uuid4()), "0", "' OR 1=1 --", "%2e%2e", "x" * 5_000)


def answer_of(response: httpx.Response) -> tuple[int, dict[str, str], bytes]:
    """Everything of it but the time."""
    return (
        response.status_code,
        {name: value for name, value in response.headers.items() if name != "date"},
        response.content,
    )


def assert_unauthenticated(response: httpx.Response, reason: str) -> None:
    """A 401 as RFC 9110 and RFC 6750 have it."""
    assert response.status_code == 401, response.text
    assert response.headers["www-authenticate"].startswith("Bearer")
    assert response.headers["content-type"] == "application/problem+json"
    if response.request.method != "HEAD":
        assert response.json()["reason"] == reason


def test_every_route_of_the_document_has_its_rule(http: httpx.Client) -> None:
    paths = http.get("/openapi.json").json()["paths"]
    documented = {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods}
    assert documented == ROUTES.keys()


class TestIdentity:
    @routes()
    def test_request_without_a_token_is_refused(self, http: httpx.Client, world: World, route: Route) -> None:
        for authorization in (None, "", "Bearer", "Basic YTpi", world.owner.token):
            http.headers.pop("Authorization", None)
            if authorization is not None:
                http.headers["Authorization"] = authorization
            response = route.send(http, material_id=world.material.id, course_id=world.course)
            assert_unauthenticated(response, "TOKEN_MISSING")
            assert "set-cookie" not in response.headers

    @routes()
    def test_request_with_a_token_that_is_not_good_is_refused(
        self, attacked: Attacked, http: httpx.Client, world: World, route: Route, attackers_keys: KeyServer
    ) -> None:
        for token, reason in bad_tokens(attacked.stack, attackers_keys.url).values():
            http.headers["Authorization"] = f"Bearer {token}"
            response = route.send(http, material_id=world.material.id, course_id=world.course)
            assert_unauthenticated(response, reason)
            assert "set-cookie" not in response.headers
        assert attackers_keys.asked == 0

    @routes()
    def test_token_of_a_service_opens_what_a_users_does_and_no_session(
        self, attacked: Attacked, world: World, route: Route
    ) -> None:
        """A user's token that claims the role is a user's, and no more."""
        token = attacked.stack.user_token("mallory", {"another-course": "editor"}, role="service", is_service=True)
        with attacked.http(token) as http:
            response = route.send(http, material_id=world.material.id, course_id=world.course)
        assert world.material.id not in response.text
        assert response.status_code == {Access.READ: 404, Access.CHANGE: 404, Access.WRITE: 403}.get(
            route.access, response.status_code
        )

    @pytest.mark.parametrize("path", [name.split()[1] for name in ROUTES if name.startswith("POST /courses")])
    def test_nothing_of_a_strangers_body_is_looked_at(self, http: httpx.Client, world: World, path: str) -> None:
        url = path.format(course_id=world.course)
        for body in (b"{", b"[1]", b"\xff", b"{}" * 100):
            response = http.post(url, content=body, headers={"Content-Type": "application/json"})
            assert_unauthenticated(response, "TOKEN_MISSING")


class TestRoles:
    @routes(Access.CHANGE, Access.WRITE)
    def test_reader_may_not_write(self, attacked: Attacked, world: World, route: Route) -> None:
        with attacked.http(world.reader.token) as http:
            response = route.send(http, material_id=world.material.id, course_id=world.course)
        assert (response.status_code, response.json()["reason"]) == (403, "COURSE_WRITE_DENIED")
        world.still_serves()

    @routes(Access.WRITE)
    def test_stranger_may_not_write_into_the_course(self, attacked: Attacked, world: World, route: Route) -> None:
        for who in (world.stranger, world.operator):
            with attacked.http(who.token) as http:
                response = route.send(http, course_id=world.course)
            assert (response.status_code, response.json()["reason"]) == (403, "COURSE_WRITE_DENIED")
        world.still_serves()

    @routes(Access.READ)
    def test_reader_is_answered(self, attacked: Attacked, world: World, route: Route) -> None:
        with attacked.http(world.reader.token) as http:
            assert route.send(http, material_id=world.material.id).status_code == 200

    def test_nothing_of_operators_and_peers_is_there(self, attacked: Attacked, world: World) -> None:
        with attacked.http(world.operator.token) as http:
            for method, path in [
                ("GET", "/queue"), ("POST", "/queue:pause"), ("POST", "/queue:resume"), ("GET", "/record"),
                ("POST", "/materials.v1.RecordService/CreateMaterial"), ("POST", "/materials.v1.StatusService/GetQueue"),
            ]:  # fmt: skip
                assert http.request(method, path).status_code == 404


class TestStranger:
    @routes(Access.READ, Access.CHANGE)
    def test_material_of_another_is_refused_in_the_bytes_of_an_unknown_id(
        self, attacked: Attacked, world: World, route: Route
    ) -> None:
        for who in (world.stranger, world.operator):
            with attacked.http(who.token) as http:
                answers = [
                    answer_of(route.send(http, material_id=material_id))
                    for material_id in (world.material.id, *UNKNOWN_IDS)
                ]
            assert answers[0][0] == 404
            if not route.name.startswith("HEAD"):
                assert json.loads(answers[0][2])["reason"] == "MATERIAL_NOT_FOUND"
            assert all(answer == answers[0] for answer in answers), "the answer tells whether the material exists"
        world.still_serves()

    @routes(Access.OWN)
    def test_nothing_of_another_is_in_what_a_stranger_is_told(
        self, attacked: Attacked, world: World, route: Route
    ) -> None:
        for who in (world.stranger, world.operator):
            with attacked.http(who.token) as http:
                response = route.send(http, course_id=world.course)
            assert response.status_code < 300
            for hidden in (world.material.id, world.material.sha256, world.owner.subject):
                assert hidden not in response.text

    def test_ticket_gives_no_more_than_its_owner_has(self, attacked: Attacked, world: World) -> None:
        with attacked.http(world.stranger.token) as http, attacked.http() as nobody:
            for purpose in ("events", "content"):
                answers = []
                for material_id in (world.material.id, str(uuid.uuid4())):
                    issued = http.post("/tickets", json={"purpose": purpose, "material_id": material_id})
                    assert issued.status_code == 201
                    answers.append(answer_of(nobody.get(issued.json()["url"])))
                assert answers[0] == answers[1]
                assert answers[0][0] == 404

    def test_time_until_the_refusal_is_recorded(
        self, attacked: Attacked, world: World, record_property: Callable[[str, object], None]
    ) -> None:
        """For people who compare; what is asserted is that the answers are the same."""
        took: dict[str, list[float]] = {world.material.id: [], UNKNOWN_IDS[0]: []}
        answers = set()
        with attacked.http(world.stranger.token) as http:
            for material_id in [*took] * 40:
                began = time.perf_counter()
                response = http.get(f"/materials/{material_id}")
                took[material_id].append(time.perf_counter() - began)
                answers.add((response.status_code, response.content))
        medians = {"another's": took[world.material.id], "unknown": took[UNKNOWN_IDS[0]]}
        record_property("median ms", json.dumps({who: statistics.median(each) * 1e3 for who, each in medians.items()}))
        assert len(answers) == 1
