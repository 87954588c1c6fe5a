"""What a run of the model comes to: throughput, waiting, and how busy each part was."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil

from bench.simulate.pipeline import Pipeline
from bench.simulate.stations import Seen


@dataclass(frozen=True)
class Waiting:
    """From the record of an upload to its completion, in seconds."""

    p50: float
    p99: float


@dataclass(frozen=True)
class Outcome:
    """`rate` in completed materials a second, from the first upload to the last completion. `busy` is the share of the time that each part worked, `queued` how
    many pieces waited for it on the mean. `lost` were neither completed nor are they waiting or leased: it is 0."""

    rate: float
    waiting: Waiting
    busy: dict[str, float]
    queued: dict[str, float]
    completed: int
    lost: int

    @property
    def first_to_saturate(self) -> str:
        """The part with the least room left."""
        return max(self.busy, key=self.busy.__getitem__)


def percentile(values: Sequence[float], share: float) -> float:
    """The least value that `share` of them do not exceed. Raises ValueError for none."""
    if not values:
        raise ValueError("there is no percentile of nothing")
    return sorted(values)[max(0, ceil(share * len(values)) - 1)]


def waiting_of(seconds: Sequence[float]) -> Waiting:
    """The percentiles."""
    return Waiting(percentile(seconds, 0.5), percentile(seconds, 0.99))


def outcome_of(pipeline: Pipeline, *, since: float = 0.0) -> Outcome:
    """Of all that has happened so far; waiting is of the materials uploaded from `since` on. Raises ValueError when none of them is completed."""
    done = [each for each in pipeline.materials if each.completed is not None]
    waits = [
        each.completed - each.created for each in done if each.completed and each.created and each.upload.at >= since
    ]
    began = min(each.upload.at for each in done)
    seconds, lasted = pipeline.env.now, max(each.completed or 0.0 for each in done) - began
    fleet, processors = pipeline.fleet, pipeline.processors
    parts: dict[str, tuple[Iterable[Seen], int]] = {
        "Ingest": ([each.loop.seen for each in pipeline.ingest], fleet.ingest),
        "Status": ([each.loop.seen for each in pipeline.status], fleet.status),
        "Status's writers": ([each.writer.seen for each in pipeline.status], fleet.status),
        "Processor": ([each.loop.seen for each in processors], fleet.processors),
        "children that draw": (
            [each.children.seen for each in processors],
            sum(each.children.servers for each in processors),
        ),
        "Postgres": ([pipeline.postgres.seen], pipeline.postgres.servers),
        "NATS": ([pipeline.nats.seen], 1),
        "the Brain": ([pipeline.brain.slots.seen], pipeline.brain.slots.servers),
    }
    if pipeline.machine is not None:
        parts["the machine"] = ([pipeline.machine.seen], pipeline.machine.servers)
    busy, queued = {}, {}
    for name, (seen, servers) in parts.items():
        many = list(seen)
        busy[name] = sum(each.busy for each in many) / servers / seconds
        queued[name] = sum(each.waited for each in many) / seconds
    busy["slots"] = sum(each.held_seconds for each in processors) / (fleet.processors * fleet.slots) / seconds
    queued["turns for the Brain"] = sum(each.lane.waited for each in processors) / seconds
    held = sum(map(len, pipeline.record.waiting.values())) + len(pipeline.record.leased)
    on_the_way = sum(each.created is None for each in pipeline.materials)
    lost = len(pipeline.materials) - len(done) - held - on_the_way
    return Outcome(len(done) / lasted, waiting_of(waits), busy, queued, len(done), lost)
