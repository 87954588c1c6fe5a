"""A request that grpc.aio cannot stand: its path is not UTF-8, and gRPC stops listening. The service must not live on deaf."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

from single_node.ports import HOST
from single_node.readiness import GrpcServing, until_ready
from tests.fuzz.settings import TIMEOUT
from tests.fuzz.wire_bytes import Farewell, play, request_with_path
from tests.local_stack import free_port

pytestmark = TIMEOUT
SECONDS = 30.0


async def test_a_service_that_grpc_has_made_deaf_ends_and_says_why(tmp_path: Path) -> None:
    address, log = f"{HOST}:{free_port()}", tmp_path / "ingest.log"
    settings = {
        "LISTEN_ADDRESS": address,
        "OBJECT_STORE_URL": (tmp_path / "objects").as_uri(),
        "AUTH_HS256_SECRET": "a" * 32,
        "SERVICE_TOKEN_SECRET": "b" * 32,
    }
    with log.open("wb") as output:
        service = subprocess.Popen(
            [sys.executable, "-m", "ingest_service"], env={**os.environ, **settings}, stdout=output, stderr=output
        )
    try:
        await until_ready(GrpcServing(address), SECONDS)
        await asyncio.to_thread(play, address, request_with_path(b"/materials.v1.IngestService/\xff"), Farewell.CLOSE)
        assert await asyncio.to_thread(service.wait, SECONDS) != 0
    finally:
        service.kill()
        service.wait()
    assert "service failed" in log.read_text()
