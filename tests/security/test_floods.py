"""Connections that ask for more than anybody may have: gRPC refuses them by its limits, takes no memory for them, and serves everybody else meanwhile."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import grpc
import pytest
from materials.channels import MAX_MESSAGE_BYTES
from materials.v1 import status_service_pb2

from servicekit.server import MAX_METADATA_BYTES
from tests.contract.rpcs import RPCS
from tests.fuzz.wire_bytes import HEADERS, frame
from tests.security.attacked import MIB, PARTS, Attacked, World, peak_memory, pids
from tests.security.http2 import (
    CONTINUATION,
    ENHANCE_YOUR_CALM,
    FRAME_BYTES,
    GOAWAY,
    REFUSED_STREAM,
    RST_STREAM,
    Http2,
    head,
)

GET_MATERIAL = "/materials.v1.StatusService/GetMaterial"
#: How much a process may take for a flood that it refuses, in MiB.
MOST_GROWTH_MIB = 64
BOMB_BYTES = 128 * MIB
STREAMS, MAX_STREAMS = 10_000, 2_000
each_part = pytest.mark.parametrize("part", PARTS)


@pytest.fixture(autouse=True)
def others_are_served(attacked: Attacked, world: World) -> Iterator[None]:
    """After each flood the same processes serve everybody else."""
    yield
    world.still_serves()
    assert pids(attacked.stack) == attacked.pids_at_first


@pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip])
def test_message_over_the_limit_is_refused(world: World, compression: grpc.Compression) -> None:
    request = status_service_pb2.GetMaterialRequest(material_id="x" * (MAX_MESSAGE_BYTES + 1))
    with pytest.raises(grpc.RpcError) as caught:
        world.reader.status.GetMaterial(request, metadata=world.reader.metadata, timeout=20, compression=compression)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


@each_part
def test_message_that_expands_a_thousandfold_is_not_inflated(attacked: Attacked, world: World, part: str) -> None:
    method = next(rpc.name for rpc in RPCS if rpc.part == part and not rpc.method.client_streaming)
    memory = peak_memory(attacked, part)
    call = attacked.channels.by_service[part].unary_unary(f"/{method}")
    with pytest.raises(grpc.RpcError) as caught:
        call(bytes(BOMB_BYTES), metadata=world.reader.metadata, timeout=20, compression=grpc.Compression.Gzip)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert memory.growth_mib() < MOST_GROWTH_MIB


@each_part
def test_metadata_over_the_limit_is_refused(attacked: Attacked, part: str) -> None:
    call = attacked.channels.by_service[part].unary_unary("/materials.v1.StatusService/Unknown")
    with pytest.raises(grpc.RpcError) as caught:
        call(b"", metadata=[("x-filler", "x" * MAX_METADATA_BYTES)], timeout=20)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    with pytest.raises(grpc.RpcError) as caught:
        call(b"", metadata=[("x-filler", "x" * (MAX_METADATA_BYTES // 2))], timeout=20)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize("acknowledged", [True, False], ids=["knows the limit", "has not acknowledged it"])
def test_ten_thousand_requests_on_one_connection_are_refused_beyond_the_limit(
    attacked: Attacked, world: World, acknowledged: bool
) -> None:
    memory = peak_memory(attacked, "status")
    block = head(GET_MATERIAL, world.reader.token)
    with Http2(attacked.stack.facts["status"]) as connection:
        if acknowledged:
            connection.acknowledge_settings()
        for number in range(STREAMS):
            assert connection.open_request(2 * number + 1, block)
        world.still_serves()
        refusals = (payload for kind, _, payload in connection.frames() if kind == RST_STREAM)
        for _ in range(STREAMS - MAX_STREAMS):
            [code] = struct.unpack(">I", next(refusals))
            assert code in (REFUSED_STREAM, ENHANCE_YOUR_CALM)
        world.still_serves()
    assert memory.growth_mib() < MOST_GROWTH_MIB


@each_part
def test_rapid_reset_is_survived(attacked: Attacked, world: World, part: str) -> None:
    block = head(GET_MATERIAL, world.reader.token)
    with Http2(attacked.stack.facts[part]) as connection:
        for number in range(10_000):
            stream = 2 * number + 1
            if not (connection.open_request(stream, block) and connection.reset(stream)):
                break
        world.still_serves()


@each_part
def test_flood_of_pings_ends_the_connection(attacked: Attacked, part: str) -> None:
    with Http2(attacked.stack.facts[part]) as connection:
        for _ in range(10_000):
            if not connection.ping():
                break
        goaways = [payload for kind, _, payload in connection.frames() if kind == GOAWAY]
    # What it said may be lost with a connection that it resets.
    assert connection.closed
    assert {struct.unpack(">I", goaway[4:8]) for goaway in goaways} <= {(ENHANCE_YOUR_CALM,)}


@each_part
def test_headers_without_end_end_the_connection(attacked: Attacked, world: World, part: str) -> None:
    memory = peak_memory(attacked, part)
    filler = b"\0\x01x\x7f\x81\x7f" + b"x" * (FRAME_BYTES - 6)
    with Http2(attacked.stack.facts[part]) as connection:
        connection.send(frame(HEADERS, 0, 1, head(GET_MATERIAL, world.reader.token), 0))
        for _ in range(10_000):
            if not connection.send(frame(CONTINUATION, 0, 1, filler, 0)):
                break
        ended = connection.closed or any(kind in (GOAWAY, RST_STREAM) for kind, _, _ in connection.frames())
    assert ended or connection.closed
    assert memory.growth_mib() < MOST_GROWTH_MIB
