"""One line of the table: what was measured, what it is to reach, and whether it does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from bench.rounds import Spread


@dataclass(frozen=True, slots=True)
class Row:
    """`figure` in `unit`, where `target` says what it is to be (`limit` is its number; None for a figure that is only shown).

    `floor` and `peers` hold what stood beside it in the same rounds, in the unit of `shown` (uploads/s, ms, …), with `shown` our own. `met` follows from the
    median. `details`: whatever else belongs into the results file, in plain JSON. `line` is the line that it came from, set by whoever runs the lines.
    """

    name: str
    figure: float
    unit: str
    limit: float | None = None
    better: Literal["higher", "lower"] = "higher"
    spread: Spread | None = None
    shown: str = ""
    floor: str = ""
    peers: Mapping[str, str] = field(default_factory=dict)
    details: Mapping[str, object] = field(default_factory=dict)
    line: str = ""

    @property
    def target(self) -> str:
        """`≥ 0.75 ×`; empty where the figure is only shown."""
        if self.limit is None:
            return ""
        return f"{'≥' if self.better == 'higher' else '≤'} {self.limit:g} {self.unit}"

    @property
    def met(self) -> bool | None:
        """Whether the figure is no worse than the limit; None without one."""
        if self.limit is None:
            return None
        return self.figure >= self.limit if self.better == "higher" else self.figure <= self.limit

    def as_json(self) -> dict[str, object]:
        """As `bench/results/latest.json` has it; the README of bench/ says what is what."""
        return {
            "line": self.line,
            "name": self.name,
            "target": self.target,
            "figure": self.figure,
            "unit": self.unit,
            "shown": self.shown,
            "floor": self.floor,
            "peers": dict(self.peers),
            "spread": None if self.spread is None else [self.spread.low, self.spread.high],
            "met": self.met,
            "details": dict(self.details),
        }
