"""Rules that every call of the contract keeps, read from the descriptors: how it refuses, and what a server tells about itself."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import EnumValueDescriptor
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from materials.channels import bearer
from materials.v1 import errors_pb2
from materials.v1 import status_service_pb2 as status_pb

from servicekit.channels import open_channel
from tests.contract.bare_services import BareServices
from tests.contract.record_calls import RecordCalls
from tests.contract.refusals import refusal_of, refused
from tests.contract.rpcs import RPCS, RULES, SECONDS, SERVED_BY, Access, Rpc
from tests.local_stack import Client, LocalStack

each_rpc = pytest.mark.parametrize("rpc", RPCS, ids=lambda rpc: rpc.name)


@pytest.fixture
def channel(stack: LocalStack, rpc: Rpc) -> Iterator[grpc.Channel]:
    """To the part that serves the call."""
    with grpc.insecure_channel(stack.facts[rpc.part]) as connected:
        yield connected


@each_rpc
def test_empty_request_of_a_peer_is_answered_in_the_contracts_words(
    stack: LocalStack, rpc: Rpc, channel: grpc.Channel
) -> None:
    """It is answered, or refused for what is missing in it; never INTERNAL, never without a reason."""
    try:
        rpc.call(channel, bearer(stack.facts["service_token"]))
    except grpc.RpcError as error:
        refusal = refusal_of(error)
    else:
        assert RULES[rpc.name] is not Access.OPERATE
        return
    assert f"ERROR_REASON_{refusal.reason}" in {value.name for value in REASONS}
    if RULES[rpc.name] is Access.OPERATE:
        assert refusal.reason == "OPERATOR_REQUIRED"
    else:
        assert refusal.code.name in ("INVALID_ARGUMENT", "NOT_FOUND"), refusal


REASONS: list[EnumValueDescriptor] = list(errors_pb2.ErrorReason.DESCRIPTOR.values)[1:]


@pytest.mark.parametrize("value", REASONS, ids=lambda value: value.name)
def test_every_reason_says_its_grpc_code_and_http_status(value: EnumValueDescriptor) -> None:
    answer = value.GetOptions().Extensions[errors_pb2.answer]
    assert answer.grpc_code in {code.value[0] for code in grpc.StatusCode} - {grpc.StatusCode.OK.value[0]}
    assert 400 <= answer.http_status < 600


@pytest.mark.parametrize("part", sorted(set(SERVED_BY.values())))
async def test_unknown_method_is_unimplemented(stack: LocalStack, part: str) -> None:
    async with open_channel(stack.facts[part]) as channel:
        stub: Any = channel.unary_unary("/materials.v1.StatusService/DropTables")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub(b"", metadata=bearer(stack.facts["token"]), timeout=SECONDS)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


@each_rpc
def test_bytes_that_are_no_request_are_refused_after_who_is_calling(
    stack: LocalStack, rpc: Rpc, channel: grpc.Channel
) -> None:
    junk = b"\xff" * 40
    with refused("INVALID_ARGUMENT", "FIELD_INVALID", "request"):
        rpc.call(channel, bearer(stack.facts["service_token"]), junk)
    with refused("UNAUTHENTICATED", "TOKEN_MISSING"):
        rpc.call(channel, [], junk)


class TestWhatAServerTellsOfItself:
    @pytest.mark.parametrize("part", sorted(set(SERVED_BY.values())))
    async def test_reflection_lists_its_services_and_their_files(self, stack: LocalStack, part: str) -> None:
        own = {name for name, server in SERVED_BY.items() if server == part}
        requests = [
            reflection_pb2.ServerReflectionRequest(list_services=""),
            *(reflection_pb2.ServerReflectionRequest(file_containing_symbol=name) for name in sorted(own)),
        ]
        async with open_channel(stack.facts[part]) as channel:
            stub: Any = reflection_pb2_grpc.ServerReflectionStub(channel)  # type: ignore[arg-type]  # its stubs know no aio
            call = stub.ServerReflectionInfo(iter(requests), timeout=SECONDS)
            responses = [response async for response in call]
        listed = {service.name for service in responses[0].list_services_response.service}
        assert listed == own | {"grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"}
        assert all(response.file_descriptor_response.file_descriptor_proto for response in responses[1:])

    @pytest.mark.parametrize("part", sorted(set(SERVED_BY.values())))
    async def test_health_answers_for_the_process_and_each_service(self, stack: LocalStack, part: str) -> None:
        names = ["", *(name for name, server in SERVED_BY.items() if server == part)]
        async with open_channel(stack.facts[part]) as channel:
            health: Any = health_pb2_grpc.HealthStub(channel)
            for name in names:
                request = health_pb2.HealthCheckRequest(service=name)
                checked = await health.Check(request, timeout=SECONDS)
                assert checked.status == health_pb2.HealthCheckResponse.SERVING
                watch = health.Watch(request, timeout=SECONDS)
                try:
                    assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
                finally:
                    watch.cancel()
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await health.Check(health_pb2.HealthCheckRequest(service="nothing"), timeout=SECONDS)
            assert caught.value.code() is grpc.StatusCode.NOT_FOUND

    async def test_health_of_the_brain_is_told_by_the_processor(self, stack: LocalStack) -> None:
        async with open_channel(stack.facts["processor"]) as channel:
            request = health_pb2.HealthCheckRequest(service="ai_brain")
            stub: Any = health_pb2_grpc.HealthStub(channel)
            checked = await stub.Check(request, timeout=SECONDS)
        assert checked.status == health_pb2.HealthCheckResponse.SERVING

    async def test_stop_is_told_to_those_who_watch_and_ends_their_streams(
        self, bare: BareServices, stack: LocalStack
    ) -> None:
        name = "status-to-be-stopped"
        await bare.start_status(name, await bare.make_database())
        async with bare.client(stack.facts["service_token"], status=name) as client:
            record = RecordCalls(client.record, client.metadata)
            material = await record.create("ann", "course")
            watch_one = client.status.WatchMaterial(
                status_pb.WatchMaterialRequest(material_id=material.id), metadata=client.metadata, timeout=SECONDS
            )
            watch_all = client.status.WatchCourse(
                status_pb.WatchCourseRequest(course_id="course"), metadata=client.metadata, timeout=SECONDS
            )
            lease = asyncio.create_task(record.lease(wait=20))
            async with open_channel(bare.endpoints[name]) as channel, record.reports() as reports:
                stub: Any = health_pb2_grpc.HealthStub(channel)
                health = stub.Watch(
                    health_pb2.HealthCheckRequest(service="materials.v1.StatusService"), timeout=SECONDS
                )
                assert (await health.read()).status == health_pb2.HealthCheckResponse.SERVING
                await watch_one.read()
                await watch_all.read()
                await watch_all.read()
                await reports.ask(material.id, 7)
                bare.processes[name].terminate()
                assert (await health.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
                for stream in (watch_one, watch_all):
                    with refused("UNAVAILABLE", "SHUTTING_DOWN") as refusal:
                        await stream.read()
                    assert refusal.retry_seconds is not None
                with refused("UNAVAILABLE", "SHUTTING_DOWN"):
                    await reports.acknowledgement()
                assert await lease == []
        assert await asyncio.to_thread(bare.processes[name].wait, 15) == 0


async def test_burst_of_calls_is_served_and_none_dropped(
    bare: BareServices, stack: LocalStack, record: RecordCalls, course: str
) -> None:
    material = await record.create("ann", course)
    async with bare.client(stack.facts["token"]) as first, bare.client(stack.facts["token"]) as second:

        async def get(client: Client) -> str:
            request = status_pb.GetMaterialRequest(material_id=material.id)
            response = await client.status.GetMaterial(request, metadata=client.metadata, timeout=60)
            return response.material.id

        answers = await asyncio.gather(*(get((first, second)[number % 2]) for number in range(2_500)))
    assert set(answers) == {material.id}
