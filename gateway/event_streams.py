"""Server-sent events of a watch: one stream for one client, until the watch ends, the client goes, or the gateway stops."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any, TypeVar

import structlog
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.types import Receive, Scope, Send

from gateway import problems
from gateway.services import Refused
from gateway.watches import Watch
from servicekit.refusals import Refusal

log = structlog.get_logger()

#: What browsers wait before they come back, in milliseconds.
RETRY_MILLISECONDS = 1000
_HEADERS = {"Cache-Control": "no-cache, no-transform", "X-Accel-Buffering": "no"}


Message = TypeVar("Message")


def problem_event(refusal: Refusal) -> ServerSentEvent:
    """Told, and left to the client: it comes back and gets the same as an HTTP status, or is served."""
    return ServerSentEvent(event="problem", data=json.dumps(problems.of_refusal(refusal)))


class EventStreams:
    """All open streams of this replica. `keepalive`: seconds between comments on a quiet stream."""

    def __init__(self, keepalive: float) -> None:
        self._keepalive = keepalive
        self._open: set[Watch[Any]] = set()

    def drain(self) -> None:
        """Ends every stream: its client resumes at another replica."""
        for watch in self._open:
            watch.end()

    def response(
        self,
        watch: Watch[Message],
        events_of: Callable[[Message], Iterable[ServerSentEvent]],
        is_last: Callable[[Message], bool],
        refused: Callable[[Refusal], ServerSentEvent] = problem_event,
    ) -> EventSourceResponse:
        """The stream of a watch that has begun: `events_of` a message; after a message that `is_last`, or the event of a refusal, it ends."""

        async def events() -> AsyncIterator[ServerSentEvent]:
            yield ServerSentEvent(retry=RETRY_MILLISECONDS, comment="live status")
            try:
                async for message in watch.messages():
                    for event in events_of(message):
                        yield event
                    if is_last(message):
                        return
            except Refused as error:
                log.info("watch refused", reason=error.refusal.reason, message=error.refusal.message)
                yield refused(error.refusal)

        return _WatchResponse(
            self._open,
            watch,
            events(),
            ping=self._keepalive,
            ping_message_factory=lambda: ServerSentEvent(comment="keep-alive"),
            headers=_HEADERS,
            sep="\n",
        )


class _WatchResponse(EventSourceResponse):
    """The watch is ended here and not in the generator of events: one that was never started, since the client had gone before the first byte, never runs
    its `finally`."""

    def __init__(
        self, open_watches: set[Watch[Any]], watch: Watch[Any], content: AsyncIterator[ServerSentEvent], **named: Any
    ) -> None:
        super().__init__(content, **named)
        self._open, self._watch = open_watches, watch

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._open.add(self._watch)
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._open.discard(self._watch)
            self._watch.end()
