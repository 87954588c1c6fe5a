"""Channels to peers, as `materials.channels` opens them: with this service's identity, and certificates that may be renewed while it runs."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

import grpc
from materials import channels
from materials.channels import Options, bearer, channel_options

from servicekit.tls import CurrentTls, TlsContents, TlsFiles, channel_credentials, load
from servicekit.tracing import traced

#: Calls at once on one connection: what a server of ours takes. More wait, without a deadline's end in sight.
MAX_STREAMS_PER_CONNECTION = 2_000
#: How often a peer's channel looks for renewed certificates.
RENEWAL_CHECK_SECONDS = 10.0
#: Channels with certificates of before that are kept for the calls under way on them; without any, gRPC lets go of their connections after a while.
MAX_RETIRED_CHANNELS = 4


def open_channel(endpoint: str, tls: TlsFiles | None = None) -> grpc.aio.Channel:
    """An asynchronous channel; connects when first used and again whenever needed. By TLS when there is an authority to check the peer against.

    Raises ValueError when the files are of no use.
    """
    if tls is None or tls.authority is None:
        return channels.open_channel(endpoint)
    return _open(endpoint, load(tls), _named(channel_options(), tls.server_name))


def _open(endpoint: str, tls: TlsContents | None, options: Options) -> grpc.aio.Channel:
    return channels.open_channel(endpoint, None if tls is None else channel_credentials(tls), options)


def _named(options: Options, server_name: str) -> Options:
    # The authority is what the certificate is checked against. That of several addresses is their whole list, which no certificate carries.
    return [*options, ("grpc.default_authority", server_name)] if server_name else options


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
        self._options = _named(channel_options(), tls.server_name if tls is not None else "")
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
        """This service's identity for one call, and the trace that it is part of."""
        return traced(bearer(self._token()))

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
