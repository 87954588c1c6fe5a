"""gRPC ignores an option whose name it does not know: each of ours must be one that it reads."""

from __future__ import annotations

from pathlib import Path

import grpc._cython.cygrpc
import pytest

from servicekit import channels
from servicekit.server import SERVER_OPTIONS

LIBRARY = Path(grpc._cython.cygrpc.__file__)
NAMES = sorted({name for name, _ in [*SERVER_OPTIONS, *channels.CHANNEL_OPTIONS]})


@pytest.fixture(scope="module")
def library() -> bytes:
    return LIBRARY.read_bytes()


@pytest.mark.parametrize("name", NAMES)
def test_option_is_one_that_grpc_reads(library: bytes, name: str) -> None:
    assert name.encode() + b"\0" in library


def test_a_clients_pings_are_as_rare_as_the_server_wants_them() -> None:
    server, client = dict(SERVER_OPTIONS), dict(channels.CHANNEL_OPTIONS)
    assert client["grpc.keepalive_time_ms"] >= server["grpc.http2.min_ping_interval_without_data_ms"]
    assert server["grpc.keepalive_permit_without_calls"] == 1
