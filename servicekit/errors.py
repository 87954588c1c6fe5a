"""Errors that travel to clients.

    ServiceError(reason, message)         any refusal; code and HTTP status come from the contract's table
    ├── FieldInvalid(field, description)  FIELD_INVALID with a BadRequest detail
    └── Unavailable(reason, …)            safe to retry, with a RetryInfo detail

The table of reasons with their gRPC code and HTTP status is `protos/materials/v1/errors.proto` itself: the options on each value are read from the
descriptor, so that code, docs and contract cannot part ways.
"""

from __future__ import annotations

import grpc
from google.protobuf import any_pb2, duration_pb2, message
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status
from materials.v1 import errors_pb2

DOMAIN = "materials"
_PREFIX = "ERROR_REASON_"


def reason_name(reason: errors_pb2.ErrorReason.ValueType) -> str:
    """The `ErrorInfo.reason` of a value: its name without the enum's prefix."""
    return errors_pb2.ErrorReason.Name(reason).removeprefix(_PREFIX)


def answer_of(reason: errors_pb2.ErrorReason.ValueType) -> errors_pb2.ErrorAnswer:
    """gRPC code and HTTP status of a reason, as the contract says."""
    value = errors_pb2.ErrorReason.DESCRIPTOR.values_by_number[reason]
    return value.GetOptions().Extensions[errors_pb2.answer]


class ServiceError(Exception):
    """A refusal with a reason from the contract; `message` is for people and tells nothing about our insides."""

    def __init__(
        self, reason: errors_pb2.ErrorReason.ValueType, message: str, *, metadata: dict[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.metadata = metadata or {}

    def details(self) -> list[message.Message]:
        """The google.rpc details that go with the status; ErrorInfo first."""
        return [error_details_pb2.ErrorInfo(reason=reason_name(self.reason), domain=DOMAIN, metadata=self.metadata)]

    def to_status(self) -> status_pb2.Status:
        """The google.rpc.Status that the client receives."""
        packed = []
        for detail in self.details():
            item = any_pb2.Any()
            item.Pack(detail)
            packed.append(item)
        return status_pb2.Status(code=answer_of(self.reason).grpc_code, message=self.message, details=packed)


class FieldInvalid(ServiceError):
    """One field of a request is outside its range."""

    def __init__(self, field: str, description: str) -> None:
        super().__init__(errors_pb2.ERROR_REASON_FIELD_INVALID, f"{field}: {description}")
        self.field = field
        self.description = description

    def details(self) -> list[message.Message]:
        violation = error_details_pb2.BadRequest.FieldViolation(field=self.field, description=self.description)
        return [*super().details(), error_details_pb2.BadRequest(field_violations=[violation])]


class Unavailable(ServiceError):
    """Something we need is away or exhausted; the same call may succeed after `retry_after` seconds."""

    def __init__(self, reason: errors_pb2.ErrorReason.ValueType, message: str, *, retry_after: float = 1.0) -> None:
        super().__init__(reason, message)
        self.retry_after = retry_after

    def details(self) -> list[message.Message]:
        delay = duration_pb2.Duration()
        delay.FromMilliseconds(int(self.retry_after * 1000))
        return [*super().details(), error_details_pb2.RetryInfo(retry_delay=delay)]


def reason_of_status(status: status_pb2.Status | None) -> str:
    """The ErrorInfo reason in a received status, or "" when there is none."""
    for item in status.details if status is not None else ():
        info = error_details_pb2.ErrorInfo()
        if item.Unpack(info):
            return str(info.reason)
    return ""


def retry_delay_of_call(error: grpc.aio.AioRpcError) -> float | None:
    """Seconds until the next try, as a peer asks in RetryInfo; None when it does not."""
    status = rpc_status.from_call(error)  # type: ignore[arg-type]
    for item in status.details if status is not None else ():
        info = error_details_pb2.RetryInfo()
        if item.Unpack(info):
            return float(info.retry_delay.ToTimedelta().total_seconds())
    return None


def reason_of_call(error: grpc.aio.AioRpcError) -> str:
    """The ErrorInfo reason of a call that a peer refused, or "" when there is none."""
    return reason_of_status(rpc_status.from_call(error))  # type: ignore[arg-type]
