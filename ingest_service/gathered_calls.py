"""Calls that gather: what waits while one is on its way goes out together in the next.

So a lone request waits for nobody, and under load the cost of a call, on both sides, is shared.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from servicekit.errors import ServiceError

Request = TypeVar("Request")
Answer = TypeVar("Answer")


class GatheredCalls(Generic[Request, Answer]):
    """A part: sends at most `batch` requests in a call, `at_once` calls at the same time; more than `waiting` requests are refused with `full()`.

    `send` answers requests in their order, with a ServiceError for one that is refused; what it raises itself, each of them gets.
    """

    def __init__(
        self,
        send: Callable[[Sequence[Request]], Awaitable[Sequence[Answer | ServiceError]]],
        *,
        full: Callable[[], ServiceError],
        batch: int = 200,
        at_once: int = 1,
        waiting: int = 5_000,
    ) -> None:
        self._send, self._full, self._batch, self._at_once = send, full, batch, at_once
        self._queue: asyncio.Queue[tuple[Request, asyncio.Future[Answer]]] = asyncio.Queue(waiting)
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self, tasks: asyncio.TaskGroup) -> None:
        """Begins to send."""
        self._tasks = [tasks.create_task(self._run(), name="gathered-calls") for _ in range(self._at_once)]

    async def stop(self) -> None:
        """Ends. Nobody asks any more by then: the server has drained."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def ask(self, request: Request) -> Answer:
        """The answer to this request. Raises ServiceError."""
        if self._queue.full():
            raise self._full()
        answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._queue.put_nowait((request, answered))
        return await answered

    async def _run(self) -> None:
        while True:
            gathered = [await self._queue.get()]
            while len(gathered) < self._batch and not self._queue.empty():
                gathered.append(self._queue.get_nowait())
            # Who has gone meanwhile is not asked for.
            gathered = [(request, answered) for request, answered in gathered if not answered.done()]
            if gathered:
                await self._answer(gathered)

    async def _answer(self, gathered: Sequence[tuple[Request, asyncio.Future[Answer]]]) -> None:
        answers: Sequence[Answer | Exception]
        try:
            answers = await self._send([request for request, _ in gathered])
        except Exception as error:
            answers = [error] * len(gathered)
        for (_, answered), answer in zip(gathered, answers, strict=True):
            if answered.done():
                continue
            if isinstance(answer, Exception):
                answered.set_exception(answer)
            else:
                answered.set_result(answer)
