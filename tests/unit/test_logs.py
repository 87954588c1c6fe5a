"""What is logged, and what must not be."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
import structlog
from grpc._cython import cygrpc

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


@pytest.mark.usefixtures("loggers")
def test_client_that_went_before_its_refusal_is_no_error_with_a_stack_trace(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs(service="a_service", format="json", level="INFO")
    grpc_logger = logging.getLogger("grpc._cython.cygrpc")
    for unforeseen in (cygrpc.ExecuteBatchError("gone"), ValueError("a mistake")):
        try:
            raise unforeseen
        except Exception:
            grpc_logger.exception("raised in core")
    logged = capsys.readouterr().err
    assert "ExecuteBatchError" not in logged
    assert "a mistake" in logged


@pytest.mark.usefixtures("loggers")
@pytest.mark.parametrize("format", ["console", "json"])
def test_whatever_somebody_sent_is_one_line_and_does_nothing_to_a_terminal(
    capsys: pytest.CaptureFixture[str], format: str
) -> None:
    configure_logs(service="a_service", format=format, level="INFO")
    sent = "a\r\n2026-01-01 [critical ] forged\0\x1b[31m\x9b\u2028\u202e\u2066\ud800b"
    structlog.get_logger().info("refused", path=sent)
    logging.getLogger("somebody").warning(sent)
    logged = capsys.readouterr().err
    assert len(logged.splitlines()) == 2
    assert all(line.isprintable() for line in logged.splitlines())
    assert logged.count("forged") == 2


@pytest.mark.usefixtures("loggers")
def test_stack_trace_of_the_unforeseen_keeps_its_lines(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs(service="a_service", format="console", level="INFO")
    try:
        raise ValueError("unforeseen")
    except ValueError:
        structlog.get_logger().exception("call failed")
    assert capsys.readouterr().err.splitlines()[1] == "Traceback (most recent call last):"
