"""RecordService.KeepTicket and RedeemTicket: a ticket is good once, for one use, on whichever replica it comes first, until its end by the database's clock."""

from __future__ import annotations

import asyncio
import secrets
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import grpc
import pytest
from materials.v1 import record_service_pb2 as pb

from status_service.record_api import MAX_TICKET_BYTES, MAX_TICKET_SECONDS, MAX_TICKET_USE
from status_service.ticket_store import MAX_TICKETS_OF_OWNER
from tests.contract.bare_services import BareServices
from tests.contract.record_calls import SECONDS, RecordCalls
from tests.contract.refusals import eventually, refused
from tests.local_stack import LocalStack

USE = "events:/courses/biology-101/events"


def new_ticket() -> bytes:
    """The hash of one that nobody has."""
    return secrets.token_bytes(32)


async def keep(record: RecordCalls, ticket: bytes, **changes: Any) -> datetime:
    fields: dict[str, Any] = {
        "use": USE, "content": b"what it stands for", "owner_id": f"owner-{secrets.token_hex(6)}", "lifetime_seconds": 60,
    }  # fmt: skip
    request = pb.KeepTicketRequest(ticket_sha256=ticket, **(fields | changes))
    answer = await record.stub.KeepTicket(request, metadata=record.metadata, timeout=SECONDS)
    return answer.expires_at.ToDatetime(UTC)


async def redeem(record: RecordCalls, ticket: bytes, use: str = USE) -> bytes:
    request = pb.RedeemTicketRequest(ticket_sha256=ticket, use=use)
    return (await record.stub.RedeemTicket(request, metadata=record.metadata, timeout=SECONDS)).content


async def test_of_many_at_once_on_two_replicas_exactly_one_gets_what_it_stands_for(
    record: RecordCalls, record_2: RecordCalls
) -> None:
    ticket = new_ticket()
    await keep(record, ticket, content=b"a sealed token")
    calls = (redeem((record, record_2)[number % 2], ticket) for number in range(20))
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert [answer for answer in answers if isinstance(answer, bytes)] == [b"a sealed token"]
    for answer in answers:
        if isinstance(answer, BaseException):
            with refused("UNAUTHENTICATED", "TICKET_INVALID"):
                raise answer


async def test_for_another_use_it_is_refused_and_stays_good(record: RecordCalls, record_2: RecordCalls) -> None:
    ticket = new_ticket()
    await keep(record, ticket)
    for use in (USE + "/", USE.upper(), "content:/courses/biology-101/events", "sign-in:"):
        with refused("UNAUTHENTICATED", "TICKET_INVALID"):
            await redeem(record_2, ticket, use)
    assert await redeem(record_2, ticket) == b"what it stands for"


async def test_a_ticket_nobody_was_given_is_refused_in_the_same_words(record: RecordCalls) -> None:
    used = new_ticket()
    await keep(record, used)
    await redeem(record, used)
    words = set()
    for ticket in (used, new_ticket()):
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await redeem(record, ticket)
        words.add(refusal.value.details())
    assert len(words) == 1


async def test_it_is_good_until_its_end(bare: BareServices, record: RecordCalls) -> None:
    ended, good = new_ticket(), new_ticket()
    for ticket in (ended, good):
        expires_at = await keep(record, ticket, lifetime_seconds=MAX_TICKET_SECONDS)
        assert abs(expires_at - datetime.now(UTC) - timedelta(days=1)) < timedelta(minutes=5)
    await execute(
        bare.databases["status"],
        "UPDATE status.tickets SET expires_at = clock_timestamp() WHERE ticket_sha256 = $1",
        ended,
    )
    with refused("UNAUTHENTICATED", "TICKET_INVALID"):
        await redeem(record, ended)
    assert await redeem(record, good)


async def test_an_owner_may_have_so_many_that_nobody_has_used(record: RecordCalls) -> None:
    owner = f"owner-{secrets.token_hex(6)}"
    tickets = [new_ticket() for _ in range(MAX_TICKETS_OF_OWNER)]
    for ticket in tickets:
        await keep(record, ticket, owner_id=owner)
    with refused("RESOURCE_EXHAUSTED", "OWNER_REQUEST_LIMIT"):
        await keep(record, new_ticket(), owner_id=owner)
    await keep(record, new_ticket())  # somebody else's
    await redeem(record, tickets[0])
    await keep(record, new_ticket(), owner_id=owner)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"use": ""}, "use"),
        ({"use": "x" * (MAX_TICKET_USE + 1)}, "use"),
        ({"use": "a\0b"}, "use"),
        ({"content": b""}, "content"),
        ({"content": b"x" * (MAX_TICKET_BYTES + 1)}, "content"),
        ({"owner_id": ""}, "owner_id"),
        ({"owner_id": "x" * 256}, "owner_id"),
        ({"lifetime_seconds": 0}, "lifetime_seconds"),
        ({"lifetime_seconds": -1}, "lifetime_seconds"),
        ({"lifetime_seconds": MAX_TICKET_SECONDS + 1}, "lifetime_seconds"),
    ],
)
async def test_a_field_out_of_range_is_named(record: RecordCalls, changes: dict[str, Any], field: str) -> None:
    with refused("INVALID_ARGUMENT", "FIELD_INVALID", field):
        await keep(record, new_ticket(), **changes)


@pytest.mark.parametrize("ticket", [b"", b"x" * 31, b"x" * 33, b"x" * 10_000])
async def test_what_is_no_hash_is_refused(record: RecordCalls, ticket: bytes) -> None:
    for call in (keep, redeem):
        with refused("INVALID_ARGUMENT", "FIELD_INVALID", "ticket_sha256"):
            await call(record, ticket)


async def test_closed_to_users(bare: BareServices, stack: LocalStack) -> None:
    for token in (stack.facts["token"], stack.user_token("ann", {"*": "editor"}, operator=True, role="service")):
        async with bare.client(token) as client:
            for call in (keep, redeem):
                with refused("PERMISSION_DENIED", "SERVICE_IDENTITY_REQUIRED"):
                    await call(RecordCalls(client.record, client.metadata), new_ticket())


async def test_tickets_that_have_ended_are_forgotten_and_no_others(bare: BareServices) -> None:
    dsn = await bare.make_database()
    await bare.start_status("tickets", dsn)
    bare.processes["tickets"].terminate()
    assert await asyncio.to_thread(bare.processes["tickets"].wait, 15) == 0
    ended, good = new_ticket(), new_ticket()
    insert = "INSERT INTO status.tickets VALUES ($1, 'use', 'content', 'owner', clock_timestamp() + $2::interval)"
    await execute(dsn, insert, ended, timedelta(minutes=-1))
    await execute(dsn, insert, good, timedelta(hours=1))
    await bare.start_status("tickets", dsn)

    async def forgotten() -> bool:
        return await rows_of(dsn, ended) == 0

    await eventually(forgotten, "the reaper has forgotten the ticket")
    assert await rows_of(dsn, good) == 1


async def execute(dsn: str, query: str, *arguments: object) -> None:
    connection = await asyncpg.connect(dsn, ssl=False)
    try:
        await connection.execute(query, *arguments)
    finally:
        await connection.close()


async def rows_of(dsn: str, ticket: bytes) -> int:
    """How many rows the record has of the ticket."""
    connection = await asyncpg.connect(dsn, ssl=False)
    try:
        count: int = await connection.fetchval("SELECT count(*) FROM status.tickets WHERE ticket_sha256 = $1", ticket)
        return count
    finally:
        await connection.close()
