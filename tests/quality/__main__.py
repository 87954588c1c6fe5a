"""`python -m tests.quality`: how well pages are read, passages found and questions answered, as a table, as JSON, and held to the recorded floors.

Everything is what users get: the processor's own renderer, the local Brain over HTTP, real Postgres, and for answers the whole stack. Pages are made from known
text, with a fixed seed; search and answers need the real documents, and are left out, loudly, where those are not. Ends with 0 when every floor holds,
with 1 when one does not, with 2 when a part could not be measured.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.conftest import SAMPLES
from tests.quality.answer_quality import answer_rows
from tests.quality.page_quality import page_rows
from tests.quality.rows import Row
from tests.quality.search_quality import search_rows

RESULTS = Path(".local/quality/latest.json")
PARTS: dict[str, Callable[[Path | None], list[Row]]] = {
    "pages": page_rows,
    "search": search_rows,
    "answers": answer_rows,
}
NEED_SAMPLES = ("search", "answers")


def measure(parts: Sequence[str], console: Console) -> list[Row]:
    """The rows of these parts, one part after the other: each wants both cores."""
    samples = SAMPLES.resolve() if SAMPLES.is_dir() else None
    rows: list[Row] = []
    for part in parts:
        if samples is None and part in NEED_SAMPLES:
            console.print(f"[bold yellow]NOT MEASURED: {part}[/]: there are no real documents at {SAMPLES.resolve()}")
            continue
        began = time.monotonic()
        with console.status(f"Measuring {part} (some minutes) …"):
            measured = PARTS[part](samples)
        console.print(f"{part}: {len(measured)} figures in {time.monotonic() - began:.0f} s")
        rows += measured
    return rows


def table(rows: Sequence[Row]) -> Table:
    """A line each: what, how good, the floor, and whether it holds."""
    shown = Table("part", "what", "measure", "value", "floor", "of", "", title="Quality")
    for row in rows:
        floor = "" if row.floor is None else f"{'≤' if row.better == 'lower' else '≥'} {row.floor:.4g}"
        verdict = "" if row.floor is None else "[green]held[/]" if row.met else "[bold red]BELOW[/]"
        shown.add_row(row.part, row.name, row.measure, f"{row.value:.4f}", floor, str(row.count), verdict)
    return shown


def main(arguments: Sequence[str]) -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.quality", description=(__doc__ or "").partition("\n\n")[2])
    parser.add_argument("--only", choices=PARTS, action="append", help="only this part; may be given again")
    parser.add_argument("--json", type=Path, default=RESULTS, help="where the figures are written (%(default)s)")
    chosen = parser.parse_args(arguments)
    console = Console(width=max(100, Console().width))
    rows = measure(chosen.only or list(PARTS), console)
    if not rows:
        return 2
    console.print(table(rows))
    chosen.json.parent.mkdir(parents=True, exist_ok=True)
    figures = {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "rows": [asdict(row) | {"met": row.met} for row in rows],
    }
    chosen.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    below = [row for row in rows if not row.met]
    console.print(f"{len(rows)} figures, {len(below)} below their floor; written to {chosen.json}")
    for row in below:
        console.print(f"[bold red]BELOW[/] {row.part}, {row.name}, {row.measure}: {row.value:.4f}, floor {row.floor}")
    return 1 if below else 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
