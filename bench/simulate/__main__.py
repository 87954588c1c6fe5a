"""`python -m bench.simulate`: a model of the pipeline, from one machine to ten million materials a day.

`--calibrate` measures the service times on a real stack, `--check` compares the model with a measured run, `--page` writes docs/scaling.md from both. Without
any of them it says what the model makes of the load that the other arguments describe. Ends with 1 when a check does not hold.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Sequence
from pathlib import Path

import uvloop
from rich.console import Console

from bench.bed import Bed
from bench.processes import machine
from bench.simulate.brain import BrainScript
from bench.simulate.calibrate import calibrate
from bench.simulate.check import Compared, cases, compare
from bench.simulate.outcome import Outcome, outcome_of
from bench.simulate.page import write_page
from bench.simulate.pipeline import Fleet, Pipeline
from bench.simulate.service_times import MEASURED, ServiceTimes
from bench.simulate.workload import poisson

CHECKED = Path(__file__).with_name("check.json")


async def check(bed: Bed, times: ServiceTimes) -> list[Compared]:
    """Each case, on a stack of its own and in the model."""
    return [await compare(bed, times, case) for case in cases(int(str(machine()["cores"])))]


def _told(name: str, outcome: Outcome) -> str:
    busy = ", ".join(f"{part} {share:.0%}" for part, share in sorted(outcome.busy.items(), key=lambda one: -one[1]))
    return (
        f"{name}: {outcome.rate:.2f} materials/s, waiting p50 {outcome.waiting.p50:.2f} s, p99 {outcome.waiting.p99:.2f} s; "
        f"first to saturate: {outcome.first_to_saturate}; busy: {busy}"
    )


def _simulated(chosen: argparse.Namespace, times: ServiceTimes) -> Outcome:
    fleet = Fleet(
        ingest=chosen.ingest, status=chosen.status, processors=chosen.processors, slots=chosen.slots,
        brain_concurrency=chosen.brain_concurrency, watchers=chosen.watchers,
    )  # fmt: skip
    pipeline = Pipeline(fleet, times, BrainScript(chosen.brain_slots, chosen.latency, 0.3), seed=chosen.seed)
    owners, courses = 50, 20
    pipeline.run(
        poisson(chosen.rate, chosen.seconds, chosen.pages, owners=owners, courses=courses, seed=chosen.seed),
        until=chosen.seconds * 10,
    )
    return outcome_of(pipeline)


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.simulate", description=(__doc__ or "").partition("\n\n")[2])
    parser.add_argument(
        "--calibrate", action="store_true", help=f"measure service times into {MEASURED.name}: a minute"
    )
    parser.add_argument("--check", action="store_true", help="compare with a measured run: two minutes")
    parser.add_argument("--page", type=Path, help="where to write the page, such as docs/scaling.md: two minutes")
    parser.add_argument("--rate", type=float, default=1.0, help="uploads a second (%(default)s)")
    parser.add_argument("--seconds", type=float, default=600.0, help="how long they come (%(default)s)")
    parser.add_argument("--pages", type=float, default=10.0, help="pages of a material, on the mean (%(default)s)")
    parser.add_argument("--watchers", type=float, default=0.0, help="that see a change, on the mean (%(default)s)")
    parser.add_argument("--latency", type=float, default=1.5, help="seconds of the Brain for a page (%(default)s)")
    parser.add_argument("--brain-slots", type=int, default=24, help="pages that the Brain reads at once (%(default)s)")
    parser.add_argument("--brain-concurrency", type=int, default=12, help="of each processor (%(default)s)")
    parser.add_argument("--ingest", type=int, default=1, help="replicas (%(default)s)")
    parser.add_argument("--status", type=int, default=1, help="replicas (%(default)s)")
    parser.add_argument("--processors", type=int, default=2, help="replicas (%(default)s)")
    parser.add_argument("--slots", type=int, default=12, help="materials at once in each (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of all that is random (%(default)s)")
    return parser


def main(arguments: Sequence[str]) -> int:
    """The exit code."""
    chosen = _arguments().parse_args(arguments)
    console = Console(width=160, highlight=False)
    bed = Bed(False, 1, random.Random(chosen.seed), lambda words: console.print(f"[dim]{words}[/]"))
    if chosen.calibrate:
        MEASURED.write_text(uvloop.run(calibrate(bed)).as_json(), encoding="utf-8")
        console.print(f"written to {MEASURED}")
    times = ServiceTimes.measured()
    holds = True
    if chosen.check:
        compared = uvloop.run(check(bed, times))
        CHECKED.write_text(json.dumps([each.as_json() for each in compared], indent=1) + "\n", encoding="utf-8")
        for each in compared:
            real = each.real
            off = ", ".join(f"{name} {share:+.0%}" for name, share in each.off().items())
            console.print(
                f"{each.case}: measured {real.rate:.2f} materials/s, p50 {real.waiting.p50:.2f} s, p99 {real.waiting.p99:.2f} s "
                f"(others used {real.others:.1f} cores); off by: {off}"
            )
            console.print(_told("  model", each.model))
        holds = all(each.holds for each in compared)
    if chosen.page is not None:
        write_page(times, json.loads(CHECKED.read_text(encoding="utf-8")), chosen.page, console.print)
    elif not (chosen.calibrate or chosen.check):
        console.print(_told("model", _simulated(chosen, times)))
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
