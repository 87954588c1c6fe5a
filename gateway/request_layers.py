"""What every HTTP request goes through, once, so that no route repeats it: log context and trace, a bound on how many are served at once, bounds on bodies,
and the headers that keep browsers safe. Plain ASGI, the outermost first."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable

import opentelemetry.context
import structlog
from materials.v1 import errors_pb2
from opentelemetry import trace
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.metrics import GatewayMetrics, known_method
from gateway.problems import Problem, RefusedRequest, of_service_error
from servicekit.errors import ServiceError, Unavailable
from servicekit.tracing import extract

log = structlog.get_logger()
tracer = trace.get_tracer("gateway")

#: Of everything but uploads: a search has 500 characters, a token 8 KiB.
MAX_BODY_BYTES = 64 * 1024
#: A slow line is welcome, a dripping one is not: the pace that Ingest asks of an upload, too.
GRACE_SECONDS = 60.0
LEAST_BYTES_PER_SECOND = 16 * 1024

_API_POLICY = "default-src 'none'; frame-ancestors 'none'"
_PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; font-src 'self'; "
    "manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_SAFE_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Frame-Options": "DENY",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}
_HTTPS_ONLY = "max-age=31536000"


class RequestContext:
    """Log context, trace and the one log line of a request. The query is not logged: it may hold a ticket, or what somebody searched for."""

    def __init__(self, app: ASGIApp, metrics: GatewayMetrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        began, status = time.monotonic(), 0

        async def noting(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        carrier = {"traceparent": Headers(scope=scope).get("traceparent", "")}
        method = known_method(scope["method"])
        span = tracer.start_span(method, context=extract(carrier), kind=trace.SpanKind.SERVER)
        # Each request has a task, and so a context, of its own: nothing is put back at the end.
        opentelemetry.context.attach(trace.set_span_in_context(span))
        structlog.contextvars.bind_contextvars(method=scope["method"], path=scope["path"])
        try:
            await self._app(scope, receive, noting)
        finally:
            seconds, route = time.monotonic() - began, _route(scope)
            self._metrics.answered(method, route, status, seconds)
            if span.is_recording():
                span.update_name(f"{method} {route}")
                span.set_attributes(
                    {"http.request.method": method, "http.route": route, "http.response.status_code": status}
                )
                if status >= 500:
                    span.set_status(trace.StatusCode.ERROR)
            span.end()
            log.info("request", status=status, milliseconds=round(seconds * 1000))
        return None


def _route(scope: Scope) -> str:
    """The template of the route that served it, which the router has left in the scope; paths of no route are all one."""
    route = getattr(scope.get("route"), "path", None)
    return route or ("/static" if scope["path"].startswith("/static/") else "none")


class SafeHeaders:
    """Headers for browsers, unless the route has set its own."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _SAFE_HEADERS.items():
                    headers.setdefault(name, value)
                is_page = scope["path"] == "/" or scope["path"].startswith("/static/")
                headers.setdefault("Content-Security-Policy", _PAGE_POLICY if is_page else _API_POLICY)
                headers.setdefault("Cache-Control", "no-cache" if is_page else "no-store")
                if scope.get("scheme") == "https":
                    headers.setdefault("Strict-Transport-Security", _HTTPS_ONLY)
            await send(message)

        await self._app(scope, receive, with_headers)


class BoundedRequests:
    """At most so many requests at once; more are told when to come again."""

    def __init__(self, app: ASGIApp, metrics: GatewayMetrics, *, most: int) -> None:
        self._app, self._most, self._running = app, most, 0
        metrics.most.set(most)
        metrics.under_way.set_function(lambda: self._running)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._running >= self._most and scope["path"] != "/healthz":
            busy = Unavailable(
                errors_pb2.ERROR_REASON_REPLICA_BUSY,
                "this replica serves as many requests as it can; try again",
                retry_after=random.uniform(1.0, 5.0),  # so that not all come back at once
            )
            return await Problem(of_service_error(busy))(scope, receive, send)
        self._running += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._running -= 1
        return None


class BoundedBodies:
    """A body must keep coming, at no less than a slow line's pace, and only an upload may be large. `is_upload` tells by the request's head."""

    def __init__(
        self, app: ASGIApp, metrics: GatewayMetrics, *, idle_seconds: float, is_upload: Callable[[Scope], bool]
    ) -> None:
        self._app, self._idle_seconds, self._is_upload = app, idle_seconds, is_upload
        self._uploads = metrics.uploads

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not self._is_upload(scope):
            return await self._bounded(scope, receive, send, MAX_BODY_BYTES)
        with self._uploads.track_inprogress():
            return await self._bounded(scope, receive, send, None)

    async def _bounded(self, scope: Scope, receive: Receive, send: Send, most: int | None) -> None:
        clock = asyncio.get_running_loop().time
        began, received, complete = clock(), 0, False

        async def bounded() -> Message:
            nonlocal received, complete
            if complete:  # what comes now is only that the client has gone
                return await receive()
            try:
                async with asyncio.timeout(self._idle_seconds):
                    message = await receive()
            except TimeoutError:
                raise _too_slow(f"no bytes of the body came for {self._idle_seconds:g} s") from None
            received += len(message.get("body", b""))
            complete = not message.get("more_body", False)
            if most is not None and received > most:
                raise RefusedRequest(
                    ServiceError(
                        errors_pb2.ERROR_REASON_REQUEST_TOO_LARGE,
                        f"the body may have {most} bytes; files go to /courses/{{course_id}}/materials as multipart/form-data",
                    )
                )
            if not complete and clock() - began > GRACE_SECONDS + received / LEAST_BYTES_PER_SECOND:
                raise _too_slow(f"fewer than {LEAST_BYTES_PER_SECOND} bytes a second came")
            return message

        await self._app(scope, bounded, send)


def _too_slow(why: str) -> RefusedRequest:
    return RefusedRequest(ServiceError(errors_pb2.ERROR_REASON_REQUEST_TOO_SLOW, f"{why}; send it again"))
