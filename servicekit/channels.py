"""Channels to peers: keepalive that finds dead connections, retries by the contract's policy, round robin over replicas, and the caller's identity.

An endpoint is `host:port`, several of them with commas (replicas, tried in turn), or any gRPC target such as `dns:///status:50052`.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Callable
from typing import Any, TypeAlias

import grpc

from servicekit.tls import CurrentTls, TlsContents, TlsFiles, channel_credentials, load

#: Calls at once on one connection: what a server of ours takes. More wait, without a deadline's end in sight.
MAX_STREAMS_PER_CONNECTION = 2_000
#: Both directions, both sides.
MAX_MESSAGE_BYTES = 4 * 1024 * 1024
#: How often a peer's channel looks for renewed certificates.
RENEWAL_CHECK_SECONDS = 10.0
#: Channels with certificates of before that are kept for the calls under way on them; without any, gRPC lets go of their connections after a while.
MAX_RETIRED_CHANNELS = 4
#: Unary calls that met UNAVAILABLE are tried again by the channel, with jittered exponential backoff; never streams. So are those that a server
#: CANCELLED: that is what becomes of calls it had received and not yet looked at when it was told to stop. A caller's own cancellation is not repeated.
_SERVICE_CONFIG: dict[str, Any] = {
    "loadBalancingConfig": [{"round_robin": {}}],
    "methodConfig": [
        {
            "name": [
                {"service": "materials.v1.RecordService"},
                {"service": "materials.v1.StatusService"},
                {"service": "materials.v1.ProcessorService"},
            ],
            "retryPolicy": {
                "maxAttempts": 4,
                "initialBackoff": "0.1s",
                "maxBackoff": "1s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE", "CANCELLED"],
            },
        }
    ],
}

Options: TypeAlias = list[tuple[str, Any]]
CHANNEL_OPTIONS: Options = [
    ("grpc.service_config", json.dumps(_SERVICE_CONFIG)),
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
    ("grpc.max_reconnect_backoff_ms", 2_000),
]


def target_of(endpoint: str) -> str:
    """The gRPC target of an endpoint setting."""
    return "ipv4:" + endpoint.replace(" ", "") if "," in endpoint else endpoint


def open_channel(endpoint: str, tls: TlsFiles | None = None) -> grpc.aio.Channel:
    """An asynchronous channel; connects when first used and again whenever needed. By TLS when there is an authority to check the peer against.

    Raises ValueError when the files are of no use.
    """
    if tls is None or tls.authority is None:
        return _open(endpoint, None, CHANNEL_OPTIONS)
    return _open(endpoint, load(tls), _named(CHANNEL_OPTIONS, tls.server_name))


def _open(endpoint: str, tls: TlsContents | None, options: Options) -> grpc.aio.Channel:
    if tls is None:
        return grpc.aio.insecure_channel(target_of(endpoint), options=options)
    return grpc.aio.secure_channel(target_of(endpoint), channel_credentials(tls), options=options)


def _named(options: Options, server_name: str) -> Options:
    # The authority is what the certificate is checked against. That of several addresses is their whole list, which no certificate carries.
    return [*options, ("grpc.default_authority", server_name)] if server_name else options


def bearer(token: str) -> list[tuple[str, str]]:
    """The metadata that carries an identity."""
    return [("authorization", f"Bearer {token}")]


class Peer:
    """A part: one channel to a peer service and the identity to call it with.

    `tls` as for `open_channel`. Renewed certificates are taken up: the channel is then another one, so take it anew for each call. `own_connections`: none
    is shared with other channels to the same address, as gRPC does by itself; for many long streams, of which a server takes so many on one connection.
    """

    def __init__(
        self,
        endpoint: str,
        token: Callable[[], str],
        tls: TlsFiles | None = None,
        *,
        own_connections: bool = False,
    ) -> None:
        """Raises ValueError when the files of `tls` are of no use."""
        self._endpoint, self._token = endpoint, token
        self._options = _named(CHANNEL_OPTIONS, tls.server_name if tls is not None else "")
        if own_connections:
            self._options = [*self._options, ("grpc.use_local_subchannel_pool", 1)]
        self._tls = CurrentTls(tls) if tls is not None and tls.authority is not None else None
        self._channel: grpc.aio.Channel | None = None
        self._retired: deque[grpc.aio.Channel] = deque()
        self._renewing: asyncio.Task[None] | None = None

    @property
    def channel(self) -> grpc.aio.Channel:
        """The channel; made on first use, inside the running event loop."""
        if self._channel is None:
            self._channel = _open(self._endpoint, self._tls.contents if self._tls is not None else None, self._options)
        return self._channel

    def metadata(self) -> list[tuple[str, str]]:
        """This service's identity for one call."""
        return bearer(self._token())

    async def start(self, tasks: asyncio.TaskGroup) -> None:
        """Nothing to wait for: gRPC connects by itself."""
        if self._tls is not None:
            self._renewing = tasks.create_task(self._follow_renewals(self._tls), name="peer-certificates")

    async def stop(self) -> None:
        """Closes the channels and whatever runs on them."""
        if self._renewing is not None:
            self._renewing.cancel()
            await asyncio.wait([self._renewing])
        if self._channel is not None:
            await self._channel.close()
        while self._retired:
            await self._retired.popleft().close()

    async def _follow_renewals(self, tls: CurrentTls) -> None:
        """Lets new calls use the renewed certificates, and those under way end by themselves."""
        while True:
            await asyncio.sleep(RENEWAL_CHECK_SECONDS)
            if await asyncio.to_thread(tls.renewed) is not None and self._channel is not None:
                self._retired.append(self._channel)
                self._channel = None
            while len(self._retired) > MAX_RETIRED_CHANNELS:
                await self._retired.popleft().close()
