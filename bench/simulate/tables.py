"""Tables of the page, and figures as they stand in them."""

from __future__ import annotations

from collections.abc import Sequence

from bench.simulate.sizing import KIB


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown; the first column to the left, all others to the right."""
    lines = [f"| {' | '.join(head)} |", f"| --- |{' ---: |' * (len(head) - 1)}"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def number(value: float) -> str:
    """Two figures that count, or all of a large one."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}" if value >= 10 else f"{value:.2g}"


def size(count: float) -> str:
    """Of bytes."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if count < KIB:
            return f"{number(count)} {unit}"
        count /= KIB
    return f"{number(count)} PiB"


def rounded(count: int) -> str:
    """Down to three figures."""
    step = 10 ** max(0, len(str(count)) - 3)
    return f"{count // step * step:,}"
