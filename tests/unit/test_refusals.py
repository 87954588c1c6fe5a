"""What a failed call says is read whole from its status, and said in the same words whoever tells it."""

from __future__ import annotations

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status
from materials.v1 import errors_pb2

from materials_cli.connection import Service
from materials_cli.refusals import explain
from servicekit.errors import FieldInvalid, ServiceError, Unavailable
from servicekit.refusals import Refusal, refusal_of

SERVICE = Service("status", "127.0.0.1:1", "MATERIALS_STATUS")
NOWHERE = grpc.aio.Metadata()


def failed(code: grpc.StatusCode, details: str = "", *, trailer: bytes = b"") -> grpc.aio.AioRpcError:
    metadata = grpc.aio.Metadata(("grpc-status-details-bin", trailer)) if trailer else NOWHERE
    return grpc.aio.AioRpcError(code, NOWHERE, metadata, details)


def answered(status: status_pb2.Status) -> grpc.aio.AioRpcError:
    code = rpc_status.to_status(status).code
    return failed(code, status.message, trailer=status.SerializeToString())


def test_each_detail_of_an_answer_is_read() -> None:
    error = ServiceError(errors_pb2.ERROR_REASON_INTERNAL, "see the log.", metadata={"error_id": "5f"})
    assert refusal_of(answered(error.to_status()), "status") == Refusal(
        grpc.StatusCode.INTERNAL, "INTERNAL", "see the log", error_id="5f"
    )
    away = Unavailable(errors_pb2.ERROR_REASON_DATABASE_UNAVAILABLE, "the database is away", retry_after=2.5)
    assert refusal_of(answered(away.to_status()), "status") == Refusal(
        grpc.StatusCode.UNAVAILABLE, "DATABASE_UNAVAILABLE", "the database is away", retry_after=2.5
    )


def test_the_words_for_wrong_fields_name_each_of_them() -> None:
    status = FieldInvalid("course_id", "must not be empty").to_status()
    more = error_details_pb2.BadRequest()
    assert status.details[1].Unpack(more)
    more.field_violations.add(field="name", description="is too long.")
    status.details[1].Pack(more)
    refusal = refusal_of(answered(status), "ingest")
    assert refusal.violations == (("course_id", "must not be empty"), ("name", "is too long."))
    assert refusal.message == "course_id: must not be empty, name: is too long"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (failed(grpc.StatusCode.UNAVAILABLE, "ipv4:10.0.0.7:1 refused"), "cannot be reached"),
        (failed(grpc.StatusCode.DEADLINE_EXCEEDED), "does not answer in time"),
        (failed(grpc.StatusCode.CANCELLED), "stopped before it answered"),
        (TimeoutError(), "does not answer any more"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_where_nobody_answered_the_service_is_named_and_its_address_only_to_who_asks(
    error: grpc.aio.AioRpcError | TimeoutError, words: str
) -> None:
    refusal = refusal_of(error, "status")
    assert (refusal.answered, refusal.message) == (False, f"the status service {words}")
    at_the_terminal = explain(error, SERVICE, "notes.pdf").message
    assert at_the_terminal.startswith(f"notes.pdf: the status service at 127.0.0.1:1 (from MATERIALS_STATUS) {words}; ")


@pytest.mark.parametrize("trailer", [b"\xff", status_pb2.Status(code=5, message="other").SerializeToString()])
def test_details_that_make_no_sense_are_passed_over(trailer: bytes) -> None:
    refusal = refusal_of(failed(grpc.StatusCode.PERMISSION_DENIED, "no.", trailer=trailer), "status")
    assert refusal == Refusal(grpc.StatusCode.PERMISSION_DENIED, "", "no")
    assert refusal.answered


def test_a_service_of_another_age_is_named() -> None:
    error = failed(grpc.StatusCode.UNIMPLEMENTED, "Method not found!")
    assert refusal_of(error, "status").message == "the status service does not know this call"
