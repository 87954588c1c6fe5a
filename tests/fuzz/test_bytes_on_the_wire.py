"""TCP connections that send part of a real call, a changed one, or nothing that makes sense, and go away: nothing is half kept, all others are served."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st
from materials.v1 import ingest_service_pb2, status_service_pb2

from tests.fuzz.calls import SECONDS, Caller, Channels, Fuzzed
from tests.fuzz.settings import TIMEOUT, fuzzing
from tests.fuzz.wire import Relay, connect
from tests.fuzz.wire_bytes import PREFACE, Farewell, data_frames, farewells, made_up, places, play
from tests.fuzz.world import World
from tests.local_stack import unique_course

pytestmark = TIMEOUT
CONTENT = b"The cell is the unit of life.\n" * 40
each_service = pytest.mark.parametrize("service", ["ingest", "status"])


@dataclass(frozen=True)
class Recording:
    """What a client sent, by service, and who it was."""

    caller: Caller
    sent: dict[str, bytes]

    def uploads_are_whole(self) -> None:
        """Whatever the replays left of the uploader's is whole."""
        for page in self.caller.pages():
            for material in page.materials:
                content = self.caller.download(material.id)
                assert hashlib.sha256(content).hexdigest() == material.sha256
                assert len(content) == material.file_size


@pytest.fixture(scope="module")
def recording(fuzzed: Fuzzed) -> Recording:
    """An upload to Ingest; GetMaterial and an open WatchCourse to Status."""
    course = unique_course()
    caller = fuzzed.caller(courses={course: "editor"})
    facts = fuzzed.stack.facts
    with Relay(facts["ingest"]) as ingest, Relay(facts["status"]) as status:
        addresses = {"ingest": ingest.address, "status": status.address, "processor": facts["processor"]}
        with Channels(addresses) as channels:
            by_relay = Caller(fuzzed.stack, channels, caller.subject, caller.courses, {})
            upload = ingest_service_pb2.UploadMaterialRequest
            metadata = ingest_service_pb2.UploadMetadata(
                course_id=course,
                name="notes.txt",
                request_id="recorded",
                file_size=len(CONTENT),
                sha256=hashlib.sha256(CONTENT).hexdigest(),
            )
            chunks = [upload(chunk=CONTENT[start : start + 500]) for start in range(0, len(CONTENT), 500)]
            material = by_relay.upload([upload(metadata=metadata), *chunks])
            by_relay.get(material.id)
            watch = by_relay.status.WatchCourse(
                status_service_pb2.WatchCourseRequest(course_id=course), metadata=by_relay.metadata, timeout=SECONDS
            )
            next(watch)
            sent = {"ingest": bytes(ingest.sent), "status": bytes(status.sent)}
            watch.cancel()
    # Deleted, its request id is free: a replay makes a material of its own.
    caller.delete(material.id)
    assert all(data.startswith(PREFACE) for data in sent.values())
    return Recording(caller, sent)


def test_the_recorded_upload_replayed_to_its_end_is_an_upload(fuzzed: Fuzzed, recording: Recording) -> None:
    """So that the tests below cut something that would have worked."""
    with connect(fuzzed.stack.facts["ingest"]) as connection:
        connection.sendall(recording.sent["ingest"])
        # Settings, window updates, then the response: the service hangs up by itself only much later.
        while not (materials := recording.caller.page().materials):
            assert connection.recv(65_536), "the service hung up"
    [material] = materials
    assert recording.caller.download(material.id) == CONTENT
    recording.caller.delete(material.id)


@each_service
def test_calls_cut_anywhere_leave_nothing(fuzzed: Fuzzed, recording: Recording, world: World, service: str) -> None:
    sent = recording.sent[service]

    @fuzzing(2.0)
    @given(place=places, farewell=farewells)
    def test(place: float, farewell: Farewell) -> None:
        kept = sent[: int(len(sent) * place)]
        play(fuzzed.stack.facts[service], kept, farewell)
        world.still_serves()

    test()
    materials = recording.caller.page().materials
    assert len(materials) <= 1, "only a replay to the very end may make a material, and always the same"
    recording.uploads_are_whole()
    for material in materials:
        recording.caller.delete(material.id)


@each_service
def test_messages_with_bytes_changed_keep_no_upload_that_is_not_whole(
    fuzzed: Fuzzed, recording: Recording, world: World, service: str
) -> None:
    """Only frames with messages are changed: metadata has tests of its own, and a path that is not UTF-8 ends gRPC's server."""
    sent = recording.sent[service]
    frames = data_frames(sent)
    change = st.tuples(st.integers(0, len(frames) - 1), places, st.binary(min_size=1, max_size=3))

    @fuzzing(2.0)
    @given(changes=st.lists(change, min_size=1, max_size=3), farewell=farewells)
    def test(changes: list[tuple[int, float, bytes]], farewell: Farewell) -> None:
        changed = bytearray(sent)
        for which, place, value in changes:
            start, end = frames[which]
            first = start + int((end - start - 1) * place)
            changed[first : first + len(value)] = value[: end - first]
        play(fuzzed.stack.facts[service], bytes(changed), farewell)
        world.still_serves()

    test()
    recording.uploads_are_whole()


@each_service
def test_bytes_that_make_no_sense_hurt_nobody(fuzzed: Fuzzed, world: World, service: str) -> None:
    @fuzzing(4.0)
    @given(data=made_up, farewell=farewells)
    def test(data: bytes, farewell: Farewell) -> None:
        play(fuzzed.stack.facts[service], data, farewell)
        world.still_serves()

    test()
