"""A processor tells Status how it is, and hears of a pause; Status may be away, or older."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import grpc
import pytest
from materials.v1 import status_service_pb2
from structlog.testing import capture_logs

from processor_service.brain.breaker import BrainBreaker
from processor_service.brain.fair_slots import TurnOver
from processor_service.fleet_member import FleetMember
from processor_service.turn_taking import TurnTaking
from processor_service.work_gate import WorkGate
from tests.integration.scripted_record import ScriptedRecord, scripted_record

SECONDS = 30.0


@dataclass
class Fleet:
    record: ScriptedRecord
    breaker: BrainBreaker
    gate: WorkGate
    turns: TurnTaking
    evicted: list[str]
    member: FleetMember
    tasks: asyncio.TaskGroup


async def away() -> bool:
    return False


@pytest.fixture
async def fleet() -> AsyncIterator[Fleet]:
    async with scripted_record() as (record, peer), asyncio.TaskGroup() as tasks:
        breaker = BrainBreaker(away, on_change=lambda _: member.tell_at_once())
        gate = WorkGate(breaker)
        evicted: list[str] = []
        turns = TurnTaking(evicted.append)
        member = FleetMember(
            peer, gate, turns, worker_id="worker-1", slots=4, busy=lambda: 3, brain=lambda: breaker.state
        )
        yield Fleet(record, breaker, gate, turns, evicted, member, tasks)
        await member.stop()


async def test_it_tells_of_itself_at_once_and_again_and_again(fleet: Fleet) -> None:
    await fleet.member.start(fleet.tasks)
    for _ in range(2):
        told = await fleet.record.next_told()
        assert (told.worker_id, told.slots, told.busy, told.stopping) == ("worker-1", 4, 3, False)
        assert told.brain == status_service_pb2.BREAKER_STATE_CLOSED


async def test_a_breaker_that_opens_is_told_of_at_once(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("processor_service.fleet_member.TELL_EVERY_SECONDS", 3600.0)
    await fleet.member.start(fleet.tasks)
    assert (await fleet.record.next_told()).brain == status_service_pb2.BREAKER_STATE_CLOSED
    await fleet.breaker.check()
    assert (await fleet.record.next_told()).brain == status_service_pb2.BREAKER_STATE_OPEN


async def test_a_pause_closes_the_gate_and_its_end_opens_it(fleet: Fleet) -> None:
    fleet.record.paused = True
    await fleet.member.start(fleet.tasks)
    while fleet.gate.is_open:
        await fleet.record.next_told()
    fleet.record.paused = False
    await asyncio.wait_for(fleet.gate.wait_open(), SECONDS)


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL])
async def test_while_status_is_away_the_pause_stands_and_the_outage_is_logged_once(
    fleet: Fleet, code: grpc.StatusCode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("processor_service.fleet_member.TELL_EVERY_SECONDS", 0.05)
    fleet.record.refuses = code
    fleet.gate.set_paused(True)
    with capture_logs() as logs:
        await fleet.member.start(fleet.tasks)
        for _ in range(12):  # three outcomes at least, with the channel's own tries
            await fleet.record.next_told()
        assert not fleet.gate.is_open
        assert [entry["code"] for entry in logs if entry["log_level"] == "warning"] == [code.name]
        fleet.record.refuses = None
        await asyncio.wait_for(fleet.gate.wait_open(), SECONDS)
    assert [entry["log_level"] for entry in logs].count("warning") == 1


async def test_an_older_status_that_knows_no_pauses_pauses_nothing(fleet: Fleet) -> None:
    fleet.record.refuses = grpc.StatusCode.UNIMPLEMENTED
    fleet.gate.set_paused(True)
    await fleet.member.start(fleet.tasks)
    await asyncio.wait_for(fleet.gate.wait_open(), SECONDS)


async def test_its_last_words_are_that_it_stops(fleet: Fleet) -> None:
    await fleet.member.start(fleet.tasks)
    assert not (await fleet.record.next_told()).stopping
    await fleet.member.stop()
    await fleet.member.stop()
    assert (await fleet.record.next_told()).stopping
    assert fleet.record.told.empty()


async def test_last_words_that_nobody_hears_do_not_keep_it(fleet: Fleet) -> None:
    await fleet.member.start(fleet.tasks)
    await fleet.record.next_told()
    fleet.record.refuses = grpc.StatusCode.PERMISSION_DENIED
    with capture_logs() as logs:
        await fleet.member.stop()
    assert [entry["code"] for entry in logs] == ["PERMISSION_DENIED"]


async def test_what_has_had_its_turn_is_known_until_status_no_longer_says_so(fleet: Fleet) -> None:
    fleet.record.yields = ["book-1", "book-2"]
    await fleet.member.start(fleet.tasks)
    async with asyncio.timeout(SECONDS):
        while set(fleet.evicted) != {"book-1", "book-2"}:
            await fleet.record.next_told()
    for book in fleet.record.yields:
        with pytest.raises(TurnOver):
            fleet.turns.check(book)
    fleet.turns.begun("book-2")
    fleet.turns.check("book-2")  # another attempt
    fleet.turns.check("note")
    fleet.record.yields = []
    fleet.member.tell_at_once()
    async with asyncio.timeout(SECONDS):
        while True:
            await fleet.record.next_told()
            try:
                fleet.turns.check("book-1")
                return
            except TurnOver:
                fleet.member.tell_at_once()
