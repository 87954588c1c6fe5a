"""`python -m bench`: every promise about speed, measured beside the least code that does the same work and beside what people use today.

Each line starts what it needs (real stacks, by `python -m single_node`; a scripted Brain, so that the pipeline and not the reading is measured), runs its
contestants side by side in rounds of random order, and gives the median of the ratios within a round. Nothing is left out that users get: durability, sign-in
and telemetry are as deployed. Ends with 0 when every target is met, 1 when one is not, 2 when a line could not be measured.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import uvloop
from rich.console import Console
from rich.table import Table

from bench.bed import Bed
from bench.catalogue import LINES
from bench.page import write_page
from bench.processes import machine
from bench.rows import Row

RESULTS = Path("bench/results/latest.json")
#: Where `make` installs the product; the peers' packages are in an environment of the benchmark's own.
PRODUCT_PYTHON = Path(".venv/bin/python")
ROUNDS, QUICK_ROUNDS = 5, 3


async def measure(names: Sequence[str], bed: Bed, console: Console) -> tuple[list[Row], list[str]]:
    """The rows of these lines, one line after the other, and the lines that could not be measured."""
    rows: list[Row] = []
    failed = []
    for name in names:
        began = time.monotonic()
        try:
            measured = await LINES[name](bed)
        except Exception:
            failed.append(name)
            console.print(f"[bold red]NOT MEASURED: {name}[/]\n{traceback.format_exc(limit=8)}", highlight=False)
            continue
        console.print(f"{name}: {time.monotonic() - began:.0f} s", highlight=False)
        for row in measured:
            console.print(f"  {row.name}: {row.figure:.3g} {row.unit} {_verdict(row)} {row.shown}", highlight=False)
        rows += [replace(row, line=name) for row in measured]
    return rows, failed


def table(rows: Sequence[Row]) -> Table:
    """A line each: what, its target, the figure, and whether it is met."""
    shown = Table("what", "target", "figure", "spread", "ours", "floor", "peers", "", title="Performance")
    for row in rows:
        spread = "" if row.spread is None else f"{row.spread.low:.3g}-{row.spread.high:.3g}"
        peers = "\n".join(f"{name}: {figure}" for name, figure in row.peers.items())
        figure = f"{row.figure:.3g} {row.unit}"
        shown.add_row(row.name, row.target, figure, spread, row.shown, row.floor, peers, _verdict(row))
    return shown


def _verdict(row: Row) -> str:
    return "" if row.met is None else "[green]met[/]" if row.met else "[bold red]NOT MET[/]"


def main(arguments: Sequence[str]) -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=(__doc__ or "").partition("\n\n")[2])
    parser.add_argument("--quick", action="store_true", help="a first impression: fewer rounds, smaller loads")
    parser.add_argument("--only", choices=LINES, action="append", help="only this line; may be given again")
    parser.add_argument("--rounds", type=int, help=f"rounds that count (default: {ROUNDS}, {QUICK_ROUNDS} if quick)")
    parser.add_argument("--seed", type=int, default=None, help="of the order within the rounds (default: any)")
    parser.add_argument("--json", type=Path, default=RESULTS, help="where the figures are written (%(default)s)")
    parser.add_argument("--page", type=Path, help="where to write the page with plots, such as docs/performance.md")
    parser.add_argument(
        "--product-python",
        type=Path,
        default=PRODUCT_PYTHON,
        help="runs the services, without the peers' packages (%(default)s)",
    )
    chosen = parser.parse_args(arguments)
    # Not resolved: the link's place is what makes it an environment's.
    product_python = chosen.product_python.absolute()
    if not product_python.exists():
        parser.error(f"{chosen.product_python} is not there: `make install`, or name another by --product-python")
    console = Console(width=max(140, Console().width))
    rounds = chosen.rounds or (QUICK_ROUNDS if chosen.quick else ROUNDS)
    data: dict[str, object] = {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "quick": chosen.quick,
        "rounds": rounds,
        "machine": machine(),
    }
    with console.status("") as status:
        bed = Bed(chosen.quick, rounds, random.Random(chosen.seed), status.update, str(product_python))
        rows, failed = uvloop.run(measure(chosen.only or list(LINES), bed, console))
    console.print(table(rows))
    data |= {"rows": [row.as_json() for row in rows], "not_measured": failed}
    chosen.json.parent.mkdir(parents=True, exist_ok=True)
    chosen.json.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    if chosen.page is not None:
        write_page(data, rows, chosen.page)
    missed = [row for row in rows if row.met is False]
    console.print(f"{len(rows)} figures, {len(missed)} not met, {len(failed)} not measured; written to {chosen.json}")
    return 2 if failed else 1 if missed else 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
