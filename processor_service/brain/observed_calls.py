"""Each call to the AI Brain as it is seen from outside: a span, its seconds, and how it ended. What was sent and what came back is in neither."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry.trace import SpanKind

from processor_service.brain.errors import BrainError
from processor_service.metrics import BrainMetrics
from servicekit.tracing import span


class ObservedCalls:
    """Of one client. `kind`: read, embed, generate or health."""

    def __init__(self, metrics: BrainMetrics | None) -> None:
        self._metrics = metrics or BrainMetrics()

    @contextmanager
    def call(self, kind: str) -> Iterator[None]:
        """The block is one call."""
        result, began = "cancelled", time.perf_counter()
        with span(f"brain {kind}", kind=SpanKind.CLIENT):
            try:
                yield
                result = "ok"
            except BrainError as error:
                result = result_of(error)
                raise
            except Exception:
                result = "unforeseen"
                raise
            finally:
                self._metrics.calls.labels(kind, result).inc()
                self._metrics.seconds.labels(kind).observe(time.perf_counter() - began)


def result_of(error: BrainError) -> str:
    """busy, unavailable, interrupted, timed_out, failed, refused or misconfigured: the error's class."""
    words = type(error).__name__.removeprefix("Brain")
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in words).lstrip("_")
