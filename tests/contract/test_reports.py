"""RecordService: what a processor reports, and which of it counts."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from materials.v1 import material_pb2
from materials.v1 import record_service_pb2 as pb

from tests.contract.person import Person
from tests.contract.record_calls import RecordCalls
from tests.contract.refusals import eventually

PENDING = material_pb2.PROCESSING_STATUS_PENDING
COMPLETED = material_pb2.PROCESSING_STATUS_COMPLETED
FAILED = material_pb2.PROCESSING_STATUS_FAILED
RECORDED, STALE, INVALID = pb.REPORT_RESULT_RECORDED, pb.REPORT_RESULT_STALE, pb.REPORT_RESULT_INVALID


class TestReportStatus:
    async def test_progress_is_durable_once_acknowledged(
        self, record: RecordCalls, person: Person, course: str
    ) -> None:
        claimed = await record.claimed((await record.create("ann", course)).id)
        progress = pb.Progress(pages_done=2, pages_total=5, stage=material_pb2.PROCESSING_STAGE_READING)
        assert await record.report(claimed, progress=progress) == RECORDED
        material = await person.get(claimed.id)
        assert (material.pages_done, material.pages_total) == (2, 5)
        assert material.stage == material_pb2.PROCESSING_STAGE_READING
        assert material.revision == claimed.revision + 1

    async def test_renewal_and_repeated_progress_make_no_revision(
        self, record: RecordCalls, person: Person, course: str
    ) -> None:
        claimed = await record.claimed((await record.create("ann", course)).id)
        progress = pb.Progress(pages_done=2, pages_total=5, stage=material_pb2.PROCESSING_STAGE_READING)
        async with record.reports() as stream:
            assert await stream.ask(claimed.id, 1, renewal=pb.Renewal()) == RECORDED
            assert (await person.get(claimed.id)).revision == claimed.revision
            for _ in range(3):
                assert await stream.ask(claimed.id, 1, progress=progress) == RECORDED
            assert (await person.get(claimed.id)).revision == claimed.revision + 1

    async def test_pages_done_never_step_back(self, record: RecordCalls, person: Person, course: str) -> None:
        claimed = await record.claimed((await record.create("ann", course)).id)
        async with record.reports() as stream:
            for done in (4, 2):
                assert await stream.ask(claimed.id, 1, progress=pb.Progress(pages_done=done, pages_total=5)) == RECORDED
        assert (await person.get(claimed.id)).pages_done == 4

    async def test_completion_ends_the_material(self, record: RecordCalls, person: Person, course: str) -> None:
        claimed = await record.claimed((await record.create("ann", course)).id)
        assert await record.report(claimed, completion=pb.Completion(pages_total=7, has_embedding=True)) == RECORDED
        material = await person.get(claimed.id)
        assert (material.processing_status, material.pages_done, material.pages_total) == (COMPLETED, 7, 7)
        assert material.has_embedding
        assert material.processed_at == material.updated_at
        assert material.stage == material_pb2.PROCESSING_STAGE_UNSPECIFIED
        assert await person.events(claimed.id) == ["created", "claimed", "completed"]

    async def test_permanent_failure_ends_the_material_for_good(
        self, record: RecordCalls, person: Person, course: str
    ) -> None:
        material = await record.create("ann", course)
        await record.fail(material.id, material_pb2.FAILURE_REASON_FILE_ENCRYPTED)
        failed = await person.get(material.id)
        assert (failed.processing_status, failed.failure_reason) == (FAILED, material_pb2.FAILURE_REASON_FILE_ENCRYPTED)
        assert failed.error_message == "it cannot be read"
        assert not failed.retryable
        assert failed.HasField("processed_at")

    async def test_misconfigured_brain_is_worth_a_retry_by_a_person(
        self, record: RecordCalls, person: Person, course: str
    ) -> None:
        material = await record.create("ann", course)
        await record.fail(material.id, material_pb2.FAILURE_REASON_BRAIN_MISCONFIGURED)
        assert (await person.get(material.id)).retryable

    async def test_transient_failures_end_after_five_attempts_and_can_be_retried(
        self, record_2: RecordCalls, person: Person, course: str
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
        assert (await person.events(material.id)).count("attempt_failed") == 4

    async def test_handed_back_material_waits_with_the_workers_words_and_can_be_claimed_at_once(
        self, record: RecordCalls, person: Person, course: str
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
        self, record: RecordCalls, record_2: RecordCalls, person: Person, course: str, outcome: dict[str, Any]
    ) -> None:
        claimed = await record.claimed((await record.create("ann", course)).id)
        async with record.reports() as lost:
            await lost.ask(claimed.id, 1, **outcome)
        before = await person.events(claimed.id)
        assert await record_2.report(claimed, **outcome) == RECORDED
        assert await person.events(claimed.id) == before

    async def test_another_outcome_than_the_recorded_one_is_stale(
        self, record: RecordCalls, person: Person, course: str
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
        self, record: RecordCalls, person: Person, course: str
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
        self, record: RecordCalls, person: Person, course: str
    ) -> None:
        claimed = await record.claimed((await record.create("ann", course)).id)
        await person.delete(claimed.id)
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
        self, record: RecordCalls, person: Person, course: str, report: dict[str, Any]
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
        self, record: RecordCalls, person: Person, course: str
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
