"""Channels to the services, opened as they should be: what every client of the typed stubs needs and would else find out one outage at a time.

    from materials.channels import bearer, open_channel
    from materials.v1 import status_service_pb2, status_service_pb2_grpc

    async with open_channel("dns:///status:50052") as channel:
        status = status_service_pb2_grpc.StatusServiceStub(channel)
        request = status_service_pb2.GetMaterialRequest(material_id="…")
        material = (await status.GetMaterial(request, metadata=bearer(token), timeout=10)).material

The channel balances over all replicas, finds a dead connection within half a minute, and connects again by itself. Calls that met UNAVAILABLE are tried
again by it, with jittered exponential backoff; so are those that a server CANCELLED, which is what becomes of calls that it had received and not yet looked
at when it was told to stop. So a deletion whose reply was lost ends as MATERIAL_NOT_FOUND. A caller's own cancellation is not repeated, and neither are
uploads: repeat them with the same request id. A stream that breaks in the middle is the caller's to resume, by its revision or token.
"""

from __future__ import annotations

import json
from ipaddress import ip_address
from typing import Any, TypeAlias

import grpc
from google.protobuf.descriptor import MethodDescriptor
from materials.v1 import (
    ingest_service_pb2,
    processor_service_pb2,
    record_service_pb2,
    status_service_pb2,
)

#: Both directions, both sides.
MAX_MESSAGE_BYTES = 4 * 1024 * 1024
#: A unary call that names no deadline, or a later one, ends after this.
LONGEST_UNARY_CALL = "120s"
#: Together the pauses (1.2 s with the least jitter) are longer than what a channel may wait until it connects again to a replica that is back: one that has
#: just been started, while the other is being stopped, is not missed. And shorter than what a caller should wait to hear that something is away.
RETRY_POLICY: dict[str, Any] = {
    "maxAttempts": 5,
    "initialBackoff": "0.1s",
    "maxBackoff": "1s",
    "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE", "CANCELLED"],
}

Options: TypeAlias = list[tuple[str, Any]]


def service_config() -> dict[str, Any]:
    """The gRPC service config (gRFC A2, A6): round robin, retries, time-outs. Retried is what may be repeated without harm and is one request: no upload, and
    no stream of requests, which gRPC would send anew from its buffer beside whoever resumes it."""
    services = [
        ingest_service_pb2.DESCRIPTOR.services_by_name["IngestService"],
        record_service_pb2.DESCRIPTOR.services_by_name["RecordService"],
        status_service_pb2.DESCRIPTOR.services_by_name["StatusService"],
        processor_service_pb2.DESCRIPTOR.services_by_name["ProcessorService"],
    ]
    methods = [method for service in services for method in service.methods if not method.client_streaming]
    return {
        "loadBalancingConfig": [{"round_robin": {}}],
        "methodConfig": [_method_config(method) for method in methods],
    }


def channel_options() -> Options:
    """What `open_channel` gives to gRPC; for a channel of your own making."""
    return [
        ("grpc.service_config", json.dumps(service_config())),
        ("grpc.enable_retries", 1),
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.keepalive_time_ms", 20_000),
        ("grpc.keepalive_timeout_ms", 5_000),
        # What decides when the other side is taken for dead is this; left alone it is a minute, whatever the keepalive time-out says.
        ("grpc.http2.ping_timeout_ms", 5_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 700),
    ]


def target_of(endpoint: str) -> str:
    """The gRPC target of an endpoint: `host:port`, several IP addresses with commas (replicas, in turn), or any target such as `dns:///status:50052`.
    Raises ValueError for a name among several: gRPC looks up one name, which may stand for all replicas; and for addresses of both kinds."""
    if "," not in endpoint:
        return endpoint
    addresses = [address.strip() for address in endpoint.split(",")]
    kinds = {_kind_of(address) for address in addresses}
    if len(kinds) > 1:
        raise ValueError("several endpoints must be IPv4 addresses all, or IPv6 addresses all")
    return f"{kinds.pop()}:{','.join(addresses)}"


def open_channel(
    endpoint: str, credentials: grpc.ChannelCredentials | None = None, options: Options | None = None
) -> grpc.aio.Channel:
    """An asynchronous channel; connects when first used and again whenever needed. By TLS with `credentials`. `options` take the place of
    `channel_options()`."""
    chosen = channel_options() if options is None else options
    if credentials is None:
        return grpc.aio.insecure_channel(target_of(endpoint), options=chosen)
    return grpc.aio.secure_channel(target_of(endpoint), credentials, options=chosen)


def bearer(token: str) -> list[tuple[str, str]]:
    """The metadata that carries an identity."""
    return [("authorization", f"Bearer {token}")]


def _kind_of(address: str) -> str:
    host, _, port = address.rpartition(":")
    try:
        version = ip_address(host.removeprefix("[").removesuffix("]")).version
    except ValueError:
        raise ValueError(
            f"several endpoints must be IP addresses with ports, which {address!r} is not; for a name use dns:///NAME:PORT"
        ) from None
    if not port.isdecimal():
        raise ValueError(f"{address!r} has no port")
    return f"ipv{version}"


def _method_config(method: MethodDescriptor) -> dict[str, Any]:
    service = method.containing_service
    config: dict[str, Any] = {"name": [{"service": service.full_name, "method": method.name}]}
    if service.name != "IngestService":
        config["retryPolicy"] = RETRY_POLICY
    if not method.server_streaming:
        config["timeout"] = LONGEST_UNARY_CALL
    return config
