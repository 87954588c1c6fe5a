"""RecordService.RedeemTicket: a ticket is good once, on whichever replica it comes first, until its end by the database's clock."""

from __future__ import annotations

import asyncio
import uuid
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from materials.v1 import record_service_pb2 as pb

from tests.contract.bare_services import BareServices
from tests.contract.record_calls import SECONDS, RecordCalls
from tests.contract.refusals import eventually, refused
from tests.local_stack import LocalStack


def in_time(**distance: float) -> Timestamp:
    """So far from now; negative is ago."""
    moment = Timestamp()
    moment.FromDatetime(datetime.now(UTC) + timedelta(**distance))
    return moment


async def redeem(record: RecordCalls, ticket_id: str, expires_at: Timestamp) -> bool:
    request = pb.RedeemTicketRequest(ticket_id=ticket_id, expires_at=expires_at)
    return (await record.stub.RedeemTicket(request, metadata=record.metadata, timeout=SECONDS)).redeemed


async def test_of_many_at_once_on_two_replicas_exactly_one_may_use_it(
    record: RecordCalls, record_2: RecordCalls
) -> None:
    ticket, end = str(uuid.uuid4()), in_time(minutes=1)
    answers = await asyncio.gather(*(redeem((record, record_2)[number % 2], ticket, end) for number in range(20)))
    assert sorted(answers) == [False] * 19 + [True]


async def test_a_used_ticket_stays_used_whatever_end_it_claims(record: RecordCalls, record_2: RecordCalls) -> None:
    ticket = str(uuid.uuid4())
    assert await redeem(record, ticket, in_time(minutes=1))
    for again in (record, record_2):
        for hours in (0.1, 20):
            assert not await redeem(again, ticket, in_time(hours=hours))
    assert await redeem(record, str(uuid.uuid4()), in_time(minutes=1)), "others are not touched"


async def test_a_ticket_that_has_ended_is_refused_and_takes_no_room(bare: BareServices, record: RecordCalls) -> None:
    ticket = str(uuid.uuid4())
    for end in (in_time(seconds=-1), in_time(days=-3_000), Timestamp()):
        assert not await redeem(record, ticket, end)
    assert await redeem(record, ticket, in_time(minutes=1)), "a refusal is no use"
    assert await rows_of(bare.databases["status"], ticket) == 1


@pytest.mark.parametrize(
    ("ticket_id", "expires_at", "field"),
    [
        ("", in_time(minutes=1), "ticket_id"),
        ("ticket", in_time(minutes=1), "ticket_id"),
        ("00000000-0000-0000-0000-00000000000G", in_time(minutes=1), "ticket_id"),
        ("{c9bf9e57-1685-4c89-bafb-ff5af830be8a}", in_time(minutes=1), "ticket_id"),
        ("C9BF9E57-1685-4C89-BAFB-FF5AF830BE8A", in_time(minutes=1), "ticket_id"),
        ("x" * 10_000, in_time(minutes=1), "ticket_id"),
        ("c9bf9e57-1685-4c89-bafb-ff5af830be8a", in_time(days=2), "expires_at"),
        ("c9bf9e57-1685-4c89-bafb-ff5af830be8a", Timestamp(seconds=253_402_300_799), "expires_at"),
        ("c9bf9e57-1685-4c89-bafb-ff5af830be8a", Timestamp(seconds=2**62), "expires_at"),
        ("c9bf9e57-1685-4c89-bafb-ff5af830be8a", Timestamp(seconds=-(2**62)), "expires_at"),
        ("c9bf9e57-1685-4c89-bafb-ff5af830be8a", Timestamp(nanos=-1), "expires_at"),
    ],
)
async def test_field_out_of_range_is_named(
    record: RecordCalls, ticket_id: str, expires_at: Timestamp, field: str
) -> None:
    with refused("INVALID_ARGUMENT", "FIELD_INVALID", field):
        await redeem(record, ticket_id, expires_at)


async def test_closed_to_users(bare: BareServices, stack: LocalStack) -> None:
    ticket = str(uuid.uuid4())
    for token in (stack.facts["token"], stack.user_token("ann", {"*": "editor"}, operator=True, role="service")):
        async with bare.client(token) as client:
            with refused("PERMISSION_DENIED", "SERVICE_IDENTITY_REQUIRED"):
                await redeem(RecordCalls(client.record, client.metadata), ticket, in_time(minutes=1))
    async with bare.client(stack.facts["service_token"]) as peer:
        assert await redeem(RecordCalls(peer.record, peer.metadata), ticket, in_time(minutes=1))


async def test_tickets_that_ended_long_ago_are_forgotten_and_no_others(bare: BareServices) -> None:
    dsn = await bare.make_database()
    await bare.start_status("tickets", dsn)
    bare.processes["tickets"].terminate()
    assert await asyncio.to_thread(bare.processes["tickets"].wait, 15) == 0
    long_ago, lately = str(uuid.uuid4()), str(uuid.uuid4())
    connection = await asyncpg.connect(dsn, ssl=False)
    try:
        await connection.execute(
            "INSERT INTO status.redeemed_tickets VALUES"
            " ($1, clock_timestamp() - interval '2 hours'), ($2, clock_timestamp() - interval '1 minute')",
            uuid.UUID(long_ago),
            uuid.UUID(lately),
        )
    finally:
        await connection.close()
    await bare.start_status("tickets", dsn)

    async def forgotten() -> bool:
        return await rows_of(dsn, long_ago) == 0

    await eventually(forgotten, "the reaper has forgotten the ticket")
    assert await rows_of(dsn, lately) == 1


async def rows_of(dsn: str, ticket_id: str) -> int:
    """How many rows the record has of the ticket."""
    connection = await asyncpg.connect(dsn, ssl=False)
    try:
        query = "SELECT count(*) FROM status.redeemed_tickets WHERE ticket_id = $1"
        count: int = await connection.fetchval(query, uuid.UUID(ticket_id))
        return count
    finally:
        await connection.close()
