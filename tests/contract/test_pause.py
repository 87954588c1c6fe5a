"""StatusService: an operator's pause lets no processor begin with another material, whichever replica was told of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import asyncpg
import pytest
from materials.v1 import material_pb2
from materials.v1 import record_service_pb2 as pb

from tests.contract.bare_services import BareServices
from tests.contract.people import People
from tests.contract.person import Person
from tests.contract.record_calls import RecordCalls
from tests.contract.refusals import refused
from tests.local_stack import LocalStack

OPERATORS_CALLS: dict[str, Callable[[Person], Awaitable[Any]]] = {
    "GetQueue": Person.queue,
    "PauseProcessing": Person.pause,
    "ResumeProcessing": Person.resume,
}


@dataclass
class Operators:
    """Two of them, each at a replica of its own."""

    olga: Person
    otto: Person


@pytest.fixture
async def operators(bare: BareServices, stack: LocalStack) -> AsyncIterator[Operators]:
    """Neither is a member of any course. Nothing is paused when the test is over."""
    async with AsyncExitStack() as clients:
        olga, otto = [
            Person(await clients.enter_async_context(bare.client(stack.user_token(name, operator=True), status=status)))
            for name, status in (("olga", "status"), ("otto", "status-2"))
        ]
        assert not (await olga.queue()).HasField("pause")
        try:
            yield Operators(olga, otto)
        finally:
            await olga.resume()


class TestClaims:
    async def test_pause_at_one_replica_is_obeyed_by_both_at_once_and_so_is_its_end(
        self, record: RecordCalls, record_2: RecordCalls, operators: Operators, course: str
    ) -> None:
        for number in range(10):
            material = await record.create("ann", course)
            await (operators.olga, operators.otto)[number % 2].pause()
            for replica in (record, record_2):
                answer = await replica.claim(material.id)
                assert answer.refusal == pb.CLAIM_REFUSAL_PAUSED
                assert not answer.HasField("material")
            await (operators.otto, operators.olga)[number % 2].resume()
            assert (await (record, record_2)[number % 2].claimed(material.id)).attempt == 1

    async def test_what_is_under_way_is_finished_and_a_repeat_of_its_claim_answered(
        self, record: RecordCalls, record_2: RecordCalls, operators: Operators, person: Person, course: str
    ) -> None:
        material = await record.create("ann", course)
        first = await record.claim(material.id, request_id="claim-1")
        await operators.olga.pause()
        assert (await record_2.claim(material.id, request_id="claim-1")).material == first.material
        async with record_2.reports() as stream:
            reported = await stream.ask(material.id, 1, progress=pb.Progress(pages_done=1, pages_total=2))
            assert reported == pb.REPORT_RESULT_RECORDED
            done = await stream.ask(material.id, 1, completion=pb.Completion(pages_total=2, has_embedding=True))
            assert done == pb.REPORT_RESULT_RECORDED
        assert (await person.get(material.id)).processing_status == material_pb2.PROCESSING_STATUS_COMPLETED

    async def test_what_nobody_could_claim_anyway_is_refused_as_ever(
        self, record: RecordCalls, operators: Operators, person: Person, course: str
    ) -> None:
        leased, cancelled, deleted = [await record.create("ann", course) for _ in range(3)]
        await record.claim(leased.id)
        await operators.olga.pause()
        await person.cancel(cancelled.id)
        await person.delete(deleted.id)
        assert (await record.claim(leased.id)).refusal == pb.CLAIM_REFUSAL_LEASED
        assert (await record.claim(cancelled.id)).refusal == pb.CLAIM_REFUSAL_ENDED
        assert (await record.claim(deleted.id)).refusal == pb.CLAIM_REFUSAL_NOT_FOUND

    async def test_uploads_are_admitted_recorded_and_announced_and_wait(
        self, record: RecordCalls, operators: Operators, person: Person, course: str
    ) -> None:
        await operators.olga.pause()
        await record.admit("ann")
        material = await record.create("ann", course)
        assert (await person.get(material.id)).processing_status == material_pb2.PROCESSING_STATUS_PENDING
        await operators.olga.resume()
        assert (await record.claimed(material.id)).attempt == 1

    async def test_processors_are_told_by_every_replica(
        self, record: RecordCalls, record_2: RecordCalls, operators: Operators
    ) -> None:
        both = (record, record_2)
        assert [await replica.heartbeat(slots=1) for replica in both] == [False, False]
        await operators.otto.pause()
        assert [await replica.heartbeat(slots=1) for replica in both] == [True, True]
        assert [await replica.heartbeat(stopping=True) for replica in both] == [True, True]
        await operators.olga.resume()
        assert [await replica.heartbeat(stopping=True) for replica in both] == [False, False]


class TestThePause:
    async def test_says_who_when_and_why_at_every_replica_and_in_the_queue(self, operators: Operators) -> None:
        pause = await operators.olga.pause("the AI Brain is moved to another host")
        assert (pause.paused_by, pause.reason) == ("olga", "the AI Brain is moved to another host")
        assert pause.paused_at.seconds
        assert (await operators.olga.queue()).pause == (await operators.otto.queue()).pause == pause

    async def test_pausing_again_answers_the_one_that_stands(self, operators: Operators) -> None:
        pause = await operators.olga.pause("first")
        assert await operators.otto.pause("second") == pause
        assert await operators.olga.pause() == pause

    async def test_twenty_at_once_on_two_replicas_make_one_pause(self, operators: Operators) -> None:
        pauses = await asyncio.gather(
            *((operators.olga, operators.otto)[number % 2].pause(f"reason {number}") for number in range(20))
        )
        assert all(pause == pauses[0] for pause in pauses)
        ended = await asyncio.gather(*((operators.olga, operators.otto)[number % 2].resume() for number in range(20)))
        assert [answer.pause for answer in ended if answer.HasField("pause")] == [pauses[0]]

    async def test_resuming_answers_what_it_ended_and_changes_nothing_when_nothing_is_paused(
        self, operators: Operators
    ) -> None:
        pause = await operators.olga.pause("for a moment")
        assert (await operators.otto.resume()).pause == pause
        assert not (await operators.otto.queue()).HasField("pause")
        assert not (await operators.otto.resume()).HasField("pause")

    async def test_who_paused_and_who_resumed_is_kept(self, bare: BareServices, operators: Operators) -> None:
        await operators.olga.pause("to be remembered")
        await operators.otto.resume()
        connection = await asyncpg.connect(bare.databases["status"], ssl=False)
        try:
            row = await connection.fetchrow(
                "SELECT paused_by, resumed_by, resumed_at >= paused_at AS in_order FROM status.processing_pauses"
                " WHERE reason = 'to be remembered'"
            )
        finally:
            await connection.close()
        assert row is not None
        assert tuple(row) == ("olga", "otto", True)

    async def test_reason_of_five_hundred_characters_is_taken(self, operators: Operators) -> None:
        assert (await operators.olga.pause("ж" * 500)).reason == "ж" * 500

    @pytest.mark.parametrize("reason", ["x" * 501, "a\0b", "a\nb", "  "], ids=["long", "NUL", "line feed", "blank"])
    async def test_reason_that_cannot_be_shown_is_refused_and_nothing_is_paused(
        self, operators: Operators, reason: str
    ) -> None:
        with refused("INVALID_ARGUMENT", "FIELD_INVALID", "reason"):
            await operators.olga.pause(reason)
        assert not (await operators.olga.queue()).HasField("pause")


@pytest.mark.parametrize("call", OPERATORS_CALLS)
async def test_operators_calls_are_refused_to_everybody_else(
    people: People, bare: BareServices, stack: LocalStack, call: str
) -> None:
    async with bare.client(stack.facts["service_token"]) as peer:
        for other in (people.owner, people.editor, people.reader, people.admin, people.stranger, Person(peer)):
            with refused("PERMISSION_DENIED", "OPERATOR_REQUIRED"):
                await OPERATORS_CALLS[call](other)
