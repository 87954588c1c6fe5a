"""gRPC ignores an option whose name it does not know: each of ours must be one that it reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc
import grpc._cython.cygrpc
import pytest
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from materials import channels
from materials.v1 import (
    ingest_service_pb2,
    material_pb2,
    processor_service_pb2,
    record_service_pb2,
    status_service_pb2,
    status_service_pb2_grpc,
)

from servicekit.server import SERVER_OPTIONS

LIBRARY = Path(grpc._cython.cygrpc.__file__)
NAMES = sorted({name for name, _ in [*SERVER_OPTIONS, *channels.channel_options()]})


@pytest.fixture(scope="module")
def library() -> bytes:
    return LIBRARY.read_bytes()


@pytest.mark.parametrize("name", NAMES)
def test_option_is_one_that_grpc_reads(library: bytes, name: str) -> None:
    assert name.encode() + b"\0" in library


def test_a_clients_pings_are_as_rare_as_the_server_wants_them() -> None:
    server, client = dict(SERVER_OPTIONS), dict(channels.channel_options())
    assert client["grpc.keepalive_time_ms"] >= server["grpc.http2.min_ping_interval_without_data_ms"]
    assert server["grpc.keepalive_permit_without_calls"] == 1


SERVICES = [
    service
    for file in (ingest_service_pb2, processor_service_pb2, record_service_pb2, status_service_pb2)
    for service in file.DESCRIPTOR.services_by_name.values()
]


def configured(method: MethodDescriptor) -> dict[str, Any]:
    """What the channel does about a call of this method."""
    name = {"service": method.containing_service.full_name, "method": method.name}
    return next((each for each in channels.service_config()["methodConfig"] if name in each["name"]), {})


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.name)
def test_each_unary_call_has_an_end_and_no_stream_has(service: ServiceDescriptor) -> None:
    for method in service.methods:
        streams = method.client_streaming or method.server_streaming
        assert configured(method).get("timeout") == (None if streams else "120s"), method.name


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.name)
def test_the_channel_repeats_single_requests_and_no_upload_or_stream_of_reports(service: ServiceDescriptor) -> None:
    for method in service.methods:
        repeated = service.name != "IngestService" and not method.client_streaming
        assert ("retryPolicy" in configured(method)) == repeated, method.name


async def test_a_service_is_called_again_when_it_was_away_for_a_moment() -> None:
    """The options are those that gRPC goes by: the second try of the same call is answered."""
    tries = 0

    async def answer(_: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        nonlocal tries
        tries += 1
        if tries == 1:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "not yet")
        return status_service_pb2.GetMaterialResponse(material=material_pb2.Material(id="m")).SerializeToString()

    server = grpc.aio.server()
    handlers = {"GetMaterial": grpc.unary_unary_rpc_method_handler(answer)}
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("materials.v1.StatusService", handlers)])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with channels.open_channel(f"127.0.0.1:{port}") as channel:
            stub = status_service_pb2_grpc.StatusServiceStub(channel)
            request = status_service_pb2.GetMaterialRequest(material_id="m")
            assert (await stub.GetMaterial(request, timeout=20)).material.id == "m"
    finally:
        await server.stop(None)
    assert tries == 2


@pytest.mark.parametrize(
    ("endpoint", "target"),
    [
        ("status:50052", "status:50052"),
        ("dns:///status:50052", "dns:///status:50052"),
        ("10.0.0.1:50052, 10.0.0.2:50052", "ipv4:10.0.0.1:50052,10.0.0.2:50052"),
        ("[::1]:50052,[::2]:50052", "ipv6:[::1]:50052,[::2]:50052"),
    ],
)
def test_target_of_an_endpoint(endpoint: str, target: str) -> None:
    assert channels.target_of(endpoint) == target


@pytest.mark.parametrize(
    "endpoint",
    [
        "status-1:50052,status-2:50052",
        "10.0.0.1:50052,",
        "10.0.0.1:1,10.0.0.2",
        "10.0.0.1:1,10.0.0.2:",
        "10.0.0.1:1,[::1]:2",
    ],
)
def test_several_are_addresses_that_grpc_can_connect_to(endpoint: str) -> None:
    with pytest.raises(ValueError, match=r"several endpoints|no port"):
        channels.target_of(endpoint)
