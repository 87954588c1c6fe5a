"""Rules that look: one material, several, lists by pages, bytes, text, search, history."""

from __future__ import annotations

import itertools

from hypothesis import strategies as st
from hypothesis.stateful import rule
from materials.v1 import ingest_service_pb2 as ingest_pb
from materials.v1 import processor_service_pb2 as processor_pb
from materials.v1 import status_service_pb2 as pb

from tests.contract.refusals import Refusal
from tests.fuzz.calls import SECONDS, outcome
from tests.fuzz.messages import NASTY
from tests.fuzz.people_changing import people, picks
from tests.fuzz.people_model import PeopleMachine, check_refusal

queries = st.sampled_from(["mitosis", "Was ist eine Zelle?", *NASTY]) | st.text(max_size=30)


class Looking(PeopleMachine):
    """Everybody sees what they may see, and nothing else."""

    @rule(who=people, pick=picks)
    def get(self, who: str, pick: int) -> None:
        person, material = self.person(who), self.model.pick(pick)
        answer = outcome(lambda: person.caller.get(material.id))
        if not person.sees(material):
            check_refusal(answer, "MATERIAL_NOT_FOUND")
            return
        assert not isinstance(answer, Refusal), answer.message
        self.model.learn_now(answer)
        check_refusal(outcome(lambda: person.caller.get(material.id.upper())), "MATERIAL_NOT_FOUND")

    @rule(who=people, chosen=st.lists(picks, max_size=4), junk=st.lists(st.sampled_from(NASTY), max_size=2))
    def batch_get(self, who: str, chosen: list[int], junk: list[str]) -> None:
        person, materials = self.person(who), [self.model.pick(pick) for pick in chosen]
        request = pb.BatchGetMaterialsRequest(material_ids=[*junk, *(material.id for material in materials)])
        found = person.caller.status.BatchGetMaterials(request, metadata=person.caller.metadata, timeout=SECONDS)
        assert sorted(item.id for item in found.materials) == sorted({m.id for m in materials if person.sees(m)})
        for item in found.materials:
            self.model.learn_now(item)

    @rule(who=people, other=people, size=st.integers(1, 3), by_course=st.booleans(), damage=st.integers(0, 2**16))
    def list_by_pages(self, who: str, other: str, size: int, by_course: bool, damage: int) -> None:
        person, query = self.person(who), {"course_id": self.model.course} if by_course else {}
        listed = []
        for page in person.caller.pages(**query, page_size=size):
            assert len(page.materials) <= size
            listed += page.materials
            if token := page.next_page_token:
                self.foreign_page_tokens(person.name, other, token, damage)
        expected = [m for m in self.model.seen_by(person) if by_course or person.owns(m)]
        assert [item.id for item in listed] == [material.id for material in expected]
        for item in listed:
            self.model.learn_now(item)

    def foreign_page_tokens(self, who: str, other: str, token: str, damage: int) -> None:
        """The token is of use to nobody else, for nothing else, and in no other spelling."""
        place = damage % len(token)
        altered = token[:place] + ("A" if token[place] != "A" else "B") + token[place + 1 :]
        caller, another = self.person(who).caller, self.person(other).caller
        attempts = [(caller, {"page_token": altered}), (caller, {"page_token": token, "course_id": "another-course"})]
        if another.subject != caller.subject:
            attempts += [
                (another, {"page_token": token}),
                (another, {"page_token": token, "course_id": self.model.course}),
            ]
        for by, query in attempts:
            check_refusal(outcome(lambda by=by, query=query: by.page(**query)), "PAGE_TOKEN_INVALID")

    @rule(who=people, pick=picks, offset=st.integers(-1, 60), limit=st.integers(-1, 60), beyond=st.booleans())
    def download(self, who: str, pick: int, offset: int, limit: int, beyond: bool) -> None:
        person, material = self.person(who), self.model.pick(pick)
        content = material.content
        offset += len(content) * beyond
        answer = outcome(lambda: person.caller.download(material.id, offset, limit))
        if not person.sees(material):
            check_refusal(answer, "MATERIAL_NOT_FOUND")
        elif not 0 <= offset <= len(content) or limit < 0:
            check_refusal(answer, "RANGE_INVALID")
        else:
            assert answer == content[offset : offset + limit if limit else None]

    @rule(who=people, pick=picks)
    def download_begun_and_left(self, who: str, pick: int) -> None:
        person, material = self.person(who), self.model.pick(pick)
        request = ingest_pb.DownloadMaterialRequest(material_id=material.id)
        call = person.caller.ingest.DownloadMaterial(request, metadata=person.caller.metadata, timeout=SECONDS)
        answer = outcome(lambda: next(call))
        call.cancel()
        assert isinstance(answer, Refusal) != person.sees(material)

    @rule(who=people, pick=picks, first_page=st.sampled_from([-1, 0, 1, 2, 2**31 - 1]))
    def text(self, who: str, pick: int, first_page: int) -> None:
        person, material = self.person(who), self.model.pick(pick)
        request = processor_pb.GetMaterialTextRequest(material_id=material.id, first_page=first_page)
        stub = person.caller.processor
        answer = outcome(lambda: list(stub.GetMaterialText(request, metadata=person.caller.metadata, timeout=SECONDS)))
        if first_page < 0:
            check_refusal(answer, "FIELD_INVALID")
        elif not person.sees(material):
            check_refusal(answer, "MATERIAL_NOT_FOUND")
        else:
            assert not isinstance(answer, Refusal), answer.message
            numbers = [page.page_number for page in answer]
            assert numbers == list(range(max(1, first_page), max(1, first_page) + len(numbers)))

    @rule(who=people, query=queries, limit=st.sampled_from([-1, 0, 1, 10, 11]))
    def search(self, who: str, query: str, limit: int) -> None:
        person = self.person(who)
        request = processor_pb.SearchMaterialsRequest(course_id=self.model.course, query=query, limit=limit)
        stub = person.caller.processor
        answer = outcome(lambda: stub.SearchMaterials(request, metadata=person.caller.metadata, timeout=SECONDS))
        if isinstance(answer, Refusal):
            assert answer.reason == "FIELD_INVALID", answer.message
            return
        assert {result.material_id for result in answer.results} <= {m.id for m in self.model.seen_by(person)}

    @rule(who=people, pick=picks, size=st.integers(1, 3))
    def history(self, who: str, pick: int, size: int) -> None:
        person, material = self.person(who), self.model.pick(pick)
        caller, lines, token = person.caller, [], ""
        while True:
            request = pb.ListMaterialTransitionsRequest(material_id=material.id, page_size=size, page_token=token)
            answer = outcome(
                lambda request=request: caller.status.ListMaterialTransitions(
                    request, metadata=caller.metadata, timeout=SECONDS
                )
            )
            if not person.sees(material):
                check_refusal(answer, "MATERIAL_NOT_FOUND")
                return
            assert not isinstance(answer, Refusal), answer.message
            lines += answer.transitions
            token = answer.next_page_token
            if not token:
                break
        assert lines[0].event == "created"
        revisions = [line.revision for line in lines]
        assert revisions == sorted(set(revisions))
        for earlier, later in itertools.pairwise(lines):
            assert later.from_status == earlier.to_status
