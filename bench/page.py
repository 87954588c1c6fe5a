"""The page that tells of a run: docs/performance.md with its plots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.rows import Row


def write_page(data: Mapping[str, object], rows: Sequence[Row], path: Path) -> None:
    """Writes the page, and its plots beside it."""
    raise NotImplementedError
