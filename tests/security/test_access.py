"""Who may make which gRPC call: every call of the contract, with every identity that must not get through, and nothing in the refusal that tells a
stranger's material from one that is not there."""

from __future__ import annotations

import json
import statistics
import time
import uuid
from collections.abc import AsyncIterator, Callable

import grpc
import pytest
from materials.channels import bearer
from materials.v1 import status_service_pb2

from tests.contract.bare_services import BareServices
from tests.contract.refusals import refusal_of, refused
from tests.contract.rpcs import RPCS, RULES, SERVED_BY, Access, Rpc, services
from tests.security.attacked import Attacked, World
from tests.security.bad_tokens import bad_tokens, published_key_token
from tests.unit.tokens import RSA_KEY, KeyServer, jwk

UNKNOWN_IDS = (str(uuid.uuid4()), "0", "", "../../etc/passwd", "' OR 1=1 --", "x" * 5_000)


def calls(*access: Access) -> Callable[..., None]:
    """A test's parameter: the calls under these rules; all of them when none is named."""
    chosen = [rpc for rpc in RPCS if not access or RULES.get(rpc.name) in access]
    mark: Callable[..., None] = pytest.mark.parametrize(
        "rpc", chosen, ids=lambda rpc: rpc.name.removeprefix("materials.v1.")
    )
    return mark


@pytest.fixture
def channel(attacked: Attacked, rpc: Rpc) -> grpc.Channel:
    """To the part that serves the call."""
    return attacked.channels.by_service[rpc.part]


@pytest.fixture(scope="module")
async def published(attacked: Attacked) -> AsyncIterator[grpc.Channel]:
    """To a Status that takes users' tokens signed with published keys too."""
    bare = BareServices(attacked.stack)
    with KeyServer([jwk(RSA_KEY, "rsa")]).running() as keys:
        try:
            await bare.start_nats()
            await bare.start_status("published-keys", await bare.make_database(), AUTH_JWKS_URL=keys.url)
            with attacked.overheard.channel(bare.endpoints["published-keys"]) as channel:
                yield channel
        finally:
            bare.stop()


def test_every_call_has_its_rule_and_every_service_its_server() -> None:
    assert {rpc.name for rpc in RPCS} == RULES.keys()
    assert {service.full_name for service in services()} == SERVED_BY.keys()


class TestIdentity:
    @calls()
    def test_call_without_a_token_is_refused(self, world: World, rpc: Rpc, channel: grpc.Channel) -> None:
        request = rpc.request(material_id=world.material.id, course_id=world.course)
        for metadata in (
            [],
            [("authorization", "")],
            [("authorization", "Bearer ")],
            [("authorization", "Basic YTpi")],
        ):
            with refused("UNAUTHENTICATED", "TOKEN_MISSING"):
                rpc.call(channel, metadata, request)

    @calls()
    def test_call_with_a_token_that_is_not_good_is_refused(
        self, attacked: Attacked, rpc: Rpc, channel: grpc.Channel, attackers_keys: KeyServer
    ) -> None:
        refused_with_each(bad_tokens(attacked.stack, attackers_keys.url), rpc, channel)
        assert attackers_keys.asked == 0

    @pytest.mark.parametrize("rpc", [rpc for rpc in RPCS if rpc.part == "status"], ids=lambda rpc: rpc.method.name)
    def test_where_keys_are_published_no_other_key_and_no_other_algorithm_counts(
        self, attacked: Attacked, rpc: Rpc, published: grpc.Channel, attackers_keys: KeyServer
    ) -> None:
        refused_with_each(bad_tokens(attacked.stack, attackers_keys.url), rpc, published)
        assert attackers_keys.asked == 0
        # So that the forged ones are refused for what is wrong with them.
        if RULES[rpc.name] is Access.OWN:
            assert rpc.call(published, bearer(published_key_token()), rpc.request(course_id="biology")) is not None


def refused_with_each(tokens: dict[str, tuple[str, str]], rpc: Rpc, channel: grpc.Channel) -> None:
    """The call is refused with each of these tokens, for its reason."""
    for what, (token, reason) in tokens.items():
        with pytest.raises(grpc.RpcError) as caught:
            rpc.call(channel, bearer(token))
        refusal = refusal_of(caught.value)
        assert (refusal.code.name, refusal.reason) == ("UNAUTHENTICATED", reason), what


class TestRoles:
    @calls(Access.SERVE, Access.OPERATE)
    def test_call_for_peers_or_operators_is_closed_to_everybody_else(
        self, attacked: Attacked, world: World, rpc: Rpc, channel: grpc.Channel
    ) -> None:
        operators = RULES[rpc.name] is Access.OPERATE
        callers = [who for name, who in world.everybody.items() if not (operators and name == "operator")]
        callers += [attacked.caller(courses={"*": "editor"}, **claim) for claim in ({}, {"role": "service"})]
        request = rpc.request(material_id=world.material.id, course_id=world.course)
        for caller in callers:
            with refused("PERMISSION_DENIED", "OPERATOR_REQUIRED" if operators else "SERVICE_IDENTITY_REQUIRED"):
                rpc.call(channel, caller.metadata, request)

    @calls(Access.CHANGE, Access.WRITE)
    def test_reader_may_not_write(self, world: World, rpc: Rpc, channel: grpc.Channel) -> None:
        request = rpc.request(material_id=world.material.id, course_id=world.course, name="notes.txt")
        with refused("PERMISSION_DENIED", "COURSE_WRITE_DENIED"):
            rpc.call(channel, world.reader.metadata, request)
        world.still_serves()

    @calls(Access.WRITE)
    def test_stranger_may_not_write_into_the_course(self, world: World, rpc: Rpc, channel: grpc.Channel) -> None:
        for who in (world.stranger, world.operator):
            with refused("PERMISSION_DENIED", "COURSE_WRITE_DENIED"):
                rpc.call(channel, who.metadata, rpc.request(course_id=world.course, name="notes.txt"))
        world.still_serves()

    @calls(Access.READ)
    def test_reader_is_answered(self, world: World, rpc: Rpc, channel: grpc.Channel) -> None:
        assert rpc.call(channel, world.reader.metadata, rpc.request(material_id=world.material.id)) is not None


class TestStranger:
    @calls(Access.READ, Access.CHANGE)
    def test_material_of_another_is_refused_in_the_bytes_of_an_unknown_id(
        self, world: World, rpc: Rpc, channel: grpc.Channel
    ) -> None:
        for who in (world.stranger, world.operator):
            answers = set()
            for material_id in (world.material.id, *UNKNOWN_IDS):
                with refused("NOT_FOUND", "MATERIAL_NOT_FOUND") as refusal:
                    rpc.call(channel, who.metadata, rpc.request(material_id=material_id))
                answers.add(refusal.status_bytes)
            assert len(answers) == 1, "the answer tells whether the material exists"
        world.still_serves()

    @calls(Access.OWN)
    def test_nothing_of_another_is_in_what_a_stranger_is_told(
        self, world: World, rpc: Rpc, channel: grpc.Channel
    ) -> None:
        empty = f"{world.course}-empty"
        for who in (world.stranger, world.operator):
            there, nowhere = [
                rpc.call(
                    channel,
                    who.metadata,
                    rpc.request(material_ids=[material_id], course_id=course, query="cells", question="cells"),
                )
                for material_id, course in ((world.material.id, world.course), (str(uuid.uuid4()), empty))
            ]
            for answer in (there, nowhere):
                assert world.material.id.encode() not in (answer or b"")
            # A watch's resume token names its course and how many changes there were, which members know.
            if rpc.method.name != "WatchCourse":
                assert there == nowhere

    def test_time_until_the_refusal_is_recorded(
        self, world: World, record_property: Callable[[str, object], None]
    ) -> None:
        """For people who compare; what is asserted is that the answers are the same."""
        rpc = next(rpc for rpc in RPCS if rpc.method.name == "GetMaterial")
        channel = world.attacked.channels.by_service[rpc.part]
        took: dict[str, list[float]] = {world.material.id: [], UNKNOWN_IDS[0]: []}
        answers = set()
        for material_id in [*took] * 50:
            began = time.perf_counter()
            with refused("NOT_FOUND", "MATERIAL_NOT_FOUND") as refusal:
                rpc.call(channel, world.stranger.metadata, rpc.request(material_id=material_id))
            took[material_id].append(time.perf_counter() - began)
            answers.add(refusal.status_bytes)
        medians = {"another's": took[world.material.id], "unknown": took[UNKNOWN_IDS[0]]}
        record_property("median ms", json.dumps({who: statistics.median(each) * 1e3 for who, each in medians.items()}))
        assert len(answers) == 1


def test_bulk_retry_without_a_course_touches_only_the_callers_own(world: World) -> None:
    request = status_service_pb2.RetryFailedMaterialsRequest()
    answer = world.stranger.status.RetryFailedMaterials(request, metadata=world.stranger.metadata, timeout=20)
    assert (answer.retried, answer.remaining, answer.not_retryable) == (0, 0, 0)
