"""Passages that say nearly the same as a better one: lecture notes are uploaded in several versions, and repeat themselves. Pure.

A passage repeats a better one when most of its runs of three words stand in that one. A longer passage that holds a better one and more is no repeat: it says
something besides. Linear in the words of all passages: runs are looked up, and one that stands in many of the kept passages (a running title) tells nothing.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from processor_service.index.search_words import UNSPACED

#: Share of a passage's runs that stand in the better one.
REPEATED_SHARE = 0.8
RUN_WORDS = 3
#: Kept passages that are remembered for each run.
REMEMBERED = 16

_WORD = re.compile(rf"[{UNSPACED}]|[^\W{UNSPACED}]+")


def fold_repeats(texts: Sequence[str], *, at_most: int) -> list[tuple[int, int]]:
    """The first `at_most` of the texts (best first) that repeat none before them: their indices, and how many of all others each one stands for."""
    kept: list[int] = []
    repeats: Counter[int] = Counter()
    holders: dict[tuple[str, ...], list[int]] = {}
    for index, text in enumerate(texts):
        runs = _runs(text)
        shared = Counter(holder for run in runs for holder in holders.get(run, ()))
        original = min(
            (holder for holder, count in shared.items() if count >= REPEATED_SHARE * len(runs)), default=None
        )
        if original is not None:
            repeats[original] += 1
        elif len(kept) < at_most:
            kept.append(index)
            for run in runs:
                if len(held := holders.setdefault(run, [])) < REMEMBERED:
                    held.append(index)
    return [(index, repeats[index]) for index in kept]


def _runs(text: str) -> set[tuple[str, ...]]:
    words = _WORD.findall(text.casefold())
    return {tuple(words[start : start + RUN_WORDS]) for start in range(max(1, len(words) - RUN_WORDS + 1))}
