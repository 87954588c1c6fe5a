"""A watch of the record that goes on: where Status stops, restarts or is away for a moment, it is resumed where it was, without a gap or a repeat."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any, Generic, TypeVar

import grpc

from gateway.services import Refused
from servicekit.refusals import Refusal, refusal_of

Message = TypeVar("Message")

ADMISSION_SECONDS = 15.0
#: Nobody answered. A stream has no deadline: one that was exceeded is that of its beginning.
_AWAY = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.DEADLINE_EXCEEDED})


class Watch(Generic[Message]):
    """One watch for one client.

    `open_call(position)` begins a call after a position, `position_of(message)` is what the contract resumes by after a message: a revision, or a token; a
    false one for a message that nothing can be resumed after. `patience`: how long the record may be away before the client is let go, in seconds.
    """

    def __init__(
        self,
        open_call: Callable[[Any], Any],
        position_of: Callable[[Message], Any],
        position: Any,
        *,
        patience: float,
    ) -> None:
        self._open_call, self._position_of, self._position = open_call, position_of, position
        self._patience = patience
        self._resumable = True
        self._ended = asyncio.Event()
        self._call: Any = None

    async def begin(self) -> None:
        """Returns when the watch stands: it is visible, and within the limits. Raises Refused."""
        try:
            await self._stand()
        except (grpc.aio.AioRpcError, TimeoutError) as error:
            self.end()
            raise Refused(refusal_of(error, "status")) from error
        except BaseException:
            self.end()
            raise

    async def messages(self) -> AsyncIterator[Message]:
        """What is newer than the position, as it comes; ends where the service ends it, or `end` does. Raises Refused."""
        clock = asyncio.get_running_loop().time
        failures, deadline = 0, math.inf
        while not self._ended.is_set():
            try:
                if failures:
                    await self._stand()
                    deadline = math.inf
                while (message := await self._call.read()) is not grpc.aio.EOF:
                    failures = 0
                    position = self._position_of(message)
                    self._position, self._resumable = position or self._position, bool(position)
                    yield message
                return
            except (grpc.aio.AioRpcError, TimeoutError) as error:
                refusal = refusal_of(error, "status")
                deadline = min(deadline, clock() + self._patience)
                if not (self._resumable and _passes(refusal)) or clock() > deadline:
                    raise Refused(refusal) from error
            except asyncio.CancelledError:
                if _is_cancelled():
                    raise
                return  # only the call was, by `end`
            failures += 1
            with suppress(TimeoutError):
                async with asyncio.timeout(min(5.0, 0.1 * 2 ** min(failures, 6)) * random.uniform(0.5, 1.0)):
                    await self._ended.wait()

    async def _stand(self) -> None:
        """A call in the place of the last one; returns when it stands. Raises what ended it, and TimeoutError."""
        if self._call is not None:
            self._call.cancel()
        async with asyncio.timeout(ADMISSION_SECONDS):
            self._call = self._open_call(self._position)
            await self._call.initial_metadata()
            if self._call.done() and await self._call.code() is not grpc.StatusCode.OK:
                await self._call.read()  # raises what ended it

    def end(self) -> None:
        """Ends it; safe at any time. A call that is dropped without being cancelled never ends (grpc/grpc#43462)."""
        self._ended.set()
        if self._call is not None:
            self._call.cancel()


def _passes(refusal: Refusal) -> bool:
    """Whether the same call may soon be served: nobody answered, or we are told when to come again."""
    return refusal.code in _AWAY or refusal.retry_after is not None


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
