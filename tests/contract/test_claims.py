"""RecordService: a claim gives one worker the lease of a material; whoever loses it is told."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from materials.v1 import material_pb2
from materials.v1 import record_service_pb2 as pb

from tests.contract.bare_services import BareServices
from tests.contract.person import Person
from tests.contract.record_calls import RecordCalls
from tests.contract.refusals import refused
from tests.local_stack import LocalStack

PENDING = material_pb2.PROCESSING_STATUS_PENDING
PROCESSING = material_pb2.PROCESSING_STATUS_PROCESSING
RECORDED, STALE = pb.REPORT_RESULT_RECORDED, pb.REPORT_RESULT_STALE


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
        self, record: RecordCalls, record_2: RecordCalls, person: Person, course: str
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
        self, record: RecordCalls, person: Person, course: str
    ) -> None:
        deleted = await record.create("ann", course)
        await person.delete(deleted.id)
        for material_id in (str(uuid.uuid4()), "../../etc/passwd", "", deleted.id):
            assert (await record.claim(material_id)).refusal == pb.CLAIM_REFUSAL_NOT_FOUND

    async def test_ended_material_is_refused(self, record: RecordCalls, person: Person, course: str) -> None:
        completed, failed, cancelled = [await record.create("ann", course) for _ in range(3)]
        await record.complete(completed.id)
        await record.fail(failed.id)
        await person.cancel(cancelled.id)
        for material in (completed, failed, cancelled):
            assert (await record.claim(material.id)).refusal == pb.CLAIM_REFUSAL_ENDED

    async def test_material_that_waits_for_its_next_attempt_is_not_due(
        self, record: RecordCalls, person: Person, course: str
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


class TestRevocation:
    @pytest.mark.parametrize("ends", [Person.cancel, Person.delete])
    @pytest.mark.parametrize("by_way_of", ["status", "status-2"])
    async def test_lease_taken_away_by_a_person_on_any_replica_is_told_on_the_workers_stream(
        self, bare: BareServices, stack: LocalStack, record: RecordCalls, course: str, ends: Any, by_way_of: str
    ) -> None:
        worker = f"worker-{uuid.uuid4()}"
        claimed = await record.claimed((await record.create("ann", course)).id, worker)
        async with record.reports(worker) as stream, bare.client(stack.facts["token"], status=by_way_of) as client:
            assert await stream.ask(claimed.id, 1, renewal=pb.Renewal()) == RECORDED
            await ends(Person(client), claimed.id)
            assert await stream.revocation() == pb.Revocation(material_id=claimed.id, attempt=1)
            assert await stream.ask(claimed.id, 1, completion=pb.Completion(pages_total=1)) == STALE

    async def test_lease_that_ran_out_is_told_and_the_material_waits_for_another_worker(
        self, record_2: RecordCalls, person: Person, course: str
    ) -> None:
        worker = f"worker-{uuid.uuid4()}"
        claimed = await record_2.claimed((await record_2.create("ann", course)).id, worker)
        async with record_2.reports(worker) as stream:
            await stream.ask(claimed.id, 1, renewal=pb.Renewal())
            assert await stream.revocation() == pb.Revocation(material_id=claimed.id, attempt=1)
            assert await stream.ask(claimed.id, 1, progress=pb.Progress(pages_done=1, pages_total=2)) == STALE
        material = await person.get(claimed.id)
        assert (material.processing_status, material.pages_done) == (PENDING, 0)
        assert await person.events(claimed.id) == ["created", "claimed", "lease_expired"]
        assert (await record_2.claimed(claimed.id)).attempt == 2

    async def test_other_workers_are_not_told(self, record: RecordCalls, person: Person, course: str) -> None:
        workers = [f"worker-{uuid.uuid4()}" for _ in range(2)]
        mine, other = [await record.claimed((await record.create("ann", course)).id, worker) for worker in workers]
        async with record.reports(workers[0]) as stream:
            await stream.ask(mine.id, 1, renewal=pb.Renewal())
            await person.cancel(other.id)
            await person.cancel(mine.id)
            assert await stream.revocation() == pb.Revocation(material_id=mine.id, attempt=1)
