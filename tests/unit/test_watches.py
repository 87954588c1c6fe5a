"""A watch that the gateway keeps for a client: what it outlives, and what it tells the client to bear. In front of real gRPC, scripted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import pytest
from materials.channels import bearer
from materials.v1 import errors_pb2
from materials.v1 import status_service_pb2 as pb
from materials.v1.status_service_pb2_grpc import StatusServiceStub

from gateway.services import Refused
from gateway.watches import Watch
from servicekit.channels import open_channel
from servicekit.errors import ServiceError, Unavailable
from tests.contract.scripted_services import TOKEN, ScriptedServices, refuse, scripted_services

SECONDS = 30.0
CourseWatch = Watch[pb.WatchCourseResponse]
MakeWatch = Callable[..., CourseWatch]
#: What a call does after its headers: tells a token, "" for a message of a snapshot, or is refused.
Act = str | ServiceError
STOPPING = Unavailable(errors_pb2.ERROR_REASON_SHUTTING_DOWN, "this replica is stopping", retry_after=0.1)
CROWDED = Unavailable(errors_pb2.ERROR_REASON_OWNER_WATCH_LIMIT, "you have too many watches open", retry_after=0.1)
UNKNOWN = ServiceError(errors_pb2.ERROR_REASON_RESUME_TOKEN_INVALID, "this resume token is not valid here")
AWAY: list[list[Act]] = [[STOPPING]] * 50


class Status(ScriptedServices):
    """WatchCourse as a test says."""

    #: The client has seen the headers of its newest call, and waits for messages.
    listened_to: asyncio.Event
    standing: asyncio.Event
    ended: asyncio.Event

    def does(self, *calls: list[Act], headers: bool = True) -> None:
        """What each call does in its turn: first, where there are `headers`, it stands. The last one then goes on until it is cancelled, the others end with
        OK unless refused."""
        left = list(calls)
        self.standing, self.ended = asyncio.Event(), asyncio.Event()

        async def script(_: Any, context: Any) -> AsyncIterator[pb.WatchCourseResponse]:
            acts = left.pop(0)
            if headers:
                await context.send_initial_metadata(())
                await self.listened_to.wait()
            for act in acts:
                if isinstance(act, ServiceError):
                    await refuse(context, act)
                else:
                    yield pb.WatchCourseResponse(resume_token=act)
            if not left:
                self.standing.set()
                try:
                    await asyncio.Event().wait()
                finally:
                    self.ended.set()

        self.on("WatchCourse", script)

    @property
    def asked_after(self) -> list[str]:
        """The position that each call began at."""
        return [request.resume_token for request in self.requests]


class Call:
    """A call of a watch that tells when it is read."""

    def __init__(self, call: Any, listened_to: asyncio.Event) -> None:
        self._call, self._listened_to = call, listened_to

    def __getattr__(self, name: str) -> Any:
        return getattr(self._call, name)

    def read(self) -> Any:
        self._listened_to.set()
        return self._call.read()


@pytest.fixture
async def status() -> AsyncIterator[Status]:
    async with scripted_services(Status()) as services:
        assert isinstance(services, Status)
        yield services


@pytest.fixture
async def make_watch(status: Status) -> AsyncIterator[MakeWatch]:
    async with open_channel(status.address) as channel:
        stub = StatusServiceStub(channel)

        def call(token: str) -> Call:
            status.listened_to = asyncio.Event()
            request = pb.WatchCourseRequest(course_id="c", resume_token=token)
            return Call(stub.WatchCourse(request, metadata=bearer(TOKEN)), status.listened_to)

        def make(position: str = "", patience: float = SECONDS) -> CourseWatch:
            return Watch(call, lambda message: message.resume_token, position, patience=patience)

        yield make


async def told(watch: CourseWatch, count: int) -> list[str]:
    """The positions of the next messages, from the beginning."""
    await watch.begin()
    positions: list[str] = []
    async with asyncio.timeout(SECONDS):
        async for message in watch.messages():
            positions.append(message.resume_token)
            if len(positions) == count:
                break
    return positions


async def test_cut_watch_goes_on_after_the_last_message(status: Status, make_watch: MakeWatch) -> None:
    status.does(["1", "2", STOPPING], ["3", STOPPING], [STOPPING], ["4"])
    assert await told(make_watch(), 4) == ["1", "2", "3", "4"]
    assert status.asked_after == ["", "2", "3", "3"]


async def test_watch_cut_before_any_message_begins_where_it_began(status: Status, make_watch: MakeWatch) -> None:
    status.does([STOPPING], ["8"])
    assert await told(make_watch("7"), 1) == ["8"]
    assert status.asked_after == ["7", "7"]


async def test_watch_cut_where_nothing_can_be_resumed_is_refused(status: Status, make_watch: MakeWatch) -> None:
    status.does(["", STOPPING], ["1"])
    with pytest.raises(Refused) as refused:
        await told(make_watch(), 2)
    assert refused.value.refusal.reason == "SHUTTING_DOWN"
    assert status.asked_after == [""]


async def test_watch_ends_where_the_service_ends_it(status: Status, make_watch: MakeWatch) -> None:
    status.does(["1"], [])
    assert await told(make_watch(), 2) == ["1"]


async def test_refusal_for_good_is_passed_on(status: Status, make_watch: MakeWatch) -> None:
    status.does(["1", STOPPING], [UNKNOWN], ["2"])
    with pytest.raises(Refused) as refused:
        await told(make_watch(), 2)
    assert refused.value.refusal.reason == "RESUME_TOKEN_INVALID"


async def test_refusal_for_the_moment_is_borne_once_the_watch_has_stood(status: Status, make_watch: MakeWatch) -> None:
    """After a cut the places of before may still be taken, by the watches that were cut."""
    status.does(["1", STOPPING], [CROWDED], ["2"], headers=False)
    assert await told(make_watch(), 2) == ["1", "2"]


@pytest.mark.parametrize("error", [UNKNOWN, CROWDED], ids=["for good", "for the moment"])
async def test_refusal_at_the_beginning_is_passed_on(
    status: Status, make_watch: MakeWatch, error: ServiceError
) -> None:
    status.does([error], [], headers=False)
    with pytest.raises(Refused) as refused:
        await told(make_watch(), 1)
    assert refused.value.refusal.message == error.message


async def test_record_that_stays_away_is_refused_when_patience_is_over(status: Status, make_watch: MakeWatch) -> None:
    status.does(["1", STOPPING], *AWAY, headers=False)
    with pytest.raises(Refused) as refused:
        await told(make_watch(patience=0.5), 2)
    assert refused.value.refusal.code is grpc.StatusCode.UNAVAILABLE
    assert len(status.requests) > 2


async def test_patience_begins_anew_each_time_the_watch_stands(status: Status, make_watch: MakeWatch) -> None:
    """A quiet material's watch is moved by its server twice an hour and may never bring a message in between."""
    status.does(["1", STOPPING], [STOPPING], [STOPPING], [STOPPING], ["2"])
    assert await told(make_watch(patience=0.2), 2) == ["1", "2"]


async def test_end_ends_a_quiet_watch_and_its_call(status: Status, make_watch: MakeWatch) -> None:
    status.does(["1"])
    watch = make_watch()
    await watch.begin()
    async with asyncio.timeout(SECONDS):
        async for _ in watch.messages():
            asyncio.get_running_loop().call_soon(watch.end)
        await status.ended.wait()


async def test_end_ends_a_watch_that_waits_for_the_record(status: Status, make_watch: MakeWatch) -> None:
    status.does(["1", STOPPING], *AWAY, headers=False)
    watch = make_watch()
    await watch.begin()
    reading = asyncio.create_task(anext_of(watch, 2))
    async with asyncio.timeout(SECONDS):
        while len(status.requests) < 3:
            await asyncio.sleep(0)
        watch.end()
        assert await reading == ["1"]


async def test_end_ends_a_watch_that_does_not_stand_yet(status: Status, make_watch: MakeWatch) -> None:
    status.does(["1", STOPPING], [], headers=False)
    watch = make_watch()
    await watch.begin()
    reading = asyncio.create_task(anext_of(watch, 2))
    async with asyncio.timeout(SECONDS):
        await status.standing.wait()
        watch.end()
        assert await reading == ["1"]
        await status.ended.wait()


async def anext_of(watch: CourseWatch, count: int) -> list[str]:
    """As `told`, of a watch that has begun."""
    positions: list[str] = []
    async for message in watch.messages():
        positions.append(message.resume_token)
        if len(positions) == count:
            break
    return positions


@pytest.mark.parametrize("begun", [False, True])
async def test_cancellation_is_passed_on_and_ends_the_call(status: Status, make_watch: MakeWatch, begun: bool) -> None:
    status.does(["1"] if begun else [], headers=begun)
    watch = make_watch()
    reading = asyncio.create_task(told(watch, 2))
    async with asyncio.timeout(SECONDS):
        await status.standing.wait()
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        watch.end()
        await status.ended.wait()
