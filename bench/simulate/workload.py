"""What comes in: uploads at random times along a day, of owners of unequal diligence, and one owner's burst."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

DAY = 86_400.0
#: The busiest moment of a day over its mean: a sine over the day, which is at its least at four in the morning.
PEAK = 2.5


@dataclass(frozen=True)
class Upload:
    """One material to come, at a second of the simulation. `pages` are those that the Brain reads."""

    at: float
    owner: str
    course: str
    pages: int


def daily_rate(mean: float, second: float, peak: float = PEAK) -> float:
    """Uploads a second at a second of the day, where `mean` is that of the day. The curve is exponential in a sine: nights are quiet, never empty."""
    sharpness = _sharpness(peak)
    phase = math.cos(2 * math.pi * (second - 16 * 3600) / DAY)
    return mean * math.exp(sharpness * phase) / _bessel(sharpness)


def _bessel(x: float) -> float:
    """I0, by which the mean of exp(x cos) over a turn is 1 when divided."""
    return sum((x / 2) ** (2 * k) / math.factorial(k) ** 2 for k in range(30))


@cache
def _sharpness(peak: float) -> float:
    low, high = 0.0, 20.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if math.exp(middle) / _bessel(middle) < peak else (low, middle)
    return low


def poisson(
    rate: float, seconds: float, mean_pages: float, *, owners: int, courses: int, seed: int, begins: float | None = None
) -> list[Upload]:
    """Uploads at `rate` a second on the mean; with `begins`, a second of the day, along the daily curve from there. Pages are geometric: most materials are
    short, a few are books."""
    numbers = random.Random(seed)
    most = rate if begins is None else rate * PEAK
    uploads, at = [], 0.0
    while (at := at + numbers.expovariate(most)) < seconds:
        if begins is not None and numbers.random() * most > daily_rate(rate, begins + at):
            continue
        owner = f"owner-{numbers.randrange(owners)}"
        uploads.append(Upload(at, owner, f"course-{numbers.randrange(courses)}", pages(numbers, mean_pages)))
    return uploads


def pages(numbers: random.Random, mean: float) -> int:
    """Geometric, 1 at least."""
    if mean <= 1:
        return 1
    return 1 + int(math.log(1.0 - numbers.random()) / math.log(1 - 1 / mean))


def burst(at: float, owner: str, course: str, each_pages: int, count: int, apart: float = 0.0) -> list[Upload]:
    """One owner's, `apart` seconds from one another."""
    return [Upload(at + number * apart, owner, course, each_pages) for number in range(count)]


def together(*streams: Sequence[Upload]) -> list[Upload]:
    """In the order of time."""
    return sorted((upload for stream in streams for upload in stream), key=lambda upload: upload.at)
