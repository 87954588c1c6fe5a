"""The four images' processes as one system, on the test stack's Postgres and Brain and a NATS server of its own."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import psutil

from single_node.ports import HOST
from single_node.readiness import GrpcServing, HttpServing, Readiness
from tests.contract.bare_services import BareServices
from tests.deploy.built_images import BuiltImage
from tests.local_stack import LocalStack, free_ports

STOP_SECONDS = 15.0
MIGRATION_SECONDS = 60.0


class ImageStack:
    """Running images. `endpoints` and `metrics` are host:port, by service."""

    def __init__(self, images: Mapping[str, BuiltImage], settings: Mapping[str, Mapping[str, str]], logs: Path) -> None:
        self.endpoints = {name: each["LISTEN_ADDRESS"] for name, each in settings.items()}
        self.metrics = {name: each["METRICS_ADDRESS"] for name, each in settings.items()}
        self._images, self._settings, self._logs = images, settings, logs
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def migrate(self, service: str, module: str) -> None:
        """What the migration Job does, in the service's image. Raises CalledProcessError."""
        command = self._images[service].command(self._settings[service], command=("python", "-m", module))
        subprocess.run(command, check=True, timeout=MIGRATION_SECONDS, env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"})

    def start(self, service: str, objects: Path | None = None) -> None:
        """Does not wait until it is ready."""
        command = self._images[service].command(self._settings[service], objects=objects)
        with (self._logs / f"{service}.log").open("wb") as log:
            self._processes[service] = subprocess.Popen(
                command, stdout=log, stderr=subprocess.STDOUT, env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
            )

    def log(self, service: str) -> str:
        """What it has said so far."""
        return (self._logs / f"{service}.log").read_text(errors="replace")

    def process(self, service: str) -> psutil.Process:
        """That of the service itself: what contains it here is its parent."""
        started = psutil.Process(self._processes[service].pid)
        return next(iter(started.children()), started)

    def stop(self, service: str) -> int:
        """SIGTERM; its exit status. Raises TimeoutExpired when it does not go."""
        self.process(service).terminate()
        return self._processes[service].wait(STOP_SECONDS)

    def kill_all(self) -> None:
        """For those that were not stopped; what they started goes with them."""
        for process in self._processes.values():
            if process.poll() is None:
                process.kill()
                process.wait()


def readiness(service: str, address: str) -> Readiness:
    """What an orchestrator's probe asks."""
    return HttpServing(f"http://{address}") if service == "gateway" else GrpcServing(address)


@asynccontextmanager
async def image_stack(stack: LocalStack, images: Mapping[str, BuiltImage]) -> AsyncIterator[ImageStack]:
    """All four, ready. The databases are migrated beforehand by the images themselves."""
    bare = BareServices(stack)
    try:
        await bare.start_nats()
        database = await _database(bare)
        bare.objects.mkdir(mode=0o777)
        bare.objects.chmod(0o777)
        ports = free_ports(2 * len(images))
        secrets = stack.secrets()
        addresses = {name: f"{HOST}:{ports.pop()}" for name in images}
        common = {
            "AUTH_HS256_SECRET": secrets["auth_hs256_secret"],
            "AUTH_ISSUER": "materials-local",
            "SERVICE_TOKEN_SECRET": secrets["service_token_secret"],
            "LOG_FORMAT": "json",
            "NATS_URL": bare.nats_url,
            "STATUS_DATABASE_URL": database,
            "PROCESSOR_DATABASE_URL": database,
            "OBJECT_STORE_URL": "file:///tmp/objects",
            "AI_BRAIN_ENDPOINT": stack.facts["brain"],
            **{f"{name.upper()}_ENDPOINT": address for name, address in addresses.items()},
        }
        settings = {
            name: {**common, "LISTEN_ADDRESS": addresses[name], "METRICS_ADDRESS": f"{HOST}:{ports.pop()}"}
            for name in images
        }
        running = ImageStack(images, settings, bare.directory)
        try:
            for service in ("status", "processor"):
                await asyncio.to_thread(running.migrate, service, f"{service}_service.migrate")
            for service in images:
                running.start(service, bare.objects if service in ("ingest", "processor") else None)
            for service, address in addresses.items():
                await bare.until_ready(readiness(service, address))
            yield running
        finally:
            running.kill_all()
    finally:
        bare.stop()


async def _database(bare: BareServices) -> str:
    """Of its own, with both services' schemas and the extension; returns its DSN."""
    dsn = await bare.make_database()
    connection = await asyncpg.connect(dsn, ssl=False)
    try:
        await connection.execute("CREATE SCHEMA processor; CREATE EXTENSION vector SCHEMA public")
    finally:
        await connection.close()
    return dsn
