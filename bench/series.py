"""What a row's details hold for the page to draw; bench/README.md says which keys there are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, TypeVar

from bench.rows import Row

MOST_POINTS = 200
OURS = ("ours", "the services")

Numbers = list[float]
Points = list[tuple[float, float]]
Each = TypeVar("Each")


def thinned(values: Sequence[Each], most: int = MOST_POINTS) -> list[Each]:
    """At most so many of them, evenly spaced, the first and the last among them."""
    if len(values) <= most:
        return list(values)
    return [values[round(number * (len(values) - 1) / (most - 1))] for number in range(most)]


@dataclass(frozen=True)
class Bars:
    """Figures of each contestant, round by round."""

    unit: str
    rounds: Mapping[str, Numbers]


@dataclass(frozen=True)
class Distribution:
    """Milliseconds of each contestant, sorted and evenly spaced from the least to the most."""

    milliseconds: Mapping[str, Numbers]


@dataclass(frozen=True)
class Lines:
    """Points of each series. `kind` is what they are of."""

    kind: Literal["memory", "growth"]
    across: str
    upward: str
    points: Mapping[str, Points]


Series = Bars | Distribution | Lines


def series_of(row: Row) -> dict[str, Series]:
    """What there is to draw of a row, by its key; what is empty has no plot."""
    details = row.details
    found: dict[str, Series] = {}
    if bars := _numbers(details.get("throughput")):
        found["throughput"] = Bars(str(details.get("throughput_unit", "/s")), bars)
    if latencies := _numbers(details.get("latencies_ms")):
        found["latencies"] = Distribution({name: thinned(sorted(values)) for name, values in latencies.items()})
    if memory := _points(details.get("memory_mib")):
        found["memory"] = Lines("memory", "seconds", "MiB", memory)
    if growth := _points(details.get("growth")):
        across, upward = str(details.get("growth_of", "size")), str(details.get("growth_unit", "cost"))
        found["growth"] = Lines("growth", across, upward, growth)
    return found


def ours_first(names: Sequence[str]) -> list[str]:
    """The names as given, our own system's before all others."""
    return sorted(names, key=lambda name: name not in OURS)


def _numbers(value: object) -> dict[str, Numbers]:
    if not isinstance(value, Mapping):
        return {}
    filled = {str(name): [float(number) for number in numbers] for name, numbers in value.items() if numbers}
    return {name: filled[name] for name in ours_first(list(filled))}


def _points(value: object) -> dict[str, Points]:
    if not value or not isinstance(value, Mapping | Sequence):
        return {}
    named = value if isinstance(value, Mapping) else {"": value}
    return {str(name): thinned([(float(x), float(y)) for x, y in points]) for name, points in named.items() if points}


def rises(points: Points) -> float:
    """The last cost as a multiple of the first. Raises ValueError for fewer than two points."""
    if len(points) < 2:
        raise ValueError("one point does not rise")
    return points[-1][1] / points[0][1]


def marginal(points: Sequence[tuple[float, float]]) -> Points:
    """From (size, whole cost) in the order of sizes: what each further piece costs between one size and the next, at the larger of the two."""
    return [
        (after, (cost - before_cost) / (after - before)) for (before, before_cost), (after, cost) in pairwise(points)
    ]
