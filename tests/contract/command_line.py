"""The real command in a process of its own, and what scripted services say to it."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import pty
import struct
import sys
import termios
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from materials.v1 import errors_pb2, ingest_service_pb2, status_service_pb2
from materials.v1 import material_pb2 as pb

from servicekit.errors import ServiceError, Unavailable

ID = "6f9c2a1e-58b7-4a57-9c0d-2f8e4f1a7b3c"
OTHER = "0d6b3c58-0f0f-4b60-8f39-7f1f5d3b9a11"
#: A guard against what never comes; a busy machine may take its time.
DEADLINE = 40.0


@dataclass(frozen=True)
class Result:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def documents(self) -> list[dict[str, Any]]:
        """Standard output as JSON lines; fails when there is anything else."""
        return [json.loads(line) for line in self.out.splitlines()]


@dataclass
class Terminal:
    """The screen that a command writes on, and the keyboard it reads from."""

    descriptor: int
    process: asyncio.subprocess.Process
    screen: bytearray = field(default_factory=bytearray)
    _more: asyncio.Event = field(default_factory=asyncio.Event)
    _position: int = 0

    def read(self) -> None:
        """Takes what was written."""
        try:
            self.screen.extend(os.read(self.descriptor, 65536))
        except OSError:  # The command has closed its side.
            asyncio.get_running_loop().remove_reader(self.descriptor)
        self._more.set()

    async def shows(self, text: str) -> None:
        """Returns when the text is written, after that of the call before."""
        async with asyncio.timeout(DEADLINE):
            while (found := self.screen.find(text.encode(), self._position)) < 0:
                self._more.clear()
                await self._more.wait()
        self._position = found + len(text.encode())

    def types(self, text: str) -> None:
        """As a person at the keyboard."""
        os.write(self.descriptor, text.encode())

    async def ends(self) -> int:
        """Waits for the command's end and all it has written; its exit code."""
        async with asyncio.timeout(DEADLINE):
            code = await self.process.wait()
        os.set_blocking(self.descriptor, False)
        try:
            while more := os.read(self.descriptor, 65536):
                self.screen.extend(more)
        except OSError:
            pass
        assert b"Traceback" not in self.screen
        return code


@dataclass
class Cli:
    """Starts `materials` in a folder of its own."""

    folder: Path
    environment: dict[str, str]

    async def start(self, *arguments: str, **streams: Any) -> asyncio.subprocess.Process:
        pipes = {
            "stdin": asyncio.subprocess.DEVNULL,
            "stdout": asyncio.subprocess.PIPE,
            "stderr": asyncio.subprocess.PIPE,
        }
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", "materials_cli", *arguments,
            cwd=self.folder, env=self.environment, **(pipes | streams),
        )  # fmt: skip

    @asynccontextmanager
    async def terminal(self, *arguments: str) -> AsyncIterator[Terminal]:
        """Starts it on a terminal of 30 lines of 120 characters."""
        parent, child = pty.openpty()
        fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 120, 0, 0))
        self.environment |= {"TERM": "xterm-256color", "COLUMNS": "120", "LINES": "30"}
        process = await self.start(*arguments, stdin=child, stdout=child, stderr=child)
        os.close(child)
        terminal = Terminal(parent, process)
        loop = asyncio.get_running_loop()
        loop.add_reader(parent, terminal.read)
        try:
            yield terminal
        finally:
            loop.remove_reader(parent)
            os.close(parent)
            if process.returncode is None:
                process.kill()
                await process.wait()

    async def run(self, *arguments: str) -> Result:
        return await ended(await self.start(*arguments))

    def file(self, name: str, content: bytes = b"text") -> str:
        (self.folder / name).write_bytes(content)
        return name


async def ended(process: asyncio.subprocess.Process) -> Result:
    """Waits for a command's end. No command may ever show a traceback."""
    async with asyncio.timeout(DEADLINE):
        out, err = await process.communicate()
    assert b"Traceback" not in err
    assert process.returncode is not None
    return Result(process.returncode, out.decode(), err.decode())


def material(revision: int, status: str, **fields: Any) -> pb.Material:
    known: dict[str, Any] = {"id": ID, "name": "notes.pdf", "course_id": "algebra", "file_size": 4}
    return pb.Material(
        revision=revision,
        processing_status=pb.ProcessingStatus.Value(f"PROCESSING_STATUS_{status.upper()}"),
        **(known | fields),
    )


def watched(*states: pb.Material) -> list[status_service_pb2.WatchMaterialResponse]:
    return [status_service_pb2.WatchMaterialResponse(material=state) for state in states]


def not_found() -> ServiceError:
    return ServiceError(errors_pb2.ERROR_REASON_MATERIAL_NOT_FOUND, "there is no such material")


def shutting_down() -> Unavailable:
    return Unavailable(errors_pb2.ERROR_REASON_SHUTTING_DOWN, "this replica is stopping", retry_after=0.01)


@dataclass
class Received:
    """One try at an upload."""

    metadata: ingest_service_pb2.UploadMetadata
    chunks: list[bytes]


async def receive(messages: AsyncIterator[ingest_service_pb2.UploadMaterialRequest]) -> Received:
    first = await anext(messages)
    return Received(first.metadata, [message.chunk async for message in messages])


async def accept(messages: Any, context: Any) -> ingest_service_pb2.UploadMaterialResponse:
    received = await receive(messages)
    return ingest_service_pb2.UploadMaterialResponse(material=material(1, "pending", name=received.metadata.name))
