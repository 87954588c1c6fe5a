"""RecordService: a claim in turn is given the material whose turn it is; who has more than others is told to give some up."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections import Counter
from collections.abc import AsyncIterator

import asyncpg
import pytest
from materials.v1 import material_pb2, status_service_pb2
from materials.v1 import record_service_pb2 as pb

from status_service import turn_store
from tests.contract.bare_services import BareServices
from tests.contract.record_calls import RecordCalls
from tests.local_stack import LocalStack, unique_course

CLOSED = status_service_pb2.BREAKER_STATE_CLOSED
OPEN = status_service_pb2.BREAKER_STATE_OPEN
NOTHING = pb.CLAIM_REFUSAL_UNSPECIFIED
QUANTUM_SECONDS = 1.0


@pytest.fixture(scope="module")
async def shared(bare: BareServices) -> AsyncIterator[None]:
    """Two replicas on a record of their own: whose turn it is depends on everybody's materials."""
    dsn = await bare.make_database()
    for name in ("turns", "turns-2"):
        await bare.start_status(name, dsn, LEASE_SECONDS="600", TURN_SECONDS=str(QUANTUM_SECONDS))
    yield
    for name in ("turns", "turns-2"):
        bare.processes[name].terminate()
        await asyncio.to_thread(bare.processes[name].wait, 20)


@pytest.fixture
async def database(bare: BareServices, shared: None) -> AsyncIterator[asyncpg.Connection]:
    """Straight to the record's tables, emptied."""
    connection = await asyncpg.connect(bare.databases["turns"], ssl=False)
    await connection.execute("SET search_path TO status; DELETE FROM materials; DELETE FROM processors")
    yield connection
    await connection.close()


@pytest.fixture
async def record(bare: BareServices, stack: LocalStack, database: asyncpg.Connection) -> AsyncIterator[RecordCalls]:
    async with bare.client(stack.facts["service_token"], status="turns") as peer:
        yield RecordCalls(peer.record, peer.metadata)


@pytest.fixture
async def record_2(bare: BareServices, stack: LocalStack, database: asyncpg.Connection) -> AsyncIterator[RecordCalls]:
    async with bare.client(stack.facts["service_token"], status="turns-2") as peer:
        yield RecordCalls(peer.record, peer.metadata)


async def copied(database: asyncpg.Connection, material_id: str, *, copies: int, owners: int) -> None:
    """In place of the material so many like it, the owners' in turn."""
    columns = "course_id, name, file_path, file_type, media_type, file_size, sha256, updated_at, status, revision, course_revision"
    await database.execute(
        f"""INSERT INTO materials (material_id, owner_id, created_at, {columns})
            SELECT gen_random_uuid(), 'owner ' || lpad((n % $3)::text, 3, '0'), m.created_at + n * interval '1 ms', {columns}
            FROM materials m, generate_series(0, $2::integer - 1) n WHERE m.material_id = $1::uuid""",
        material_id,
        copies,
        owners,
    )
    await database.execute("DELETE FROM materials WHERE material_id = $1::uuid", material_id)


async def uploaded(record: RecordCalls, owner: str, count: int) -> list[material_pb2.Material]:
    """So many of an owner, oldest first."""
    return [await record.create(owner, unique_course()) for _ in range(count)]


class TestClaimInTurn:
    async def test_is_given_to_the_owner_with_the_fewest_and_there_to_the_oldest(self, record: RecordCalls) -> None:
        books = await uploaded(record, "ann", 3)
        notes = await uploaded(record, "bob", 3)
        asked = [books[0], books[2], notes[1], books[2]]
        granted = [(await record.claim_in_turn(each.id)).material.id for each in asked]
        assert granted == [each.id for each in (books[0], notes[0], books[1], notes[1])]
        assert (await record.claim_in_turn(books[0].id)).refusal == pb.CLAIM_REFUSAL_LEASED

    async def test_repeated_by_a_worker_that_it_was_granted_to_twice_is_given_the_later_one(
        self, record: RecordCalls
    ) -> None:
        """Which is how a repeat that overtakes its first self ends."""
        books, again = await uploaded(record, "ann", 2), str(uuid.uuid4())
        granted = [(await record.claim(book.id, request_id=again)).material.id for book in books]
        assert granted == [book.id for book in books]
        assert (await record.claim_in_turn(books[0].id, request_id=again)).material.id == books[1].id

    async def test_in_its_owner_s_turn_is_given_what_it_asks_for(self, record: RecordCalls) -> None:
        """So that its delivery is dealt with; an older one has a delivery of its own."""
        books = await uploaded(record, "ann", 3)
        await uploaded(record, "bob", 1)
        assert (await record.claim_in_turn(books[2].id)).material.id == books[2].id

    async def test_between_owners_with_as_many_it_is_the_one_served_longest_ago(self, record: RecordCalls) -> None:
        materials = {owner: await uploaded(record, owner, 3) for owner in ("ann", "bob", "cyd")}
        turns = []
        for _ in range(9):
            waiting = next(m for owned in materials.values() for m in reversed(owned))
            claimed = (await record.claim_in_turn(waiting.id)).material
            turns.append(claimed.owner_id)
            materials[claimed.owner_id] = [m for m in materials[claimed.owner_id] if m.id != claimed.id]
            await record.report(claimed, completion=pb.Completion(pages_total=1))
        assert turns == ["ann", "bob", "cyd"] * 3

    async def test_gives_what_is_asked_for_to_who_does_not_ask_in_turn(self, record: RecordCalls) -> None:
        await uploaded(record, "ann", 1)
        [note] = await uploaded(record, "bob", 1)
        assert (await record.claim(note.id)).material.id == note.id

    async def test_says_what_is_wrong_with_the_material_asked_for_and_gives_no_other(self, record: RecordCalls) -> None:
        ended, leased, waits_for_its_time, _ = await uploaded(record, "ann", 4)
        await record.complete(ended.id)
        await record.claimed(leased.id)
        claimed = await record.claimed(waits_for_its_time.id)
        failure = pb.Failure(reason=material_pb2.FAILURE_REASON_BRAIN_FAILED, message="no answer", transient=True)
        await record.report(claimed, failure=failure)
        for material_id, refusal in (
            (ended.id, pb.CLAIM_REFUSAL_ENDED),
            (leased.id, pb.CLAIM_REFUSAL_LEASED),
            (waits_for_its_time.id, pb.CLAIM_REFUSAL_NOT_DUE),
            (str(uuid.uuid4()), pb.CLAIM_REFUSAL_NOT_FOUND),
        ):
            answer = await record.claim_in_turn(material_id)
            assert (answer.refusal, answer.HasField("material")) == (refusal, False)

    async def test_passes_over_what_is_not_due_and_what_is_deleted(
        self, record: RecordCalls, database: asyncpg.Connection
    ) -> None:
        deleted, not_due = await uploaded(record, "ann", 2)
        [book] = await uploaded(record, "bob", 1)
        later = "UPDATE materials SET not_before = now() + interval '1 hour' WHERE material_id = $1::uuid"
        await database.execute(later, not_due.id)
        await database.execute("UPDATE materials SET deleted_at = now() WHERE material_id = $1::uuid", deleted.id)
        assert (await record.claim_in_turn(book.id)).material.id == book.id

    async def test_repeat_with_its_request_id_answers_the_same_lease(
        self, record: RecordCalls, record_2: RecordCalls
    ) -> None:
        [book, _] = await uploaded(record, "ann", 2)
        await uploaded(record, "bob", 2)
        await record.claimed(book.id)
        [other] = await uploaded(record, "ann", 1)
        first = await record.claim_in_turn(other.id, request_id="claim-1")
        assert first.material.owner_id == "bob"
        for calls in (record, record_2):
            assert (await calls.claim_in_turn(other.id, request_id="claim-1")).material == first.material

    async def test_as_many_claims_at_once_as_materials_on_two_replicas_give_each_once(
        self, record: RecordCalls, record_2: RecordCalls
    ) -> None:
        materials = await uploaded(record, "ann", 12) + await uploaded(record, "bob", 4)
        answers = await asyncio.gather(
            *[(record, record_2)[n % 2].claim_in_turn(m.id, f"worker-{n}") for n, m in enumerate(materials)]
        )
        granted = [answer.material.id for answer in answers if answer.refusal == NOTHING]
        assert len(granted) == len(set(granted)), "a material was given twice"
        while len(granted) < len(materials):
            waiting = next(m for m in materials if m.id not in granted)
            granted.append((await record.claim_in_turn(waiting.id)).material.id)
        assert set(granted) == {material.id for material in materials}

    async def test_every_owner_has_a_turn_however_many_wait(
        self, record: RecordCalls, database: asyncpg.Connection
    ) -> None:
        """More owners than are compared at once, and of each more than one material."""
        [pattern] = await uploaded(record, "owner 000", 1)
        await copied(database, pattern.id, copies=900, owners=450)
        waiting = await database.fetch("SELECT material_id FROM materials ORDER BY created_at")
        served: Counter[str] = Counter()
        for row in waiting[:450]:
            served[(await record.claim_in_turn(str(row["material_id"]))).material.owner_id] += 1
        assert (len(served), max(served.values())) == (450, 1)

    async def test_every_owner_has_a_turn_though_one_owner_alone_is_delivered(
        self, record: RecordCalls, database: asyncpg.Connection
    ) -> None:
        """What is given back is delivered before anything new: the others' deliveries lie behind those of the owner with most."""
        [pattern] = await uploaded(record, "owner 000", 1)
        await copied(database, pattern.id, copies=900, owners=300)
        books = await uploaded(record, "a school", 3)
        served: Counter[str] = Counter()
        for _ in range(301):
            granted = (await record.claim_in_turn(books[-1].id)).material
            served[granted.owner_id] += 1
            books = [book for book in books if book.id != granted.id]
        assert (len(served), max(served.values())) == (301, 1)

    async def test_costs_little_however_much_waits(self, record: RecordCalls, database: asyncpg.Connection) -> None:
        """Counted in pages of the database that are touched, not in time."""
        [pattern] = await uploaded(record, "owner", 1)
        await copied(database, pattern.id, copies=30_000, owners=30)
        await database.execute("VACUUM (ANALYZE) materials")
        asked = await database.fetchval("SELECT material_id FROM materials WHERE owner_id = 'owner 007' LIMIT 1")
        for query, arguments in (
            (turn_store.WAITING, (1, 200)),
            (turn_store.PICK, (asked, 200, "worker", "claim")),
        ):
            explained = "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON)" + query
            [plan] = json.loads(await database.fetchval(explained, *arguments))
            assert plan["Plan"]["Actual Rows"] == 1
            assert plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"] < 1_000


class TestYields:
    async def test_an_owner_with_all_slots_is_told_to_give_one_up_when_another_waits(
        self, record: RecordCalls, record_2: RecordCalls
    ) -> None:
        books = await uploaded(record, "ann", 5)
        workers = ["worker-1", "worker-1", "worker-2", "worker-2"]
        for worker in ("worker-1", "worker-2"):
            await record.heartbeat(worker, slots=2, busy=0, brain=CLOSED)
        held = [await record.claimed(book.id, worker) for worker, book in zip(workers, books, strict=False)]
        assert await asked(record, "worker-1") == await asked(record_2, "worker-2") == []
        [note] = await uploaded(record, "bob", 1)
        assert await asked(record_2, "worker-2") == []
        assert await asked(record, "worker-1") == await asked(record_2, "worker-1") == [books[0].id]
        await record.report(held[0], "worker-1", hand_back=pb.HandBack(message="others are waiting"))
        assert await asked(record, "worker-1") == [], "a slot is free"
        assert (await record.claim_in_turn(books[4].id, "worker-1")).material.id == note.id
        assert await asked(record, "worker-1") == await asked(record, "worker-2") == []

    async def test_what_is_handed_back_is_announced_at_once(self, record: RecordCalls) -> None:
        [book] = await uploaded(record, "ann", 1)
        claimed = await record.claimed(book.id)
        await record.lease_all()
        waiting = asyncio.create_task(record.lease(wait=20.0))
        await record.report(claimed, hand_back=pb.HandBack(message="others are waiting"))
        assert [announcement.material_id for announcement in await waiting] == [book.id]

    async def test_owners_with_one_each_take_turns_when_a_quantum_is_over(
        self, record: RecordCalls, database: asyncpg.Connection
    ) -> None:
        [book] = await uploaded(record, "ann", 1)
        await record.heartbeat("worker-1", slots=1, busy=0, brain=CLOSED)
        await record.claimed(book.id, "worker-1")
        await database.execute("UPDATE materials SET claimed_at = clock_timestamp() + interval '1 hour'")
        await uploaded(record, "bob", 1)
        assert await asked(record, "worker-1", slots=1) == []
        await database.execute(
            "UPDATE materials SET claimed_at = clock_timestamp() - make_interval(secs => $1) WHERE status = 2",
            QUANTUM_SECONDS + 0.1,
        )
        assert await asked(record, "worker-1", slots=1) == [book.id]

    @pytest.mark.parametrize("why", ["paused", "a slot is free", "another one has room", "what waits is not due"])
    async def test_nothing_is_asked_for_where_nobody_gains(
        self, record: RecordCalls, database: asyncpg.Connection, why: str
    ) -> None:
        books = await uploaded(record, "ann", 2)
        await record.heartbeat("worker-1", slots=2, busy=0, brain=CLOSED)
        for book in books:
            await record.claimed(book.id, "worker-1")
        [note] = await uploaded(record, "bob", 1)
        assert await asked(record, "worker-1") == [books[0].id]
        match why:
            case "paused":
                await database.execute("INSERT INTO processing_pauses VALUES (now(), 'an operator', 'a new model')")
            case "a slot is free":
                assert not (await record.heartbeat_answer("worker-1", slots=2, busy=1, brain=CLOSED)).yield_material_ids
                return
            case "another one has room":
                await record.heartbeat("worker-2", slots=1, busy=0, brain=CLOSED)
            case "what waits is not due":
                later = "UPDATE materials SET not_before = now() + interval '1 hour' WHERE material_id = $1::uuid"
                await database.execute(later, note.id)
        try:
            assert await asked(record, "worker-1") == []
        finally:
            await database.execute("DELETE FROM processing_pauses")

    async def test_a_processor_whose_brain_is_away_keeps_nobody_waiting(self, record: RecordCalls) -> None:
        """It takes nothing, so that its free slot helps nobody, and what it holds it hands back by itself."""
        books = await uploaded(record, "ann", 2)
        await record.heartbeat("worker-1", slots=2, busy=0, brain=CLOSED)
        await record.heartbeat("worker-2", slots=2, busy=0, brain=OPEN)
        for book in books:
            await record.claimed(book.id, "worker-1")
        await uploaded(record, "bob", 1)
        assert await asked(record, "worker-1") == [books[0].id]
        answer = await record.heartbeat_answer("worker-2", slots=2, busy=2, brain=OPEN)
        assert not answer.yield_material_ids


async def asked(record: RecordCalls, worker: str, slots: int = 2) -> list[str]:
    """What a busy processor is asked to hand back."""
    answer = await record.heartbeat_answer(worker, slots=slots, busy=slots, brain=CLOSED)
    return list(answer.yield_material_ids)
