"""What the model is made of: places where work waits its turn, and what they have seen.

A station is first come, first served, so when a piece of work will begin is known as it comes: each piece is one event of the simulation, and the time that it
waited is known without looking. Work that gathers (group commit, calls that gather) is a `Batcher`: one batch on its way, and what comes meanwhile is the next.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Generator, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import simpy

Steps = Generator[simpy.Event, Any, Any]
Item = TypeVar("Item", bound=Hashable)


@dataclass
class Seen:
    """Of one station, so far: pieces of work, seconds that it worked, seconds that they waited for it."""

    served: int = 0
    busy: float = 0.0
    waited: float = 0.0


class Station:
    """So many servers, one queue. A server that runs on a `machine` with others needs one of the machine's cores too."""

    def __init__(self, env: simpy.Environment, servers: int, machine: Station | None = None) -> None:
        self._env, self.servers, self._machine = env, servers, machine
        self._free = [0.0] * servers
        self.seen = Seen()

    def serve(self, seconds: float) -> simpy.Timeout:
        """The end of a piece of work that comes now."""
        return self._env.timeout(self.charge(seconds) - self._env.now)

    def charge(self, seconds: float) -> float:
        """Takes in work for which nobody waits; when it will have ended."""
        now = self._env.now
        begins = max(now, self._free[0])
        if self._machine is not None:
            begins = self._machine.reserve(begins, seconds)
        heapq.heapreplace(self._free, begins + seconds)
        self.seen.served += 1
        self.seen.busy += seconds
        self.seen.waited += begins - now
        return begins + seconds

    def reserve(self, earliest: float, seconds: float) -> float:
        """A server from `earliest` on, or as soon after that as one is free: when it begins."""
        begins = max(earliest, self._free[0])
        heapq.heapreplace(self._free, begins + seconds)
        self.seen.served += 1
        self.seen.busy += seconds
        return begins


class Batcher(Generic[Item]):
    """`work` is done for what has gathered, at most `most` pieces at a time, and one batch at a time."""

    def __init__(self, env: simpy.Environment, work: Callable[[Sequence[Item]], Steps], most: int) -> None:
        self._env, self._work, self._most = env, work, most
        self._queue: list[tuple[Item, simpy.Event, float]] = []
        self._running = False
        self.seen = Seen()
        self.batches = 0

    @property
    def waiting(self) -> int:
        """How many are not in a batch yet."""
        return len(self._queue)

    def join(self, item: Item) -> simpy.Event:
        """The end of the batch that it will be in."""
        done = self._env.event()
        self._queue.append((item, done, self._env.now))
        if not self._running:
            self._running = True
            self._env.process(self._run())
        return done

    def _run(self) -> Steps:
        while self._queue:
            batch, self._queue = self._queue[: self._most], self._queue[self._most :]
            begun = self._env.now
            yield from self._work([item for item, _, _ in batch])
            self.batches += 1
            self.seen.served += len(batch)
            self.seen.busy += self._env.now - begun
            self.seen.waited += sum(begun - came for _, _, came in batch)
            for _, done, _ in batch:
                done.succeed()
        self._running = False
