"""The pipeline as a whole: an upload's way through Ingest, Status, JetStream and a processor's slot, over the stations that it meets there."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass

import simpy

from bench.simulate.brain import Brain, BrainLane, BrainScript
from bench.simulate.processor import ProcessorReplica
from bench.simulate.record import Material, Record, StatusReplica
from bench.simulate.service_times import ServiceTimes
from bench.simulate.stations import Batcher, Station, Steps
from bench.simulate.workload import Upload

#: Of Ingest's calls that gather.
MOST_GATHERED = 200


@dataclass(frozen=True)
class Fleet:
    """How many of each, and the settings that matter. With `machine_cores` all runs on one machine of so many; else each replica has a core for its event
    loop and `children_cores` for the processes that open documents, and Postgres has `postgres_cores`. `watchers` is the mean number that see a change."""

    ingest: int = 1
    status: int = 1
    processors: int = 1
    slots: int = 4
    brain_concurrency: int = 4
    children_cores: int = 1
    postgres_cores: int = 4
    watchers: float = 0.0
    lease_seconds: float = 20.0
    turn_seconds: float = 30.0
    machine_cores: int | None = None
    #: The processors have been up for a while.
    settled: bool = False
    #: (second, replica): it dies with all that it has in hand and is not replaced.
    deaths: tuple[tuple[float, int], ...] = ()


class Pipeline:
    """`run` takes uploads and lets time pass until all of them have come out, or `until`."""

    def __init__(self, fleet: Fleet, times: ServiceTimes, script: BrainScript, *, seed: int = 1) -> None:
        self.env = env = simpy.Environment()
        self.fleet, self.times = fleet, times
        self._random = random.Random(seed)
        self.machine = Station(env, fleet.machine_cores) if fleet.machine_cores else None
        self.postgres = Station(env, fleet.machine_cores or fleet.postgres_cores, self.machine)
        self.nats = Station(env, 1, self.machine)
        self.brain = Brain(env, script, seed)
        self.record = Record()
        self.events = simpy.Store(env)
        locked: dict[str, float] = {}
        self.status = [
            StatusReplica(env, times, Station(env, 1, self.machine), self.postgres, locked) for _ in range(fleet.status)
        ]
        for replica in self.status:
            replica.told, replica.watchers_each = self.status, fleet.watchers / fleet.status
        self.ingest = [_IngestReplica(self) for _ in range(fleet.ingest)]
        self._status_in_turn = itertools.cycle(self.status)
        self.processors = [
            ProcessorReplica(
                self,
                f"processor-{number}",
                BrainLane(env, self.brain, fleet.brain_concurrency, seed + number, settled=fleet.settled),
            )
            for number in range(fleet.processors)
        ]
        self.materials: list[Material] = []
        self.turned_over = 0
        self._left = 0
        self._all_out = env.event()

    def run(self, uploads: Sequence[Upload], until: float | None = None) -> None:
        """In the order of their times."""
        self._left = len(uploads)
        self.env.process(self._arrivals(uploads))
        self.env.process(self._take_turns())
        for second, number in self.fleet.deaths:
            self.env.process(self._death(second, self.processors[number]))
        if uploads:
            self.env.run(
                until=self._all_out if until is None else self.env.any_of([self._all_out, self.env.timeout(until)])
            )

    def finish(self) -> None:
        """Lets time pass until all that was uploaded has come out."""
        if self._left:
            self.env.run(until=self._all_out)

    def some_status(self) -> StatusReplica:
        """The replica that the next call goes to: they take turns."""
        return next(self._status_in_turn)

    def wait_again(self, material: Material, after: float = 0.0) -> Steps:
        """Handed back, or its lease ran out: it is announced again when it is due."""
        self.record.release(material)
        yield self.some_status().writer.join(material.upload.course)
        if after:
            yield self.env.timeout(after)
        self.record.wait(material)
        yield self.nats.serve(self.times.upload.nats)
        self.events.put(None)

    def completed(self, material: Material) -> None:
        """Durably."""
        self.record.release(material)
        material.completed = self.env.now
        self._left -= 1
        if not self._left:
            self._all_out.succeed()

    def _arrivals(self, uploads: Sequence[Upload]) -> Steps:
        for number, upload in enumerate(uploads):
            if upload.at > self.env.now:
                yield self.env.timeout(upload.at - self.env.now)
            material = Material(number, upload)
            self.materials.append(material)
            self.env.process(self._random.choice(self.ingest).take(material))

    def _take_turns(self) -> Steps:
        while self._left:
            yield self.env.timeout(1.0)
            alive = [each for each in self.processors if each.takes_work]
            if any(each.free for each in alive):
                continue
            slots = {each.name: self.fleet.slots for each in alive}
            over = self.record.to_yield(slots, self.env.now, self.fleet.turn_seconds)
            for processor in alive:
                processor.told([each for each in over if each.worker == processor.name])

    def _death(self, second: float, processor: ProcessorReplica) -> Steps:
        yield self.env.timeout(second)
        for material in processor.die():
            self.env.process(self._lease_runs_out(material))

    def _lease_runs_out(self, material: Material) -> Steps:
        yield self.env.timeout(max(0.0, material.lease_ends - self.env.now))
        yield from self.wait_again(material)


class _IngestReplica:
    """Takes bytes, and shares its calls to the record among uploads at the same time."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline, env = pipeline, pipeline.env
        self.loop = Station(env, 1, pipeline.machine)
        self._admission: Batcher[str] = Batcher(env, self._admit, MOST_GATHERED)
        self._creation: Batcher[str] = Batcher(env, self._create, MOST_GATHERED)

    def take(self, material: Material) -> Steps:
        """From the first byte to the event."""
        pipeline, times, course = self._pipeline, self._pipeline.times, material.upload.course
        yield self._admission.join(course)
        yield self.loop.serve(times.upload.ingest)
        yield self._creation.join(course)
        material.created = pipeline.env.now
        pipeline.record.wait(material)
        yield pipeline.nats.serve(times.upload.nats)
        pipeline.events.put(None)

    def _admit(self, courses: Sequence[str]) -> Steps:
        # What an upload costs Status and Postgres beside its change is of admission and of the mark that it was announced.
        times, status = self._pipeline.times, self._pipeline.some_status()
        rest = times.upload - times.change
        yield status.loop.serve(rest.status * len(courses))
        yield self._pipeline.postgres.serve(rest.postgres * len(courses))
        yield self._pipeline.env.timeout(2 * times.round_trip_seconds)

    def _create(self, courses: Sequence[str]) -> Steps:
        writer = self._pipeline.some_status().writer
        yield self._pipeline.env.all_of([writer.join(course) for course in courses])
        yield self._pipeline.env.timeout(self._pipeline.times.round_trip_seconds)
