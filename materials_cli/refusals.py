"""What a failed call means to the person at the terminal, from the ErrorInfo, BadRequest and RetryInfo of its status."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import grpc
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from materials_cli.connection import Service
from materials_cli.errors import CommandError, NotFound, Unreachable
from servicekit.errors import reason_of_status

#: What to do, where the service's own message does not say it to somebody at a terminal.
_ADVICE = {
    "TOKEN_MISSING": "set MATERIALS_TOKEN to a token",
    "TOKEN_INVALID": "set MATERIALS_TOKEN, or start the local stack again (`make run`)",
    "TOKEN_EXPIRED": "set MATERIALS_TOKEN, or start the local stack again (`make run`)",
    "COURSE_WRITE_DENIED": "ask for the role `editor` in this course",
    "OPERATOR_REQUIRED": "ask for one and set MATERIALS_TOKEN to it",
    "MATERIAL_NOT_FOUND": "see `materials list`",
    "TOO_MANY_UPLOADS": "try again in a moment",
    "TOO_MANY_WATCHES": "try again in a moment",
    "TOO_MANY_UNFINISHED": "see them with `materials list --status pending`",
    "MEMORY_SHORT": "try again in a moment",
    "OBJECT_STORE_FULL": "tell whoever runs the service",
    "INTERNAL": "tell whoever runs the service",
}

#: Codes that come from gRPC itself when nobody answered.
_NO_ANSWER = {
    grpc.StatusCode.UNAVAILABLE: "cannot be reached",
    grpc.StatusCode.DEADLINE_EXCEEDED: "does not answer in time",
    grpc.StatusCode.CANCELLED: "stopped before it answered",
}


def status_of(error: grpc.aio.AioRpcError) -> status_pb2.Status | None:
    """The google.rpc.Status with its details, or None when the answer carries none (a dead connection, a proxy)."""
    try:
        return rpc_status.from_call(error)  # type: ignore[arg-type]
    except ValueError:
        return None


def explain(error: grpc.aio.AioRpcError | TimeoutError, service: Service, subject: str = "") -> CommandError:
    """What a failed call means to the person at the terminal. `subject` says what it was about: an id, a file; may be empty."""
    about = f"{subject}: " if subject else ""
    if isinstance(error, TimeoutError):
        return Unreachable(f"{about}{service} does not answer any more; try again")
    status = status_of(error)
    reason = reason_of_status(status)
    code = error.code()
    if not reason and code in _NO_ANSWER:
        return Unreachable(
            f"{about}{service} {_NO_ANSWER[code]}; is it running? Start it with `make run`, or set {service.variable}"
        )
    if code is grpc.StatusCode.UNIMPLEMENTED:
        return CommandError(f"{about}{service} does not know this call; set {service.variable} to the right host:port")
    message = (_violations(status) or error.details() or code.name).rstrip(".")
    advice = _ADVICE.get(reason, "")
    text = f"{about}{message}" + (f"; {advice}" if advice and advice not in message else "")
    if code is grpc.StatusCode.NOT_FOUND:
        return NotFound(text, reason=reason)
    if code is grpc.StatusCode.UNAVAILABLE:
        return Unreachable(text, reason=reason)
    return CommandError(text, reason=reason)


@contextmanager
def explained(service: Service, subject: str = "") -> Iterator[None]:
    """Turns a call's error into a CommandError."""
    try:
        yield
    except (grpc.aio.AioRpcError, TimeoutError) as error:
        raise explain(error, service, subject) from error


def _violations(status: status_pb2.Status | None) -> str:
    for item in status.details if status is not None else ():
        request = error_details_pb2.BadRequest()
        if item.Unpack(request):
            return ", ".join(f"{each.field}: {each.description}" for each in request.field_violations)
    return ""
