"""Calls that gather while one is on its way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
from materials.v1 import errors_pb2

from ingest_service.gathered_calls import GatheredCalls
from servicekit.errors import ServiceError, Unavailable


def refusal() -> ServiceError:
    return Unavailable(errors_pb2.ERROR_REASON_RECORD_UNAVAILABLE, "away")


class Far:
    """The other side: each call waits until it is let go on. Negative numbers are refused, zero fails the call."""

    def __init__(self) -> None:
        self.calls: list[list[int]] = []
        self.arrived = asyncio.Semaphore(0)
        self.go_on = asyncio.Semaphore(0)

    async def answer(self, numbers: Sequence[int]) -> list[str | ServiceError]:
        self.calls.append(list(numbers))
        self.arrived.release()
        await self.go_on.acquire()
        if 0 in numbers:
            raise refusal()
        return [str(number) if number > 0 else refusal() for number in numbers]


@asynccontextmanager
async def gathering(far: Far, **limits: int) -> AsyncIterator[GatheredCalls[int, str]]:
    async with asyncio.TaskGroup() as tasks:
        calls: GatheredCalls[int, str] = GatheredCalls(far.answer, full=refusal, **limits)
        await calls.start(tasks)
        yield calls
        await calls.stop()


async def asking(calls: GatheredCalls[int, str], *numbers: int) -> list[asyncio.Task[str]]:
    asked = [asyncio.ensure_future(calls.ask(number)) for number in numbers]
    await asyncio.sleep(0)  # each has begun
    return asked


async def test_a_lone_request_waits_for_nobody_and_those_meanwhile_go_together() -> None:
    far = Far()
    async with gathering(far, at_once=1) as calls:
        first = await asking(calls, 1)
        await far.arrived.acquire()
        rest = await asking(calls, 2, 3, 4)
        assert far.calls == [[1]]
        far.go_on.release()
        await far.arrived.acquire()
        far.go_on.release()
        assert await asyncio.gather(*first, *rest) == ["1", "2", "3", "4"]
    assert far.calls == [[1], [2, 3, 4]]


async def test_no_call_has_more_than_the_other_side_takes_and_no_more_calls_run_than_may() -> None:
    far = Far()
    async with gathering(far, at_once=2, batch=2) as calls:
        asked = await asking(calls, 1, 2, 3, 4, 5)
        await far.arrived.acquire()
        await far.arrived.acquire()
        assert far.calls == [[1, 2], [3, 4]]
        for _ in range(3):
            far.go_on.release()
        assert await asyncio.gather(*asked) == ["1", "2", "3", "4", "5"]


async def test_a_refusal_is_for_one_and_a_failure_for_those_of_its_call() -> None:
    far = Far()
    async with gathering(far, at_once=1) as calls:
        refused = await asking(calls, 1, -2)
        await far.arrived.acquire()
        failed = await asking(calls, 0, 3)
        far.go_on.release()
        await far.arrived.acquire()
        later = await asking(calls, 4)
        far.go_on.release()
        far.go_on.release()
        answers = await asyncio.gather(*refused, *failed, *later, return_exceptions=True)
    assert [answer if isinstance(answer, str) else "refused" for answer in answers] == [
        "1", "refused", "refused", "refused", "4",
    ]  # fmt: skip


async def test_who_has_gone_is_not_asked_for_and_too_many_are_refused() -> None:
    far = Far()
    async with gathering(far, at_once=1, waiting=2) as calls:
        first = await asking(calls, 1)
        await far.arrived.acquire()
        gone, stays = await asking(calls, 2, 3)
        with pytest.raises(ServiceError):
            await calls.ask(4)
        gone.cancel()
        far.go_on.release()
        far.go_on.release()
        assert await asyncio.gather(*first, stays) == ["1", "3"]
    assert far.calls == [[1], [3]]
