"""The parent's end of `render_forkserver`: children for documents, each with a connection of its own.

The forkserver is started when it is first needed, and again when it has died; its children die with it, as if each had been killed.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import structlog

from processor_service.documents.render_forkserver import ENDED, FORK, FORKED, FRAME, KILL

log = structlog.get_logger()

_IMPORT_ROOT = str(Path(__file__).resolve().parents[2])
# -B: children may not write files, byte code included; -s, -P: nothing is imported from a home or working directory.
_COMMAND = (sys.executable, "-B", "-s", "-P", "-m", "processor_service.documents.render_forkserver")
_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "PYTHONPATH": _IMPORT_ROOT}
#: How long a child may take to begin, the libraries' import included, and to be gone once it is killed.
START_SECONDS = 60.0
END_SECONDS = 10.0
READ_AHEAD_BYTES = 1024 * 1024


@dataclass
class Child:
    """A rendering child: `reader` and `writer` are its protocol's. `ended` gives its exit status, or minus the signal that ended it."""

    pid: int
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    ended: asyncio.Future[int]
    _server: _Server
    _number: int

    async def end(self) -> None:
        """Kills it, if it lives, and waits until it is gone."""
        self.writer.close()
        if not self.ended.done():
            self._server.kill(self._number)
            await asyncio.wait([self.ended], timeout=END_SECONDS)


@dataclass
class _Server:
    """One running forkserver; of no use once `gone`."""

    process: asyncio.subprocess.Process
    control: socket.socket
    gone: bool = False
    _numbers: count[int] = field(default_factory=count)
    _starting: dict[int, asyncio.Future[int]] = field(default_factory=dict)
    _living: dict[int, asyncio.Future[int]] = field(default_factory=dict)
    _received: bytes = b""

    @property
    def living(self) -> int:
        return 0 if self.gone else len(self._living)

    def listen(self) -> None:
        asyncio.get_running_loop().add_reader(self.control, self._receive)

    async def fork(self) -> Child:
        """Raises ConnectionError when the forkserver is gone, TimeoutError."""
        loop = asyncio.get_running_loop()
        number = next(self._numbers)
        ours, theirs = socket.socketpair()
        try:
            ours.setblocking(False)
            started = self._starting[number] = loop.create_future()
            ended = self._living[number] = loop.create_future()
            with theirs:
                # A few bytes: there is always room for them.
                socket.send_fds(self.control, [FRAME.pack(FORK, number, 0)], [theirs.fileno()])
            async with asyncio.timeout(START_SECONDS):
                pid = await started
            reader, writer = await asyncio.open_unix_connection(sock=ours, limit=READ_AHEAD_BYTES)
        except BaseException:
            ours.close()  # which ends the child
            raise
        finally:
            self._starting.pop(number, None)
        return Child(pid, reader, writer, ended, self, number)

    def kill(self, number: int) -> None:
        if not self.gone:
            self.control.send(FRAME.pack(KILL, number, 0))

    async def stop(self) -> None:
        """Ends it and all its children."""
        self._lost()
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()

    def _receive(self) -> None:
        try:
            received = self.control.recv(4096)
        except BlockingIOError:
            return
        except ConnectionError:
            received = b""
        if not received:
            log.warning("the process that rendering children are forked from is gone")
            self._lost()
            return
        self._received += received
        whole = len(self._received) - len(self._received) % FRAME.size
        for kind, number, value in FRAME.iter_unpack(self._received[:whole]):
            waiting = {FORKED: self._starting, ENDED: self._living}[kind].pop(number, None)
            if waiting is not None and not waiting.done():
                waiting.set_result(value)
        self._received = self._received[whole:]

    def _lost(self) -> None:
        if self.gone:
            return
        self.gone = True
        asyncio.get_running_loop().remove_reader(self.control)
        self.control.close()
        for starting in self._starting.values():
            if not starting.done():
                starting.set_exception(ConnectionResetError("the forkserver is gone"))
        for living in self._living.values():
            if not living.done():
                living.set_result(-signal.SIGKILL)


class RenderForkserver:
    """A part: starts the forkserver ahead of the first document, and ends it. An async context manager as well, for uses outside of a service."""

    def __init__(self) -> None:
        self._server: _Server | None = None
        self._one_at_a_time = asyncio.Lock()

    async def start(self, tasks: asyncio.TaskGroup) -> None:
        """Starts it; does not wait until it is ready."""
        await self._running()

    async def stop(self) -> None:
        """Ends it, and all children with it."""
        server, self._server = self._server, None
        if server is not None:
            await server.stop()

    @property
    def children(self) -> int:
        """How many live."""
        return self._server.living if self._server is not None else 0

    async def child(self) -> Child:
        """A new child. Raises OSError when there can be none, TimeoutError."""
        try:
            return await (await self._running()).fork()
        except ConnectionError:  # it has died since the last one
            return await (await self._running()).fork()

    async def _running(self) -> _Server:
        async with self._one_at_a_time:
            if self._server is not None and self._server.gone:
                await self.stop()
            if self._server is None:
                self._server = await self._begin()
            return self._server

    async def _begin(self) -> _Server:
        ours, theirs = socket.socketpair()
        with theirs:
            ours.setblocking(False)
            # exec, never a bare fork: gRPC's threads do not survive one.
            process = await asyncio.create_subprocess_exec(
                *_COMMAND,
                stdin=theirs.fileno(),
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
                env=_ENVIRONMENT,
            )
        server = _Server(process, ours)
        server.listen()
        return server
