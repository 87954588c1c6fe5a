"""Page tokens, resume tokens and event ids that were altered, made up, of somebody else or of something else: refused, or answered with the newest state;
never another's data."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Iterator

import httpx
import pytest
from materials.v1 import status_service_pb2

from tests.contract.refusals import refused
from tests.fuzz.calls import SECONDS, Caller
from tests.security.attacked import TEXT, Attacked, World, upload_request

MADE_UP = [
    "garbage",
    "-1",
    "0",
    "9" * 30,
    "é",
    "../../etc/passwd",
    "' OR 1=1 --",
    "x" * 6_000,
    "e30=",
    "AAAA",
    " ",
    "null",
]


@pytest.fixture(scope="module")
def own(attacked: Attacked) -> Iterator[Caller]:
    """Somebody with three materials in a course of their own."""
    course = "course-of-pages"
    caller = attacked.caller(courses={course: "editor"})
    metadata = {"course_id": course, "name": "notes.txt"}
    for _ in range(3):
        caller.upload([upload_request(metadata=metadata), upload_request(chunk=TEXT)])
    yield caller
    for material in caller.page().materials:
        caller.delete(material.id)


def altered(token: str) -> list[str]:
    """Each with one thing changed, and one that says the same signed with nothing."""
    sealed = base64.urlsafe_b64decode(token)
    resealed = sealed[:-16] + hmac.new(b"", sealed[:-16], hashlib.sha256).digest()[:16]
    return [
        *(token[:at] + ("A" if token[at] != "A" else "B") + token[at + 1 :] for at in range(0, len(token), 7)),
        token[:-1], token[1:], token + "A", token + "=", f" {token}", token.swapcase(), token * 2,
        base64.urlsafe_b64encode(resealed).decode(), base64.urlsafe_b64encode(sealed[:-16]).decode(),
    ]  # fmt: skip


def resume_token(caller: Caller, course: str) -> str:
    request = status_service_pb2.WatchCourseRequest(course_id=course)
    watch = caller.status.WatchCourse(request, metadata=caller.metadata, timeout=SECONDS)
    token = next(change.resume_token for change in watch if change.resume_token)
    watch.cancel()
    return token


class TestPageTokens:
    def test_grpc(self, attacked: Attacked, world: World, own: Caller) -> None:
        token = own.page(page_size=1).next_page_token
        for bad in [*altered(token), *MADE_UP, resume_token(own, "course-of-pages")]:
            with refused("INVALID_ARGUMENT", "PAGE_TOKEN_INVALID"):
                own.page(page_size=1, page_token=bad)
        for other in ({"course_id": "course-of-pages"}, {"processing_statuses": [1]}, {"failure_reason": 1}):
            with refused("INVALID_ARGUMENT", "PAGE_TOKEN_INVALID"):
                own.page(page_token=token, **other)
        for somebody in (world.stranger, world.operator, attacked.caller(courses={"*": "editor"})):
            with refused("INVALID_ARGUMENT", "PAGE_TOKEN_INVALID"):
                somebody.page(page_token=token)

    def test_http(self, attacked: Attacked, world: World, own: Caller) -> None:
        token = own.page(page_size=1).next_page_token
        with attacked.http(own.token) as http:
            link = http.get("/materials", params={"page_size": 1}).links["next"]["url"]
            assert httpx.URL(link).params["page_token"] == token, "the same token by either way"
            for bad in [*altered(token), *MADE_UP]:
                assert_refused(http.get("/materials", params={"page_token": bad}), "PAGE_TOKEN_INVALID")
            for path, query in [
                ("/courses/course-of-pages/materials", {}),
                ("/materials", {"status": "pending"}),
                ("/materials", {"failure_reason": "cancelled"}),
                (f"/materials/{own.page().materials[0].id}/history", {}),
            ]:
                assert_refused(http.get(path, params={"page_token": token, **query}), "PAGE_TOKEN_INVALID")
        with attacked.http(world.stranger.token) as http:
            assert_refused(http.get("/materials", params={"page_token": token}), "PAGE_TOKEN_INVALID")


class TestResumeTokens:
    def test_grpc(self, world: World, own: Caller) -> None:
        token = resume_token(world.reader, world.course)
        bad = [*altered(token), *MADE_UP, resume_token(own, "course-of-pages"), own.page(page_size=1).next_page_token]
        for each in bad:
            request = status_service_pb2.WatchCourseRequest(course_id=world.course, resume_token=each)
            with refused("INVALID_ARGUMENT", "RESUME_TOKEN_INVALID"):
                next(world.reader.status.WatchCourse(request, metadata=world.reader.metadata, timeout=SECONDS))

    def test_http(self, attacked: Attacked, world: World, own: Caller) -> None:
        token = resume_token(world.reader, world.course)
        path = f"/courses/{world.course}/events"
        with attacked.http(world.reader.token) as http:
            for bad in [*altered(token), *MADE_UP, resume_token(own, "course-of-pages")]:
                assert_refused(http.get(path, params={"last_event_id": bad}), "RESUME_TOKEN_INVALID")
                if bad.isascii() and bad == bad.strip():
                    assert_refused(http.get(path, headers={"Last-Event-ID": bad}), "RESUME_TOKEN_INVALID")

    def test_token_of_another_shows_a_stranger_nothing(self, attacked: Attacked, world: World) -> None:
        """Whoever finds one, in a log of somebody's or over a shoulder."""
        token = resume_token(world.reader, world.course)
        request = status_service_pb2.WatchCourseRequest(course_id=world.course, resume_token=token)
        watch = world.stranger.status.WatchCourse(request, metadata=world.stranger.metadata, timeout=SECONDS)
        assert next(watch).HasField("snapshot_complete")
        watch.cancel()


class TestRevisions:
    """`after_revision` and the event ids of one material."""

    @pytest.mark.parametrize("after", [-1, -(2**63), 2**63 - 1, 2**40])
    def test_revision_that_never_was_is_answered_with_the_newest_state(self, world: World, after: int) -> None:
        request = status_service_pb2.WatchMaterialRequest(material_id=world.material.id, after_revision=after)
        states = list(world.reader.status.WatchMaterial(request, metadata=world.reader.metadata, timeout=SECONDS))
        assert [state.material for state in states] == [world.material]

    @pytest.mark.parametrize(
        "event_id", [*MADE_UP, "1e3", "+1", "1.0", "٣", "-9223372036854775809", "18446744073709551616"]
    )
    def test_event_id_that_never_was_is_answered_with_the_newest_state(
        self, attacked: Attacked, world: World, event_id: str
    ) -> None:
        path = f"/materials/{world.material.id}/events"
        with attacked.http(world.reader.token) as http:
            answers = [http.get(path, params={"last_event_id": event_id})]
            if event_id.isascii() and event_id.strip():
                answers.append(http.get(path, headers={"Last-Event-ID": event_id}))
        for answer in answers:
            assert answer.status_code == 200, answer.text
            [state] = [
                line.removeprefix("data: ") for line in answer.text.splitlines() if line.startswith('data: {"id"')
            ]
            assert json.loads(state)["revision"] == world.material.revision

    def test_revision_says_nothing_to_a_stranger(self, attacked: Attacked, world: World) -> None:
        with attacked.http(world.stranger.token) as http:
            for after in ("0", str(world.material.revision), "99"):
                answer = http.get(f"/materials/{world.material.id}/events", params={"last_event_id": after})
                assert (answer.status_code, answer.json()["reason"]) == (404, "MATERIAL_NOT_FOUND")


def assert_refused(answer: httpx.Response, reason: str) -> None:
    assert answer.status_code == 400, answer.text
    assert answer.json()["reason"] == reason
