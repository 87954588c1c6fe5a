"""A gateway of a test's own: the real process, in front of the services that the test names."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import psutil

from single_node.ports import HOST
from single_node.readiness import HttpServing, until_ready
from tests.contract.refusals import eventually
from tests.local_stack import LocalStack, free_port

START_SECONDS = 60.0
STOP_SECONDS = 30.0


class GatewayProcess:
    """A running gateway. `address` is host:port."""

    def __init__(self, address: str, process: subprocess.Popen[bytes]) -> None:
        self.address, self.process = address, process

    @property
    def files(self) -> int:
        """Open file descriptors."""
        return int(psutil.Process(self.process.pid).num_fds())

    @property
    def resident(self) -> int:
        """Resident memory, in bytes."""
        return int(psutil.Process(self.process.pid).memory_info().rss)

    async def until_files(self, most: int) -> None:
        """Returns when no more descriptors are open than so many."""

        async def few() -> bool:
            return self.files <= most

        await eventually(few, f"no more than {most} descriptors are open")

    async def ended(self) -> int:
        """SIGTERM; its exit status. Raises TimeoutExpired when it does not go."""
        self.process.send_signal(signal.SIGTERM)
        return await asyncio.to_thread(self.process.wait, STOP_SECONDS)


async def until_it_serves(address: str) -> None:
    """Over plain HTTP."""
    await until_ready(HttpServing(f"http://{address}"), START_SECONDS)


@asynccontextmanager
async def started_gateway(
    stack: LocalStack,
    endpoints: Mapping[str, str] | None = None,
    *,
    ready: Callable[[str], Awaitable[None]] = until_it_serves,
    **settings: str,
) -> AsyncIterator[GatewayProcess]:
    """A gateway in front of the stack's services, or of other `endpoints` by their names; `settings` are its environment. `ready` is given its address, and
    returns once it serves."""
    peers = {**stack.facts, **(endpoints or {})}
    secrets = stack.secrets()
    address = f"{HOST}:{free_port()}"
    environment = {
        "LISTEN_ADDRESS": address,
        "AUTH_HS256_SECRET": secrets["auth_hs256_secret"],
        "AUTH_ISSUER": "materials-local",
        "SERVICE_TOKEN_SECRET": secrets["service_token_secret"],
        **{f"{name.upper()}_ENDPOINT": peers[name] for name in ("ingest", "status", "processor")},
        **settings,
    }
    with tempfile.NamedTemporaryFile(suffix=".log") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "gateway"],
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        try:
            await ready(address)
            yield GatewayProcess(address, process)
        finally:
            if process.poll() is None:
                process.terminate()
                try:
                    await asyncio.to_thread(process.wait, STOP_SECONDS)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
            said = Path(log.name).read_text(errors="replace")
            assert "Traceback" not in said, said
