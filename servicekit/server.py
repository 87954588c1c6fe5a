"""The gRPC server as a part: health, reflection, TLS, keepalive, limits, drain.

Health: the server answers for "" (the process) and for each service by its full name, with Watch; a part may report its own name, such as "ai_brain", without
making the process unhealthy. Drain: on stop, health turns NOT_SERVING, `on_drain` callbacks end the long streams so that their clients resume
elsewhere, running calls get the grace, and the port is closed.

grpc.aio stops listening, for good and without a word to us, when its own loop fails: as it does at a request whose path is not UTF-8, whoever sent it. The
service then ends with an error and is started afresh, as with every part that fails.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Callable, Sequence
from typing import Any

import grpc
import structlog
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer
from grpc_reflection.v1alpha import reflection
from materials.channels import MAX_MESSAGE_BYTES

from servicekit.channels import MAX_STREAMS_PER_CONNECTION
from servicekit.interceptor import CallInterceptor
from servicekit.settings import GrpcServiceSettings
from servicekit.tls import CurrentTls, server_credentials, valid_until

log = structlog.get_logger()

MAX_METADATA_BYTES = 8 * 1024
CHECK_SECONDS = 0.5

#: Matches the keepalive of `servicekit.channels`: pings every 20 s also on quiet connections must not be answered with GOAWAY.
SERVER_OPTIONS: list[tuple[str, Any]] = [
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_metadata_size", MAX_METADATA_BYTES),
    ("grpc.absolute_max_metadata_size", MAX_METADATA_BYTES),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.ping_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.http2.max_ping_strikes", 5),
    ("grpc.max_concurrent_streams", MAX_STREAMS_PER_CONNECTION),
    # What is received ahead of a handler that is slower than its client, per call. Left to gRPC's probing of the line it grows with the luck of the
    # moment; fixed, an upload costs what it costs.
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", 2 * 1024 * 1024),
    # Calls that have come and not yet been looked at. Past its own limit of 1,000 gRPC drops some with CANCELLED, which no client takes for
    # "try again" (grpc #34782): a thousand watchers that reconnect at once must get in.
    ("grpc.server.max_pending_requests", 10_000),
    ("grpc.server.max_pending_requests_hard_limit", 20_000),
    # A client's connection moves to another replica once in a while, so that new replicas get their share.
    ("grpc.max_connection_age_ms", 30 * 60_000),
    ("grpc.max_connection_age_grace_ms", 5 * 60_000),
    ("grpc.so_reuseport", 0),
]


class Health:
    """What the health service answers, by name."""

    def __init__(self) -> None:
        self.servicer = HealthServicer()

    async def set(self, name: str, serving: bool) -> None:
        """Reports a name as SERVING or NOT_SERVING; its watchers are told."""
        status = health_pb2.HealthCheckResponse
        await self.servicer.set(name, status.SERVING if serving else status.NOT_SERVING)

    async def shut_down(self) -> None:
        """NOT_SERVING for every name, from now on."""
        await self.servicer.enter_graceful_shutdown()


class GrpcServer:
    """A part that serves the given services. The last part of a service: when it starts, all that it needs works."""

    def __init__(
        self,
        settings: GrpcServiceSettings,
        interceptor: CallInterceptor,
        *,
        health: Health,
        services: Sequence[tuple[str, Callable[[grpc.aio.Server], None]]],
        on_drain: Sequence[Callable[[], None]] = (),
    ) -> None:
        self._settings, self._health, self._on_drain = settings, health, on_drain
        self._services, self._interceptor = services, interceptor
        self._server: grpc.aio.Server | None = None
        self._serving: asyncio.Task[None] | None = None

    async def start(self, tasks: asyncio.TaskGroup) -> None:
        """Listens. Raises RuntimeError when the address cannot be had, ValueError when the certificates are of no use."""
        server = grpc.aio.server(
            interceptors=[self._interceptor],
            options=SERVER_OPTIONS,
            maximum_concurrent_rpcs=self._settings.max_concurrent_calls,
        )
        names = [name for name, _ in self._services]
        for _, register in self._services:
            register(server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health.servicer, server)
        reflection.enable_server_reflection(
            [*names, health_pb2.DESCRIPTOR.services_by_name["Health"].full_name, reflection.SERVICE_NAME], server
        )
        address = self._settings.listen_address
        if self._add_port(server, address) == 0:
            raise RuntimeError(f"cannot listen on {address}; is another process there? Set LISTEN_ADDRESS.")
        await server.start()
        self._server = server
        self._serving = tasks.create_task(_until_it_fails(server), name="grpc-server")
        for name in ["", *names]:
            await self._health.set(name, True)
        log.info("listening", address=address)

    def _add_port(self, server: grpc.aio.Server, address: str) -> int:
        tls = self._settings.tls()
        if tls is None or tls.certificate is None:
            if not is_loopback(address):
                log.info(
                    "no TLS here: leave it so only behind a mesh or proxy, else set TLS_CERT_FILE", address=address
                )
            return server.add_insecure_port(address)
        current = CurrentTls(tls)
        log.info("TLS is on", mutual=tls.require_client_certificate, valid_until=valid_until(current.contents))
        return server.add_secure_port(
            address, server_credentials(current, require_client_certificate=tls.require_client_certificate)
        )

    async def stop(self) -> None:
        """Drains: see the module's text."""
        server, self._server = self._server, None
        if server is None:
            return
        if self._serving is not None:
            self._serving.cancel()
            await asyncio.wait([self._serving])
        await self._health.shut_down()
        for drain in self._on_drain:
            drain()
        await server.stop(self._settings.shutdown_grace_seconds)


def is_loopback(address: str) -> bool:
    """Whether only this machine can reach a host:port."""
    host = address.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


async def _until_it_fails(server: grpc.aio.Server) -> None:
    """Raises what ended gRPC's own loop. Asked again and again: with calls under way, gRPC's own wait does not end."""
    while await server.wait_for_termination(CHECK_SECONDS):
        pass
