"""What the checks after a scenario have found."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field


@dataclass
class Verdict:
    """What was found. Materials by id, so that none is counted twice; `wrong` is everything else that should not be."""

    lost: dict[str, str] = field(default_factory=dict)
    stuck: dict[str, str] = field(default_factory=dict)
    doubled: dict[str, str] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Nothing found."""
        return not (self.lost or self.stuck or self.doubled or self.wrong)

    def lines(self) -> list[str]:
        """For people."""
        kinds = (("lost", self.lost), ("stuck", self.stuck), ("doubled", self.doubled))
        return [
            *(f"{kind} {key}: {why}" for kind, found in kinds for key, why in found.items()),
            *(f"wrong: {why}" for why in self.wrong),
        ]


async def within(seconds: float, reached: Callable[[], Awaitable[bool]]) -> None:
    """Returns when it is reached, or after so many seconds: whoever asks looks once more."""
    clock = asyncio.get_running_loop().time
    until = clock() + seconds
    while not await reached() and clock() < until:
        await asyncio.sleep(0.2)
