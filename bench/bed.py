"""What every line stands on: stacks, scripted Brains, other processes, and databases of their own, all gone when the line has ended."""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from tests.local_stack import LocalStack

STOP_SECONDS = 20.0
START_SECONDS = 120.0


@dataclass(frozen=True)
class Child:
    """A process that has said, in one line of JSON, that it is ready."""

    pid: int
    facts: dict[str, Any]


@dataclass(frozen=True)
class Bed:
    """`quick` asks for a first impression in a fifth of the time; `rounds` counts those that are measured. `say` tells the user what is going on.

    `product_python` runs the stacks, in an environment without the peers' packages: libraries load what they find installed. All else runs by the bench's own.
    """

    quick: bool
    rounds: int
    order: random.Random
    say: Callable[[str], None]
    product_python: str = sys.executable

    def sized(self, full: int, quick: int) -> int:
        """How many: of uploads, pages, watchers."""
        return quick if self.quick else full

    @asynccontextmanager
    async def stack(self, *arguments: str, environment: Mapping[str, str] | None = None) -> AsyncIterator[LocalStack]:
        """A stack of its own, fresh, as `python -m single_node` starts it: give AI_BRAIN_ENDPOINT in `environment` for a scripted Brain."""
        self.say("starting a stack")
        stack = await asyncio.to_thread(
            LocalStack.start, None, *arguments, environment=environment, python=self.product_python
        )
        try:
            yield stack
        finally:
            await asyncio.to_thread(stack.stop)

    @asynccontextmanager
    async def child(self, *command: str, environment: Mapping[str, str] | None = None) -> AsyncIterator[Child]:
        """A program of Python's (`-m`, a module, its arguments) that prints a line of JSON when it is ready, and ends on SIGTERM. Raises RuntimeError with
        what it said when it does not start."""
        with tempfile.TemporaryFile() as errors:
            # Not by the event loop, which forks as gRPC cannot bear once it has begun: this one shares the memory until the program is another.
            process = subprocess.Popen(
                [sys.executable, *command],
                stdout=subprocess.PIPE,
                stderr=errors,
                env={**os.environ, **(environment or {})},
            )
            assert process.stdout is not None
            try:
                async with asyncio.timeout(START_SECONDS):
                    line = await asyncio.to_thread(process.stdout.readline)
                if not line:
                    errors.seek(0)
                    raise RuntimeError(f"{' '.join(command)} did not start:\n{errors.read().decode(errors='replace')}")
                yield Child(process.pid, json.loads(line))
            finally:
                process.terminate()
                try:
                    await asyncio.to_thread(process.communicate, timeout=STOP_SECONDS)
                except subprocess.TimeoutExpired:
                    process.kill()
                    await asyncio.to_thread(process.communicate)

    @asynccontextmanager
    async def brain(self, *arguments: str) -> AsyncIterator[Child]:
        """A scripted Brain: `facts["url"]`. Its arguments are those of `python -m bench.scripted_brain --help`."""
        async with self.child("-m", "bench.scripted_brain", *arguments) as brain:
            yield brain

    @asynccontextmanager
    async def stack_with_brain(
        self, *arguments: str, brain: tuple[str, ...] = (), environment: Mapping[str, str] | None = None
    ) -> AsyncIterator[tuple[LocalStack, Child]]:
        """A stack whose Brain is scripted."""
        async with AsyncExitStack() as exits:
            scripted = await exits.enter_async_context(self.brain(*brain))
            settings = {"AI_BRAIN_ENDPOINT": scripted.facts["url"], **(environment or {})}
            yield await exits.enter_async_context(self.stack(*arguments, environment=settings)), scripted

    @asynccontextmanager
    async def database(self, stack: LocalStack, name: str) -> AsyncIterator[str]:
        """The URL of a new database on the stack's own Postgres server, with the same settings, for a prototype or a peer."""
        server = await asyncpg.connect(stack.facts["postgres"], timeout=10)
        try:
            await server.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)', timeout=30)
            await server.execute(f'CREATE DATABASE "{name}"', timeout=30)
            yield urlunsplit(urlsplit(stack.facts["postgres"])._replace(path=f"/{name}"))
        finally:
            await server.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)', timeout=30)
            await server.close(timeout=10)

    @asynccontextmanager
    async def directory(self) -> AsyncIterator[Path]:
        """A directory for the files of a prototype, on the disk that the stacks have theirs on."""
        path = Path(tempfile.mkdtemp(prefix="materials-bench-"))
        try:
            yield path
        finally:
            await asyncio.to_thread(shutil.rmtree, path, True)
