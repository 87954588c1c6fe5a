"""Every call with arbitrary messages, and with bytes that are none: a proper answer, soon, and the next caller is served as ever."""

from __future__ import annotations

import grpc
import pytest
from google.protobuf import descriptor
from hypothesis import given
from hypothesis import strategies as st

from tests.contract.refusals import Refusal
from tests.fuzz.calls import SECONDS, Caller
from tests.fuzz.messages import decodable, garbage, serialized
from tests.fuzz.methods import INTERNAL, PUBLIC, SERVED_BY, Metadata, name_of
from tests.fuzz.settings import TIMEOUT, fuzzing
from tests.fuzz.world import World

pytestmark = TIMEOUT
each_public = pytest.mark.parametrize("method", PUBLIC, ids=name_of)
each_internal = pytest.mark.parametrize("method", INTERNAL, ids=name_of)


def requests_of(method: descriptor.MethodDescriptor, one: st.SearchStrategy[bytes]) -> st.SearchStrategy[list[bytes]]:
    return st.lists(one, max_size=4) if method.client_streaming else st.lists(one, min_size=1, max_size=1)


@each_public
def test_arbitrary_messages_get_a_proper_answer(world: World, method: descriptor.MethodDescriptor) -> None:
    # An operator's calls change what holds for everybody: made by somebody who is none, they are refused.
    callers = [world.reader, world.fuzzed.caller()]

    @fuzzing()
    @given(requests=requests_of(method, serialized(method.input_type, world.known)), caller=st.sampled_from(callers))
    def test(requests: list[bytes], caller: Caller) -> None:
        found = world.answer(method, requests, caller.metadata)
        if isinstance(found, Refusal):
            assert found.reason not in ("TOKEN_MISSING", "TOKEN_INVALID", "TOKEN_EXPIRED", "SERVICE_IDENTITY_REQUIRED")

    test()
    world.still_serves()


@each_public
def test_bytes_that_are_no_message_are_told_so(world: World, method: descriptor.MethodDescriptor) -> None:
    @fuzzing()
    @given(requests=requests_of(method, garbage(method.input_type, world.known)))
    def test(requests: list[bytes]) -> None:
        found = world.answer(method, requests, world.reader.metadata)
        if requests and not decodable(method.input_type, requests[0]):
            assert isinstance(found, Refusal)
            assert (found.code.name, found.reason, found.fields) == ("INVALID_ARGUMENT", "FIELD_INVALID", ["request"])

    test()
    world.still_serves()


@each_internal
def test_users_are_kept_from_the_record_whatever_they_send(world: World, method: descriptor.MethodDescriptor) -> None:
    anything = serialized(method.input_type, world.known) | garbage(method.input_type, world.known)
    callers = [
        world.owner,
        world.operator,
        world.fuzzed.caller(role="service"),
        world.fuzzed.caller(courses={"*": "editor"}),
    ]

    @fuzzing(0.5)
    @given(requests=requests_of(method, anything), caller=st.sampled_from(callers))
    def test(requests: list[bytes], caller: Caller) -> None:
        found = world.answer(method, requests, caller.metadata)
        assert isinstance(found, Refusal)
        assert (found.code.name, found.reason) == ("PERMISSION_DENIED", "SERVICE_IDENTITY_REQUIRED")

    test()
    world.still_serves()


@pytest.mark.parametrize("service", sorted(set(SERVED_BY.values())))
def test_what_grpc_refuses_by_itself_comes_without_details(world: World, service: str) -> None:
    """A call that there is none of, a request or metadata beyond the server's limits: refused by gRPC before anything of ours sees it."""
    channel = world.fuzzed.channels.by_service[service]

    def refused(path: str, request: bytes = b"", metadata: Metadata = ()) -> str:
        with pytest.raises(grpc.RpcError) as caught:
            channel.unary_unary(path)(request, metadata=tuple(metadata), timeout=SECONDS)
        return str(caught.value.code().name)

    known = {
        "ingest": "/grpc.health.v1.Health/Check",
        "status": "/materials.v1.StatusService/GetMaterial",
        "processor": "/materials.v1.ProcessorService/SearchMaterials",
    }[service]
    assert refused("/materials.v1.StatusService/NoSuchCall") == "UNIMPLEMENTED"
    assert refused(known, b"\0" * (4 * 1024 * 1024 + 1), world.reader.metadata) == "RESOURCE_EXHAUSTED"
    assert refused(known, metadata=[("x-large", "x" * 16_384)]) == "RESOURCE_EXHAUSTED"
    world.still_serves()
