"""The AI Brain and the way to it: the product's own rules (whose page is next, how many at once, when to stop asking) over a Brain of slots and latencies."""

from __future__ import annotations

import random
from dataclasses import dataclass

import simpy

from bench.simulate.stations import Station, Steps
from processor_service.brain import breaker as circuit
from processor_service.brain import concurrency_limit
from processor_service.brain.breaker import Breaker, BreakerPolicy, BreakerState
from processor_service.brain.concurrency_limit import ConcurrencyLimit
from processor_service.brain.fair_queue import FairQueue, Waiting
from processor_service.brain.retry_policy import RetryPolicy, backoff


class BrainAway(Exception):
    """The breaker is open, or all tries were in vain: the material is handed back."""


class TurnOver(Exception):
    """The material has had its turn."""


@dataclass(frozen=True)
class BrainScript:
    """`slots` pages are read at once, each in `latency` seconds, `jitter` (0 to 1) to either side; others wait, first come first served. Embeddings
    need no slot. From the first to the second of `outage` each call fails at once."""

    slots: int
    latency: float
    jitter: float = 0.0
    embed_latency: float = 0.0
    outage: tuple[float, float] | None = None


class Brain:
    """One for all."""

    def __init__(self, env: simpy.Environment, script: BrainScript, seed: int) -> None:
        self._env, self._script, self._random = env, script, random.Random(seed)
        self.slots = Station(env, script.slots)

    @property
    def is_up(self) -> bool:
        """Right now."""
        outage = self._script.outage
        return outage is None or not outage[0] <= self._env.now < outage[1]

    def read(self) -> simpy.Timeout:
        """The end of a page's reading."""
        jitter = 1 + self._script.jitter * self._random.uniform(-1, 1)
        return self.slots.serve(self._script.latency * jitter)

    def embed(self) -> simpy.Timeout:
        """The end of an embedding."""
        return self._env.timeout(self._script.embed_latency)


class BrainLane:
    """One processor's way to the Brain. `settled`: it has found already that the Brain takes as many calls as it may make."""

    def __init__(self, env: simpy.Environment, brain: Brain, most: int, seed: int, *, settled: bool = False) -> None:
        self._env, self._brain, self._random = env, brain, random.Random(seed)
        self._limit = ConcurrencyLimit(most, most) if settled else concurrency_limit.starting(most)
        self._queue = FairQueue()
        self._takers: dict[Waiting, simpy.Event] = {}
        self._held = 0
        self._breaker, self._policy, self._retries = Breaker(), BreakerPolicy(), RetryPolicy()
        self._closed = env.event().succeed()
        self.waited = 0.0

    @property
    def waiting(self) -> int:
        """Pages that wait for their turn."""
        return len(self._queue)

    @property
    def closed(self) -> simpy.Event:
        """Has happened while the breaker is closed."""
        return self._closed

    def read(self, owner: str, material: str) -> Steps:
        """One page, in its owner's turn. Raises BrainAway, TurnOver."""
        came = self._env.now
        yield self._turn(owner, material)
        self.waited += self._env.now - came
        try:
            for attempt in range(1, self._retries.tries + 1):
                if self._breaker.state is not BreakerState.CLOSED:
                    break
                if self._brain.is_up:
                    yield from self._answered()
                    return
                self._limit = concurrency_limit.troubled(self._limit, era=self._limit.era)
                self._unavailable()
                pause = backoff(
                    attempt, base=self._retries.base_seconds, cap=self._retries.cap_seconds, random=self._random.random
                )
                yield self._env.timeout(pause)
            raise BrainAway
        finally:
            self._held -= 1
            self._refill()

    def evict(self, material: str) -> None:
        """What waits for this material raises TurnOver."""
        for request in [request for request in self._takers if request.material_id == material]:
            self._queue.remove(request)
            self._takers.pop(request).fail(TurnOver())

    def _turn(self, owner: str, material: str) -> simpy.Event:
        request = self._queue.add(owner, material)
        taker = self._takers[request] = self._env.event()
        self._refill()
        return taker

    def _refill(self) -> None:
        while self._held < self._limit.level and (request := self._queue.next()) is not None:
            self._held += 1
            self._takers.pop(request).succeed()

    def _answered(self) -> Steps:
        begun, era, in_use = self._env.now, self._limit.era, self._held
        yield self._brain.read()
        self._breaker = circuit.call_answered(self._breaker)
        self._limit = concurrency_limit.answered(self._limit, self._env.now - begun, era=era, in_use=in_use)
        self._refill()

    def _unavailable(self) -> None:
        now, number = self._env.now, self._random.random()
        self._breaker = circuit.call_unavailable(self._breaker, self._policy, now=now, random=number)
        if self._breaker.state is not BreakerState.CLOSED and self._closed.triggered:
            self._closed = self._env.event()
            self._env.process(self._probe())

    def _probe(self) -> Steps:
        while self._breaker.state is not BreakerState.CLOSED:
            yield self._env.timeout(max(0.0, self._breaker.probe_at - self._env.now))
            self._breaker = circuit.probe_started(self._breaker, now=self._env.now)
            self._breaker = circuit.probe_ended(
                self._breaker, self._policy, healthy=self._brain.is_up, now=self._env.now, random=self._random.random()
            )
        self._closed.succeed()
