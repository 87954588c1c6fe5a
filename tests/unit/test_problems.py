"""Promises of errors over HTTP: every reason of the contract with its status, its words, its fields and when to come again; nothing else."""

from __future__ import annotations

import json
from typing import Any

import grpc
import pytest
from materials.v1 import errors_pb2

from gateway.problems import MEDIA_TYPE, NO_ANSWER_RETRY_SECONDS, Problem, of_refusal, of_service_error
from servicekit.errors import FieldInvalid, ServiceError, Unavailable, answer_of, reason_name
from servicekit.refusals import Refusal, unanswered

REASONS = [value for value in errors_pb2.ErrorReason.values() if value]


def refusal(reason: str, code: grpc.StatusCode = grpc.StatusCode.UNKNOWN, **fields: Any) -> Refusal:
    return Refusal(code, reason, "these are the words", **fields)


@pytest.mark.parametrize("value", REASONS, ids=reason_name)
def test_every_reason_has_the_status_of_the_contract(value: errors_pb2.ErrorReason.ValueType) -> None:
    name, status = reason_name(value), answer_of(value).http_status
    assert 400 <= status < 600
    expected = {
        "type": f"urn:materials:error:{name}",
        "status": status,
        "detail": "these are the words",
        "reason": name,
    }
    # Whether a service said it, under whichever code, or the gateway itself.
    for document in (of_refusal(refusal(name)), of_service_error(ServiceError(value, "these are the words"))):
        assert document.pop("title")
        assert document == expected


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, 400), (grpc.StatusCode.FAILED_PRECONDITION, 400),
        (grpc.StatusCode.OUT_OF_RANGE, 400), (grpc.StatusCode.UNAUTHENTICATED, 401),
        (grpc.StatusCode.PERMISSION_DENIED, 403), (grpc.StatusCode.NOT_FOUND, 404),
        (grpc.StatusCode.ALREADY_EXISTS, 409), (grpc.StatusCode.ABORTED, 409),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, 503), (grpc.StatusCode.INTERNAL, 500), (grpc.StatusCode.UNKNOWN, 500),
        (grpc.StatusCode.DATA_LOSS, 500), (grpc.StatusCode.UNIMPLEMENTED, 501), (grpc.StatusCode.UNAVAILABLE, 503),
        (grpc.StatusCode.CANCELLED, 503), (grpc.StatusCode.DEADLINE_EXCEEDED, 504),
    ],
)  # fmt: skip
def test_a_reason_of_a_later_contract_goes_by_its_code(code: grpc.StatusCode, status: int) -> None:
    document = of_refusal(refusal("OF_A_LATER_CONTRACT", code))
    assert (document["status"], document["reason"]) == (status, "OF_A_LATER_CONTRACT")
    assert ("retry_after" in document) == (status in (503, 504))


def test_a_service_that_did_not_answer_says_when_to_come_again() -> None:
    for code, status in ((grpc.StatusCode.UNAVAILABLE, 503), (grpc.StatusCode.DEADLINE_EXCEEDED, 504)):
        document = of_refusal(unanswered(code, "status"))
        assert document["status"] == status
        assert (document["type"], document["retry_after"]) == ("about:blank", NO_ANSWER_RETRY_SECONDS)
        assert "reason" not in document
        assert document["detail"].startswith("the status service ")


def test_fields_at_fault_are_named() -> None:
    violations = (("name", "must not be empty"), ("sha256", "must be 64 hexadecimal digits"))
    errors = [{"field": field, "description": description} for field, description in violations]
    assert of_refusal(refusal("FIELD_INVALID", violations=violations))["errors"] == errors
    assert of_service_error(FieldInvalid("name", "must not be empty"))["errors"] == errors[:1]
    assert "errors" not in of_refusal(refusal("FILE_EMPTY"))


@pytest.mark.parametrize(("seconds", "header"), [(0.0, "1"), (0.2, "1"), (1.0, "1"), (1.001, "2"), (30.5, "31")])
def test_when_to_come_again_is_told_in_whole_seconds_rounded_up(seconds: float, header: str) -> None:
    away = Unavailable(errors_pb2.ERROR_REASON_RECORD_UNAVAILABLE, "away", retry_after=seconds)
    for document in (
        of_service_error(away),
        of_refusal(refusal("RECORD_UNAVAILABLE", retry_after=seconds)),
    ):
        answer = Problem(document)
        assert json.loads(answer.body)["retry_after"] == seconds
        assert answer.headers["retry-after"] == header
    assert "retry-after" not in Problem(of_refusal(refusal("MATERIAL_NOT_FOUND"))).headers


def test_an_error_id_leads_to_the_log() -> None:
    internal = ServiceError(errors_pb2.ERROR_REASON_INTERNAL, "unforeseen", metadata={"error_id": "17ab"})
    assert of_service_error(internal)["error_id"] == of_refusal(refusal("INTERNAL", error_id="17ab"))["error_id"]


def test_who_is_unknown_is_told_how_to_say_it() -> None:
    answer = Problem(of_refusal(refusal("TOKEN_EXPIRED")), {"X-Other": "kept"})
    assert (answer.status_code, answer.media_type) == (401, MEDIA_TYPE)
    assert answer.headers["www-authenticate"] == 'Bearer realm="materials"'
    assert answer.headers["x-other"] == "kept"
    assert "www-authenticate" not in Problem(of_refusal(refusal("COURSE_WRITE_DENIED"))).headers
