"""Uploads that must be refused while the record cannot be written: the documented code, and when to come again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import grpc

from tests.contract.refusals import refusal_of
from tests.faults.fault_stack import SERVICES, FaultStack
from tests.faults.workload import Upload, Workload


async def refused(work: Workload, upload: Upload | None = None) -> Upload:
    """Tries once to upload, is refused as the contract says, and returns what is to be sent again."""
    upload = upload or work.note()
    try:
        await work.send_once(upload)
    except grpc.aio.AioRpcError as error:
        comes_again(error)
        return upload
    raise AssertionError("an upload was taken while the record could not be written")


def comes_again(error: grpc.aio.AioRpcError) -> None:
    """A refusal that a client may wait out: UNAVAILABLE or RESOURCE_EXHAUSTED, with a reason and RetryInfo."""
    refusal = refusal_of(error)
    assert refusal.code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED), error
    assert refusal.reason, f"no reason in {error}"
    assert refusal.retry_seconds, f"no RetryInfo in {error}"


@contextmanager
def no_service_restarted(stack: FaultStack) -> Iterator[None]:
    """At the end the services are the very processes that they were."""
    before = _services(stack)
    yield
    assert _services(stack) == before, "a service had to be started again"


def _services(stack: FaultStack) -> dict[str, int]:
    pids: dict[str, int] = stack.local.current()["pids"]
    return {name: pid for name, pid in pids.items() if name.partition("-")[0] in SERVICES}
