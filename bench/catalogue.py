"""The lines, in the order of the table."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from bench.bed import Bed
from bench.lines import upload_rate
from bench.rows import Row

LINES: Mapping[str, Callable[[Bed], Awaitable[list[Row]]]] = {
    "upload-rate": upload_rate.measure,
}
