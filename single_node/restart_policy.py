"""When a process that died is started again: a pure decision."""

from __future__ import annotations

from dataclasses import dataclass

FIRST_DELAY_SECONDS = 0.2
LONGEST_DELAY_SECONDS = 10.0
HEALTHY_SECONDS = 30.0
DEATHS_BEFORE_READY = 5


@dataclass(frozen=True)
class Restart:
    """Start again after `delay` seconds; `deaths` counts those in a row, this one included."""

    delay: float
    deaths: int


@dataclass(frozen=True)
class GiveUp:
    """It never became ready: its start fails."""

    deaths: int


def after_death(
    *, deaths: int, lived: float, was_ready: bool, chance: float, wrong_settings: bool = False
) -> Restart | GiveUp:
    """What follows a death.

    `deaths` before this one, in a row; `lived` seconds from its start to its death; `was_ready` whether the process has ever been
    ready in this run; `chance` a random number in [0, 1). Thirty seconds of life forgive earlier deaths. The delay doubles from 0.2 s
    up to 10 s, of which the upper half is random, so that several which died together do not come back together. What has refused its
    settings (exit status 2) will refuse them again.
    """
    deaths = 1 if lived >= HEALTHY_SECONDS else deaths + 1
    if not was_ready and (wrong_settings or deaths >= DEATHS_BEFORE_READY):
        return GiveUp(deaths)
    longest = min(LONGEST_DELAY_SECONDS, FIRST_DELAY_SECONDS * 2 ** min(deaths - 1, 10))
    return Restart(delay=longest * (0.5 + 0.5 * chance), deaths=deaths)
