"""The record writer looks, decides, and writes: what somebody else changes in between is neither lost nor decided upon as it was."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest
from materials.v1 import material_pb2
from materials.v1 import record_service_pb2 as pb

from tests.contract.bare_services import BareServices
from tests.contract.person import Person
from tests.contract.record_calls import RecordCalls

SECONDS = 20.0
RECORDED = pb.REPORT_RESULT_RECORDED
HOLD = "SELECT FROM status.materials WHERE material_id = $1 FOR UPDATE"
MARK = "UPDATE status.materials SET announced_at = now(), announced_sequence = 77 WHERE material_id = $1"
LEASE = "UPDATE status.materials SET announcement = announcement + 1 WHERE material_id = $1"
CHANGE = "UPDATE status.materials SET revision = revision + 1 WHERE material_id = $1"
ANNOUNCED = "SELECT announcement, announced_sequence, announced_at IS NOT NULL AS announced FROM status.materials WHERE material_id = $1"
#: Of this database: other tests may wait in theirs.
WAITING = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND application_name = 'status' AND wait_event_type = 'Lock'
"""


class Elsewhere:
    """Transactions of somebody else's, in the same database."""

    def __init__(self, dsn: str, onlooker: asyncpg.Connection) -> None:
        self._dsn, self._onlooker = dsn, onlooker

    @asynccontextmanager
    async def executed(self, statement: str, material_id: str) -> AsyncIterator[None]:
        """This has been done to the material in the block, and is committed at its end."""
        connection = await asyncpg.connect(self._dsn, ssl=False)
        try:
            async with connection.transaction():
                await connection.execute(statement, material_id)
                yield
        finally:
            await connection.close()

    async def waited_for(self, writes: int = 1) -> None:
        """So many writes of Status wait for a lock."""
        async with asyncio.timeout(SECONDS):
            while await self._onlooker.fetchval(WAITING) < writes:
                pass

    async def announced(self, material_id: str) -> tuple[int, int, bool]:
        """The number of the material's announcement, the sequence that it was published with, and whether it was."""
        row = await self._onlooker.fetchrow(ANNOUNCED, material_id)
        assert row is not None
        return row["announcement"], row["announced_sequence"], row["announced"]


@pytest.fixture
async def elsewhere(bare: BareServices) -> AsyncIterator[Elsewhere]:
    onlooker = await asyncpg.connect(bare.databases["status"], ssl=False)
    yield Elsewhere(bare.databases["status"], onlooker)
    await onlooker.close()


@pytest.mark.parametrize(
    ("change", "announced", "revision"),
    [(MARK, (1, 77, True), 2), (LEASE, (2, 0, False), 2), (CHANGE, (1, 0, False), 3)],
)
async def test_both_changes_stand(
    elsewhere: Elsewhere,
    record: RecordCalls,
    person: Person,
    course: str,
    change: str,
    announced: tuple[int, int, bool],
    revision: int,
) -> None:
    material = await record.create("ann", course)
    async with elsewhere.executed(change, material.id):
        cancelling = asyncio.create_task(person.cancel(material.id))
        await elsewhere.waited_for()
    cancelled = await cancelling
    assert cancelled.processing_status == material_pb2.PROCESSING_STATUS_FAILED
    assert cancelled.revision == revision
    assert await elsewhere.announced(material.id) == announced


@pytest.mark.parametrize(("change", "revision"), [(MARK, 4), (LEASE, 4), (CHANGE, 5)])
async def test_a_report_of_what_is_at_hand_waits_for_another_change(
    elsewhere: Elsewhere, record: RecordCalls, person: Person, course: str, change: str, revision: int
) -> None:
    claimed = await record.claimed((await record.create("ann", course)).id)
    async with record.reports() as stream:
        assert await stream.ask(claimed.id, 1, progress=pb.Progress(pages_done=1, pages_total=9)) == RECORDED
        async with elsewhere.executed(change, claimed.id):
            reporting = asyncio.create_task(
                stream.ask(claimed.id, 1, progress=pb.Progress(pages_done=2, pages_total=9))
            )
            await elsewhere.waited_for()
        assert await reporting == RECORDED
    material = await person.get(claimed.id)
    assert (material.pages_done, material.revision) == (2, revision)


async def test_an_announcement_is_taken_back_that_is_marked_meanwhile(
    elsewhere: Elsewhere, record: RecordCalls, person: Person, course: str
) -> None:
    material = await record.create("ann", course)
    await person.cancel(material.id)
    async with elsewhere.executed(MARK, material.id):
        retrying = asyncio.create_task(person.retry(material.id))
        await elsewhere.waited_for()
    await retrying
    assert await elsewhere.announced(material.id) == (2, 77, False)


async def test_changes_written_together_are_decided_anew_together(
    elsewhere: Elsewhere, record: RecordCalls, person: Person, course: str
) -> None:
    first, *others = [await record.create("ann", course) for _ in range(4)]
    async with elsewhere.executed(CHANGE, others[1].id):
        async with elsewhere.executed(HOLD, first.id):
            cancelling = [asyncio.create_task(person.cancel(first.id))]
            await elsewhere.waited_for()
            # They gather while the first one's write waits.
            cancelling += [asyncio.create_task(person.cancel(material.id)) for material in others]
            creating = asyncio.create_task(record.create("ann", course))
            await person.get(first.id)  # asked after them, as they ask first: they have been submitted
        await cancelling[0]
        await elsewhere.waited_for()
    cancelled = await asyncio.gather(*cancelling)
    assert [material.revision for material in cancelled] == [2, 2, 3, 2]
    for material in (first, *others):
        assert await person.events(material.id) == ["created", "cancelled"]
    assert (await creating).revision == 1


async def test_one_of_two_replicas_grants_the_claim(
    elsewhere: Elsewhere, record: RecordCalls, record_2: RecordCalls, course: str
) -> None:
    material = await record.create("ann", course)
    async with elsewhere.executed(HOLD, material.id):
        claims = [
            asyncio.create_task(replica.claim(material.id, worker))
            for replica, worker in ((record, "one"), (record_2, "two"))
        ]
        await elsewhere.waited_for(2)
    answers = await asyncio.gather(*claims)
    assert sorted(answer.refusal for answer in answers) == [0, pb.CLAIM_REFUSAL_LEASED]
    assert [answer.material.attempt for answer in answers if not answer.refusal] == [1]
