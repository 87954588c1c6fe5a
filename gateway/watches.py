"""A watch of the record that goes on: where Status stops, restarts or is away for a moment, it is resumed where it was, without a gap or a repeat."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any, Generic, TypeVar

import grpc

from gateway.services import Refused
from servicekit.refusals import refusal_of

Message = TypeVar("Message")

#: How long the record may be away before a client is let go, which then comes back by itself, in seconds.
PATIENCE_SECONDS = 60.0
ADMISSION_SECONDS = 15.0
_RESUMABLE = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED})


class Watch(Generic[Message]):
    """One watch for one client.

    `open_call(position)` begins a call after a position, `position_of(message)` is what the contract resumes by after a message: a revision, or a token; a
    false one for a message that nothing can be resumed after.
    """

    def __init__(self, open_call: Callable[[Any], Any], position_of: Callable[[Message], Any], position: Any) -> None:
        self._open_call, self._position_of, self._position = open_call, position_of, position
        self._resumable = True
        self._ended = asyncio.Event()
        self._call: Any = None

    async def begin(self) -> None:
        """Returns when the watch stands: it is visible, and within the limits. Raises Refused."""
        try:
            async with asyncio.timeout(ADMISSION_SECONDS):
                self._call = self._open_call(self._position)
                await self._call.initial_metadata()
                if self._call.done() and await self._call.code() is not grpc.StatusCode.OK:
                    await self._call.read()  # raises what ended it
        except (grpc.aio.AioRpcError, TimeoutError) as error:
            self.end()
            raise Refused(refusal_of(error, "status")) from error
        except BaseException:
            self.end()
            raise

    async def messages(self) -> AsyncIterator[Message]:
        """What is newer than the position, as it comes; ends where the service ends it, or `end` does. Raises Refused."""
        clock = asyncio.get_running_loop().time
        failures, deadline = 0, 0.0
        while not self._ended.is_set():
            try:
                while (message := await self._call.read()) is not grpc.aio.EOF:
                    failures = 0
                    position = self._position_of(message)
                    self._position, self._resumable = position or self._position, bool(position)
                    yield message
                return
            except grpc.aio.AioRpcError as error:
                if not failures:
                    deadline = clock() + PATIENCE_SECONDS
                failures += 1
                if error.code() not in _RESUMABLE or not self._resumable or clock() > deadline:
                    raise Refused(refusal_of(error, "status")) from error
            except asyncio.CancelledError:
                if _is_cancelled():
                    raise
                return  # only the call was, by `end`
            with suppress(TimeoutError):
                async with asyncio.timeout(min(5.0, 0.1 * 2**failures) * random.uniform(0.5, 1.0)):
                    await self._ended.wait()
            if not self._ended.is_set():
                self._call.cancel()
                self._call = self._open_call(self._position)

    def end(self) -> None:
        """Ends it; safe at any time. A call that is dropped without being cancelled never ends (grpc/grpc#43462)."""
        self._ended.set()
        if self._call is not None:
            self._call.cancel()


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
