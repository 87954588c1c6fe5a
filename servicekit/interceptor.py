"""What every gRPC call goes through, once, so that no method repeats it: identity, the owner's rate, log context, trace,
deadline, errors.

A method of a service decides nothing about these. It raises ServiceError for a refusal; anything else that escapes is answered INTERNAL with an error id that
is in the log, and never a stack trace.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import aclosing, contextmanager
from typing import Any, TypeAlias

import grpc
import opentelemetry.context
import structlog
from google.protobuf.message import DecodeError
from google.rpc import code_pb2, status_pb2
from grpc_status import rpc_status
from materials.v1 import errors_pb2
from opentelemetry import trace

from servicekit.errors import FieldInvalid, ServiceError, answer_of, reason_name
from servicekit.identity import TokenVerifier, set_caller
from servicekit.metrics import CallMetrics
from servicekit.owner_limits import OwnerRequests
from servicekit.tracing import extract, note_error

log = structlog.get_logger()
tracer = trace.get_tracer("servicekit")

#: Served without a token: whether the service is alive, and what calls it has.
OPEN_SERVICES = (
    "/grpc.health.v1.Health/",
    "/grpc.reflection.v1.ServerReflection/",
    "/grpc.reflection.v1alpha.ServerReflection/",
)
#: Codes of a service that failed, by OpenTelemetry's conventions for its spans. To refuse a call is no failure, nor is a client that goes away.
_FAILURES = ("DEADLINE_EXCEEDED", "INTERNAL", "UNAVAILABLE")
#: Only for callers with a service identity.
INTERNAL_SERVICES = ("/materials.v1.RecordService/",)

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"


class CallInterceptor(grpc.aio.ServerInterceptor):
    """Wraps every handler of the server. `decoders` and `encoders`, by the method's path, take the place of protobuf's own for requests and responses."""

    def __init__(
        self,
        verifier: TokenVerifier,
        owner_requests: OwnerRequests,
        *,
        decoders: Mapping[str, Callable[[bytes], Any]],
        encoders: Mapping[str, Callable[[Any], bytes]],
        metrics: CallMetrics | None = None,
        unary_timeout: float = 40.0,
    ) -> None:
        self._verifier, self._owner_requests = verifier, owner_requests
        self._decoders, self._encoders = decoders, encoders
        self._unary_timeout, self._metrics = unary_timeout, metrics or CallMetrics()

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """The handler for a call, wrapped; None for an unknown method (answered UNIMPLEMENTED by gRPC)."""
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or method.startswith(OPEN_SERVICES):
            return handler
        if handler.response_streaming:
            inner = handler.stream_stream if handler.request_streaming else handler.unary_stream
            make = (
                grpc.stream_stream_rpc_method_handler
                if handler.request_streaming
                else grpc.unary_stream_rpc_method_handler
            )
            wrapped: Any = self._streaming(method, inner)
        else:
            inner = handler.stream_unary if handler.request_streaming else handler.unary_unary
            make = (
                grpc.stream_unary_rpc_method_handler
                if handler.request_streaming
                else grpc.unary_unary_rpc_method_handler
            )
            # An upload has its own clock: how long the next bytes may take.
            wrapped = self._unary(method, inner, None if handler.request_streaming else self._unary_timeout)
        decode = self._decoders.get(method, handler.request_deserializer)
        return make(wrapped, _Decoder(decode), self._encoders.get(method, handler.response_serializer))

    def _unary(self, method: str, inner: Any, timeout: float | None) -> Any:
        async def call(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
            try:
                with _call_context(method, context, self._metrics):
                    await self._admit(method, context)
                    request = _decoded(request)
                    async with asyncio.timeout(timeout):
                        return await inner(request, context)
            except Exception as error:
                await _refuse(method, context, error)

        return call

    def _streaming(self, method: str, inner: Any) -> Any:
        async def call(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[Any]:
            try:
                with _call_context(method, context, self._metrics):
                    await self._admit(method, context)
                    request = _decoded(request)
                    async with aclosing(inner(request, context)) as responses:
                        async for response in responses:
                            yield response
            except Exception as error:
                await _refuse(method, context, error)

        return call

    async def _admit(self, method: str, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        authorization = dict(context.invocation_metadata() or ()).get("authorization", "")
        scheme, _, token = str(authorization).partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise ServiceError(
                errors_pb2.ERROR_REASON_TOKEN_MISSING, "send the metadata `authorization: Bearer <token>`"
            )
        caller = await self._verifier.verify(token.strip())
        if method.startswith(INTERNAL_SERVICES) and not caller.is_service:
            raise ServiceError(
                errors_pb2.ERROR_REASON_SERVICE_IDENTITY_REQUIRED, "this call is for the system's own services"
            )
        set_caller(caller)
        structlog.contextvars.bind_contextvars(caller=caller.subject)
        self._owner_requests.admit(caller)


class _Undecodable:
    """What came in place of a request."""


class _Decoder:
    """A method's deserializer. gRPC decodes before anybody is asked who is calling, and answers what it cannot decode with the decoder's own words (and a
    stack trace in the log): here the call goes on, and is refused in its turn."""

    def __init__(self, decode: Any) -> None:
        self._decode = decode

    def __call__(self, data: bytes) -> Any:
        try:
            return self._decode(data)
        except DecodeError:
            return _Undecodable()


def _decoded(request: Any) -> Any:
    """The request, or the stream of requests, itself. Raises FieldInvalid for what could not be decoded."""
    return _each_decoded(request) if isinstance(request, AsyncIterator) else _message(request)


async def _each_decoded(requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
    async for request in requests:
        yield _message(request)


def _message(request: Any) -> Any:
    if isinstance(request, _Undecodable):
        raise FieldInvalid("request", "is not a message of this call; check the client's version of the contract")
    return request


@contextmanager
def _call_context(method: str, context: grpc.aio.ServicerContext[Any, Any], metrics: CallMetrics) -> Iterator[None]:
    """The call's span, log context and count. Each call has a task, and so a context, of its own: nothing is put back at the end, which for a stream may
    come in another context, where putting back is an error."""
    carrier = {key: str(value) for key, value in context.invocation_metadata() or ()}
    served = metrics.begun(method)
    span = tracer.start_span(method.removeprefix("/"), context=extract(carrier), kind=trace.SpanKind.SERVER)
    opentelemetry.context.attach(trace.set_span_in_context(span))
    structlog.contextvars.bind_contextvars(method=method)
    code = "OK"
    try:
        yield
    except BaseException as error:
        code = _code_of(error)
        if isinstance(error, ServiceError):
            metrics.refused(reason_name(error.reason))
        if code in _FAILURES:
            note_error(span, error)
        raise
    finally:
        served.ended(code)
        if span.is_recording():
            span.set_attributes({"rpc.system": "grpc", "rpc.grpc.status_code": code_pb2.Code.Value(code)})
        span.end()


def _code_of(error: BaseException) -> str:
    """The name of the code that the call ends with."""
    if isinstance(error, ServiceError):
        return str(code_pb2.Code.Name(answer_of(error.reason).grpc_code))
    if isinstance(error, TimeoutError):
        return "DEADLINE_EXCEEDED"
    return "INTERNAL" if isinstance(error, Exception) else "CANCELLED"


async def _refuse(method: str, context: grpc.aio.ServicerContext[Any, Any], error: Exception) -> None:
    if isinstance(error, grpc.aio.AbortError | grpc.aio.UsageError):
        raise error
    await context.abort_with_status(rpc_status.to_status(_status_of(method, error)))


def _status_of(method: str, error: Exception) -> status_pb2.Status:
    if isinstance(error, ServiceError):
        log.info("call refused", method=method, reason=errors_pb2.ErrorReason.Name(error.reason), message=error.message)
        return error.to_status()
    if isinstance(error, TimeoutError):
        return ServiceError(
            errors_pb2.ERROR_REASON_DEADLINE_EXCEEDED, "the call took longer than the service allows"
        ).to_status()
    error_id = secrets.token_hex(6)
    log.error("call failed", method=method, error_id=error_id, exc_info=error)
    return ServiceError(
        errors_pb2.ERROR_REASON_INTERNAL,
        f"something unforeseen went wrong; the service's log has it under {error_id}",
        metadata={"error_id": error_id},
    ).to_status()
