"""Three nats-servers in one JetStream cluster, each a process that can be killed and started again."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import nats
import nats.errors
import nats.js.errors

from single_node.nats_server import binary
from tests.local_stack import free_ports

SERVERS = 3
READY_SECONDS = 60.0
STOP_SECONDS = 10.0
USER = "materials"


@dataclass
class NatsServer:
    """One server. `process` is None while it is down."""

    name: str
    port: int
    configuration: Path
    process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Starts its process; does not wait until it is ready."""
        log = self.configuration.with_suffix(".log").open("ab")
        with log:
            self.process = await asyncio.create_subprocess_exec(
                str(binary()), "--config", str(self.configuration), stdout=log, stderr=log
            )

    async def stop(self, number: int = signal.SIGTERM) -> None:
        """Ends its process by this signal, and waits until it is gone."""
        process, self.process = self.process, None
        if process is None or process.returncode is not None:
            return
        process.send_signal(number)
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


@dataclass
class NatsCluster:
    """The servers, in one cluster. `password` is that of the one user."""

    servers: list[NatsServer] = field(default_factory=list)
    password: str = field(default_factory=lambda: secrets.token_urlsafe(16), repr=False)

    @classmethod
    async def start(cls, directory: Path) -> NatsCluster:
        """Starts all and returns when they have a leader. Raises TimeoutError."""
        cluster = cls()
        ports = free_ports(2 * SERVERS)
        clients, routes = ports[:SERVERS], ports[SERVERS:]
        try:
            for number, port in enumerate(clients):
                name = f"nats-{number + 1}"
                path = directory / f"{name}.conf"
                path.write_text(_configuration(name, port, directory / name, cluster.password, number, routes))
                server = NatsServer(name, port, path)
                cluster.servers.append(server)
                await server.start()
            await cluster.until_ready()
        except BaseException:
            await cluster.stop()
            raise
        return cluster

    async def stop(self) -> None:
        """Ends all of them."""
        await asyncio.gather(*(server.stop() for server in self.servers))

    @property
    def url(self) -> str:
        """As the services are told: all servers, with commas."""
        return ",".join(self.url_of(server) for server in self.servers)

    def url_of(self, server: NatsServer) -> str:
        """Of one server."""
        return f"nats://{USER}:{self.password}@127.0.0.1:{server.port}"

    async def until_ready(self, servers: Sequence[NatsServer] = ()) -> None:
        """Returns when each of these, or all, says that JetStream has a leader. Raises TimeoutError."""
        async with asyncio.timeout(READY_SECONDS):
            for server in servers or self.servers:
                while not await self._has_leader(server):
                    await asyncio.sleep(0.1)

    async def _has_leader(self, server: NatsServer) -> bool:
        try:
            connection = await nats.connect(
                self.url_of(server), connect_timeout=2, allow_reconnect=False, error_cb=_quiet
            )
        except (OSError, TimeoutError, nats.errors.Error):
            return False
        try:
            await connection.jetstream(timeout=2).account_info()
        except (TimeoutError, nats.errors.Error, nats.js.errors.Error):
            return False
        else:
            return True
        finally:
            await connection.close()

    async def leader_of(self, stream: str) -> NatsServer:
        """The server that leads the stream. Raises TimeoutError while there is none."""
        connection = await nats.connect(self.url.split(","), connect_timeout=2, error_cb=_quiet)
        try:
            async with asyncio.timeout(READY_SECONDS):
                while True:
                    info = await connection.jetstream(timeout=5).stream_info(stream)
                    leader = info.cluster.leader if info.cluster is not None else None
                    for server in self.servers:
                        if server.name == leader:
                            return server
                    await asyncio.sleep(0.1)
        finally:
            await connection.close()

    async def copies_of(self, stream: str) -> tuple[int, int]:
        """How many copies the stream has, and how many of them are up to date."""
        connection = await nats.connect(self.url.split(","), connect_timeout=2, error_cb=_quiet)
        try:
            info = await connection.jetstream(timeout=5).stream_info(stream)
        finally:
            await connection.close()
        others = (info.cluster.replicas or []) if info.cluster is not None else []
        return info.config.num_replicas or 1, 1 + sum(1 for each in others if each.current and not each.offline)


async def _quiet(_: Exception) -> None:
    """nats-py calls this for every failed try."""


def _configuration(name: str, port: int, store: Path, password: str, number: int, routes: Sequence[int]) -> str:
    """Loopback only. JSON's strings are valid NATS strings."""
    peers = [f"nats://127.0.0.1:{route}" for other, route in enumerate(routes) if other != number]
    return f"""\
server_name: {name}
listen: "127.0.0.1:{port}"
max_payload: 1048576
authorization {{ user: {USER}, password: {json.dumps(password)} }}
jetstream {{ store_dir: {json.dumps(os.fspath(store))}, max_memory_store: 67108864, max_file_store: 1073741824 }}
cluster {{
  name: materials
  listen: "127.0.0.1:{routes[number]}"
  routes: {json.dumps(peers)}
}}
"""
