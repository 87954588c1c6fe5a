"""How many calls at once a Brain over HTTP is given: as many as it takes, in the owners' turns."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Callable

from structlog.testing import capture_logs

from processor_service.brain.breaker import BrainBreaker, BreakerState
from processor_service.brain.lane import BrainLane
from processor_service.brain.reader import BrainReader
from processor_service.brain.retry_policy import RetryPolicy
from tests.contract.scripted_brain import PNG, client_of, reply, says, scripted

SECONDS = 60.0


class HeldCalls:
    """A Brain's calls, each held until it is let go; refused by 429 at once where more than `room` would be held."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.refused = 0
        self.most = 0
        self._held: deque[asyncio.Event] = deque()
        self._changed = asyncio.Condition()

    async def behave(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._held) >= self.room:
            async with self._changed:
                self.refused += 1
                self._changed.notify_all()
            await reply(429, "one at a time, please")(reader, writer)
            return
        let_go = asyncio.Event()
        async with self._changed:
            self._held.append(let_go)
            self.most = max(self.most, len(self._held))
            self._changed.notify_all()
        await let_go.wait()
        await says("the text of a page")(reader, writer)

    async def let_one_go(self, limit: Callable[[], int], left: int) -> None:
        """The one held longest, once there are as many as there may be of `left` pages, and one more was refused where the limit is above the room."""
        refused = self.refused
        async with self._changed:
            await self._changed.wait_for(
                lambda: (
                    len(self._held) >= min(limit(), self.room, left)
                    and (min(limit(), left) <= self.room or self.refused > refused)
                )
            )
            self._held.popleft().set()


async def healthy() -> bool:
    return True


async def test_a_brain_that_takes_three_calls_at_once_is_given_about_three_and_all_pages_are_read() -> None:
    calls = HeldCalls(room=3)
    pages = 200
    async with scripted(calls.behave) as brain, client_of(brain.endpoint, seconds=SECONDS) as client:
        breaker = BrainBreaker(healthy)
        # A clock that stands still: to this one no call is ever slow, and only a refusal tells what is too much.
        lane = BrainLane("pages", breaker, RetryPolicy(tries=10, base_seconds=0.05), most=8, clock=lambda: 0.0)
        with capture_logs() as logs:
            async with asyncio.timeout(SECONDS), asyncio.TaskGroup() as tasks:
                reading = [
                    tasks.create_task(
                        lane.call(lambda: client.read_page(PNG), owner_id="ann", material_id=f"book {number % 3}")
                    )
                    for number in range(pages)
                ]
                for left in range(pages, 0, -1):
                    await calls.let_one_go(lambda: lane.limit, left)
        assert [task.result() for task in reading] == ["the text of a page"] * pages
    levels = [entry["limit"] for entry in logs if entry["event"] == "calls to the AI Brain at once"]
    assert levels[0] == 3, "it did not begin with two, or nothing more was tried"
    assert 4 in levels
    assert max(levels) == 4
    assert calls.most == 3
    assert 0 < calls.refused < pages / 10
    assert breaker.state is BreakerState.CLOSED


async def test_pages_of_another_owner_are_next_and_a_material_that_waits_can_be_evicted() -> None:
    asked: list[str] = []

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(json.dumps(brain.requests[-1].body.count(b"note")))
        await calls.behave(reader, writer)

    calls = HeldCalls(room=1)
    async with scripted(behave) as brain, client_of(brain.endpoint, seconds=SECONDS) as client:
        reader = BrainReader(client, BrainBreaker(healthy), pages=1, embeddings=1)
        async with asyncio.timeout(SECONDS), asyncio.TaskGroup() as tasks:
            book = [tasks.create_task(reader.read_page(PNG, owner_id="ann", material_id="book")) for _ in range(5)]
            await brain.received.wait()
            tasks.create_task(reader.read_page(PNG + b"note", owner_id="bob", material_id="note"))
            for _ in range(6):
                await calls.let_one_go(lambda: 1, 1)
        assert all(task.done() for task in book)
    assert asked == ["0", "1", "0", "0", "0", "0"]
