"""Which calls are failures to whoever looks at traces: those that the service could not serve, and no others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import grpc
import pytest
from materials.v1 import errors_pb2
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from servicekit.errors import FieldInvalid, ServiceError, Unavailable
from servicekit.identity import Caller, TokenVerifier
from servicekit.interceptor import CallInterceptor
from servicekit.owner_limits import OwnerRequests

METADATA = [("authorization", "Bearer token")]


class Verifier:
    """Everybody is a service."""

    async def verify(self, token: str) -> Caller:
        return Caller("service:test", is_service=True)


class Calls:
    """`/test.Calls/Ask` ends with `error`; `/test.Calls/Watch` tells once, and then nothing more."""

    def __init__(self) -> None:
        self.error: Exception | None = None

    async def ask(self, request: bytes, context: Any) -> bytes:
        if self.error is not None:
            raise self.error
        return b""

    async def watch(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        yield b""
        await asyncio.Event().wait()


@asynccontextmanager
async def served(calls: Calls) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to the calls, behind what every service's calls go through."""
    verifier = cast(TokenVerifier, Verifier())
    server = grpc.aio.server(interceptors=[CallInterceptor(verifier, OwnerRequests(0, 1), decoders={}, encoders={})])
    handlers = {
        "Ask": grpc.unary_unary_rpc_method_handler(calls.ask, bytes, bytes),
        "Watch": grpc.unary_stream_rpc_method_handler(calls.watch, bytes, bytes),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Calls", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield channel
    finally:
        await server.stop(10)  # with the calls' last words


@pytest.mark.parametrize(
    ("error", "failed"),
    [
        (None, None),
        (FieldInvalid("name", "is too long"), None),
        (ServiceError(errors_pb2.ERROR_REASON_MATERIAL_NOT_FOUND, "there is none"), None),
        (Unavailable(errors_pb2.ERROR_REASON_TOO_MANY_WATCHES, "no more of them"), None),
        (Unavailable(errors_pb2.ERROR_REASON_DATABASE_UNAVAILABLE, "away"), "Unavailable"),
        (TimeoutError(), "TimeoutError"),
        (ValueError("nobody thought of this"), "ValueError"),
    ],
)
async def test_a_refusal_is_no_failure_and_what_cannot_be_served_is_one(
    exported: InMemorySpanExporter, error: Exception | None, failed: str | None
) -> None:
    calls = Calls()
    calls.error = error
    async with served(calls) as channel:
        ask: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/test.Calls/Ask")
        code = grpc.StatusCode.OK
        try:
            await ask(b"", metadata=METADATA, timeout=20)
        except grpc.aio.AioRpcError as refused:
            code = refused.code()
    [span] = exported.get_finished_spans()
    attributes = dict(span.attributes or {})
    assert attributes["rpc.grpc.status_code"] == code.value[0]
    assert (span.status.status_code is StatusCode.ERROR, attributes.get("error.type")) == (failed is not None, failed)


async def test_a_watch_that_its_client_ends_is_no_failure(exported: InMemorySpanExporter) -> None:
    async with served(Calls()) as channel:
        watches: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream("/test.Calls/Watch")
        watch = watches(b"", metadata=METADATA, timeout=20)
        await watch.read()
        watch.cancel()
    [span] = exported.get_finished_spans()
    assert dict(span.attributes or {})["rpc.grpc.status_code"] == grpc.StatusCode.CANCELLED.value[0]
    assert span.status.status_code is StatusCode.UNSET
