"""UploadMaterial as a stream of anything, with any end: whole or absent, and every refusal in the contract's words."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator

import grpc
from hypothesis import given
from materials.v1 import ingest_service_pb2 as pb
from materials.v1 import material_pb2

from tests.contract.refusals import Refusal
from tests.fuzz.calls import SECONDS, Caller, Channels, Fuzzed, contracted, outcome
from tests.fuzz.settings import TIMEOUT, fuzzing
from tests.fuzz.upload_streams import OWN_COURSE, End, Stream, faults, streams
from tests.fuzz.wire import Relay
from tests.local_stack import unique_course

pytestmark = TIMEOUT
GIVEN_UP_AFTER = 0.15
AT_ONCE = 3


@fuzzing(4.0)
@given(stream=streams())
def test_an_upload_is_whole_or_absent_however_it_came_and_ended(fuzzed: Fuzzed, stream: Stream) -> None:
    course = unique_course()
    caller = fuzzed.caller(courses={course: "editor"})
    messages = stream.in_course(course)
    found = faults(stream.messages)

    if stream.end is End.HALF_CLOSE:
        answer = outcome(lambda: caller.upload(messages))
        if isinstance(answer, Refusal):
            assert answer.reason in found, f"refused with {answer.reason}: {answer.message}; the faults are {found}"
            kept(caller, [])
        else:
            assert not found, f"taken in spite of {found}"
            kept(caller, [answer], stream.content)
            assert answer.processing_status == material_pb2.PROCESSING_STATUS_PENDING
    else:
        interrupt(fuzzed, caller, stream, messages)
        if stream.end is not End.CANCEL_AT_ONCE or found:
            kept(caller, [])
        elif stream.messages[0].metadata.request_id:
            again = caller.upload(messages)
            kept(caller, [again], stream.content)

    for material in caller.page().materials:
        caller.delete(material.id)


def kept(caller: Caller, materials: list[material_pb2.Material], content: bytes = b"") -> None:
    """The caller has these materials and no others, with this content."""
    assert [material.id for material in caller.page().materials] == [material.id for material in materials]
    for material in materials:
        assert material.owner_id == caller.subject
        assert (material.file_size, material.sha256) == (len(content), hashlib.sha256(content).hexdigest())
        assert caller.download(material.id) == content


def interrupt(fuzzed: Fuzzed, caller: Caller, stream: Stream, messages: list[pb.UploadMaterialRequest]) -> None:
    """Sends the stream up to its end, several times at once: which of its losses the service meets first is a matter of chance."""
    over = threading.Event()

    def send_all(sender: Caller, timeout: float = SECONDS) -> list[grpc.Future]:
        all_taken = [threading.Event() for _ in range(AT_ONCE)]
        calls = []
        for taken in all_taken:
            call = sender.ingest.UploadMaterial.future(sending(taken), metadata=caller.metadata, timeout=timeout)
            # Also when it was refused before.
            call.add_done_callback(lambda _, taken=taken: taken.set())
            calls.append(call)
        for taken in all_taken:
            assert taken.wait(SECONDS)
        return calls

    def sending(taken: threading.Event) -> Iterator[pb.UploadMaterialRequest]:
        yield from messages[: stream.sent]
        taken.set()
        if stream.end is not End.CANCEL_AT_ONCE:
            over.wait()

    try:
        if stream.end is End.CUT:
            addresses = {name: fuzzed.stack.facts[name] for name in fuzzed.channels.by_service}
            with Relay(addresses["ingest"]) as relay, Channels({**addresses, "ingest": relay.address}) as wire:
                calls = send_all(Caller(fuzzed.stack, wire, caller.subject, caller.courses, {}))
                relay.cut()
                ended_by_us(calls)
        elif stream.end is End.DEADLINE:
            ended_by_us(send_all(caller, GIVEN_UP_AFTER))
        else:
            calls = send_all(caller)
            for call in calls:
                call.cancel()
            ended_by_us(calls)
    finally:
        over.set()


def ended_by_us(calls: list[grpc.Future]) -> None:
    """Each call has ended: by us, by a refusal of the contract, or with an answer that came just before."""
    for call in calls:
        try:
            call.result(SECONDS)
        except grpc.FutureCancelledError:
            pass
        except grpc.RpcError as error:
            if error.code().name not in ("CANCELLED", "DEADLINE_EXCEEDED", "UNAVAILABLE"):
                contracted(error)


def test_the_model_knows_a_good_upload() -> None:
    """That the model refuses nothing of the plainest upload, so that the test above cannot pass by refusing everything."""
    metadata = pb.UploadMetadata(course_id=OWN_COURSE, name="notes.txt")
    assert faults([pb.UploadMaterialRequest(metadata=metadata), pb.UploadMaterialRequest(chunk=b"text")]) == set()
