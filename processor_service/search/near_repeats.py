"""Passages that say nearly the same as a better one: lecture notes are uploaded in several versions, and repeat themselves. Pure.

A passage repeats a better one when most of its runs of three words stand in that one. A longer passage that holds a better one and more is no repeat: it says
something besides. Linear in the words of all passages: runs are looked up, and one that stands in many of the kept passages (a running title) tells nothing.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, KeysView, Sequence
from itertools import chain
from math import ceil

from processor_service.index.search_words import UNSPACED

#: Share of a passage's runs that stand in the better one.
REPEATED_SHARE = 0.8
RUN_WORDS = 3
#: Kept passages that are remembered for each run.
REMEMBERED = 16

_WORD = re.compile(rf"[{UNSPACED}]|[^\W{UNSPACED}]+")
_ASCII_SPACES = {ordinal: " " for ordinal in range(128) if not (chr(ordinal).isalnum() or chr(ordinal) == "_")}


def fold_repeats(texts: Sequence[str], *, at_most: int) -> list[tuple[int, int]]:
    """The first `at_most` of the texts (best first) that repeat none before them: their indices, and how many of all others each one stands for."""
    kept: list[int] = []
    repeats: Counter[int] = Counter()
    # Few runs have more than one holder, and a list for each would keep the garbage collector busy.
    holder: dict[int, int] = {}
    further: dict[int, list[int]] = {}
    for index, text in enumerate(texts):
        if len(kept) == at_most and _begins_anew(text, holder.keys()):
            continue
        runs = dict.fromkeys(_runs(_words(text)), index)
        enough = REPEATED_SHARE * len(runs)
        held = holder.keys() & runs.keys()
        original = None
        # Most texts repeat none: what all others hold together of one is seldom enough.
        if len(held) >= enough:
            shared = Counter(holder[run] for run in held)
            shared.update(chain.from_iterable(further[run] for run in held & further.keys()))
            original = min((each for each, count in shared.items() if count >= enough), default=None)
        if original is not None:
            repeats[original] += 1
        elif len(kept) < at_most:
            kept.append(index)
            # Whoever had a run first keeps it.
            for run in held:
                del runs[run]
                if len(others := further.setdefault(run, [])) < REMEMBERED - 1:
                    others.append(index)
            holder.update(runs)
    return [(index, repeats[index]) for index in kept]


def _begins_anew(text: str, held: KeysView[int]) -> bool:
    """Whether so many runs at the beginning are none of those held that the text cannot repeat any: told by a fifth of it, as nearly always."""
    if text.isascii():
        # Nothing is split that is not looked at: of words there are at most as many as spaces let there be.
        spaced = _spaced(text)
        beginning = _beginning(spaced.count(" ") + 1)
        words = spaced.split(None, beginning + RUN_WORDS - 1)
    else:
        words = _words(text)
        beginning = _beginning(len(words))
    runs = set(_runs(words[: beginning + RUN_WORDS - 1]))
    return len(runs) == beginning and held.isdisjoint(runs)


def _beginning(words: int) -> int:
    """Runs of a text of so many words, or fewer, that are more than a repeat may have of its own."""
    count = max(1, words - RUN_WORDS + 1)
    return count - ceil(REPEATED_SHARE * count) + 1


def _runs(words: Sequence[str]) -> Iterable[int]:
    """The runs by their hashes: a tuple for each would cost more than all else."""
    if len(words) < RUN_WORDS:
        return (hash(tuple(words)),)
    # As many lists as RUN_WORDS.
    return map(hash, zip(words, words[1:], words[2:], strict=False))


def _words(text: str) -> list[str]:
    # The same words either way, but without the expression in a third of the time.
    return _spaced(text).split() if text.isascii() else _WORD.findall(text.casefold())


def _spaced(text: str) -> str:
    """A text of ASCII with one space, or several, between its words and nothing else."""
    return text.lower().translate(_ASCII_SPACES)
