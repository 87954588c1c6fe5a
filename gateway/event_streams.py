"""Event streams: one for one client, until what it tells of ends, the client goes, or the gateway stops.

Two tasks a stream: one passes on what comes, the other keeps the stream alive and ends its source when the client has gone. A watch is ended when the gateway
stops, since its client resumes it elsewhere; an answer to a question is finished.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import TypeVar

import structlog
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from gateway.asking import Ending
from gateway.problems import of_refusal
from gateway.server_sent_events import KEEP_ALIVE, MEDIA_TYPE, event, opening
from gateway.services import Refused
from gateway.watches import Watch
from servicekit.memory import trim_heap
from servicekit.refusals import Refusal

log = structlog.get_logger()

#: What browsers wait before they come back.
RETRY_MILLISECONDS = 1000
#: After so many streams have gone, what they held is given back to the system.
TRIM_AFTER = 100
TRIM_SECONDS = 1.0

Message = TypeVar("Message")


def problem_event(refusal: Refusal) -> bytes:
    """Told, and left to the client: it comes back and gets the same as an HTTP status, or is served."""
    return event("problem", json.dumps(of_refusal(refusal)))


class EventStreams:
    """All open streams of this replica. `keepalive`: seconds between comments; `patience`: of watches while the record is away, in seconds."""

    def __init__(self, keepalive: float, patience: float) -> None:
        self.keepalive, self.patience = keepalive, patience
        self._open: set[Ending] = set()
        self._draining = False
        self._gone = 0

    @property
    def open(self) -> int:
        """How many watches are open."""
        return len(self._open)

    def drain(self) -> None:
        """Ends every watch, and those that are about to begin: its client resumes at another replica."""
        self._draining = True
        for watch in tuple(self._open):
            watch.end()

    def response(
        self,
        watch: Watch[Message],
        events_of: Callable[[Message], bytes],
        is_last: Callable[[Message], bool],
        refused: Callable[[Refusal], bytes] = problem_event,
    ) -> Response:
        """The stream of a watch that has begun: `events_of` a message; after a message that `is_last`, or the event of a refusal, it ends."""

        async def events() -> AsyncIterator[bytes]:
            yield opening(RETRY_MILLISECONDS)
            try:
                async for message in watch.messages():
                    yield events_of(message)
                    if is_last(message):
                        return
            except Refused as error:
                log.info("watch refused", reason=error.refusal.reason, message=error.refusal.message)
                yield refused(error.refusal)

        return _EventStream(self, watch, events(), is_watch=True)

    def finishing(self, source: Ending, events: AsyncIterator[bytes]) -> Response:
        """The stream of what ends by itself, for a request whose body was read: it is finished while the gateway stops."""
        return _EventStream(self, source, events, is_watch=False)

    def opened(self, watch: Ending) -> None:
        """A client is served with a watch."""
        self._open.add(watch)
        if self._draining:
            watch.end()

    def closed(self, source: Ending) -> None:
        """Nobody is served with it any more: it is ended."""
        source.end()
        self._open.discard(source)
        self._gone += 1
        if self._gone == TRIM_AFTER:
            asyncio.get_running_loop().call_later(TRIM_SECONDS, self._trim)

    def _trim(self) -> None:
        self._gone = 0
        trim_heap()


class _EventStream(Response):
    """The source is ended here and not in the generator of events: one that was never started, since the client had gone before the first byte, never runs
    its `finally`."""

    media_type = MEDIA_TYPE

    def __init__(self, streams: EventStreams, source: Ending, events: AsyncIterator[bytes], *, is_watch: bool) -> None:
        super().__init__(headers={"Cache-Control": "no-cache, no-transform", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._streams, self._source, self._events, self._is_watch = streams, source, events, is_watch

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends what comes, until the end. A watch's body, which should not be, is read before: what is wrong with it can still be told."""
        try:
            if self._is_watch:
                self._streams.opened(self._source)
                while (await receive()).get("more_body", False):
                    pass
            await self._serve(receive, send)
        finally:
            self._streams.closed(self._source)

    async def _serve(self, receive: Receive, send: Send) -> None:
        attending = asyncio.create_task(self._attend(receive, send))
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            async for chunk in self._events:
                await _send(send, chunk)
            await _send(send, b"", more=False)
        finally:
            attending.cancel()
            await asyncio.wait([attending])

    async def _attend(self, receive: Receive, send: Send) -> None:
        while True:
            try:
                async with asyncio.timeout(self._streams.keepalive):
                    message = await receive()
            except TimeoutError:
                await _send(send, KEEP_ALIVE)
                continue
            if message["type"] == "http.disconnect":
                self._source.end()
                return


async def _send(send: Send, chunk: bytes, *, more: bool = True) -> None:
    await send({"type": "http.response.body", "body": chunk, "more_body": more})
