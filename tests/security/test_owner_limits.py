"""What one owner may ask of real services whose limits are low, and that nobody else is kept from theirs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import grpc
import pytest
from materials.v1 import ingest_service_pb2, material_pb2, status_service_pb2

from servicekit.upload_call import refusals_as_they_come
from tests.contract.bare_services import BareServices
from tests.contract.person import Person
from tests.contract.record_calls import RecordCalls
from tests.contract.refusals import Refusal, eventually, refusal_of
from tests.contract.uploads import TEXT, Messages, chunk, metadata
from tests.local_stack import Client, LocalStack

WATCHES, UPLOADS = 20, 3
PER_SECOND, BURST = 1, 10
RATE = {"OWNER_REQUESTS_PER_SECOND": str(PER_SECOND), "OWNER_REQUEST_BURST": str(BURST)}
SECONDS = 60.0


@pytest.fixture(scope="module")
async def services(stack: LocalStack) -> AsyncIterator[BareServices]:
    """`status` and `ingest` count watches and uploads; `slow-status` and `slow-ingest` count calls. All have one record."""
    bare = BareServices(stack)
    try:
        await bare.start_nats()
        record = await bare.make_database()
        await bare.start_status("status", record, MAX_WATCHES_PER_OWNER=str(WATCHES))
        await bare.start_status("slow-status", record, **RATE)
        await bare.start_ingest("ingest", "slow-status", MAX_UPLOADS_PER_OWNER=str(UPLOADS), UPLOAD_IDLE_SECONDS="30")
        await bare.start_ingest("slow-ingest", "status", **RATE)
        yield bare
    finally:
        bare.stop()


class Town:
    """Connections of people who share a course; nobody has called before."""

    def __init__(self, services: BareServices, stack: LocalStack, course: str, exits: AsyncExitStack) -> None:
        self.services, self.course = services, course
        self._stack, self._exits = stack, exits

    async def client(self, name: str, *, status: str = "status", ingest: str = "ingest", **claims: Any) -> Client:
        """Somebody's."""
        token = self._stack.user_token(f"{name} of {self.course}", {self.course: "editor"}, **claims)
        return await self._exits.enter_async_context(self.services.client(token, status=status, ingest=ingest))

    async def record(self, status: str = "status") -> RecordCalls:
        """As a peer calls it."""
        token = self._stack.facts["service_token"]
        peer = await self._exits.enter_async_context(self.services.client(token, status=status))
        return RecordCalls(peer.record, peer.metadata)

    def watch(self, client: Client) -> Any:
        """A watch of the course, not read yet."""
        request = status_service_pb2.WatchCourseRequest(course_id=self.course)
        return client.status.WatchCourse(request, metadata=client.metadata, timeout=SECONDS)

    async def upload(self, client: Client, name: str = "notes.txt") -> material_pb2.Material:
        """A small one."""
        return await client.upload(TEXT, course=self.course, name=name)


@pytest.fixture
async def town(services: BareServices, stack: LocalStack, course: str) -> AsyncIterator[Town]:
    async with AsyncExitStack() as exits:
        yield Town(services, stack, course, exits)


def refusals(answers: list[Any]) -> list[Refusal]:
    """Those among the answers, each in the contract's words. Fails for any other error."""
    errors = [answer for answer in answers if isinstance(answer, BaseException)]
    assert all(isinstance(error, grpc.RpcError) for error in errors), errors
    return [refusal_of(error) for error in errors]  # type: ignore[arg-type]


def all_are(found: list[Refusal], reason: str) -> bool:
    """Whether every one says that the owner has reached this limit, and when to come again."""
    return all(
        (refusal.code, refusal.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, reason) and refusal.retry_seconds
        for refusal in found
    )


async def first_messages(calls: list[Any]) -> list[Any]:
    """Of each watch, or its error."""
    return await asyncio.gather(*(call.read() for call in calls), return_exceptions=True)


class TestWatches:
    async def test_thousand_watches_of_one_owner_leave_room_for_another_and_none_behind(self, town: Town) -> None:
        ann, bob = await town.client("ann"), await town.client("bob")
        watches = [town.watch(ann) for _ in range(1_000)]
        try:
            refused = refusals(await first_messages(watches))
            assert len(refused) == 1_000 - WATCHES
            assert all_are(refused, "OWNER_WATCH_LIMIT")
            of_bob = town.watch(bob)
            assert (await of_bob.read()).HasField("snapshot_complete")
            of_bob.cancel()
        finally:
            for watch in watches:
                watch.cancel()

        async def every_place_is_free() -> bool:
            again = [town.watch(ann) for _ in range(WATCHES)]
            try:
                return not refusals(await first_messages(again))
            finally:
                for watch in again:
                    watch.cancel()

        await eventually(every_place_is_free, "as many watches stand as one owner may have")

    async def test_watches_of_materials_and_courses_are_counted_together(self, town: Town) -> None:
        ann, record = await town.client("ann"), await town.record()
        material = await record.create(f"ann of {town.course}", town.course)
        request = status_service_pb2.WatchMaterialRequest(material_id=material.id)
        watches = [ann.status.WatchMaterial(request, metadata=ann.metadata, timeout=SECONDS) for _ in range(WATCHES)]
        try:
            assert not refusals(await first_messages(watches))
            one_more = town.watch(ann)
            assert all_are(refusals(await first_messages([one_more])), "OWNER_WATCH_LIMIT")
        finally:
            for watch in watches:
                watch.cancel()

    async def test_operator_watches_as_much_as_the_replica_allows(self, town: Town) -> None:
        olga = await town.client("olga", operator=True)
        watches = [town.watch(olga) for _ in range(5 * WATCHES)]
        try:
            assert not refusals(await first_messages(watches))
        finally:
            for watch in watches:
                watch.cancel()


class TestUploadsUnderWay:
    async def test_one_owner_holds_no_more_than_the_limit_and_others_are_served(self, town: Town) -> None:
        ann, bob, olga = [await town.client(name, operator=name == "olga") for name in ("ann", "bob", "olga")]
        held = HeldUploads(town, ann, 10)
        try:
            refused = await held.refused(10 - UPLOADS)
            assert all_are(refused, "OWNER_UPLOAD_LIMIT")
            assert (await town.upload(bob)).owner_id.startswith("bob")
            assert not refusals(await HeldUploads(town, olga, 5 * UPLOADS).answers())
        finally:
            answers = await held.answers()
        assert sum(isinstance(answer, material_pb2.Material) for answer in answers) == UPLOADS
        assert isinstance(await town.upload(ann), material_pb2.Material)

    @pytest.mark.parametrize("sent", [[], [TEXT]], ids=["before the first message", "in the middle"])
    async def test_clients_that_go_away_leave_every_place_free(self, town: Town, sent: list[bytes]) -> None:
        ann = await town.client("ann")

        async def gone(number: int) -> None:
            call = ann.ingest.UploadMaterial(metadata=ann.metadata)
            if sent:
                await call.write(metadata(town.course))
            # Some go at once, some when the service has already taken them on.
            for _ in range(number % 20):
                await asyncio.sleep(0)
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)

        for round_ in range(20):
            await asyncio.gather(*(gone(round_ + number) for number in range(UPLOADS)), return_exceptions=True)

        async def every_place_is_free() -> bool:
            held = HeldUploads(town, ann, UPLOADS)
            return not refusals(await held.answers())

        await eventually(every_place_is_free, "as many uploads are taken as one owner may have under way")


class HeldUploads:
    """Uploads that stop before their last chunk, until they are asked for their answers."""

    def __init__(self, town: Town, client: Client, number: int) -> None:
        self._go_on = asyncio.Event()
        self._answers = [asyncio.create_task(self._upload(town, client, f"{n}.txt")) for n in range(number)]

    async def _upload(self, town: Town, client: Client, name: str) -> material_pb2.Material | Exception:
        async def messages() -> Messages:
            yield metadata(town.course, name=name)
            yield chunk(TEXT)
            await self._go_on.wait()
            yield chunk(TEXT)

        call = client.ingest.UploadMaterial(messages(), metadata=client.metadata, timeout=SECONDS)
        came = refusals_as_they_come(call)
        try:
            return (await call).material
        except grpc.aio.AioRpcError as error:
            return came[0] if came else error

    async def refused(self, number: int) -> list[Refusal]:
        """The first so many that have ended."""
        async with asyncio.timeout(SECONDS):
            ended = asyncio.as_completed(self._answers)
            return refusals([await next(ended) for _ in range(number)])

    async def answers(self) -> list[material_pb2.Material | Exception]:
        """Of all, which now go on."""
        self._go_on.set()
        return await asyncio.gather(*self._answers)


class TestCallsASecond:
    async def test_uploads_beyond_the_burst_are_refused_until_the_time_that_is_told(self, town: Town) -> None:
        ann, bob = [await town.client(name, ingest="slow-ingest") for name in ("ann", "bob")]
        clock = asyncio.get_running_loop().time
        began = clock()
        answers = await asyncio.gather(
            *(town.upload(ann, f"{number}.txt") for number in range(BURST + 100)), return_exceptions=True
        )
        refused = refusals(answers)
        assert all_are(refused, "OWNER_REQUEST_LIMIT")
        assert BURST <= len(answers) - len(refused) <= BURST + PER_SECOND * (clock() - began) + 1
        assert len(await Person(ann).listed(course_id=town.course, page_size=1_000)) == len(answers) - len(refused)
        assert (await town.upload(bob)).owner_id.startswith("bob")
        await asyncio.sleep(max(refusal.retry_seconds or 0 for refusal in refused))
        assert isinstance(await town.upload(ann, "later.txt"), material_pb2.Material)

    async def test_every_kind_of_call_counts(self, town: Town) -> None:
        ann = await town.client("ann", status="slow-status")
        reading = [Person(ann).listed() for _ in range(2 * BURST)]
        calls = [town.watch(ann) for _ in range(2 * BURST)]
        answers = [*await first_messages(calls), *await asyncio.gather(*reading, return_exceptions=True)]
        for call in calls:
            call.cancel()
        refused = refusals(answers)
        assert all_are(refused, "OWNER_REQUEST_LIMIT")
        assert BURST <= len(answers) - len(refused) < len(answers)

    async def test_refusal_by_status_reaches_who_asked_another_service(self, town: Town) -> None:
        """Ingest, which has no such limit here, asks Status with the caller's own token."""
        ann = await town.client("ann")
        material = await town.upload(ann)

        async def download() -> bytes:
            request = ingest_service_pb2.DownloadMaterialRequest(material_id=material.id)
            call = ann.ingest.DownloadMaterial(request, metadata=ann.metadata, timeout=SECONDS)
            return b"".join([response.chunk async for response in call])

        answers = await asyncio.gather(*(download() for _ in range(BURST + 20)), return_exceptions=True)
        refused = refusals(answers)
        assert refused
        assert all_are(refused, "OWNER_REQUEST_LIMIT")
        assert max(refusal.retry_seconds or 0 for refusal in refused) <= 1 / PER_SECOND + 0.1
        assert answers.count(TEXT) == len(answers) - len(refused) >= BURST

    async def test_operators_and_services_are_not_limited(self, town: Town) -> None:
        olga = await town.client("olga", status="slow-status", operator=True)
        await asyncio.gather(*(Person(olga).listed() for _ in range(5 * BURST)))
        record = await town.record("slow-status")
        await asyncio.gather(*(record.create("ann", town.course) for _ in range(5 * BURST)))
