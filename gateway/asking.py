"""One answer to a question as it comes from the Processor: refused before its first message or not at all, and ended however the request ends.

The AI Brain is slow, so a client may go at any moment of the wait. What it asked for is then cancelled, at the Processor too: nobody would read it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Protocol

import grpc
from materials.v1 import processor_service_pb2 as pb
from starlette.requests import ClientDisconnect
from starlette.types import Receive

from gateway.services import Refused, refusals
from servicekit.refusals import unanswered

SERVICE = "processor"


class Ending(Protocol):
    """What can be ended at any time, more than once."""

    def end(self) -> None:
        """Ends it."""


class Answer:
    """One call of AnswerQuestion, which has a deadline of its own."""

    def __init__(self, call: Any) -> None:
        self._call = call
        self.sources = pb.AnswerSources()

    async def begin(self) -> None:
        """Returns when its `sources` are there. Raises Refused, and ClientDisconnect when it was ended meanwhile."""
        self.sources = (await self._next()).sources

    async def rest(self) -> AsyncIterator[pb.AnswerQuestionResponse]:
        """What comes after the sources, up to the end of the answer. Raises Refused, and ClientDisconnect when it was ended."""
        while True:
            message = await self._next()
            yield message
            if message.HasField("end"):
                return

    async def _next(self) -> pb.AnswerQuestionResponse:
        try:
            with refusals(SERVICE):
                message = await self._call.read()
        except asyncio.CancelledError:
            if (task := asyncio.current_task()) is not None and task.cancelling():
                raise
            raise ClientDisconnect from None  # only the call was cancelled, by `end`
        if message is grpc.aio.EOF:
            raise Refused(unanswered(grpc.StatusCode.CANCELLED, SERVICE))
        answer: pb.AnswerQuestionResponse = message
        return answer

    def end(self) -> None:
        """Ends it; safe at any time. A call that is dropped without being cancelled never ends (grpc/grpc#43462)."""
        self._call.cancel()


@asynccontextmanager
async def ended_when_gone(source: Ending, receive: Receive) -> AsyncIterator[None]:
    """A client that goes away meanwhile ends the source. For a request whose body has been read."""
    attending = asyncio.create_task(_attend(source, receive))
    try:
        yield
    except BaseException:
        source.end()
        raise
    finally:
        attending.cancel()
        await asyncio.wait([attending])


async def _attend(source: Ending, receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    source.end()
