"""What a failed call says, in the words that the `materials` command and the gateway both give: from its google.rpc.Status, or gRPC's own code."""

from __future__ import annotations

from dataclasses import dataclass

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

#: Codes that come from gRPC itself when nobody answered.
_NO_ANSWER = {
    grpc.StatusCode.UNAVAILABLE: "cannot be reached",
    grpc.StatusCode.DEADLINE_EXCEEDED: "does not answer in time",
    grpc.StatusCode.CANCELLED: "stopped before it answered",
}


@dataclass(frozen=True)
class Refusal:
    """A failed call. `reason` is the contract's ErrorReason without prefix, `violations` are (field, description), `retry_after` is in seconds.

    `message` is for people, without a full stop. What the answer did not carry is "", (), or None.
    """

    code: grpc.StatusCode
    reason: str
    message: str
    violations: tuple[tuple[str, str], ...] = ()
    retry_after: float | None = None
    error_id: str = ""

    @property
    def answered(self) -> bool:
        """Whether the service itself refused; else nobody was there, or nobody answered."""
        return bool(self.reason) or self.code not in _NO_ANSWER


def status_of(error: grpc.aio.AioRpcError) -> status_pb2.Status | None:
    """The google.rpc.Status with its details, or None when the answer carries none (a dead connection, a proxy)."""
    try:
        return rpc_status.from_call(error)  # type: ignore[arg-type]
    except (ValueError, DecodeError):
        return None


def unanswered(code: grpc.StatusCode, service_name: str, where: str = "") -> Refusal:
    """A call that nobody answered: UNAVAILABLE, DEADLINE_EXCEEDED or CANCELLED. The rest as for `refusal_of`."""
    return Refusal(code, "", f"the {service_name} service{where} {_NO_ANSWER[code]}")


def refusal_of(error: grpc.aio.AioRpcError | TimeoutError, service_name: str, where: str = "") -> Refusal:
    """What a failed call says. A TimeoutError is a stream that stood still for longer than the caller waits.

    `service_name` ("status") and `where` (" at host:port") name the service in the words for one that did not answer.
    """
    service = f"the {service_name} service{where}"
    if isinstance(error, TimeoutError):
        return Refusal(grpc.StatusCode.DEADLINE_EXCEEDED, "", f"{service} does not answer any more")
    code, status = error.code(), status_of(error)
    info, request, retry = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()
    retry_after = None
    for item in status.details if status is not None else ():
        if item.Unpack(retry):
            retry_after = float(retry.retry_delay.ToTimedelta().total_seconds())
        elif not item.Unpack(info):
            item.Unpack(request)
    violations = tuple((each.field, each.description) for each in request.field_violations)
    if not info.reason and code in _NO_ANSWER:
        return unanswered(code, service_name, where)
    if code is grpc.StatusCode.UNIMPLEMENTED:
        message = f"{service} does not know this call"
    else:
        message = ", ".join(f"{field}: {description}" for field, description in violations)
        message = (message or error.details() or code.name).rstrip(".")
    return Refusal(code, info.reason, message, violations, retry_after, info.metadata.get("error_id", ""))
