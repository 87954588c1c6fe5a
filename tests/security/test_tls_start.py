"""What a service says of TLS when it starts."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs

from servicekit.bootstrap import call_interceptor
from servicekit.server import GrpcServer, Health
from servicekit.settings import GrpcServiceSettings
from tests.local_stack import free_port
from tests.security.certificates import Authority


@pytest.mark.parametrize(("host", "told"), [("0.0.0.0", 1), ("127.0.0.1", 0)])
async def test_plain_text_beyond_this_machine_is_told_once(host: str, told: int) -> None:
    settings = GrpcServiceSettings(
        listen_address=f"{host}:{free_port()}",
        auth_hs256_secret=SecretStr("a secret of the users"),
        service_token_secret=SecretStr("a secret of the services"),
    )
    server = GrpcServer(settings, call_interceptor(settings), health=Health(), services=[])
    with capture_logs() as lines:
        async with asyncio.TaskGroup() as tasks:
            await server.start(tasks)
            await server.stop()
    assert len([line for line in lines if line["event"].startswith("no TLS here")]) == told
    assert {line["log_level"] for line in lines} == {"info"}


def test_a_service_with_a_wrong_certificate_ends_with_one_line(tmp_path: Path) -> None:
    certificate, _ = Authority(tmp_path, "authority").issue("status").write(tmp_path, "status")
    run = subprocess.run(
        [sys.executable, "-m", "status_service"],
        env={
            **os.environ,
            "AUTH_HS256_SECRET": "a secret of the users",
            "SERVICE_TOKEN_SECRET": "a secret of the services",
            "STATUS_DATABASE_URL": "postgresql://127.0.0.1/status",
            "TLS_CERT_FILE": str(certificate),
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr == "settings: TLS_KEY_FILE: set both TLS_CERT_FILE and TLS_KEY_FILE, or neither\n"
