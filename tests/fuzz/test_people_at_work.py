"""Owner, editor, reader and stranger at work on a few materials, in any order: what each may see is what each sees, to the end."""

from __future__ import annotations

from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test
from materials.v1 import material_pb2

from tests.fuzz.calls import Fuzzed, outcome
from tests.fuzz.people_changing import Changing
from tests.fuzz.people_looking import Looking
from tests.fuzz.people_model import COMPLETED, FAILED, UNREADABLE, Known, check_refusal
from tests.fuzz.people_watching import Watching
from tests.fuzz.settings import TIMEOUT, fuzzing

pytestmark = TIMEOUT


class PeopleAtWork(Changing, Looking, Watching):
    """All rules, and what holds when everybody has stopped."""

    def teardown(self) -> None:
        try:
            for material in self.model.materials:
                self.ended(material)
        finally:
            super().teardown()

    def ended(self, material: Known) -> None:
        """A material has come to the end it had to, with its bytes intact, or is gone for good."""
        owner = next(person for person in self.model.people.values() if person.role and person.owns(material)).caller
        if material.deleted:
            for person in self.model.people.values():
                check_refusal(outcome(lambda person=person: person.caller.get(material.id)), "MATERIAL_NOT_FOUND")
            return
        last = owner.watch_to_end(material.id)
        self.model.learn_now(last)
        if not material.cancelled:
            wanted = FAILED if material.name in UNREADABLE else COMPLETED
            assert last.processing_status == wanted, last.error_message
            assert last.failure_reason != material_pb2.FAILURE_REASON_CANCELLED
        assert owner.download(material.id) == material.content
        owner.delete(material.id)
        material.deleted = True


def test_people_at_work_see_what_they_may(fuzzed: Fuzzed) -> None:
    steps = settings(fuzzing(0.75), stateful_step_count=40)
    run_state_machine_as_test(lambda: PeopleAtWork(fuzzed), settings=steps)
