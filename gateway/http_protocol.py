"""HTTP/1.1 with bounds that uvicorn leaves to a proxy: how large a request's head may be and how long it may take, how long a refused body is still listened
to, how long a client may leave unread what it was sent."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NoReturn

from materials.v1 import errors_pb2
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from gateway.problems import MEDIA_TYPE, of_service_error
from servicekit.errors import ServiceError

#: After an answer that came before the end of the request, what still comes of it is thrown away for so long, so that the client gets to read the answer
#: (closing at once resets the connection, and the answer may be lost with it).
LINGER_SECONDS = 10.0
VERSIONS = ("1.0", "1.1")
#: On one connection, behind the one that is being answered. Browsers send none.
MAX_WAITING_REQUESTS = 32


@dataclass(frozen=True)
class ConnectionLimits:
    """`head_bytes` of the request line and all headers (and trailers), `head_seconds` from the first moment of waiting for them; `unread_seconds` for what
    was sent."""

    head_bytes: int
    head_seconds: float
    unread_seconds: float


class BoundedProtocol(HttpToolsProtocol):
    """One connection. `limits` is set by `with_limits`."""

    limits: ConnectionLimits

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._head_bytes = 0
        self._in_head = False
        #: Bytes received since the parser last had something to tell: a header without an end is in there.
        self._silent_bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None
        self._refusal: tuple[int, ServiceError] | None = None
        self._refused = False
        #: What is being answered. `cycle` is what was received last, and may wait behind it.
        self._answering: RequestResponseCycle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Waits for the first head."""
        super().connection_made(transport)
        self._set_timer(self.limits.head_seconds, self._head_too_slow)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is left behind."""
        self._clear_timer()
        self.resume_writing()
        self._abandon()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Feeds the parser, unless too much has come without an end to anything."""
        if self._refused:
            return
        self._silent_bytes += len(data)
        if self._timer is None and self.timeout_keep_alive_task is not None:
            # Whatever comes on an idle connection begins a head, also empty lines, of which the parser tells nothing.
            self._set_timer(self.limits.head_seconds, self._head_too_slow)
        super().data_received(data)
        if self._silent_bytes > self.limits.head_bytes and not self._refused:
            self._refusal = self._head_too_large()
            self.send_400_response("")

    def send_400_response(self, msg: str) -> None:
        """What cannot be parsed, or is over a limit, is answered with a problem and the end of the connection."""
        status, error = self._refusal or _no_request()
        body = json.dumps(of_service_error(error, status=status)).encode()
        head = (
            f"HTTP/1.1 {status} \r\ncontent-type: {MEDIA_TYPE}\r\ncontent-length: {len(body)}\r\n"
            "x-content-type-options: nosniff\r\nconnection: close\r\n\r\n"
        )
        answering = self._answering
        # An answer that has begun cannot be followed by another one.
        if answering is None or answering.response_complete or not answering.response_started:
            self.transport.write(head.encode() + body)
        self._refused = True
        self._abandon()
        self.pipeline.clear()
        self.cycle = None  # type: ignore[assignment]
        self._unset_keepalive_if_required()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._set_timer(LINGER_SECONDS, self.transport.close)

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._head_bytes, self._in_head = 0, True
        if len(self.pipeline) >= MAX_WAITING_REQUESTS:
            words = f"at most {MAX_WAITING_REQUESTS} requests may wait on one connection"
            self._refuse(413, ServiceError(errors_pb2.ERROR_REASON_REQUEST_TOO_LARGE, words))
        if self._timer is None:
            self._set_timer(self.limits.head_seconds, self._head_too_slow)

    def on_url(self, url: bytes) -> None:
        """Part of the request's target."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header, or trailer. Trailers are no headers: whoever checked those has not seen them."""
        self._count(len(name) + len(value) + 4)
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is whole: the application takes over."""
        self._silent_bytes, self._in_head = 0, False
        self._clear_timer()
        if self.parser.get_http_version() not in VERSIONS:
            # The parser takes a line without a version for HTTP/0.9, whose answers have no head.
            self._refuse(*_no_request())
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Bytes of the body."""
        self._silent_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is whole."""
        self._silent_bytes = 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """The answer is out. What still comes of its request after so long is not waited for."""
        if self._answering is not None and self._answering.more_body:
            self.transport.close()
        super().on_response_complete()

    def pause_writing(self) -> None:
        """The client reads more slowly than we send."""
        super().pause_writing()
        # Not closed: that would wait for what is unread.
        self._unread = self.loop.call_later(self.limits.unread_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """It has caught up."""
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None
        super().resume_writing()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._answering = cycle
        super()._start_asgi_task(cycle, app)

    def _abandon(self) -> None:
        """Whoever is answering learns that nobody listens any more: uvicorn tells only the request received last."""
        if self._answering is not None:
            self._answering.disconnected = True
            self._answering.message_event.set()

    def _count(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > self.limits.head_bytes:
            self._refuse(*self._head_too_large())

    def _refuse(self, status: int, error: ServiceError) -> NoReturn:
        self._refusal = (status, error)
        raise ValueError(error.message)  # what the parser makes of it ends in send_400_response

    def _head_too_large(self) -> tuple[int, ServiceError]:
        return 431, ServiceError(
            errors_pb2.ERROR_REASON_REQUEST_TOO_LARGE,
            f"the request's line and headers may have {self.limits.head_bytes} bytes together",
        )

    def _head_too_slow(self) -> None:
        if self.transport.is_closing():
            return
        if not self._head_bytes and not self._silent_bytes:
            self.transport.close()  # nothing was asked
            return
        self._refusal = (
            408,
            ServiceError(errors_pb2.ERROR_REASON_REQUEST_TOO_SLOW, "the request's headers did not come in time"),
        )
        self.send_400_response("")

    def _set_timer(self, seconds: float, callback: Any) -> None:
        self._clear_timer()
        self._timer = self.loop.call_later(seconds, callback)

    def _clear_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _no_request() -> tuple[int, ServiceError]:
    return 400, ServiceError(errors_pb2.ERROR_REASON_FIELD_INVALID, "this is not an HTTP/1.1 request")


def with_limits(limits: ConnectionLimits) -> type[BoundedProtocol]:
    """The protocol class for uvicorn, which makes its instances itself."""
    return type("LimitedProtocol", (BoundedProtocol,), {"limits": limits})


class Lingering:
    """The outermost layer: an answer that came before the end of the request's body ends when the body does, or LINGER_SECONDS later. It is sent at once,
    and only its end is held back."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        complete = False

        async def noting() -> Message:
            nonlocal complete
            message = await receive()
            complete = not message.get("more_body", False)
            return message

        async def lingering(message: Message) -> None:
            if complete or message["type"] != "http.response.body" or message.get("more_body", False):
                return await send(message)
            await send({**message, "more_body": True})
            with suppress(TimeoutError):
                async with asyncio.timeout(LINGER_SECONDS):
                    while not complete:
                        await noting()
            await send({"type": "http.response.body"})
            return None

        await self._app(scope, noting, lingering)
