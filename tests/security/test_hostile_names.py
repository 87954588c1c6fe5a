"""Course ids and names made to harm: refused with the field's name, or kept and given back as the plain text that they are, wherever they come and go."""

from __future__ import annotations

from urllib.parse import quote

import httpx
import pytest
from materials.v1 import ingest_service_pb2

from tests.contract.refusals import refused
from tests.contract.rpcs import RPCS, Rpc
from tests.local_stack import unique_course
from tests.security.attacked import TEXT, Attacked, World, upload_request
from tests.security.hostile_texts import KEPT, KEPT_AS_COURSES, UNFIT, UNFIT_FOR_COURSES

COURSE_RPCS = [
    rpc
    for rpc in RPCS
    if "course_id" in rpc.method.input_type.fields_by_name or rpc.method.name == "UploadMaterial"
    if rpc.part != "status" or rpc.method.containing_service.name != "RecordService"
]
UNFIT_COURSES = UNFIT | UNFIT_FOR_COURSES
#: What an empty course means to these calls: no course in particular.
MAY_BE_WITHOUT = ("ListMaterials", "RetryFailedMaterials")


def metadata(course: str, name: str) -> ingest_service_pb2.UploadMaterialRequest:
    return upload_request(metadata=ingest_service_pb2.UploadMetadata(course_id=course, name=name))


class TestGrpc:
    @pytest.mark.parametrize("rpc", COURSE_RPCS, ids=lambda rpc: rpc.method.name)
    def test_unfit_course_is_refused_by_every_call_that_takes_one(
        self, attacked: Attacked, world: World, rpc: Rpc
    ) -> None:
        admin = attacked.caller(courses={"*": "editor"})
        courses = [*UNFIT_COURSES.values(), *([] if rpc.method.name in MAY_BE_WITHOUT else [""])]
        with attacked.leaves_no_trace(admin):
            for course in courses:
                with refused("INVALID_ARGUMENT", "FIELD_INVALID", "course_id") as refusal:
                    rpc.call(
                        attacked.channels.by_service[rpc.part],
                        admin.metadata,
                        rpc.request(course_id=course, name="notes.txt", query="cells"),
                    )
                assert refusal.message.isprintable()
                assert len(refusal.message) < 200

    @pytest.mark.parametrize("name", ["", *UNFIT.values()], ids=["empty", *UNFIT])
    def test_unfit_name_is_refused(self, attacked: Attacked, name: str) -> None:
        course = unique_course()
        caller = attacked.caller(courses={course: "editor"})
        with attacked.leaves_no_trace(caller, course):
            with refused("INVALID_ARGUMENT", "FIELD_INVALID", "name") as refusal:
                caller.upload([metadata(course, name), upload_request(chunk=TEXT)])
            assert refusal.message.isprintable()

    def test_hostile_text_is_kept_as_it_is_and_never_part_of_a_path(self, attacked: Attacked) -> None:
        admin, before = attacked.caller(courses={"*": "editor"}), attacked.stored_files()
        for course, name in [(unique_course(), name) for name in KEPT.values()] + [
            (course, "notes.txt") for course in KEPT_AS_COURSES.values()
        ]:
            material = admin.upload([metadata(course, name), upload_request(chunk=TEXT)])
            assert (material.course_id, material.name) == (course, name)
            assert admin.get(material.id).name == name
            assert material.file_path.endswith(material.id)
            assert (attacked.stack.data_dir / "objects" / material.file_path).read_bytes() == TEXT
            assert material.id in {found.id for found in admin.page(course_id=course).materials}
            admin.delete(material.id)
        attacked.until_purged(before)


class TestHttp:
    @pytest.mark.parametrize("what", UNFIT_COURSES)
    def test_unfit_course_in_a_url_is_refused(self, attacked: Attacked, what: str) -> None:
        admin = attacked.caller(courses={"*": "editor"})
        course = quote(UNFIT_COURSES[what], safe="")
        with attacked.http(admin.token) as http, attacked.leaves_no_trace(admin):
            answers = [
                http.get(f"/courses/{course}/materials"),
                http.get(f"/courses/{course}/search", params={"query": "cells"}),
                http.get(f"/courses/{course}/events"),
                http.post(f"/courses/{course}/search", json={"query": "cells"}),
                http.post(f"/courses/{course}/materials:retry-failed", json={}),
                http.post(f"/courses/{course}/materials", files={"file": ("notes.txt", TEXT)}),
                http.post("/tickets", json={"purpose": "events", "course_id": UNFIT_COURSES[what]}),
            ]
        for answer in answers:
            # A slash makes it another path; a head over the limit is not read.
            assert answer.status_code in (404, 422, 431), answer.text
            if answer.status_code == 422:
                assert [error["field"] for error in answer.json()["errors"]] == ["course_id"]
            assert answer.headers["content-type"] == "application/problem+json"
            assert "set-cookie" not in answer.headers

    @pytest.mark.parametrize("what", ["empty", *UNFIT])
    def test_unfit_name_is_refused(self, attacked: Attacked, what: str) -> None:
        course, name = unique_course(), UNFIT.get(what, "")
        caller = attacked.caller(courses={course: "editor"})
        with attacked.http(caller.token) as http, attacked.leaves_no_trace(caller, course):
            answer = http.post(f"/courses/{course}/materials", data={"name": name}, files={"file": ("a.txt", TEXT)})
        assert_field_invalid(answer, "name")

    def test_hostile_text_comes_back_as_json_and_as_it_was(self, attacked: Attacked) -> None:
        admin, before = attacked.caller(courses={"*": "editor"}), attacked.stored_files()
        with attacked.http(admin.token) as http:
            for course, name in [(unique_course(), name) for name in KEPT.values()] + [
                (course, "notes.txt") for course in KEPT_AS_COURSES.values() if not course.startswith(".")
            ]:
                url = f"/courses/{quote(course, safe='')}/materials"
                made = http.post(url, data={"name": name}, files={"file": ("a.txt", TEXT)})
                assert made.status_code == 201, made.text
                listed = http.get(url, params={"page_size": 1})
                for answer in (made, listed, http.get(made.headers["Location"])):
                    assert answer.headers["content-type"] == "application/json"
                    assert answer.headers["x-content-type-options"] == "nosniff"
                    [material] = answer.json() if isinstance(answer.json(), list) else [answer.json()]
                    assert (material["course_id"], material["name"]) == (course, name)
                assert http.delete(made.headers["Location"]).status_code == 204
        attacked.until_purged(before)

    def test_hostile_text_in_a_query_is_refused_or_text(self, world: World, attacked: Attacked) -> None:
        with attacked.http(world.reader.token) as http:
            for text in [*UNFIT.values(), *KEPT.values()]:
                for name in ("status", "failure_reason", "page_token", "page_size"):
                    answer = http.get(f"/courses/{world.course}/materials", params={name: text})
                    assert answer.status_code in (400, 422), (name, text, answer.text)
                answer = http.get(f"/materials/{quote(text, safe='')}")
                assert answer.status_code in (404, 431), (text, answer.text)


def assert_field_invalid(answer: httpx.Response, field: str) -> None:
    """A 422 that names the field."""
    assert answer.status_code == 422, answer.text
    assert answer.json()["reason"] == "FIELD_INVALID"
    assert [error["field"] for error in answer.json()["errors"]] == [field]
