"""Each step's load put through the model: the peak with the fleet that the paper asks for, and the same when something happens."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from bench.simulate.brain import BrainScript
from bench.simulate.outcome import Outcome, Waiting, outcome_of, waiting_of
from bench.simulate.pipeline import Fleet, Pipeline
from bench.simulate.service_times import ServiceTimes
from bench.simulate.sizing import Assumptions, Need
from bench.simulate.workload import Upload, burst, poisson, together

JITTER, EMBED_SECONDS = 0.5, 0.05
#: Seconds of the peak that are simulated: as many as give enough materials and end soon.
SECONDS = {1_000: 6 * 3600.0, 10_000: 3600.0, 100_000: 900.0, 1_000_000: 180.0, 10_000_000: 75.0}
#: Of those, the first are not looked at: the system fills.
WARM_UP = 0.25
RUSH, RUSH_UPLOADS, OUTAGE_SECONDS = "rush", 1_000, 60.0


@dataclass(frozen=True)
class Trouble:
    """What became of the waiting of others, and of the owner with the burst where there was one."""

    what: str
    others: Waiting
    rushed: Waiting | None
    lost: int


def simulate(asked: Need, times: ServiceTimes, assumed: Assumptions) -> Outcome:
    """The peak, with the fleet that the paper asks for."""
    seconds = SECONDS[asked.daily]
    owners = max(1, round(asked.daily / assumed.materials_an_owner))
    courses = max(1, round(asked.daily / assumed.materials_a_course))
    uploads = poisson(asked.peak, seconds, assumed.pages, owners=owners, courses=courses, seed=1)
    pipeline = Pipeline(asked.fleet, times, script(asked, assumed))
    pipeline.run(uploads, until=seconds)
    at_the_peak = outcome_of(pipeline)
    # Those that are still being read belong to the waiting, too: the long ones are among them.
    pipeline.finish()
    whole = outcome_of(pipeline, since=WARM_UP * seconds)
    return replace(whole, busy=at_the_peak.busy, queued=at_the_peak.queued)


def script(asked: Need, assumed: Assumptions) -> BrainScript:
    return BrainScript(asked.brain_slots, assumed.brain_seconds, JITTER, 0.05)


def troubles(asked: Need, times: ServiceTimes, assumed: Assumptions) -> Iterator[Trouble]:
    """The load of one step under what may happen to it, in the middle of it."""
    seconds, brain = SECONDS[asked.daily], script(asked, assumed)
    then = seconds / 3
    plain = poisson(asked.peak, seconds, assumed.pages, owners=50_000, courses=5_000, seed=1)
    rush = burst(then, RUSH, "course-0", round(assumed.pages), RUSH_UPLOADS, apart=0.05)
    away = replace(brain, outage=(then, then + OUTAGE_SECONDS))
    cases: list[tuple[str, list[Upload], Fleet, BrainScript]] = [
        ("nothing", plain, asked.fleet, brain),
        (f"one owner uploads {RUSH_UPLOADS:,} in a minute", together(plain, rush), asked.fleet, brain),
        ("the Brain is away for a minute", plain, asked.fleet, away),
        ("a Processor dies and is not replaced", plain, replace(asked.fleet, deaths=((then, 0),)), brain),
    ]
    for what, uploads, fleet, its_brain in cases:
        pipeline = Pipeline(fleet, times, its_brain)
        pipeline.run(uploads)
        waits: dict[bool, list[float]] = {True: [], False: []}
        for each in pipeline.materials:
            if each.completed is not None and each.created is not None:
                waits[each.upload.owner == RUSH].append(each.completed - each.created)
        rushed = waiting_of(waits[True]) if waits[True] else None
        yield Trouble(what, waiting_of(waits[False]), rushed, outcome_of(pipeline).lost)
