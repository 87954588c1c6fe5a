"""Rules that every call of the contract keeps, read from the descriptors: who may call it, how it refuses, and what a server tells about itself.

A call that is new in the contract fails here until it has its line in RULES.
"""

from __future__ import annotations

import asyncio
import importlib
import pkgutil
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import grpc
import materials.v1
import pytest
from google.protobuf.descriptor import EnumValueDescriptor, MethodDescriptor, ServiceDescriptor
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from materials.v1 import errors_pb2
from materials.v1 import status_service_pb2 as status_pb

from servicekit.channels import bearer, open_channel
from tests.contract.bare_services import BareServices
from tests.contract.record_calls import RecordCalls
from tests.contract.refusals import refusal_of, refused
from tests.local_stack import Client, LocalStack

USER = "a user's token, or a service's"
OPERATOR = "an operator's token only"
SERVICE = "a service's token only"

#: Who may call what, and which part serves it.
RULES = {
    "materials.v1.IngestService/UploadMaterial": USER,
    "materials.v1.IngestService/DownloadMaterial": USER,
    "materials.v1.StatusService/GetMaterial": USER,
    "materials.v1.StatusService/BatchGetMaterials": USER,
    "materials.v1.StatusService/ListMaterials": USER,
    "materials.v1.StatusService/WatchMaterial": USER,
    "materials.v1.StatusService/WatchCourse": USER,
    "materials.v1.StatusService/RetryMaterial": USER,
    "materials.v1.StatusService/CancelMaterial": USER,
    "materials.v1.StatusService/DeleteMaterial": USER,
    "materials.v1.StatusService/ListMaterialTransitions": USER,
    "materials.v1.StatusService/RetryFailedMaterials": USER,
    "materials.v1.StatusService/GetQueue": OPERATOR,
    "materials.v1.StatusService/PauseProcessing": OPERATOR,
    "materials.v1.StatusService/ResumeProcessing": OPERATOR,
    "materials.v1.ProcessorService/SearchMaterials": USER,
    "materials.v1.ProcessorService/GetMaterialText": USER,
    "materials.v1.RecordService/AdmitUpload": SERVICE,
    "materials.v1.RecordService/CreateMaterial": SERVICE,
    "materials.v1.RecordService/ClaimMaterial": SERVICE,
    "materials.v1.RecordService/ReportStatus": SERVICE,
    "materials.v1.RecordService/ReportProcessor": SERVICE,
    "materials.v1.RecordService/LeaseAnnouncements": SERVICE,
    "materials.v1.RecordService/MarkAnnounced": SERVICE,
    "materials.v1.RecordService/ConfirmPurged": SERVICE,
}
SERVED_BY = {
    "materials.v1.IngestService": "ingest",
    "materials.v1.StatusService": "status",
    "materials.v1.RecordService": "status",
    "materials.v1.ProcessorService": "processor",
}
SECONDS = 20.0


def services() -> Iterator[ServiceDescriptor]:
    """Every service of the package, found in its files."""
    for module in pkgutil.iter_modules(materials.v1.__path__):
        if module.name.endswith("_pb2"):
            file = importlib.import_module(f"materials.v1.{module.name}").DESCRIPTOR
            yield from file.services_by_name.values()


@dataclass(frozen=True)
class Rpc:
    """One call of the contract."""

    method: MethodDescriptor

    @property
    def name(self) -> str:
        return f"{self.method.containing_service.full_name}/{self.method.name}"

    async def call(self, stack: LocalStack, metadata: list[tuple[str, str]], request: bytes = b"") -> None:
        """Calls it with one request, an empty one unless given, until its first response. Raises grpc.RpcError."""
        address = stack.facts[SERVED_BY[self.method.containing_service.full_name]]
        await asyncio.to_thread(self._call, address, metadata, request)

    def _call(self, address: str, metadata: list[tuple[str, str]], request: bytes) -> None:
        # Not grpc.aio, whose client loses an answer that comes while it writes (grpc #36066).
        with grpc.insecure_channel(address) as channel:
            sends = iter([request]) if self.method.client_streaming else request
            kind: Any = {
                (False, False): channel.unary_unary, (False, True): channel.unary_stream,
                (True, False): channel.stream_unary, (True, True): channel.stream_stream,
            }[self.method.client_streaming, self.method.server_streaming]  # fmt: skip
            answer = kind(f"/{self.name}")(sends, metadata=metadata, timeout=SECONDS)
            if self.method.server_streaming:
                next(answer, None)
                answer.cancel()


RPCS = [Rpc(method) for service in services() for method in service.methods]
each_rpc = pytest.mark.parametrize("rpc", RPCS, ids=lambda rpc: rpc.name)


def test_every_call_has_its_rule_and_every_service_its_server() -> None:
    assert {rpc.name for rpc in RPCS} == RULES.keys()
    assert {service.full_name for service in services()} == SERVED_BY.keys()


@each_rpc
async def test_call_without_a_token_is_refused(stack: LocalStack, rpc: Rpc) -> None:
    for metadata in ([], [("authorization", "")], [("authorization", "Bearer ")], [("authorization", "Basic YTpi")]):
        with refused("UNAUTHENTICATED", "TOKEN_MISSING"):
            await rpc.call(stack, metadata)


@each_rpc
async def test_call_with_a_token_that_is_not_good_is_refused(stack: LocalStack, rpc: Rpc) -> None:
    good = stack.user_token("ann", {"*": "editor"})
    for token in ("garbage", good[:-2], stack.user_token("ann", aud="other"), stack.user_token("ann", iss="other")):
        with refused("UNAUTHENTICATED", "TOKEN_INVALID"):
            await rpc.call(stack, bearer(token))
    for token in (stack.user_token("ann", exp=1), stack.user_token("ann", nbf=4_000_000_000)):
        with refused("UNAUTHENTICATED", "TOKEN_EXPIRED"):
            await rpc.call(stack, bearer(token))


@each_rpc
async def test_call_for_peers_or_operators_is_refused_to_users_and_only_that(stack: LocalStack, rpc: Rpc) -> None:
    refusal = {SERVICE: "SERVICE_IDENTITY_REQUIRED", OPERATOR: "OPERATOR_REQUIRED"}.get(RULES[rpc.name])
    for claims in ({}, {"role": "service"}):
        token = stack.user_token("ann", {"*": "editor"}, **claims)
        if refusal is None:
            await _answered(rpc, stack, token)
        else:
            with refused("PERMISSION_DENIED", refusal):
                await rpc.call(stack, bearer(token))
    with refused("UNAUTHENTICATED", "TOKEN_INVALID"):
        await rpc.call(stack, bearer(stack.user_token("ann", iss="materials-services", role="service")))


@each_rpc
async def test_empty_request_of_a_peer_is_answered_in_the_contracts_words(stack: LocalStack, rpc: Rpc) -> None:
    if RULES[rpc.name] == OPERATOR:
        with refused("PERMISSION_DENIED", "OPERATOR_REQUIRED"):
            await rpc.call(stack, bearer(stack.facts["service_token"]))
    else:
        await _answered(rpc, stack, stack.facts["service_token"])


async def _answered(rpc: Rpc, stack: LocalStack, token: str) -> None:
    """An empty request is answered, or refused for what is missing in it; never INTERNAL, never without a reason."""
    try:
        await rpc.call(stack, bearer(token))
    except grpc.RpcError as error:
        refusal = refusal_of(error)
    else:
        return
    assert refusal.code.name in ("INVALID_ARGUMENT", "NOT_FOUND"), refusal
    assert f"ERROR_REASON_{refusal.reason}" in {value.name for value in REASONS}


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
async def test_bytes_that_are_no_request_are_refused_after_who_is_calling(stack: LocalStack, rpc: Rpc) -> None:
    junk = b"\xff" * 40
    with refused("INVALID_ARGUMENT", "FIELD_INVALID", "request"):
        await rpc.call(stack, bearer(stack.facts["service_token"]), junk)
    with refused("UNAUTHENTICATED", "TOKEN_MISSING"):
        await rpc.call(stack, [], junk)


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
