"""Log lines: structlog, for people or as JSON, with the ids bound to the running call or attempt.

No document text and no token is ever logged; what a user sent stays within its line, and does nothing to a terminal.
"""

from __future__ import annotations

import logging
import sys
from typing import Any

import structlog
from opentelemetry import trace


def configure_logs(*, service: str, format: str, level: str) -> None:
    """Sets up structlog, and sends the standard library's records (grpc, nats, asyncpg) the same way."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _add_trace,
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
    ]
    renderers: list[Any] = (
        [structlog.processors.JSONRenderer()]
        if format == "json"
        else [
            _escape,
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
            ),
        ]
    )
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderers],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    # nats-py reports every failed reconnect as an error of its own; the link says it once.
    logging.getLogger("nats").setLevel(logging.CRITICAL)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    logging.getLogger("grpc._cython.cygrpc").addFilter(_is_fit_to_log)
    structlog.contextvars.bind_contextvars(service=service)


def _is_fit_to_log(record: logging.LogRecord) -> bool:
    """Not metadata that is no UTF-8, which gRPC logs as it came, bearer tokens too; and not, with a stack trace, that a client went before its refusal."""
    if str(record.msg).startswith("Invalid encoding"):
        return False
    return record.exc_info is None or getattr(record.exc_info[0], "__name__", "") != "ExecuteBatchError"


def _escape(_: Any, __: str, event: dict[str, Any]) -> dict[str, Any]:
    """Line breaks, escape sequences and bidirectional overrides as backslashes: structlog's console renderer shows text as it is, its JSON one escapes."""
    return {
        key: _printable(value) if isinstance(value, str) and key not in ("exception", "stack") else value
        for key, value in event.items()
    }


def _printable(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )


def _add_trace(_: Any, __: str, event: dict[str, Any]) -> dict[str, Any]:
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        event["trace_id"] = trace.format_trace_id(context.trace_id)
    return event
