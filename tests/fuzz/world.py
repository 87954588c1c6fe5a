"""What the fuzzed calls find: a course with materials that have been read, its owner, a reader, an operator."""

from __future__ import annotations

from google.protobuf import descriptor
from materials.v1 import ingest_service_pb2, processor_service_pb2, status_service_pb2

from tests.contract.refusals import Refusal
from tests.fuzz.calls import SECONDS, Fuzzed, outcome
from tests.fuzz.messages import Known
from tests.fuzz.methods import Metadata, call
from tests.local_stack import unique_course


class World:
    """A material that has been read, its owner, and a reader of its course."""

    def __init__(self, fuzzed: Fuzzed) -> None:
        self.fuzzed, self.course = fuzzed, unique_course()
        self.owner = fuzzed.caller(courses={self.course: "editor"})
        self.reader = fuzzed.caller(courses={self.course: "reader"})
        self.operator = fuzzed.caller(operator=True)
        upload = ingest_service_pb2.UploadMaterialRequest
        metadata = ingest_service_pb2.UploadMetadata(course_id=self.course, name="notes.txt")
        self.ids = [
            self.owner.upload([upload(metadata=metadata), upload(chunk=b"Mitosis makes two cells of one.\n")]).id
            for _ in range(2)
        ]
        for material_id in self.ids:
            self.owner.watch_to_end(material_id)
        watch = self.reader.status.WatchCourse(
            status_service_pb2.WatchCourseRequest(course_id=self.course), metadata=self.reader.metadata, timeout=SECONDS
        )
        tokens = [next(change.resume_token for change in watch if change.resume_token)]
        watch.cancel()
        self.known: Known = {
            "material_id": self.ids,
            "material_ids": self.ids,
            "course_id": [self.course],
            "resume_token": [*tokens, tokens[0][:-1], tokens[0].swapcase()],
            "page_token": [self.owner.page(page_size=1).next_page_token, *tokens],
        }

    def still_serves(self) -> None:
        """Every service answers, and nothing that was there is lost."""
        for material_id in self.ids:
            assert self.reader.get(material_id).processing_status
            assert self.reader.download(material_id)
        request = processor_service_pb2.GetMaterialTextRequest(material_id=self.ids[0])
        pages = self.reader.processor.GetMaterialText(request, metadata=self.reader.metadata, timeout=SECONDS)
        assert [page.page_number for page in pages] == [1]

    def answer(
        self, method: descriptor.MethodDescriptor, requests: list[bytes], metadata: Metadata
    ) -> list[bytes] | Refusal:
        """The answer, which is the contract's, and never that something is away or late: nothing is."""
        found = outcome(lambda: call(self.fuzzed.channels, method, requests, metadata))
        if isinstance(found, Refusal):
            assert found.code.name not in ("UNAVAILABLE", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED"), found.message
        return found
