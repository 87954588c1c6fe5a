"""The real stack as tests use it: `python -m single_node` in a directory of its own, and typed stubs to it."""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterable, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import jwt
import psutil
from materials.channels import bearer
from materials.v1 import (
    ingest_service_pb2,
    ingest_service_pb2_grpc,
    material_pb2,
    processor_service_pb2_grpc,
    record_service_pb2_grpc,
    status_service_pb2,
    status_service_pb2_grpc,
)

from servicekit.channels import open_channel
from servicekit.upload_call import refusals_as_they_come
from single_node.ports import candidate_ports, why_unusable

START_SECONDS = 120.0
Metadata = list[tuple[str, str]]
ENDED = (material_pb2.PROCESSING_STATUS_COMPLETED, material_pb2.PROCESSING_STATUS_FAILED)


@dataclass
class LocalStack:
    """A running stack. `facts` is the line that single_node printed."""

    data_dir: Path
    process: subprocess.Popen[str]
    facts: dict[str, Any]
    _secrets: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def start(
        cls,
        data_dir: Path | None = None,
        *arguments: str,
        environment: Mapping[str, str] | None = None,
        tree: Path | None = None,
        python: str = sys.executable,
    ) -> LocalStack:
        """Starts a stack by `python`, of the code in `tree` where that is another one, and waits until it is ready; raises with its words when it is not."""
        directory = data_dir or Path(tempfile.mkdtemp(prefix="materials-test-"))
        if not (directory / "ports.json").exists():
            # Left alone every gateway would want the same port, and stacks of tests run side by side.
            arguments = (*arguments, "--port", f"gateway={free_port()}")
        process = subprocess.Popen(
            [python, "-m", "single_node", "--data-dir", str(directory), "--json", *arguments],
            stdout=subprocess.PIPE,
            stderr=(directory / "single_node.err").open("a"),
            text=True,
            env={**os.environ, **(environment or {})},
            cwd=tree,
        )
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            process.wait(30)
            raise RuntimeError(f"the stack did not start:\n{(directory / 'single_node.err').read_text()}")
        return cls(directory, process, json.loads(line))

    def current(self) -> dict[str, Any]:
        """The facts as of now: pids change when a service is restarted."""
        facts: dict[str, Any] = json.loads((self.data_dir / "stack.json").read_text())
        return facts

    def stop(self, *, keep: bool = False) -> None:
        """SIGTERM; the directory goes unless kept."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(30)
        if not keep:
            shutil.rmtree(self.data_dir, ignore_errors=True)

    def user_token(self, subject: str, courses: Mapping[str, str] | None = None, **claims: Any) -> str:
        """A token as the stack's own issuer makes it; `claims` replace or add."""
        content = {
            "sub": subject, "courses": dict(courses or {}), "aud": "materials", "iss": "materials-local",
            "iat": int(time.time()), "exp": int(time.time()) + 3600, **claims,
        }  # fmt: skip
        return jwt.encode(content, self.secrets()["auth_hs256_secret"], algorithm="HS256")

    def secrets(self) -> dict[str, Any]:
        """The stack's keys."""
        if not self._secrets:
            self._secrets = json.loads((self.data_dir / "secrets.json").read_text())
        return self._secrets

    @asynccontextmanager
    async def client(self, token: str | None = None, *, every_replica: bool = False) -> AsyncIterator[Client]:
        """Stubs with an identity: the stack's demo user unless another token is given. To the first replica of each service, or to all in turn."""
        channels = {
            name: open_channel(",".join(addresses) if every_replica else addresses[0])
            for name, addresses in self.facts["endpoints"].items()
            if name != "gateway"  # It speaks HTTP.
        }
        try:
            yield Client(channels, bearer(token or self.facts["token"]))
        finally:
            for channel in channels.values():
                await channel.close()


class Client:
    """Typed stubs, and the few things every test does with them."""

    def __init__(self, channels: Mapping[str, grpc.aio.Channel], metadata: Metadata) -> None:
        self.metadata = metadata
        self.ingest = ingest_service_pb2_grpc.IngestServiceStub(channels["ingest"])
        self.status = status_service_pb2_grpc.StatusServiceStub(channels["status"])
        self.record = record_service_pb2_grpc.RecordServiceStub(channels["status"])
        self.processor = processor_service_pb2_grpc.ProcessorServiceStub(channels["processor"])

    async def upload(
        self, content: bytes, *, course: str, name: str = "notes.txt", chunk_bytes: int = 256 * 1024, **metadata: Any
    ) -> material_pb2.Material:
        """Uploads bytes; returns the material."""

        async def messages() -> AsyncIterator[ingest_service_pb2.UploadMaterialRequest]:
            yield ingest_service_pb2.UploadMaterialRequest(
                metadata=ingest_service_pb2.UploadMetadata(course_id=course, name=name, **metadata)
            )
            for start in range(0, len(content), chunk_bytes):
                yield ingest_service_pb2.UploadMaterialRequest(chunk=content[start : start + chunk_bytes])

        call = self.ingest.UploadMaterial(messages(), metadata=self.metadata, timeout=60)
        answers = refusals_as_they_come(call)
        try:
            return (await call).material
        except grpc.aio.AioRpcError:
            if answers:
                raise answers[0] from None
            raise

    async def get(self, material_id: str) -> material_pb2.Material:
        """The material as it is now."""
        request = status_service_pb2.GetMaterialRequest(material_id=material_id)
        return (await self.status.GetMaterial(request, metadata=self.metadata, timeout=20)).material

    async def watch_to_end(self, material_id: str, *, seconds: float = 120.0) -> list[material_pb2.Material]:
        """Every state a watcher sees until the material has ended, resuming where the watch was cut."""
        states: list[material_pb2.Material] = []
        async with asyncio.timeout(seconds):
            while True:
                after = states[-1].revision if states else 0
                call = self.status.WatchMaterial(
                    status_service_pb2.WatchMaterialRequest(material_id=material_id, after_revision=after),
                    metadata=self.metadata,
                    wait_for_ready=True,
                )
                try:
                    async for material in states_sent(call, states[-1] if states else None):
                        states.append(material)
                    return states
                except grpc.aio.AioRpcError as error:
                    if error.code() is not grpc.StatusCode.UNAVAILABLE:
                        raise
                finally:
                    call.cancel()


async def states_sent(
    call: AsyncIterable[status_service_pb2.WatchMaterialResponse], last: material_pb2.Material | None
) -> AsyncIterator[material_pb2.Material]:
    """Every state of a watch resumed after `last`, but for the one repeat that is promised: who resumes after the end is sent the end once more, at first."""
    repeat = last if last is not None and last.processing_status in ENDED else None
    async for response in call:
        if response.material != repeat:
            yield response.material
        repeat = None


def rendering_children(processor: int) -> list[psutil.Process]:
    """The processes that read documents for the processor with this pid: those that its forkserver has forked."""
    try:
        return [child for server in psutil.Process(processor).children() for child in server.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def free_port() -> int:
    """A port of loopback that nothing listens on, and that no client's connection is likely to take."""
    return next(port for port in candidate_ports(random.Random()) if why_unusable(port) is None)


def free_ports(count: int) -> list[int]:
    """As `free_port`: so many, all different."""
    ports: set[int] = set()
    while len(ports) < count:
        ports.add(free_port())
    return list(ports)


def unique_course() -> str:
    """A course no other test has."""
    return f"course-{uuid.uuid4().hex[:12]}"
