"""Rules that change something: upload, retry, cancel, delete, each by anybody and repeated at will."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule
from materials.v1 import material_pb2
from materials.v1 import status_service_pb2 as pb

from tests.contract.refusals import Refusal
from tests.fuzz.calls import SECONDS, outcome
from tests.fuzz.people_model import (
    CONTENTS,
    FAILED,
    PEOPLE,
    UNREADABLE,
    Known,
    PeopleMachine,
    Person,
    check_refusal,
    upload_messages,
)

MOST_MATERIALS = 5
people = st.sampled_from(PEOPLE)
picks = st.integers(0, 7)


class Changing(PeopleMachine):
    """What each person may change, and what is there then."""

    @precondition(lambda self: len(self.model.materials) < MOST_MATERIALS)
    @rule(
        who=st.sampled_from(["owner", "owner", "editor", *PEOPLE]),
        name=st.sampled_from(sorted(CONTENTS)),
        request_id=st.sampled_from(["", "a", "b"]),
    )
    def upload(self, who: str, name: str, request_id: str) -> None:
        person, model = self.person(who), self.model
        answer = outcome(lambda: person.caller.upload(upload_messages(model.course, name, request_id)))
        if person.role != "editor":
            check_refusal(answer, "COURSE_WRITE_DENIED")
            return
        before = [
            m for m in model.materials if request_id and m.request_id == request_id and person.owns(m) and not m.deleted
        ]
        if before and before[0].name != name:
            check_refusal(answer, "REQUEST_ID_REUSED")
            return
        assert not isinstance(answer, Refusal), answer.message
        if before:
            assert answer.id == before[0].id
        else:
            assert answer.id not in [material.id for material in model.materials]
            assert (answer.processing_status, answer.revision) == (material_pb2.PROCESSING_STATUS_PENDING, 1)
            model.materials.append(Known(answer.id, person.caller.subject, name, request_id))
        model.learn_now(answer)

    @rule(who=people, pick=picks)
    def retry(self, who: str, pick: int) -> None:
        person, material = self.person(who), self.model.pick(pick)
        request = pb.RetryMaterialRequest(material_id=material.id)
        answer = outcome(
            lambda: person.caller.status.RetryMaterial(request, metadata=person.caller.metadata, timeout=SECONDS)
        )
        if self.refused(person, material, answer):
            return
        if isinstance(answer, Refusal):
            check_refusal(answer, "MATERIAL_NOT_RETRYABLE")
            assert material.name in UNREADABLE
            assert not material.cancelled
            return
        material.cancelled = False
        self.model.learn_now(answer.material)
        assert answer.material.processing_status != FAILED

    @rule(who=people, pick=picks)
    def cancel(self, who: str, pick: int) -> None:
        person, material = self.person(who), self.model.pick(pick)
        request = pb.CancelMaterialRequest(material_id=material.id)
        answer = outcome(
            lambda: person.caller.status.CancelMaterial(request, metadata=person.caller.metadata, timeout=SECONDS)
        )
        if self.refused(person, material, answer):
            return
        assert not isinstance(answer, Refusal), answer.message
        ended = answer.material
        self.model.learn_now(ended)
        assert ended.processed_at.seconds, "what is cancelled has ended"
        material.cancelled = ended.failure_reason == material_pb2.FAILURE_REASON_CANCELLED

    @rule(who=people, pick=picks, times=st.integers(1, 2))
    def delete(self, who: str, pick: int, times: int) -> None:
        person, material = self.person(who), self.model.pick(pick)
        for _ in range(times):
            answer = outcome(lambda: person.caller.delete(material.id))
            if not self.refused(person, material, answer):
                assert answer is None
                material.deleted = True

    def refused(self, person: Person, material: Known, answer: object) -> bool:
        """Whether the person may not change the material; the answer says so then, and why."""
        if not person.sees(material):
            check_refusal(answer, "MATERIAL_NOT_FOUND")
            return True
        if not person.changes(material):
            check_refusal(answer, "COURSE_WRITE_DENIED")
            return True
        return False
