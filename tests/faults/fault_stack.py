"""The real stack with a proxy on each of its edges, a front before its Brain, and its processes in reach."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import nats
import psutil
from nats.js import JetStreamContext

from single_node.readiness import (
    BrainActive,
    GrpcServing,
    HttpServing,
    NatsGreets,
    PostgresAccepts,
    Readiness,
    until_ready,
)
from tests.faults.brain_front import BrainFront
from tests.faults.tcp_proxy import TcpProxy
from tests.local_stack import Client, LocalStack, free_ports, rendering_children

RESTART_SECONDS = 60.0
LEASE_SECONDS = 5
SERVICES = ("status", "ingest", "processor")
#: What each service connects to, besides the Brain.
EDGES = {
    "ingest": ("status", "nats"),
    "processor": ("status", "nats", "postgres"),
    "status": ("postgres", "nats"),
}


@dataclass(frozen=True)
class Layout:
    """How a stack is to be: replicas of every service, settings beside those that make time short, and whether there are proxies on its edges.

    With NATS_URL or OBJECT_STORE_URL among the settings that part is elsewhere."""

    replicas: int = 1
    proxied: bool = True
    settings: tuple[tuple[str, str], ...] = ()

    def environment(self) -> dict[str, str]:
        """Short leases and waits, so that what takes minutes in production takes seconds here, and no limits of owners."""
        return {
            "LEASE_SECONDS": str(LEASE_SECONDS),
            "RETRY_BACKOFF_SECONDS": "0.2",
            "RETRY_BACKOFF_CAP_SECONDS": "1",
            "AI_BRAIN_TIMEOUT": "60",
            # One owner stands for a crowd.
            "OWNER_REQUESTS_PER_SECOND": "0",
            "MAX_UPLOADS_PER_OWNER": "64",
            "MAX_WATCHES_PER_OWNER": "2000",
            **dict(self.settings),
        }


@dataclass
class FaultStack:
    """A running stack. `proxies` by client and part, such as `proxies["processor", "status"]`; with two replicas also `"status-2"`."""

    layout: Layout
    local: LocalStack
    proxies: dict[tuple[str, str], TcpProxy]
    brain: BrainFront
    _exits: AsyncExitStack = field(default_factory=AsyncExitStack)

    @classmethod
    async def start(cls, layout: Layout) -> FaultStack:
        """Starts proxies, then the stack behind them."""
        names = [f"{name}-{n}" if n > 1 else name for name in SERVICES for n in range(1, layout.replicas + 1)]
        names += ["postgres", "brain", *(["nats"] if "NATS_URL" not in layout.environment() else [])]
        ports = dict(zip(names, free_ports(len(names)), strict=True))
        exits = AsyncExitStack()
        proxies = {}
        for client, parts in EDGES.items() if layout.proxied else ():
            for part in [each for each in ports if each.rpartition("-")[0] in parts or each in parts]:
                proxies[client, part] = proxy = TcpProxy(ports[part])
                await proxy.start()
                exits.push_async_callback(proxy.stop)
        brain = BrainFront(ports["brain"])
        await brain.start()
        exits.push_async_callback(brain.stop)
        via = {edge: proxy.port for edge, proxy in proxies.items()} | {("processor", "brain"): brain.port}
        directory = Path(tempfile.mkdtemp(prefix="materials-faults-"))
        local = await asyncio.to_thread(
            LocalStack.start,
            directory,
            *(f"--replicas={','.join(f'{name}={layout.replicas}' for name in SERVICES)}",),
            *(f"--port={name}={port}" for name, port in ports.items()),
            *(f"--via={client}:{part}={port}" for (client, part), port in via.items()),
            environment=layout.environment(),
        )
        return cls(layout, local, proxies, brain, exits)

    async def stop(self, *, keep_logs: bool = False) -> None:
        """Stops everything; what was stopped by SIGSTOP goes on first. The logs of a stack that something went wrong on may be kept."""
        with suppress(FileNotFoundError):  # Ctrl-C reaches the stack too: it may be gone already
            for pid in self.local.current()["pids"].values():
                _signal(pid, signal.SIGCONT)
        await asyncio.to_thread(self.local.stop, keep=keep_logs)
        await self._exits.aclose()
        if keep_logs:
            for path in self.local.data_dir.iterdir():
                if path.name != "logs":
                    shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink()
            print(f"its logs are kept in {self.local.data_dir}/logs")

    # Processes

    def pid(self, name: str) -> int:
        """Of a part as it runs now: `processor`, `status-2`, `postgres`, `nats`, `brain`."""
        pids: dict[str, int] = self.local.current()["pids"]
        return pids[name]

    @property
    def parts(self) -> list[str]:
        """The names of all processes."""
        return list(self.local.current()["pids"])

    def kill(self, *names: str) -> dict[str, int]:
        """kill -9; returns the pids that were, for `restarted`. Postgres and NATS are started again by the stack, as every part is."""
        pids = {name: self.pid(name) for name in names}
        for pid in pids.values():
            _signal(pid, signal.SIGKILL)
        return pids

    def terminate(self, *names: str) -> dict[str, int]:
        """SIGTERM, as a rolling restart sends it; returns the pids for `restarted`."""
        pids = {name: self.pid(name) for name in names}
        for pid in pids.values():
            _signal(pid, signal.SIGTERM)
        return pids

    async def restarted(self, pids: Mapping[str, int]) -> None:
        """Returns when each part runs under another pid and is ready."""
        async with asyncio.timeout(RESTART_SECONDS):
            for name, pid in pids.items():
                while self.local.current()["pids"].get(name, pid) == pid:
                    await asyncio.sleep(0.05)
                await until_ready(self._readiness(name), RESTART_SECONDS)

    @asynccontextmanager
    async def down(self, *names: str) -> AsyncIterator[None]:
        """kill -9, and nobody starts them again before the end of the block; returns from it when they are ready."""
        _signal(self.local.process.pid, signal.SIGSTOP)
        try:
            pids = self.kill(*names)
            while not all(map(_is_dead, pids.values())):
                await asyncio.sleep(0.01)
            yield
        finally:
            _signal(self.local.process.pid, signal.SIGCONT)
        await self.restarted(pids)

    @asynccontextmanager
    async def frozen(self, *names: str) -> AsyncIterator[None]:
        """SIGSTOP, and SIGCONT at the end. A part that forks (Postgres) is stopped with all its children."""
        stopped = [process for name in names for process in _family(self.pid(name))]
        for process in stopped:
            _signal(process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for process in stopped:
                _signal(process.pid, signal.SIGCONT)

    def memory(self, name: str) -> int:
        """What a part has resident, in bytes."""
        resident: int = psutil.Process(self.pid(name)).memory_info().rss
        return resident

    def children(self, name: str) -> list[psutil.Process]:
        """Rendering children, of a processor."""
        return rendering_children(self.pid(name))

    def _readiness(self, name: str) -> Readiness:
        facts = self.local.facts
        if name == "postgres":
            return PostgresAccepts(facts["postgres"])
        if name == "nats":
            return NatsGreets("127.0.0.1", int(facts["nats"].rpartition(":")[2]))
        if name == "brain":
            return BrainActive(facts["brain"])
        if name == "gateway":
            return HttpServing(f"http://{facts['gateway']}")
        service, _, number = name.partition("-")
        return GrpcServing(facts["endpoints"][service][int(number or 1) - 1])

    # Stores

    @asynccontextmanager
    async def database(self) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
        """A connection of the superuser, past all proxies."""
        async with asyncio.timeout(30.0):
            connection = await _connect(self.local.facts["postgres"])
        try:
            yield connection
        finally:
            with suppress(Exception):
                await connection.close(timeout=5.0)

    async def fetch(self, sql: str, *arguments: Any) -> list[asyncpg.Record]:
        """Rows by SQL; schemas are named in it: `status.materials`, `processor.pages`."""
        async with self.database() as connection:
            return await connection.fetch(sql, *arguments, timeout=20.0)

    async def until_row(self, sql: str, *arguments: Any, seconds: float = 60.0) -> asyncpg.Record:
        """The first row of a query as soon as it has one."""
        async with asyncio.timeout(seconds), self.database() as connection:
            while not (rows := await connection.fetch(sql, *arguments)):
                await asyncio.sleep(0.02)
            return rows[0]

    @asynccontextmanager
    async def jetstream(self) -> AsyncIterator[JetStreamContext]:
        """JetStream past all proxies."""
        connection = await nats.connect(
            self.local.facts["nats"].split(","), connect_timeout=10, max_reconnect_attempts=0
        )
        try:
            yield connection.jetstream(timeout=10)
        finally:
            await connection.close()

    async def until_all_acknowledged(self) -> None:
        """Returns when every event of an upload has been delivered to the processors and dealt with."""
        async with self.jetstream() as jetstream, asyncio.timeout(60):
            while (
                consumer := await jetstream.consumer_info("MATERIALS", "processor")
            ).num_pending or consumer.num_ack_pending:
                await asyncio.sleep(0.05)

    @property
    def objects_url(self) -> str:
        """Where the objects are."""
        return dict(self.layout.settings).get("OBJECT_STORE_URL") or (self.local.data_dir / "objects").as_uri()

    @property
    def objects(self) -> Path:
        """The object store's directory, where it is one."""
        return Path(self.objects_url.removeprefix("file://"))

    def object_path(self, material_id: str) -> Path:
        """Where a material's bytes lie."""
        return self.objects / "objects" / material_id[:2] / material_id

    # Clients

    @asynccontextmanager
    async def client(self, subject: str, **claims: Any) -> AsyncIterator[Client]:
        """Stubs as an editor of every course; all replicas of each service, in turn."""
        token = self.local.user_token(subject, {"*": "editor"}, **claims)
        async with self.local.client(token, every_replica=True) as client:
            yield client

    @asynccontextmanager
    async def peer(self) -> AsyncIterator[Client]:
        """Stubs with a service's identity."""
        async with self.local.client(self.local.facts["service_token"], every_replica=True) as client:
            yield client


async def _connect(dsn: str) -> asyncpg.Connection[asyncpg.Record]:
    while True:
        try:
            return await asyncpg.connect(dsn, ssl=False, timeout=5.0)
        except (OSError, asyncpg.PostgresError, TimeoutError):
            await asyncio.sleep(0.1)


def _family(pid: int) -> list[psutil.Process]:
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _is_dead(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def _signal(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)
