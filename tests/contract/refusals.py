"""What a refused call carries, and the assertion that a call is refused in the contract's words."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status


@dataclass
class Refusal:
    """Filled in when the block of `refused` has ended. `status_bytes` is the whole google.rpc.Status as it came."""

    code: grpc.StatusCode = grpc.StatusCode.OK
    reason: str = ""
    domain: str = ""
    message: str = ""
    fields: list[str] = field(default_factory=list)
    retry_seconds: float | None = None
    status_bytes: bytes = b""


def refusal_of(error: grpc.RpcError) -> Refusal:
    """The contract's details of an error. Fails when there are none: no refusal may come without."""
    assert isinstance(error, grpc.aio.AioRpcError | grpc.Call)
    status = rpc_status.from_call(error)  # type: ignore[arg-type]
    assert status is not None, f"{error.code()} without a google.rpc.Status: {error.details()}"
    refusal = Refusal(code=error.code(), message=status.message, status_bytes=status.SerializeToString())
    for item in status.details:
        info, fields, retry = (
            error_details_pb2.ErrorInfo(),
            error_details_pb2.BadRequest(),
            error_details_pb2.RetryInfo(),
        )
        if item.Unpack(info):
            refusal.reason, refusal.domain = info.reason, info.domain
        elif item.Unpack(fields):
            refusal.fields += [violation.field for violation in fields.field_violations]
        elif item.Unpack(retry):
            refusal.retry_seconds = retry.retry_delay.ToMilliseconds() / 1000
    return refusal


@contextmanager
def refused(code: str, reason: str, *fields: str) -> Iterator[Refusal]:
    """The block ends with an error of this gRPC code, this ErrorInfo reason, and these fields in its BadRequest."""
    refusal = Refusal()
    with pytest.raises(grpc.RpcError) as caught:
        yield refusal
    found = refusal_of(caught.value)
    assert (found.code.name, found.reason, found.domain) == (code, reason, "materials"), found.message
    assert found.fields == list(fields)
    assert found.message, "a refusal says what to do"
    vars(refusal).update(vars(found))


async def eventually(look: Callable[[], Awaitable[bool]], what: str, *, seconds: float = 20.0) -> None:
    """Returns once `look` says yes. For what another process does and tells nobody about, such as a file that goes."""
    try:
        async with asyncio.timeout(seconds):
            while not await look():
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"not within {seconds:g} s: {what}") from None
