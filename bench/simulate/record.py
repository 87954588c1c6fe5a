"""Status: the record that all replicas share, each replica's single writer, and the fan-out to watchers."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID

import simpy

from bench.simulate.service_times import ServiceTimes
from bench.simulate.stations import Batcher, Station, Steps
from bench.simulate.workload import Upload
from status_service import turns
from status_service.claiming import MOST_OWNERS
from status_service.record_writer import MAX_BATCH


@dataclass(eq=False, slots=True)
class Material:
    """`number` in order of upload; pages read so far survive a crash. Times in seconds of the simulation; None where it has not happened."""

    number: int
    upload: Upload
    pages_done: int = 0
    attempt: int = 0
    created: float | None = None
    completed: float | None = None
    worker: str = ""
    claimed: float = 0.0
    lease_ends: float = 0.0

    @property
    def id(self) -> str:
        """As the fair queue knows it."""
        return str(self.number)


@dataclass
class Record:
    """Which materials wait and which are leased. Who is next is the rule of claims: the owner with the fewest leases, then the one served longest ago."""

    waiting: dict[str, deque[Material]] = field(default_factory=dict)
    leased: dict[int, Material] = field(default_factory=dict)
    held: Counter[str] = field(default_factory=Counter)
    served: dict[str, float] = field(default_factory=dict)

    def wait(self, material: Material) -> None:
        """It waits for its turn, among its owner's by age."""
        own = self.waiting.setdefault(material.upload.owner, deque())
        if own and own[0].number > material.number:
            own.appendleft(material)
        else:
            own.append(material)

    def claim(self, worker: str, now: float, lease_seconds: float) -> Material | None:
        """Leases the material whose turn it is; None when none waits."""
        first: str | None = None
        best = (0, 0.0, 0)
        for _, owner in zip(range(MOST_OWNERS), self.waiting, strict=False):
            rank = (self.held[owner], self.served.get(owner, -1.0), self.waiting[owner][0].number)
            if first is None or rank < best:
                first, best = owner, rank
        if first is None:
            return None
        material = self.waiting[first].popleft()
        if not self.waiting[first]:
            del self.waiting[first]
        material.worker, material.claimed, material.attempt = worker, now, material.attempt + 1
        material.lease_ends = now + lease_seconds
        self.leased[material.number] = material
        self.held[first] += 1
        self.served[first] = now
        return material

    def release(self, material: Material) -> None:
        """The lease has ended, whichever way."""
        if self.leased.pop(material.number, None) is not None:
            owner = material.upload.owner
            self.held[owner] -= 1
            if not self.held[owner]:
                del self.held[owner]

    def to_yield(self, slots: dict[str, int], now: float, quantum: float) -> list[Material]:
        """Those that should be handed back, by the product's own rule."""
        if not self.waiting:
            return []
        leases = [
            turns.Lease(UUID(int=each.number), each.upload.owner, each.worker, _moment(each.claimed))
            for each in self.leased.values()
        ]
        order = sorted(self.waiting, key=lambda owner: (self.held[owner], self.served.get(owner, -1.0)))
        over = turns.to_yield(leases, slots, order[: len(leases)], now=_moment(now), quantum=quantum)
        return [self.leased[lease.material_id.int] for lease in over]


def _moment(second: float) -> datetime:
    return datetime.fromtimestamp(second, UTC)


class StatusReplica:
    """One event loop and one writer. Changes of one course are written one batch after another, by whichever replica: its row is locked until the commit."""

    def __init__(
        self,
        env: simpy.Environment,
        times: ServiceTimes,
        loop: Station,
        postgres: Station,
        locked_until: dict[str, float],
    ) -> None:
        self._env, self._times = env, times
        self.loop, self._postgres, self._locked = loop, postgres, locked_until
        self.writer: Batcher[str] = Batcher(env, self._write, MAX_BATCH)
        self.told: list[StatusReplica] = []
        self.watchers_each: float = 0.0
        self.lock_waits = 0.0

    def _write(self, courses: Sequence[str]) -> Steps:
        """One batch: decided, written, committed; then all replicas and their watchers are told."""
        times, count = self._times, len(courses)
        yield self.loop.serve(times.batch.status + count * times.change.status)
        # The locks are held until the disk has it.
        free = max((self._locked.get(course, 0.0) for course in set(courses)), default=0.0)
        if free > self._env.now:
            self.lock_waits += free - self._env.now
            yield self._env.timeout(free - self._env.now)
        work = times.batch.postgres + count * times.change.postgres
        ends = self._postgres.charge(work) + times.commit_seconds + 2 * times.round_trip_seconds
        for course in courses:
            self._locked[course] = ends
        yield self._env.timeout(ends - self._env.now)
        watching = count * self.watchers_each * times.watcher_change
        for replica in self.told:
            foreign = 0.0 if replica is self else count * times.foreign_change
            replica.loop.charge(foreign + watching)
