"""Every refusal has a place in the contract's table, and reaches the client whole."""

from __future__ import annotations

import re
from pathlib import Path

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status
from materials.v1 import errors_pb2, material_pb2

from servicekit.errors import (
    DOMAIN,
    FieldInvalid,
    ServiceError,
    Unavailable,
    answer_of,
    reason_name,
    reason_of_status,
)

ROOT = Path(__file__).resolve().parents[2]
REASONS = [value for value in errors_pb2.ErrorReason.values() if value]
#: google.rpc.Code to HTTP as its own comments say; where the contract is more exact, the statuses it may use instead.
HTTP_OF_CODE = {
    code_pb2.INVALID_ARGUMENT: {400, 413, 415, 422},
    code_pb2.DEADLINE_EXCEEDED: {408, 504},
    code_pb2.NOT_FOUND: {404},
    code_pb2.ALREADY_EXISTS: {409},
    code_pb2.PERMISSION_DENIED: {403},
    code_pb2.RESOURCE_EXHAUSTED: {429, 503},
    code_pb2.FAILED_PRECONDITION: {409},
    code_pb2.OUT_OF_RANGE: {416},
    code_pb2.INTERNAL: {500},
    code_pb2.UNAVAILABLE: {503},
    code_pb2.UNAUTHENTICATED: {401},
}


def sources() -> list[Path]:
    packages = [path.parent for path in ROOT.glob("*/__init__.py")]
    return [*(file for package in packages for file in package.rglob("*.py")), *(ROOT / "tests").rglob("*.py")]


def unpacked(status: status_pb2.Status, kind: type[Message]) -> list[Message]:
    found = []
    for item in status.details:
        detail = kind()
        if item.Unpack(detail):
            found.append(detail)
    return found


@pytest.mark.parametrize("reason", REASONS, ids=reason_name)
def test_every_reason_has_a_code_and_an_http_status_that_agree(reason: errors_pb2.ErrorReason.ValueType) -> None:
    answer = answer_of(reason)
    assert answer.http_status in HTTP_OF_CODE[answer.grpc_code]


@pytest.mark.parametrize("reason", REASONS, ids=reason_name)
def test_every_reason_reaches_the_client_as_error_info(reason: errors_pb2.ErrorReason.ValueType) -> None:
    status = ServiceError(reason, "what to do", metadata={"error_id": "1"}).to_status()
    received = status_pb2.Status.FromString(status.SerializeToString())
    assert (received.code, received.message) == (answer_of(reason).grpc_code, "what to do")
    [info] = unpacked(received, error_details_pb2.ErrorInfo)
    assert isinstance(info, error_details_pb2.ErrorInfo)
    assert (info.domain, info.reason, dict(info.metadata)) == (DOMAIN, reason_name(reason), {"error_id": "1"})
    assert errors_pb2.ErrorReason.Value(f"ERROR_REASON_{reason_of_status(received)}") == reason
    assert not info.reason.startswith("ERROR_REASON_")


@pytest.mark.parametrize("reason", REASONS, ids=reason_name)
def test_every_reason_is_a_status_that_grpc_takes(reason: errors_pb2.ErrorReason.ValueType) -> None:
    status = rpc_status.to_status(ServiceError(reason, "Größe").to_status())
    assert status.code is not grpc.StatusCode.OK
    assert status.details == "Größe"


def test_field_error_names_field_and_rule() -> None:
    status = FieldInvalid("course_id", "must not be empty").to_status()
    assert status.code == code_pb2.INVALID_ARGUMENT
    assert status.message == "course_id: must not be empty"
    [request] = unpacked(status, error_details_pb2.BadRequest)
    assert isinstance(request, error_details_pb2.BadRequest)
    [violation] = request.field_violations
    assert (violation.field, violation.description) == ("course_id", "must not be empty")
    assert reason_of_status(status) == "FIELD_INVALID"


@pytest.mark.parametrize("seconds", [0.1, 1.0, 2.5, 60.0])
def test_unavailable_says_when_to_come_again(seconds: float) -> None:
    status = Unavailable(errors_pb2.ERROR_REASON_DATABASE_UNAVAILABLE, "away", retry_after=seconds).to_status()
    [info] = unpacked(status, error_details_pb2.RetryInfo)
    assert isinstance(info, error_details_pb2.RetryInfo)
    assert info.retry_delay.ToMilliseconds() == seconds * 1000
    assert reason_of_status(status) == "DATABASE_UNAVAILABLE"


def test_status_without_our_details_has_no_reason() -> None:
    assert reason_of_status(None) == ""
    assert reason_of_status(status_pb2.Status(code=5, message="x")) == ""
    other = status_pb2.Status(code=5)
    other.details.add().Pack(error_details_pb2.RetryInfo())
    assert reason_of_status(other) == ""


def test_every_reason_named_in_code_is_in_the_contract() -> None:
    known = {*errors_pb2.ErrorReason.keys(), *material_pb2.FailureReason.keys()}
    named = {
        (name, str(path.relative_to(ROOT)))
        for path in sources()
        for name in re.findall(r"\b(?:ERROR|FAILURE)_REASON_[A-Z0-9_]*[A-Z0-9]\b", path.read_text())
    }
    assert len(named) > 50, "the sources were found"
    assert {entry for entry in named if entry[0] not in known} == set()


def test_every_reason_of_the_contract_is_given_by_some_code() -> None:
    code = "".join(path.read_text() for path in sources() if "tests" not in path.parts)
    assert [
        errors_pb2.ErrorReason.Name(reason) for reason in REASONS if errors_pb2.ErrorReason.Name(reason) not in code
    ] == []
