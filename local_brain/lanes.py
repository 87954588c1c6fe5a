"""Threads for the models, with a bound on what may wait: reading never holds up embedding.

One page takes seconds and one embedding milliseconds, so each kind of work has a lane of its own: a few threads and a
first-in, first-out queue. A full lane refuses at once and says when to come back, rather than let callers wait for longer
than they have.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")


class LaneFullError(Exception):
    """As many calls wait as may; `retry_after` is in seconds."""

    def __init__(self, name: str, retry_after: int) -> None:
        super().__init__(f"Too many calls wait for {name}; try again in {retry_after} s.")
        self.retry_after = retry_after


class Lane:
    """Runs functions in `workers` threads; beyond `waiting` of them in the queue, further ones are refused."""

    def __init__(self, name: str, *, workers: int, waiting: int, retry_after: int) -> None:
        self._name = name
        self._limit = workers + waiting
        self._retry_after = retry_after
        self._accepted: set[Future[Any]] = set()
        self._executor = ThreadPoolExecutor(workers, thread_name_prefix=name.replace(" ", "-"))

    async def run(self, work: Callable[[], T]) -> T:
        """The result of `work()`. Raises `LaneFullError`.

        Cancelling takes work that still waits out of the queue; work that has begun runs to its end and keeps its place.
        """
        if len(self._accepted) >= self._limit:
            raise LaneFullError(self._name, self._retry_after)
        future = self._executor.submit(work)
        self._accepted.add(future)
        # set.discard is one atomic step, so it may run in the lane's thread.
        future.add_done_callback(self._accepted.discard)
        return await asyncio.wrap_future(future)
