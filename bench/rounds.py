"""Rounds: whatever is compared runs side by side, in a new random order each round, because a shared machine's speed drifts by a third within an hour.

What is quoted is the median, over the rounds, of a ratio taken within one round.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median, quantiles
from typing import TypeVar

Measured = TypeVar("Measured")


@dataclass(frozen=True, slots=True)
class Spread:
    """Median and quartiles of some rounds."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.3g} ({self.low:.3g}-{self.high:.3g})"


def spread(values: Sequence[float]) -> Spread:
    """Median and quartiles; of fewer than three values, the least and the most. Raises StatisticsError for none."""
    if len(values) < 3:
        return Spread(median(values), min(values), max(values))
    low, _, high = quantiles(values, n=4, method="inclusive")
    return Spread(median(values), low, high)


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> Spread:
    """`ours` as multiples of `theirs`, round by round."""
    return spread([mine / other for mine, other in zip(ours, theirs, strict=True)])


async def interleaved(
    contestants: Mapping[str, Callable[[], Awaitable[Measured]]],
    rounds: int,
    *,
    order: random.Random,
    say: Callable[[str], None] = lambda _: None,
) -> dict[str, list[Measured]]:
    """What each contestant measured, in `rounds` rounds, after one that warms up and does not count."""
    measured: dict[str, list[Measured]] = {name: [] for name in contestants}
    for number in range(rounds + 1):
        names = list(contestants)
        order.shuffle(names)
        for name in names:
            say(f"{name}, round {number} of {rounds}" if number else f"{name}, warming up")
            result = await contestants[name]()
            if number:
                measured[name].append(result)
    return measured
