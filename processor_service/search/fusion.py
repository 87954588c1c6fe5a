"""Several rankings of the same passages into one, by reciprocal rank. Pure.

Scores of different searches cannot be compared, ranks can: a passage gets weight / (K + rank) from each ranking that it is in. A ranking may say how strong
each of its places is: the best match of a question's words may share two of its ten words, and is then worth little. Without this, search by words drags
down what search by meaning found whenever a question is put in words of its own (measured: docs/decisions).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)

#: How slowly a place loses its worth: the smaller, the more the first places count.
K = 60


@dataclass(frozen=True, slots=True)
class Place(Generic[Key]):
    """One of a ranking: what stands there, and how strong a match it is, from 0 to 1; not above that of the place before."""

    key: Key
    strength: float = 1.0


@dataclass(frozen=True, slots=True)
class Ranking(Generic[Key]):
    """Best first, no key twice. `weight` is what the ranking counts beside others."""

    places: Sequence[Place[Key]]
    weight: float = 1.0


def fuse(rankings: Sequence[Ranking[Key]], *, k: int = K) -> list[tuple[Key, float]]:
    """All keys with their scores, best first, above 0: 1 is what the first of every ranking gets. Of equals the first one named comes first."""
    scores: dict[Key, float] = {}
    best = 0.0
    for ranking in rankings:
        for rank, place in enumerate(ranking.places, start=1):
            scores[place.key] = scores.get(place.key, 0.0) + ranking.weight * place.strength / (k + rank)
        if ranking.places:
            best += ranking.weight * ranking.places[0].strength / (k + 1)
    ordered = sorted(scores.items(), key=lambda scored: -scored[1])
    return [(key, min(1.0, score / best)) for key, score in ordered if score > 0]
