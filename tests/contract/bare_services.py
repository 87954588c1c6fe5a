"""Status and Ingest without a processor, so that a material stays where a test puts it.

The processes are the real ones, on a database of their own in the stack's Postgres and with a NATS server of their own: nothing here is seen by the
stack's processor, and nothing there by these.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
from materials.channels import bearer

from servicekit.channels import open_channel
from single_node import nats_server
from single_node.ports import HOST
from single_node.readiness import GrpcServing, NatsGreets, Readiness, until_ready
from tests.local_stack import Client, LocalStack, free_port

START_SECONDS = 40.0
MAX_UPLOAD_BYTES = 3 * 1024 * 1024
MAX_CONCURRENT_UPLOADS = 24
UPLOAD_IDLE_SECONDS = 1.5


class BareServices:
    """Processes by name; a service's endpoint, and the DSN of a Status, by the same name."""

    def __init__(self, stack: LocalStack) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="materials-bare-"))
        self.objects = self.directory / "objects"
        self.endpoints: dict[str, str] = {}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.databases: dict[str, str] = {}
        self._stack = stack
        self._password = secrets.token_urlsafe(16)
        self.nats_url = ""

    async def start_nats(self) -> None:
        """A nats-server with an empty JetStream."""
        port = free_port()
        configuration = self.directory / "nats.conf"
        configuration.write_text(
            nats_server.configuration(port=port, store=self.directory / "nats", password=self._password)
        )
        self.nats_url = nats_server.url(port, self._password)
        await self._start(
            "nats", [str(nats_server.binary()), "--config", str(configuration)], {}, NatsGreets(HOST, port)
        )

    async def make_database(self) -> str:
        """A new database as Status wants it; returns its DSN."""
        name = f"bare_{secrets.token_hex(6)}"
        connection = await asyncpg.connect(self._stack.facts["postgres"], ssl=False)
        try:
            await connection.execute(f"CREATE DATABASE {name}")
        finally:
            await connection.close()
        dsn: str = self._stack.facts["postgres"].rpartition("/")[0] + f"/{name}"
        connection = await asyncpg.connect(dsn, ssl=False)
        try:
            await connection.execute("CREATE SCHEMA status")
        finally:
            await connection.close()
        return dsn

    async def start_status(self, name: str, dsn: str, tree: Path | None = None, **settings: str) -> None:
        """A replica of Status on the database; of the code in `tree` where that is another one."""
        self.databases[name] = dsn
        await self._start_service(name, "status_service", {"STATUS_DATABASE_URL": dsn, **settings}, tree)

    async def start_ingest(self, name: str, status: str, **settings: str) -> None:
        """An Ingest with low limits, in front of the Status of that name; `settings` replace or add."""
        defaults = {
            "STATUS_ENDPOINT": self.endpoints[status],
            "OBJECT_STORE_URL": self.objects.as_uri(),
            "MAX_UPLOAD_BYTES": str(MAX_UPLOAD_BYTES),
            "MAX_CONCURRENT_UPLOADS": str(MAX_CONCURRENT_UPLOADS),
            "UPLOAD_IDLE_SECONDS": str(UPLOAD_IDLE_SECONDS),
            "OBJECT_STORE_RESERVE_BYTES": "0",
        }
        await self._start_service(name, "ingest_service", {**defaults, **settings})

    def stop(self) -> None:
        """SIGTERM to all, newest first; whoever does not go in time is killed, and the test run fails."""
        for process in reversed(self.processes.values()):
            process.send_signal(signal.SIGCONT)
            process.send_signal(signal.SIGTERM)
        late = []
        for name, process in self.processes.items():
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                late.append(name)
        shutil.rmtree(self.directory, ignore_errors=True)
        assert not late, f"did not stop on SIGTERM: {late}"

    @asynccontextmanager
    async def client(self, token: str, *, status: str = "status", ingest: str = "ingest") -> AsyncIterator[Client]:
        """Stubs with an identity. There is no processor: its stub leads to Status, which does not know its calls."""
        channels = {
            "ingest": open_channel(self.endpoints[ingest]),
            "status": open_channel(self.endpoints[status]),
        }
        try:
            yield Client({**channels, "processor": channels["status"]}, bearer(token))
        finally:
            for channel in channels.values():
                await channel.close()

    def stored_files(self) -> list[Path]:
        """Every file in the object directory, complete or not."""
        return [path for path in self.objects.rglob("*") if path.is_file()]

    def log(self, name: str) -> str:
        """What a process has said so far."""
        return (self.directory / f"{name}.log").read_text(errors="replace")

    async def until_ready(self, readiness: Readiness) -> None:
        """Returns once a process is ready to be used."""
        await until_ready(readiness, START_SECONDS)

    async def _start_service(self, name: str, module: str, settings: dict[str, str], tree: Path | None = None) -> None:
        address = settings.get("LISTEN_ADDRESS") or f"{HOST}:{free_port()}"
        self.endpoints[name] = address
        secret = self._stack.secrets()
        environment = {
            "LISTEN_ADDRESS": address,
            "NATS_URL": self.nats_url,
            "AUTH_HS256_SECRET": secret["auth_hs256_secret"],
            "AUTH_ISSUER": "materials-local",
            "SERVICE_TOKEN_SECRET": secret["service_token_secret"],
            "SHUTDOWN_GRACE_SECONDS": "2",
            "OWNER_REQUESTS_PER_SECOND": "0",  # the same few people call in every test
            **settings,
        }
        await self._start(name, [sys.executable, "-m", module], environment, GrpcServing(address), tree)

    async def _start(
        self,
        name: str,
        command: list[str],
        environment: dict[str, str],
        readiness: Readiness,
        tree: Path | None = None,
    ) -> None:
        with (self.directory / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                command,
                env={**os.environ, **environment},
                cwd=tree,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            await self.until_ready(readiness)
        except Exception as error:
            raise AssertionError(f"{name} did not start: {error}\n{self.log(name)}") from error


async def start_bare_services(stack: LocalStack) -> BareServices:
    """`status` and `status-2` share one record; `ingest` has a record of its own behind `status-of-ingest`, whose events nobody but it takes."""
    bare = BareServices(stack)
    try:
        await bare.start_nats()
        record, uploads = await bare.make_database(), await bare.make_database()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(bare.start_status("status", record))
            tasks.create_task(bare.start_status("status-of-ingest", uploads))
            # Short leases and next attempts, for tests of what time brings.
            tasks.create_task(bare.start_status("status-2", record, LEASE_SECONDS="1.1", RETRY_BACKOFF_SECONDS="0.01"))
        await bare.start_ingest("ingest", "status-of-ingest")
    except BaseException:
        bare.stop()
        raise
    return bare
