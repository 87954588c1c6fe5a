"""A processor: slots that claim, read page by page, report and hand back, as `processor_service/worker.py` and `reading.py` do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import simpy

from bench.simulate.brain import BrainAway, BrainLane, TurnOver
from bench.simulate.record import Material, StatusReplica
from bench.simulate.stations import Station, Steps
from processor_service.worker import GATHERED_SECONDS

if TYPE_CHECKING:
    from bench.simulate.pipeline import Pipeline

#: A material that was handed back because the Brain was away is due again after about so long.
HANDED_BACK_SECONDS = 3.0


class ProcessorReplica:
    """One event loop, the processes that open documents, and so many slots."""

    def __init__(self, pipeline: Pipeline, name: str, lane: BrainLane) -> None:
        self.name, self.lane = name, lane
        self._pipeline, self._env = pipeline, pipeline.env
        fleet = pipeline.fleet
        self.loop = Station(self._env, 1, pipeline.machine)
        self.children = Station(self._env, pipeline.fleet.machine_cores or fleet.children_cores, pipeline.machine)
        self._status = pipeline.some_status()
        self._working: dict[int, Material] = {}
        self._over: set[int] = set()
        self.free = fleet.slots
        self.held_seconds = 0.0
        self._alive = True
        self._slots = [self._env.process(self._slot()) for _ in range(fleet.slots)]

    @property
    def takes_work(self) -> bool:
        """Whether it lives and its breaker is closed."""
        return self._alive and self.lane.closed.triggered

    def told(self, materials: Sequence[Material]) -> None:
        """Those whose turn is over; no others are."""
        self._over = {material.number for material in materials}
        for material in materials:
            self.lane.evict(material.id)

    def die(self) -> list[Material]:
        """What it had in hand; the leases stay."""
        self._alive, self.free = False, 0
        for slot in self._slots:
            if slot.is_alive:
                slot.interrupt()
        return list(self._working.values())

    def _slot(self) -> Steps:
        try:
            while True:
                yield self.lane.closed
                asked = self._pipeline.events.get()
                try:
                    yield asked
                except simpy.Interrupt:
                    asked.cancel()
                    raise
                if not self.lane.closed.triggered:
                    self._pipeline.events.put(None)
                    continue
                material = self._pipeline.record.claim(self.name, self._env.now, self._pipeline.fleet.lease_seconds)
                if material is None:
                    continue
                self.free -= 1
                self._working[material.number] = material
                self._over.discard(material.number)
                yield from self._attempt(material)
                self.held_seconds += self._env.now - material.claimed
                del self._working[material.number]
                self.free += 1
        except simpy.Interrupt:
            return

    def _attempt(self, material: Material) -> Steps:
        pipeline, times = self._pipeline, self._pipeline.times
        rest = times.material - times.change * 3
        yield self._status.loop.serve(rest.status)
        yield self._status.writer.join(material.upload.course)
        keeper = _LeaseKeeper(self._env, self._status, material, pipeline.fleet.lease_seconds)
        try:
            yield self.children.serve(rest.children)
            yield self.loop.serve(rest.processor)
            yield pipeline.postgres.serve(rest.postgres)
            keeper.progress()
            yield from self._read_pages(material, keeper)
        except BrainAway:
            self._env.process(pipeline.wait_again(material, HANDED_BACK_SECONDS))
            return
        except TurnOver:
            pipeline.turned_over += 1
            self._env.process(pipeline.wait_again(material))
            return
        finally:
            keeper.ends()
        yield self._status.writer.join(material.upload.course)
        pipeline.completed(material)
        pipeline.nats.charge(rest.nats)

    def _read_pages(self, material: Material, keeper: _LeaseKeeper) -> Steps:
        """While the Brain reads a page the next is drawn and the last is indexed."""
        draw = self._pipeline.times.page.children
        drawing: simpy.Event = self.children.serve(draw)
        indexing: simpy.Process | None = None
        over: Exception | None = None
        for number in range(material.pages_done, material.upload.pages):
            if material.number in self._over:
                over = TurnOver()
                break
            yield drawing
            if number + 1 < material.upload.pages:
                drawing = self.children.serve(draw)
            try:
                yield from self.lane.read(material.upload.owner, material.id)
            except (BrainAway, TurnOver) as error:
                over = error
                break
            if indexing is not None:
                yield indexing
            indexing = self._env.process(self._index(material, keeper))
        # What was read is still indexed when something goes wrong.
        if indexing is not None:
            yield indexing
        if over is not None:
            raise over

    def _index(self, material: Material, keeper: _LeaseKeeper) -> Steps:
        page = self._pipeline.times.page - self._pipeline.times.change
        yield self.loop.serve(page.processor)
        yield self._pipeline.brain.embed()
        yield self._pipeline.postgres.serve(page.postgres)
        yield self._env.timeout(self._pipeline.times.commit_seconds)
        if self._alive:
            material.pages_done += 1
            keeper.progress()


class _LeaseKeeper:
    """Reports progress, gathered for a moment and one report at a time, and renews the lease where there is none. Each report is a change."""

    def __init__(self, env: simpy.Environment, status: StatusReplica, material: Material, lease_seconds: float) -> None:
        self._env, self._status, self._material, self._lease = env, status, material, lease_seconds
        self._news = env.event()
        self._ended = False
        env.process(self._run())

    def progress(self) -> None:
        """There is something to tell."""
        if not self._news.triggered:
            self._news.succeed()

    def ends(self) -> None:
        """No more is told."""
        self._ended = True
        self.progress()

    def _run(self) -> Steps:
        while True:
            renewal = self._env.timeout(self._lease / 4)
            yield renewal | self._news
            if self._news.triggered and not self._ended:
                yield self._env.timeout(GATHERED_SECONDS)
            if self._ended:
                return
            self._news = self._env.event()
            yield self._status.writer.join(self._material.upload.course)
            self._material.lease_ends = self._env.now + self._lease
