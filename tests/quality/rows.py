"""One line of the quality table: what was measured, the floor it must keep, and whether it does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Row:
    """`value` of a measure over `count` samples. `floor`: the worst value that passes; None where it is only shown."""

    part: Literal["pages", "search", "answers"]
    name: str
    measure: str
    value: float
    count: int
    floor: float | None = None
    better: Literal["lower", "higher"] = "lower"

    @property
    def met(self) -> bool:
        """Whether the value is no worse than the floor."""
        if self.floor is None:
            return True
        return self.value <= self.floor if self.better == "lower" else self.value >= self.floor
