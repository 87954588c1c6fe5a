"""Server streams of the services as HTTP bodies: refused before the first byte or not at all, and cancelled however the response ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

import grpc
import structlog
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from gateway.services import STALL_SECONDS, Refused, refusals

log = structlog.get_logger()

Message = TypeVar("Message")


class ServiceStream(Generic[Message]):
    """One server stream that must move: each message within STALL_SECONDS. `service`: its name for people."""

    def __init__(self, call: Any, service: str) -> None:
        self._call, self._service = call, service

    async def next(self) -> Message | None:
        """The next message; None at the end. Raises Refused."""
        with refusals(self._service):
            async with asyncio.timeout(STALL_SECONDS):
                message = await self._call.read()
        return None if message is grpc.aio.EOF else message

    async def __aiter__(self) -> AsyncIterator[Message]:
        """The rest of the messages."""
        while (message := await self.next()) is not None:
            yield message

    def close(self) -> None:
        """Cancels; safe at any time. A call that is dropped without this is never cancelled (grpc/grpc#43462)."""
        self._call.cancel()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self.close()


class ServiceStreamResponse(StreamingResponse):
    """A body made from a service's stream. The stream is closed here and not in the body's generator: one that was never started, since the client had gone
    before the first byte, never runs its `finally`."""

    def __init__(self, body: AsyncIterator[bytes], stream: ServiceStream[Any], **named: Any) -> None:
        super().__init__(body, **named)
        self._stream = stream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends, then closes. What is refused in the middle ends without its end: the server cuts the connection, and the client knows that it has a part."""
        try:
            await super().__call__(scope, receive, send)
        except Refused as error:
            log.warning("stream broke", reason=error.refusal.reason, message=error.refusal.message)
        finally:
            self._stream.close()
