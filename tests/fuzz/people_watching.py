"""Rules that watch: opened, read for a while, cancelled or left alone at any point, and resumed where they were."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import grpc
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule
from materials.v1 import status_service_pb2 as pb

from tests.contract.refusals import Refusal
from tests.fuzz.calls import SECONDS, contracted, outcome
from tests.fuzz.people_changing import people, picks
from tests.fuzz.people_model import COMPLETED, FAILED, Known, PeopleMachine, Person, check_refusal

MOST_WATCHES = 6
ENDED = (COMPLETED, FAILED)


@dataclass(eq=False)
class MaterialWatch:
    """A watch of one material. `revision`: the newest it has shown."""

    person: Person
    material: Known
    call: Any
    revision: int = 0
    resumed_at: int = 0
    ended: bool = False


@dataclass(eq=False)
class CourseWatch:
    """A watch of the course. `seen`: the newest revision of each material it has shown, and not taken back."""

    person: Person
    call: Any
    token: str = ""
    seen: dict[str, int] = field(default_factory=dict)
    deleted: set[str] = field(default_factory=set)


class Watching(PeopleMachine):
    """Nobody misses anything, sees anything twice, or sees what is not theirs. Which rules apply hangs on nothing but the rules before: a watch that has
    ended, which is a matter of time, is kept."""

    def __init__(self, fuzzed: Any) -> None:
        super().__init__(fuzzed)
        self.materials: list[MaterialWatch] = []
        self.courses: list[CourseWatch] = []
        self.left_alone: list[Any] = []

    @precondition(lambda self: len(self.materials) < MOST_WATCHES)
    @rule(who=people, pick=picks)
    def watch_material(self, who: str, pick: int) -> None:
        person, material = self.person(who), self.model.pick(pick)
        call = self.material_call(person, material, 0)
        if person.sees(material):
            self.materials.append(MaterialWatch(person, material, call))
        else:
            check_refusal(outcome(lambda: next(call)), "MATERIAL_NOT_FOUND")

    @precondition(lambda self: self.materials)
    @rule(which=st.integers(0, 99), count=st.integers(1, 4))
    def read_material(self, which: int, count: int) -> None:
        watch = self.materials[which % len(self.materials)]
        for _ in range(count):
            watch.ended = watch.ended or not self.read_state(watch)

    @precondition(lambda self: self.materials)
    @rule(which=st.integers(0, 99), cancel=st.booleans(), future=st.booleans())
    def resume_material(self, which: int, cancel: bool, future: bool) -> None:
        watch = self.materials[which % len(self.materials)]
        self.leave(watch.call, cancel)
        # A revision from a future that did not happen is told what is.
        watch.resumed_at, watch.ended = watch.revision, False
        watch.call = self.material_call(
            watch.person, watch.material, watch.revision + 1_000 * (future and not watch.revision)
        )

    def read_state(self, watch: MaterialWatch) -> bool:
        """Reads the next state; False when the watch has ended, as it should."""
        try:
            shown = next(watch.call).material
        except StopIteration:
            return False
        except grpc.RpcError as error:
            check_refusal(contracted(error), "MATERIAL_NOT_FOUND")
            assert watch.material.deleted
            return False
        told_again = shown.revision == watch.resumed_at and shown.processing_status in ENDED
        assert shown.revision > watch.revision or told_again, f"revision {shown.revision} after {watch.revision}"
        assert shown.id == watch.material.id
        watch.revision = shown.revision
        self.model.learn(shown)
        if shown.processing_status in ENDED:
            assert next(watch.call, None) is None, "a watch ends with the material"
            return False
        return True

    @precondition(lambda self: len(self.courses) < MOST_WATCHES)
    @rule(who=people)
    def watch_course(self, who: str) -> None:
        person = self.person(who)
        self.courses.append(CourseWatch(person, self.course_call(person, "")))

    @precondition(lambda self: self.courses)
    @rule(which=st.integers(0, 99), cancel=st.booleans())
    def resume_course(self, which: int, cancel: bool) -> None:
        watch = self.courses[which % len(self.courses)]
        self.leave(watch.call, cancel)
        if not watch.token:
            watch.seen, watch.deleted = {}, set()
        watch.call = self.course_call(watch.person, watch.token)

    @precondition(lambda self: self.courses)
    @rule(which=st.integers(0, 99), count=st.integers(1, 3))
    def read_part_of_a_snapshot(self, which: int, count: int) -> None:
        watch = self.courses[which % len(self.courses)]
        # Never beyond what is there for certain: until its end a snapshot has something to read.
        while count and not watch.token:
            self.read_change(watch)
            count -= 1

    @precondition(lambda self: self.courses)
    @rule(which=st.integers(0, 99))
    def catch_up_with_the_course(self, which: int) -> None:
        watch = self.courses[which % len(self.courses)]
        while not watch.token or self.missing(watch):
            self.read_change(watch)

    @precondition(lambda self: self.courses)
    @rule(which=st.integers(0, 99), damage=st.integers(0, 2**16), who=people)
    def altered_resume_token(self, which: int, damage: int, who: str) -> None:
        token = self.courses[which % len(self.courses)].token or "AAAA"
        place = damage % len(token)
        altered = token[:place] + ("A" if token[place] != "A" else "B") + token[place + 1 :]
        refused = outcome(lambda: next(self.course_call(self.person(who), altered)))
        check_refusal(refused, "RESUME_TOKEN_INVALID")

    def missing(self, watch: CourseWatch) -> bool:
        """Whether the model knows of something that the watch must still show."""
        late = [m for m in self.model.seen_by(watch.person) if watch.seen.get(m.id, 0) < m.revision]
        gone = [m for m in self.model.materials if m.deleted and m.id in watch.seen]
        return bool(late or gone)

    def read_change(self, watch: CourseWatch) -> None:
        change: pb.WatchCourseResponse | Refusal = outcome(lambda: next(watch.call))
        assert not isinstance(change, Refusal), change.message
        if change.HasField("material"):
            shown = change.material
            known = self.model.learn(shown)
            assert watch.person.owns(known) or watch.person.role
            assert shown.id not in watch.deleted, "deleted, and shown again"
            assert shown.revision > watch.seen.get(shown.id, 0)
            watch.seen[shown.id] = shown.revision
        elif change.deleted_material_id:
            known = self.model.by_id(change.deleted_material_id)
            assert known.deleted
            assert watch.person.owns(known) or watch.person.role
            assert known.id not in watch.deleted, "deleted twice"
            watch.deleted.add(known.id)
            watch.seen.pop(known.id, None)
        watch.token = change.resume_token or watch.token

    def material_call(self, person: Person, material: Known, after: int) -> Iterator[pb.WatchMaterialResponse]:
        request = pb.WatchMaterialRequest(material_id=material.id, after_revision=after)
        call: Any = person.caller.status.WatchMaterial(request, metadata=person.caller.metadata, timeout=SECONDS)
        return call

    def course_call(self, person: Person, token: str) -> Iterator[pb.WatchCourseResponse]:
        request = pb.WatchCourseRequest(course_id=self.model.course, resume_token=token)
        call: Any = person.caller.status.WatchCourse(request, metadata=person.caller.metadata, timeout=SECONDS)
        return call

    def leave(self, call: Any, cancel: bool) -> None:
        """Cancels a watch, or lets it stand unread until all is over."""
        if cancel or len(self.left_alone) >= MOST_WATCHES:
            call.cancel()
        else:
            self.left_alone.append(call)

    def teardown(self) -> None:
        for call in [*self.left_alone, *(watch.call for watch in [*self.materials, *self.courses])]:
            call.cancel()
        super().teardown()
