"""What is logged, and what must not be."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from servicekit.logs import configure_logs


@pytest.fixture
def loggers() -> Iterator[None]:
    """Puts the standard library's loggers back as they were."""
    root, grpc_logger = logging.getLogger(), logging.getLogger("grpc._cython.cygrpc")
    before = root.handlers[:], root.level, grpc_logger.filters[:]
    yield
    root.handlers, root.level, grpc_logger.filters = before[0], before[1], before[2]


@pytest.mark.usefixtures("loggers")
def test_metadata_that_grpc_cannot_decode_is_not_logged_as_it_came(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs(service="a_service", format="json", level="INFO")
    grpc_logger = logging.getLogger("grpc._cython.cygrpc")
    grpc_logger.error("Invalid encoding on %s", b"Bearer ey\xff")
    grpc_logger.error("something else")
    logged = capsys.readouterr().err
    assert "Bearer" not in logged
    assert "something else" in logged
