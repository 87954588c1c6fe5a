"""The HTTP server as a part: uvicorn under the service's own lifecycle.

Drain: on stop, `on_drain` callbacks end the event streams so that their clients resume elsewhere, the port is closed, running requests get the grace.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Sequence
from contextlib import suppress

import structlog
from starlette.types import ASGIApp
from uvicorn import Config, Server

from gateway.http_protocol import ConnectionLimits, Lingering, with_limits
from gateway.settings import GatewaySettings

log = structlog.get_logger()

#: What the system takes of an answer ahead of the network, for each connection.
UNSENT_BYTES = 128 * 1024


class HttpServer:
    """Serves one ASGI application. The last part of the gateway: when it starts, all that it needs works."""

    def __init__(self, settings: GatewaySettings, app: ASGIApp, *, on_drain: Sequence[Callable[[], None]] = ()) -> None:
        self._settings, self._app, self._on_drain = settings, app, on_drain
        self._server: Server | None = None
        self._sockets: list[socket.socket] = []
        self._ticking: asyncio.Task[None] | None = None

    async def start(self, tasks: asyncio.TaskGroup) -> None:
        """Listens. Raises RuntimeError when the address cannot be had, or the certificate cannot be used."""
        settings = self._settings
        config = Config(
            Lingering(self._app),
            http=with_limits(ConnectionLimits(settings.max_head_bytes, settings.head_seconds, settings.unread_seconds)),
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=True,
            forwarded_allow_ips=settings.forwarded_allow_ips,
            timeout_keep_alive=settings.keep_alive_seconds,
            timeout_graceful_shutdown=max(1, round(settings.shutdown_grace_seconds)),
            ssl_certfile=settings.https_cert_file,
            ssl_keyfile=settings.https_key_file,
        )
        try:
            config.load()
        except (OSError, ssl.SSLError) as error:
            raise RuntimeError(f"cannot use HTTPS_CERT_FILE and HTTPS_KEY_FILE: {error}") from error
        self._sockets = [_listen(settings.listen_address, unread_seconds=settings.unread_seconds)]
        server = Server(config)
        server.lifespan = config.lifespan_class(config)
        await server.startup(sockets=self._sockets)
        self._server = server
        self._ticking = tasks.create_task(server.main_loop(), name="http-server")
        log.info("listening", address=settings.listen_address, https=config.is_ssl)

    async def stop(self) -> None:
        """Drains: see the module's text."""
        server, self._server = self._server, None
        if server is None:
            return
        for drain in self._on_drain:
            drain()
        if self._ticking is not None:
            self._ticking.cancel()
            await asyncio.wait([self._ticking])
        await server.shutdown(sockets=self._sockets)


def _listen(address: str, *, unread_seconds: float) -> socket.socket:
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # Connections inherit both. A client that reads nothing would else have megabytes kept for it before we notice, and one whose machine has gone
    # a quarter of an hour. Where the system does not know them, our own buffer is what is bounded.
    with suppress(OSError, AttributeError):
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(unread_seconds * 1000))
    try:
        listener.bind((host, int(port)))
    except OSError as error:
        with suppress(OSError):
            listener.close()
        raise RuntimeError(f"cannot listen on {address}: {error.strerror}; set LISTEN_ADDRESS") from error
    listener.setblocking(False)
    return listener
