"""Every fault against the real stack: a table, and one line that says whether anything was lost, stuck or doubled."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from tests.faults.catalogue import SCENARIOS
from tests.faults.running import Result, run_all
from tests.faults.scenario import Scenario

HELP = """Break the real stack in every way of docs/faults.md and check that nothing is lost, stuck or done twice.

Starts stacks of its own (Postgres, NATS, AI Brain and services as processes, in
temporary directories); what runs already is left alone. Exits with 1 when anything
was lost, stuck, doubled or otherwise not as promised.

\b
Examples:
  python -m tests.faults                 everything, below fifteen minutes
  python -m tests.faults --quick         the third that `make test` runs
  python -m tests.faults --only 2,5,9a   some faults, by number
  python -m tests.faults --list
"""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command(help=HELP)
def faults(
    quick: Annotated[bool, typer.Option("--quick", help="Only the quick third.")] = False,
    only: Annotated[str, typer.Option(metavar="N,…", help="Only these: 2 for all its kinds, 2b for one.")] = "",
    lanes: Annotated[int, typer.Option(min=1, max=8, help="Stacks side by side.")] = 2,
    show: Annotated[bool, typer.Option("--list", help="List the scenarios and end.")] = False,
) -> None:
    """Runs and tells."""
    chosen = [each for each in SCENARIOS if (each.quick or not quick) and _wanted(each, only)]
    if show:
        for each in chosen:
            print(f"{each.number:>4}  {'quick  ' if each.quick else '       '}{each.title}")
        return
    if not chosen:
        print(f"no fault is numbered {only}; see --list", file=sys.stderr)
        raise typer.Exit(2)
    try:
        good = asyncio.run(_run(chosen, lanes))
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    raise typer.Exit(0 if good else 1)


def _wanted(scenario: Scenario, only: str) -> bool:
    asked = [each.strip() for each in only.split(",") if each.strip()]
    return not asked or any(each in (scenario.number, str(scenario.order[0])) for each in asked)


async def _run(scenarios: list[Scenario], lanes: int) -> bool:
    console = Console(soft_wrap=True)
    began = time.monotonic()
    console.print(f"{len(scenarios)} scenarios, {min(lanes, len(scenarios))} stacks side by side.")
    results: list[Result] = []
    async for result in run_all(scenarios, min(lanes, len(scenarios))):
        results.append(result)
        state = "skipped" if result.skipped else "holds" if result.good else "BROKEN"
        console.print(
            f"{len(results):>3}/{len(scenarios)} {result.scenario.number:>4} {state:<7} {result.took:5.1f} s  "
            f"{result.scenario.title}",
            highlight=False,
        )
        for line in [result.skipped] if result.skipped else result.verdict.lines():
            console.print(f"          {line}", highlight=False, markup=False)
    results.sort(key=lambda result: result.scenario.order)
    console.print(table(results))
    print(f"took {time.monotonic() - began:.0f} s")
    print(summary(results))
    return all(result.good for result in results)


def table(results: list[Result]) -> Table:
    """One row a scenario."""
    drawn = Table("fault", "what is done", box=None, pad_edge=False)
    for name in ("in flight", "lost", "stuck", "doubled", "recovered"):
        drawn.add_column(name, justify="right")
    for result in results:
        verdict = result.verdict
        end = "skipped" if result.skipped else f"{result.recovered:.1f} s"
        drawn.add_row(
            result.scenario.number,
            result.scenario.title + ("" if result.good else "  [bold red]BROKEN[/]"),
            str(result.in_flight),
            str(len(verdict.lost)),
            str(len(verdict.stuck)),
            str(len(verdict.doubled)),
            end,
        )
    return drawn


def summary(results: list[Result]) -> str:
    """The last line."""
    run = [result for result in results if not result.skipped]
    lost, stuck, doubled = (
        sum(len(getattr(result.verdict, kind)) for result in run) for kind in ("lost", "stuck", "doubled")
    )
    other = sum(len(result.verdict.wrong) for result in run)
    rest = f", {other} other promises broken" if other else ""
    left_out = f" ({len(results) - len(run)} skipped)" if len(run) < len(results) else ""
    return f"faults: {len(run)} scenarios, {lost} lost, {stuck} stuck, {doubled} doubled{rest}{left_out}"


if __name__ == "__main__":
    app()
