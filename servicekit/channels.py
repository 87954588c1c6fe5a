"""Channels to peers: keepalive that finds dead connections, retries by the contract's policy, round robin over replicas, and the caller's identity.

An endpoint is `host:port`, several of them with commas (replicas, tried in turn), or any gRPC target such as `dns:///status:50052`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import grpc

#: Both directions, both sides.
MAX_MESSAGE_BYTES = 4 * 1024 * 1024
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

CHANNEL_OPTIONS: list[tuple[str, Any]] = [
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


def open_channel(endpoint: str) -> grpc.aio.Channel:
    """An asynchronous channel; connects when first used and again whenever needed."""
    return grpc.aio.insecure_channel(target_of(endpoint), options=CHANNEL_OPTIONS)


def bearer(token: str) -> list[tuple[str, str]]:
    """The metadata that carries an identity."""
    return [("authorization", f"Bearer {token}")]


class Peer:
    """A part: one channel to a peer service and the identity to call it with."""

    def __init__(self, endpoint: str, token: Callable[[], str]) -> None:
        self._endpoint, self._token = endpoint, token
        self._channel: grpc.aio.Channel | None = None

    @property
    def channel(self) -> grpc.aio.Channel:
        """The channel; made on first use, inside the running event loop."""
        if self._channel is None:
            self._channel = open_channel(self._endpoint)
        return self._channel

    def metadata(self) -> list[tuple[str, str]]:
        """This service's identity for one call."""
        return bearer(self._token())

    async def start(self, tasks: Any) -> None:
        """Nothing to wait for: gRPC connects by itself."""

    async def stop(self) -> None:
        """Closes the channel and whatever runs on it."""
        if self._channel is not None:
            await self._channel.close()
