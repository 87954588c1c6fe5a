"""RecordService: the record as Ingest and the processors change it. Two real replicas of Status; the tests are the peers."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from google.protobuf.duration_pb2 import Duration
from materials.v1 import material_pb2, status_service_pb2
from materials.v1 import record_service_pb2 as pb

from tests.contract.bare_services import BareServices
from tests.contract.record_calls import RecordCalls, create_request
from tests.contract.refusals import eventually, refused
from tests.local_stack import Client, LocalStack

PENDING = material_pb2.PROCESSING_STATUS_PENDING
PROCESSING = material_pb2.PROCESSING_STATUS_PROCESSING
COMPLETED = material_pb2.PROCESSING_STATUS_COMPLETED
FAILED = material_pb2.PROCESSING_STATUS_FAILED
RECORDED, STALE, INVALID = pb.REPORT_RESULT_RECORDED, pb.REPORT_RESULT_STALE, pb.REPORT_RESULT_INVALID
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
async def person(bare: BareServices, stack: LocalStack) -> AsyncIterator[Client]:
    """The demo user, who sees everything."""
    async with bare.client(stack.facts["token"]) as client:
        yield client


async def events_of(person: Client, material_id: str) -> list[str]:
    """The history as the names of its events."""
    request = status_service_pb2.ListMaterialTransitionsRequest(material_id=material_id)
    response = await person.status.ListMaterialTransitions(request, metadata=person.metadata, timeout=20)
    return [transition.event for transition in response.transitions]


async def cancel(person: Client, material_id: str) -> None:
    await person.status.CancelMaterial(
        status_service_pb2.CancelMaterialRequest(material_id=material_id), metadata=person.metadata, timeout=20
    )


async def retry(person: Client, material_id: str) -> None:
    await person.status.RetryMaterial(
        status_service_pb2.RetryMaterialRequest(material_id=material_id), metadata=person.metadata, timeout=20
    )


async def delete(person: Client, material_id: str) -> None:
    await person.status.DeleteMaterial(
        status_service_pb2.DeleteMaterialRequest(material_id=material_id), metadata=person.metadata, timeout=20
    )


class TestCreateMaterial:
    async def test_makes_a_pending_record_with_its_first_announcement_leased_to_the_caller(
        self, record: RecordCalls, course: str
    ) -> None:
        request = create_request("ann", course, traceparent=TRACEPARENT)
        answer = await record.create_answer(request)
        material, announcement = answer.material, answer.announcement
        assert answer.created
        assert (material.id, material.owner_id, material.course_id) == (request.material_id, "ann", course)
        assert (material.processing_status, material.revision, material.attempt) == (PENDING, 1, 0)
        assert (material.sha256, material.file_size, material.file_path) == ("a" * 64, 3, request.file_path)
        assert material.created_at == material.updated_at
        assert not material.HasField("processed_at")
        assert (announcement.kind, announcement.number) == (pb.ANNOUNCEMENT_KIND_UPLOADED, 1)
        assert (announcement.material_id, announcement.traceparent) == (material.id, TRACEPARENT)
        assert announcement.occurred_at == material.created_at

    async def test_repeated_call_answers_the_same_record_and_keeps_its_bytes(
        self, record: RecordCalls, course: str
    ) -> None:
        request = create_request("ann", course)
        first, second = await record.create_answer(request), await record.create_answer(request)
        assert second.material == first.material
        assert second.created, "the caller's bytes are those of the record and must stay"
        assert not second.HasField("announcement")

    async def test_known_request_id_answers_the_first_material_and_wants_the_new_bytes_removed(
        self, record: RecordCalls, course: str
    ) -> None:
        request_id = str(uuid.uuid4())
        first = await record.create_answer(create_request("ann", course, request_id=request_id))
        second = await record.create_answer(create_request("ann", course, request_id=request_id))
        assert not second.created
        assert not second.HasField("announcement")
        assert second.material == first.material

    @pytest.mark.parametrize(
        "other", [{"name": "other.txt"}, {"file_size": 4}, {"sha256": "b" * 64}, {"course_id": "elsewhere"}], ids=str
    )
    async def test_request_id_used_for_other_content_is_refused(
        self, record: RecordCalls, course: str, other: dict[str, Any]
    ) -> None:
        request = create_request("ann", course, request_id=str(uuid.uuid4()))
        await record.create_answer(request)
        changed = create_request("ann", course, request_id=request.request_id)
        changed.MergeFrom(pb.CreateMaterialRequest(**other))
        with refused("ALREADY_EXISTS", "REQUEST_ID_REUSED"):
            await record.create_answer(changed)

    async def test_request_ids_of_two_owners_have_nothing_to_do_with_each_other(
        self, record: RecordCalls, course: str
    ) -> None:
        request_id = str(uuid.uuid4())
        ann = await record.create_answer(create_request("ann", course, request_id=request_id))
        bob = await record.create_answer(create_request("bob", course, request_id=request_id))
        assert ann.created
        assert bob.created
        assert ann.material.id != bob.material.id

    async def test_request_id_is_free_again_after_deletion(
        self, record: RecordCalls, person: Client, course: str
    ) -> None:
        request_id = str(uuid.uuid4())
        first = await record.create("ann", course, request_id=request_id)
        await delete(person, first.id)
        second = await record.create_answer(create_request("ann", course, request_id=request_id, name="other.txt"))
        assert second.created
        assert second.material.id != first.id

    async def test_twenty_at_once_on_two_replicas_make_one_material(
        self, record: RecordCalls, record_2: RecordCalls, person: Client, course: str
    ) -> None:
        request_id = str(uuid.uuid4())
        answers = await asyncio.gather(
            *(
                (record, record_2)[number % 2].create_answer(create_request("ann", course, request_id=request_id))
                for number in range(20)
            )
        )
        assert [answer.created for answer in answers].count(True) == 1
        assert len({answer.material.id for answer in answers}) == 1
        listed = await person.status.ListMaterials(
            status_service_pb2.ListMaterialsRequest(course_id=course), metadata=person.metadata, timeout=20
        )
        assert len(listed.materials) == 1

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("material_id", "not-a-uuid"),
            ("material_id", str(uuid.uuid4()).upper()),
            ("file_size", 0),
            ("file_size", -1),
            ("sha256", "A" * 64),
            ("sha256", "a" * 63),
            ("course_id", ""),
            ("course_id", "a b"),
            ("owner_id", ""),
            ("name", "a\nb"),
            ("name", "n" * 256),
        ],
    )
    async def test_field_out_of_range_is_named(
        self, record: RecordCalls, course: str, field: str, value: str | int
    ) -> None:
        request = create_request("ann", course)
        setattr(request, field, value)
        with refused("INVALID_ARGUMENT", "FIELD_INVALID", field):
            await record.create_answer(request)


class TestClaimMaterial:
    async def test_gives_a_lease_and_the_next_attempt_number(self, record: RecordCalls, course: str) -> None:
        material = await record.create("ann", course)
        answer = await record.claim(material.id)
        assert answer.refusal == pb.CLAIM_REFUSAL_UNSPECIFIED
        assert (answer.material.processing_status, answer.material.attempt) == (PROCESSING, 1)
        assert answer.material.stage == material_pb2.PROCESSING_STAGE_OPENING
        assert answer.material.revision == 2
        assert answer.lease_duration == Duration(seconds=20)

    async def test_repeat_with_its_request_id_answers_the_same_lease(
        self, record: RecordCalls, record_2: RecordCalls, course: str
    ) -> None:
        material = await record.create("ann", course)
        first = await record.claim(material.id, request_id="claim-1")
        assert (await record_2.claim(material.id, request_id="claim-1")).material == first.material

    async def test_repeat_after_the_attempt_ended_gives_no_second_lease(self, record: RecordCalls, course: str) -> None:
        material = await record.create("ann", course)
        claimed = (await record.claim(material.id, request_id="claim-1")).material
        await record.report(claimed, completion=pb.Completion(pages_total=1))
        answer = await record.claim(material.id, request_id="claim-1")
        assert answer.refusal == pb.CLAIM_REFUSAL_ENDED
        assert not answer.HasField("material")

    async def test_leased_material_is_refused_to_everybody_else(self, record: RecordCalls, course: str) -> None:
        material = await record.create("ann", course)
        await record.claim(material.id, "worker-1", request_id="claim-1")
        for worker, request_id in (("worker-1", "claim-2"), ("worker-2", "claim-1")):
            answer = await record.claim(material.id, worker, request_id=request_id)
            assert answer.refusal == pb.CLAIM_REFUSAL_LEASED
            assert not answer.HasField("material")

    async def test_twenty_at_once_on_two_replicas_give_one_lease(
        self, record: RecordCalls, record_2: RecordCalls, person: Client, course: str
    ) -> None:
        material = await record.create("ann", course)
        answers = await asyncio.gather(
            *((record, record_2)[number % 2].claim(material.id, f"worker-{number}") for number in range(20))
        )
        refusals = [answer.refusal for answer in answers]
        assert refusals.count(pb.CLAIM_REFUSAL_UNSPECIFIED) == 1
        assert refusals.count(pb.CLAIM_REFUSAL_LEASED) == 19
        assert (await person.get(material.id)).attempt == 1

    async def test_unknown_malformed_and_deleted_materials_are_not_found(
        self, record: RecordCalls, person: Client, course: str
    ) -> None:
        deleted = await record.create("ann", course)
        await delete(person, deleted.id)
        for material_id in (str(uuid.uuid4()), "../../etc/passwd", "", deleted.id):
            assert (await record.claim(material_id)).refusal == pb.CLAIM_REFUSAL_NOT_FOUND

    async def test_ended_material_is_refused(self, record: RecordCalls, person: Client, course: str) -> None:
        completed, failed, cancelled = [await record.create("ann", course) for _ in range(3)]
        await record.complete(completed.id)
        await record.fail(failed.id)
        await cancel(person, cancelled.id)
        for material in (completed, failed, cancelled):
            assert (await record.claim(material.id)).refusal == pb.CLAIM_REFUSAL_ENDED

    async def test_material_that_waits_for_its_next_attempt_is_not_due(
        self, record: RecordCalls, person: Client, course: str
    ) -> None:
        material = await record.create("ann", course)
        claimed = await record.claimed(material.id)
        failure = pb.Failure(reason=material_pb2.FAILURE_REASON_BRAIN_FAILED, message="no answer", transient=True)
        await record.report(claimed, failure=failure)
        assert (await record.claim(material.id)).refusal == pb.CLAIM_REFUSAL_NOT_DUE
        waiting = await person.get(material.id)
        assert waiting.processing_status == PENDING
        assert waiting.next_attempt_at.ToDatetime() > waiting.updated_at.ToDatetime()
        assert "no answer" in waiting.status_message
        assert not waiting.error_message

    @pytest.mark.parametrize("field", ["worker_id", "request_id"])
    @pytest.mark.parametrize("value", ["", "a\0b", "w" * 256], ids=["empty", "NUL", "long"])
    async def test_claim_that_could_not_be_recorded_is_refused(
        self, record: RecordCalls, course: str, field: str, value: str
    ) -> None:
        material = await record.create("ann", course)
        request = pb.ClaimMaterialRequest(material_id=material.id, worker_id="worker", request_id="claim-1")
        setattr(request, field, value)
        with refused("INVALID_ARGUMENT", "FIELD_INVALID", field):
            await record.stub.ClaimMaterial(request, metadata=record.metadata, timeout=20)


async def test_change_that_postgres_refuses_costs_those_beside_it_nothing(record: RecordCalls, course: str) -> None:
    requests = [create_request("ann", course) for _ in range(30)]
    requests[15].file_path = "objects/\0"
    answers = await asyncio.gather(*map(record.create_answer, requests), return_exceptions=True)
    failed = [number for number, answer in enumerate(answers) if isinstance(answer, BaseException)]
    assert failed == [15]


class TestReportStatus:
    async def test_progress_is_durable_once_acknowledged(
        self, record: RecordCalls, person: Client, course: str
    ) -> None:
        claimed = await record.claimed((await record.create("ann", course)).id)
        progress = pb.Progress(pages_done=2, pages_total=5, stage=material_pb2.PROCESSING_STAGE_READING)
        assert await record.report(claimed, progress=progress) == RECORDED
        material = await person.get(claimed.id)
        assert (material.pages_done, material.pages_total) == (2, 5)
        assert material.stage == material_pb2.PROCESSING_STAGE_READING
        assert material.revision == claimed.revision + 1

    async def test_renewal_and_repeated_progress_make_no_revision(
        self, record: RecordCalls, person: Client, course: str
    ) -> None:
        claimed = await record.claimed((await record.create("ann", course)).id)
        progress = pb.Progress(pages_done=2, pages_total=5, stage=material_pb2.PROCESSING_STAGE_READING)
        async with record.reports() as stream:
            assert await stream.ask(claimed.id, 1, renewal=pb.Renewal()) == RECORDED
            assert (await person.get(claimed.id)).revision == claimed.revision
            for _ in range(3):
                assert await stream.ask(claimed.id, 1, progress=progress) == RECORDED
            assert (await person.get(claimed.id)).revision == claimed.revision + 1

    async def test_pages_done_never_step_back(self, record: RecordCalls, person: Client, course: str) -> None:
        claimed = await record.claimed((await record.create("ann", course)).id)
        async with record.reports() as stream:
            for done in (4, 2):
                assert await stream.ask(claimed.id, 1, progress=pb.Progress(pages_done=done, pages_total=5)) == RECORDED
        assert (await person.get(claimed.id)).pages_done == 4

    async def test_completion_ends_the_material(self, record: RecordCalls, person: Client, course: str) -> None:
        claimed = await record.claimed((await record.create("ann", course)).id)
        assert await record.report(claimed, completion=pb.Completion(pages_total=7, has_embedding=True)) == RECORDED
        material = await person.get(claimed.id)
        assert (material.processing_status, material.pages_done, material.pages_total) == (COMPLETED, 7, 7)
        assert material.has_embedding
        assert material.processed_at == material.updated_at
        assert material.stage == material_pb2.PROCESSING_STAGE_UNSPECIFIED
        assert await events_of(person, claimed.id) == ["created", "claimed", "completed"]

    async def test_permanent_failure_ends_the_material_for_good(
        self, record: RecordCalls, person: Client, course: str
    ) -> None:
        material = await record.create("ann", course)
        await record.fail(material.id, material_pb2.FAILURE_REASON_FILE_ENCRYPTED)
        failed = await person.get(material.id)
        assert (failed.processing_status, failed.failure_reason) == (FAILED, material_pb2.FAILURE_REASON_FILE_ENCRYPTED)
        assert failed.error_message == "it cannot be read"
        assert not failed.retryable
        assert failed.HasField("processed_at")

    async def test_misconfigured_brain_is_worth_a_retry_by_a_person(
        self, record: RecordCalls, person: Client, course: str
    ) -> None:
        material = await record.create("ann", course)
        await record.fail(material.id, material_pb2.FAILURE_REASON_BRAIN_MISCONFIGURED)
        assert (await person.get(material.id)).retryable

    async def test_transient_failures_end_after_five_attempts_and_can_be_retried(
        self, record_2: RecordCalls, person: Client, course: str
    ) -> None:
        material = await record_2.create("ann", course)
        failure = pb.Failure(reason=material_pb2.FAILURE_REASON_BRAIN_FAILED, message="no answer", transient=True)
        for attempt in range(1, 6):
            claimed: list[material_pb2.Material] = []

            async def due(claimed: list[material_pb2.Material] = claimed) -> bool:
                answer = await record_2.claim(material.id)
                claimed.append(answer.material)
                return answer.refusal != pb.CLAIM_REFUSAL_NOT_DUE

            await eventually(due, "the backoff of milliseconds is over")
            assert claimed[-1].attempt == attempt
            assert await record_2.report(claimed[-1], failure=failure) == RECORDED
        failed = await person.get(material.id)
        assert (failed.processing_status, failed.failure_reason) == (FAILED, material_pb2.FAILURE_REASON_BRAIN_FAILED)
        assert failed.retryable
        assert (await events_of(person, material.id)).count("attempt_failed") == 4

    async def test_handed_back_material_waits_with_the_workers_words_and_can_be_claimed_at_once(
        self, record: RecordCalls, person: Client, course: str
    ) -> None:
        claimed = await record.claimed((await record.create("ann", course)).id)
        assert await record.report(claimed, hand_back=pb.HandBack(message="waiting for the AI Brain")) == RECORDED
        material = await person.get(claimed.id)
        assert (material.processing_status, material.status_message) == (PENDING, "waiting for the AI Brain")
        assert not material.HasField("next_attempt_at")
        again = await record.claimed(claimed.id)
        assert again.attempt == 2
        assert not again.status_message

    @pytest.mark.parametrize(
        "outcome",
        [
            {"completion": pb.Completion(pages_total=1)},
            {"failure": pb.Failure(reason=material_pb2.FAILURE_REASON_FILE_CORRUPT)},
            {"failure": pb.Failure(reason=material_pb2.FAILURE_REASON_BRAIN_FAILED, transient=True)},
            {"hand_back": pb.HandBack(message="stopping")},
        ],
        ids=["completion", "permanent failure", "transient failure", "hand-back"],
    )
    async def test_outcome_sent_again_on_a_new_stream_is_recorded_once(
        self, record: RecordCalls, record_2: RecordCalls, person: Client, course: str, outcome: dict[str, Any]
    ) -> None:
        claimed = await record.claimed((await record.create("ann", course)).id)
        async with record.reports() as lost:
            await lost.ask(claimed.id, 1, **outcome)
        before = await events_of(person, claimed.id)
        assert await record_2.report(claimed, **outcome) == RECORDED
        assert await events_of(person, claimed.id) == before

    async def test_another_outcome_than_the_recorded_one_is_stale(
        self, record: RecordCalls, person: Client, course: str
    ) -> None:
        claimed = await record.claimed((await record.create("ann", course)).id)
        await record.report(claimed, completion=pb.Completion(pages_total=1))
        ended = await person.get(claimed.id)
        for report in (
            {"failure": pb.Failure(reason=material_pb2.FAILURE_REASON_INTERNAL)},
            {"progress": pb.Progress(pages_done=1, pages_total=2)},
            {"renewal": pb.Renewal()},
            {"hand_back": pb.HandBack()},
        ):
            assert await record.report(claimed, **report) == STALE
        assert await person.get(claimed.id) == ended

    async def test_reports_of_a_superseded_attempt_and_of_another_worker_are_stale(
        self, record: RecordCalls, person: Client, course: str
    ) -> None:
        material = await record.create("ann", course)
        old = await record.claimed(material.id, "zombie")
        await record.report(old, "zombie", hand_back=pb.HandBack())
        new = await record.claimed(material.id, "worker")
        completion = pb.Completion(pages_total=1)
        assert await record.report(old, "zombie", completion=completion) == STALE
        assert await record.report(new, "zombie", completion=completion) == STALE
        assert await record.report(old, "worker", completion=completion) == STALE
        assert await person.get(material.id) == new

    async def test_report_on_an_unknown_or_deleted_material_is_stale(
        self, record: RecordCalls, person: Client, course: str
    ) -> None:
        claimed = await record.claimed((await record.create("ann", course)).id)
        await delete(person, claimed.id)
        async with record.reports() as stream:
            for material_id in (str(uuid.uuid4()), claimed.id):
                assert await stream.ask(material_id, 1, completion=pb.Completion(pages_total=1)) == STALE

    @pytest.mark.parametrize(
        "report",
        [
            {},
            {"progress": pb.Progress(pages_done=-1, pages_total=2)},
            {"progress": pb.Progress(pages_done=3, pages_total=2)},
            {"progress": pb.Progress(pages_done=1, pages_total=2, stage=70_000)},  # type: ignore[arg-type]
            {"completion": pb.Completion(pages_total=-1)},
            {"failure": pb.Failure(reason=70_000)},  # type: ignore[arg-type]
            {"failure": pb.Failure(reason=-1)},  # type: ignore[arg-type]
        ],
        ids=str,
    )
    async def test_report_that_makes_no_sense_is_invalid_and_changes_nothing(
        self, record: RecordCalls, person: Client, course: str, report: dict[str, Any]
    ) -> None:
        claimed = await record.claimed((await record.create("ann", course)).id)
        async with record.reports() as stream:
            assert await stream.ask(claimed.id, 1, **report) == INVALID
            assert await person.get(claimed.id) == claimed
            assert await stream.ask(claimed.id, 1, renewal=pb.Renewal()) == RECORDED, "the stream goes on"

    async def test_malformed_material_id_is_invalid(self, record: RecordCalls) -> None:
        async with record.reports() as stream:
            assert await stream.ask("../x", 1, renewal=pb.Renewal()) == INVALID

    async def test_acknowledgements_come_in_the_order_of_the_reports(
        self, record: RecordCalls, person: Client, course: str
    ) -> None:
        claimed = [await record.claimed((await record.create("ann", course)).id) for _ in range(3)]
        async with record.reports() as stream:
            sent = [
                await stream.send(each.id, 1, progress=pb.Progress(pages_done=done, pages_total=50))
                for done in range(1, 51)
                for each in claimed
            ]
            answers = [await stream.acknowledgement() for _ in sent]
        assert [answer.sequence for answer in answers] == sent
        assert {answer.result for answer in answers} == {RECORDED}
        for each in claimed:
            assert (await person.get(each.id)).pages_done == 50

    async def test_stream_ends_well_when_the_worker_has_no_more_to_say(self, record: RecordCalls, course: str) -> None:
        claimed = await record.claimed((await record.create("ann", course)).id)
        async with record.reports() as stream:
            await stream.ask(claimed.id, 1, renewal=pb.Renewal())
            await stream.done_writing()
            assert await stream.ended()


class TestRevocation:
    @pytest.mark.parametrize("ends", [cancel, delete])
    @pytest.mark.parametrize("by_way_of", ["status", "status-2"])
    async def test_lease_taken_away_by_a_person_on_any_replica_is_told_on_the_workers_stream(
        self, bare: BareServices, stack: LocalStack, record: RecordCalls, course: str, ends: Any, by_way_of: str
    ) -> None:
        worker = f"worker-{uuid.uuid4()}"
        claimed = await record.claimed((await record.create("ann", course)).id, worker)
        async with record.reports(worker) as stream, bare.client(stack.facts["token"], status=by_way_of) as person:
            assert await stream.ask(claimed.id, 1, renewal=pb.Renewal()) == RECORDED
            await ends(person, claimed.id)
            assert await stream.revocation() == pb.Revocation(material_id=claimed.id, attempt=1)
            assert await stream.ask(claimed.id, 1, completion=pb.Completion(pages_total=1)) == STALE

    async def test_lease_that_ran_out_is_told_and_the_material_waits_for_another_worker(
        self, record_2: RecordCalls, person: Client, course: str
    ) -> None:
        worker = f"worker-{uuid.uuid4()}"
        claimed = await record_2.claimed((await record_2.create("ann", course)).id, worker)
        async with record_2.reports(worker) as stream:
            await stream.ask(claimed.id, 1, renewal=pb.Renewal())
            assert await stream.revocation() == pb.Revocation(material_id=claimed.id, attempt=1)
            assert await stream.ask(claimed.id, 1, progress=pb.Progress(pages_done=1, pages_total=2)) == STALE
        material = await person.get(claimed.id)
        assert (material.processing_status, material.pages_done) == (PENDING, 0)
        assert await events_of(person, claimed.id) == ["created", "claimed", "lease_expired"]
        assert (await record_2.claimed(claimed.id)).attempt == 2

    async def test_other_workers_are_not_told(self, record: RecordCalls, person: Client, course: str) -> None:
        workers = [f"worker-{uuid.uuid4()}" for _ in range(2)]
        mine, other = [await record.claimed((await record.create("ann", course)).id, worker) for worker in workers]
        async with record.reports(workers[0]) as stream:
            await stream.ask(mine.id, 1, renewal=pb.Renewal())
            await cancel(person, other.id)
            await cancel(person, mine.id)
            assert await stream.revocation() == pb.Revocation(material_id=mine.id, attempt=1)


class Outbox(RecordCalls):
    """A record in which nothing is due but what the test made."""

    def __init__(self, peer: Client, dsn: str) -> None:
        super().__init__(peer.record, peer.metadata)
        self.person = peer
        self._dsn = dsn
        self.made: list[str] = []

    async def new(self, course: str) -> material_pb2.Material:
        """A material whose announcement is leased to its creator."""
        material = await self.create("ann", course)
        self.made.append(material.id)
        return material

    async def due(self, course: str) -> material_pb2.Material:
        """A material that nobody has announced and no announcer holds."""
        material = await self.new(course)
        await cancel(self.person, material.id)
        await retry(self.person, material.id)
        return material

    async def let_pass(self, seconds: float) -> None:
        """Makes every announcement so much older."""
        connection = await asyncpg.connect(self._dsn, ssl=False)
        try:
            await connection.execute(
                "UPDATE status.materials SET announced_at = announced_at - make_interval(secs => $1)", seconds
            )
        finally:
            await connection.close()

    async def clear(self) -> None:
        """Deletes and purges all."""
        request = status_service_pb2.BatchGetMaterialsRequest(material_ids=self.made)
        found = await self.person.status.BatchGetMaterials(request, metadata=self.metadata, timeout=20)
        for material in found.materials:
            await delete(self.person, material.id)
        for material_id in self.made:
            await self.purged(material_id, pb.PURGED_PART_OBJECT)
            await self.purged(material_id, pb.PURGED_PART_PASSAGES)


@pytest.fixture
async def outbox(bare: BareServices, stack: LocalStack) -> AsyncIterator[Outbox]:
    """A Status of its own: no announcer but the test."""
    name = "status-of-outbox"
    if name not in bare.endpoints:
        await bare.start_status(name, await bare.make_database())
    async with bare.client(stack.facts["service_token"], status=name) as peer:
        outbox = Outbox(peer, bare.databases[name])
        yield outbox
        await outbox.clear()


class TestAnnouncements:
    async def test_new_material_is_left_to_its_creator_for_some_seconds_and_then_handed_out_with_a_new_number(
        self, outbox: Outbox, course: str
    ) -> None:
        material = await outbox.new(course)
        assert await outbox.lease() == []
        [announcement] = await outbox.lease(wait=15)
        assert (announcement.material_id, announcement.number) == (material.id, 2)
        assert announcement.kind == pb.ANNOUNCEMENT_KIND_UPLOADED

    async def test_what_is_leased_is_not_handed_out_twice(self, outbox: Outbox, course: str) -> None:
        wanted = {(await outbox.due(course)).id for _ in range(12)}
        answers = await asyncio.gather(*(outbox.lease(max_count=5) for _ in range(6)))
        assert all(len(answer) <= 5 for answer in answers)
        handed_out = [announcement.material_id for answer in answers for announcement in answer]
        handed_out += [announcement.material_id for announcement in await outbox.lease()]
        assert sorted(handed_out) == sorted(wanted)

    async def test_marked_announcement_is_due_again_only_when_the_stream_cannot_hold_it(
        self, outbox: Outbox, course: str
    ) -> None:
        material = await outbox.due(course)
        [announcement] = await outbox.lease()
        await outbox.mark(material.id, announcement.number, sequence=10)
        await outbox.let_pass(60)
        assert await outbox.lease(last_sequence=10) == []
        [set_back] = await outbox.lease(last_sequence=9)
        assert set_back.number == announcement.number + 1
        await outbox.mark(material.id, set_back.number, sequence=10)
        await outbox.let_pass(60)
        [anew] = await outbox.lease(incarnation="two", last_sequence=10)
        assert anew.number == set_back.number + 1

    async def test_fresh_announcement_is_not_held_against_a_position_read_before_it(
        self, outbox: Outbox, course: str
    ) -> None:
        material = await outbox.due(course)
        [announcement] = await outbox.lease()
        await outbox.mark(material.id, announcement.number, sequence=11)
        assert await outbox.lease(last_sequence=10) == []

    async def test_announcement_that_nobody_came_for_is_repeated_after_ten_minutes(
        self, outbox: Outbox, course: str
    ) -> None:
        material = await outbox.due(course)
        [announcement] = await outbox.lease()
        await outbox.mark(material.id, announcement.number)
        await outbox.let_pass(590)
        assert await outbox.lease() == []
        await outbox.let_pass(20)
        [repeated] = await outbox.lease()
        assert repeated.number == announcement.number + 1

    async def test_mark_of_an_outdated_number_is_ignored(self, outbox: Outbox, course: str) -> None:
        material = await outbox.due(course)
        await outbox.mark(material.id, 1)
        [announcement] = await outbox.lease()
        assert announcement.material_id == material.id

    async def test_waits_for_something_due_and_wakes_for_it(self, outbox: Outbox, course: str) -> None:
        material = await outbox.new(course)
        claimed = await outbox.claimed(material.id)
        waiting = asyncio.create_task(outbox.lease(wait=15))
        await outbox.report(claimed, hand_back=pb.HandBack(message="stopping"))
        [announcement] = await waiting
        assert announcement.material_id == material.id

    async def test_claimed_and_ended_materials_are_not_announced(self, outbox: Outbox, course: str) -> None:
        claimed, completed, cancelled = [await outbox.due(course) for _ in range(3)]
        await outbox.claimed(claimed.id)
        await outbox.complete(completed.id)
        await cancel(outbox.person, cancelled.id)
        assert await outbox.lease() == []

    @pytest.mark.parametrize("state", ["PENDING", "PROCESSING", "COMPLETED", "FAILED"])
    async def test_deletion_is_announced_until_both_parts_are_purged_and_never_again(
        self, outbox: Outbox, course: str, state: str
    ) -> None:
        material = await outbox.new(course)
        match state:
            case "PROCESSING":
                await outbox.claimed(material.id)
            case "COMPLETED":
                await outbox.complete(material.id)
            case "FAILED":
                await outbox.fail(material.id)
        await delete(outbox.person, material.id)
        [first] = await outbox.lease()
        assert (first.material_id, first.kind) == (material.id, pb.ANNOUNCEMENT_KIND_DELETED)
        await outbox.mark(material.id, first.number)
        await outbox.purged(material.id, pb.PURGED_PART_OBJECT)
        await outbox.let_pass(60)
        assert await outbox.lease() == []
        [second] = await outbox.lease(incarnation="two")
        assert second.number == first.number + 1
        await outbox.mark(material.id, second.number)
        await outbox.purged(material.id, pb.PURGED_PART_PASSAGES)
        await outbox.let_pass(3_600)
        assert await outbox.lease(incarnation="three") == []

    async def test_purged_before_it_was_marked_is_not_announced_again(self, outbox: Outbox, course: str) -> None:
        material = await outbox.due(course)
        await delete(outbox.person, material.id)
        for part in (pb.PURGED_PART_OBJECT, pb.PURGED_PART_PASSAGES):
            await outbox.purged(material.id, part)
        assert await outbox.lease() == []

    async def test_purge_of_a_living_or_unknown_material_changes_nothing(self, outbox: Outbox, course: str) -> None:
        material = await outbox.new(course)
        await outbox.purged(material.id, pb.PURGED_PART_OBJECT)
        await outbox.purged(str(uuid.uuid4()), pb.PURGED_PART_OBJECT)
        await outbox.purged("../x", pb.PURGED_PART_OBJECT)
        assert await outbox.person.get(material.id) == material
        await delete(outbox.person, material.id)
        [announcement] = await outbox.lease()
        await outbox.mark(material.id, announcement.number)
        await outbox.purged(material.id, pb.PURGED_PART_PASSAGES)
        await outbox.let_pass(60)
        assert [each.material_id for each in await outbox.lease(incarnation="two")] == [material.id], (
            "the object is still to be purged"
        )

    @pytest.mark.parametrize("max_count", [0, -1, 501])
    async def test_number_out_of_range_is_refused(self, outbox: Outbox, max_count: int) -> None:
        with refused("INVALID_ARGUMENT", "FIELD_INVALID", "max_count"):
            await outbox.lease(max_count=max_count)

    async def test_marks_beyond_a_thousand_or_without_an_id_are_refused(self, outbox: Outbox) -> None:
        many = [pb.PublishedAnnouncement(material_id=str(uuid.uuid4()), number=1)] * 1_001
        with refused("INVALID_ARGUMENT", "FIELD_INVALID", "published"):
            await outbox.stub.MarkAnnounced(
                pb.MarkAnnouncedRequest(published=many), metadata=outbox.metadata, timeout=20
            )
        with refused("INVALID_ARGUMENT", "FIELD_INVALID", "published.material_id"):
            await outbox.mark("nothing", 1)

    async def test_purge_of_no_part_is_refused(self, outbox: Outbox) -> None:
        with refused("INVALID_ARGUMENT", "FIELD_INVALID", "part"):
            await outbox.purged(str(uuid.uuid4()), pb.PURGED_PART_UNSPECIFIED)
