"""What the state machine knows: who is who, which materials there are, and what each person may see of them."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field

from hypothesis.stateful import RuleBasedStateMachine
from materials.v1 import ingest_service_pb2 as ingest_pb
from materials.v1 import material_pb2

from tests.contract.refusals import Refusal
from tests.fuzz.calls import Caller, Fuzzed
from tests.local_stack import unique_course

COMPLETED, FAILED = material_pb2.PROCESSING_STATUS_COMPLETED, material_pb2.PROCESSING_STATUS_FAILED
#: By name; what of them can be read ends COMPLETED.
CONTENTS = {
    "mitosis.txt": b"Mitosis makes two cells of one.\n",
    "Zelle.md": "# Zelle\n\nDie Zelle ist die Einheit des Lebens. 😀\n".encode(),
    "long.txt": b"Meiosis makes four cells of one, each with half of the chromosomes.\n\n" * 60,
    "broken.png": b"\x89PNG\r\n\x1a\n" + b"no image " * 20,
    "broken.pdf": b"%PDF-1.7\nno document",
}
UNREADABLE = {"broken.png", "broken.pdf"}
#: `alone` is the owner with a token that names no course.
PEOPLE = ["owner", "alone", "editor", "reader", "stranger"]


@dataclass(eq=False)
class Known:
    """A material as the machine knows it. `revision`: the newest that any answer has shown."""

    id: str
    owner: str
    name: str
    request_id: str
    revision: int = 0
    deleted: bool = False
    cancelled: bool = False

    @property
    def content(self) -> bytes:
        """Its bytes."""
        return CONTENTS[self.name]


@dataclass(eq=False)
class Person:
    """One of PEOPLE and their token."""

    name: str
    caller: Caller
    role: str = ""

    def owns(self, material: Known) -> bool:
        """Whether it was uploaded by them."""
        return material.owner == self.caller.subject

    def sees(self, material: Known) -> bool:
        """Whether they may know that it exists."""
        return not material.deleted and (self.owns(material) or bool(self.role))

    def changes(self, material: Known) -> bool:
        """Whether they may retry, cancel and delete it."""
        return self.owns(material) or self.role == "editor"


@dataclass
class Model:
    """The people of one course, and its materials, oldest first."""

    fuzzed: Fuzzed
    course: str = field(default_factory=unique_course)
    materials: list[Known] = field(default_factory=list)
    people: dict[str, Person] = field(default_factory=dict)

    def __post_init__(self) -> None:
        roles = {"owner": "editor", "editor": "editor", "reader": "reader", "stranger": ""}
        for name, role in roles.items():
            courses = {self.course: role} if role else {"another-course": "editor"}
            self.people[name] = Person(name, self.fuzzed.caller(courses=courses), role)
        self.people["alone"] = Person("alone", self.fuzzed.caller(self.people["owner"].caller.subject))

    def pick(self, number: int) -> Known:
        """One of the materials, or at times one that never was."""
        if number % 8 < len(self.materials):
            return self.materials[number % 8]
        if self.materials and number % 8 != 7:
            return self.materials[-1]
        return Known(str(uuid.uuid4()), "nobody", "mitosis.txt", "", deleted=True)

    def seen_by(self, person: Person) -> list[Known]:
        """What the person may see, newest first."""
        return [material for material in reversed(self.materials) if person.sees(material)]

    def by_id(self, material_id: str) -> Known:
        """The material of the model. Fails for one that is none of this course."""
        [material] = [material for material in self.materials if material.id == material_id]
        return material

    def learn(self, shown: material_pb2.Material) -> Known:
        """Holds an answer to what is known of the material."""
        known = self.by_id(shown.id)
        assert (shown.course_id, shown.owner_id, shown.name) == (self.course, known.owner, known.name)
        assert (shown.file_size, shown.revision > 0) == (len(known.content), True)
        if shown.revision >= known.revision and known.cancelled:
            assert (shown.processing_status, shown.failure_reason) == (FAILED, material_pb2.FAILURE_REASON_CANCELLED)
        known.revision = max(known.revision, shown.revision)
        return known

    def learn_now(self, shown: material_pb2.Material) -> Known:
        """As `learn`, of the present state: nobody has seen a newer one."""
        newest = self.by_id(shown.id).revision
        assert shown.revision >= newest, f"revision {shown.revision} after {newest}"
        return self.learn(shown)


class PeopleMachine(RuleBasedStateMachine):
    """The base of the rules."""

    def __init__(self, fuzzed: Fuzzed) -> None:
        super().__init__()
        self.model = Model(fuzzed)

    def person(self, name: str) -> Person:
        """By name."""
        return self.model.people[name]


def upload_messages(course: str, name: str, request_id: str) -> list[ingest_pb.UploadMaterialRequest]:
    """A whole upload of one of CONTENTS, in two chunks."""
    request, content = ingest_pb.UploadMaterialRequest, CONTENTS[name]
    metadata = ingest_pb.UploadMetadata(course_id=course, name=name, request_id=request_id)
    return [request(metadata=metadata), request(chunk=content[:7]), request(chunk=content[7:])]


def check_refusal(answer: object, reason: str) -> None:
    """The answer is a refusal for this reason."""
    assert isinstance(answer, Refusal), f"taken, and {reason} was expected"
    assert answer.reason == reason, answer.message
    if reason == "MATERIAL_NOT_FOUND":
        assert answer.message == "there is no such material", "in the same words, whatever the cause"
