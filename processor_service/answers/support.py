"""Whether a text says what a sentence says, as far as words can tell. Pure, and of no language.

Words cannot tell everything: a sentence that turns its source round with the source's own words passes. So the check is strict where it matters: every number,
every name and every address of a sentence must stand in the text, a "not" must have a "not" there and none may be lost, and most of the other words that
carry meaning must be there, in some inflection. What it refuses wrongly is a free paraphrase, or a translation: those are left out of an answer, not shown.

Scripts written without spaces are compared by pairs of characters.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil

from processor_service.answers.function_words import FUNCTION_WORDS, NEGATIONS
from processor_service.index.search_words import search_words

#: Of the words that carry meaning, by length, how much a text must hold of a sentence to support it, and to do so beyond doubt.
SUPPORTED = 0.65
CLEARLY_SUPPORTED = 0.85
#: A quote of fewer words proves nothing.
_LEAST_QUOTE = 3
#: With fewer words that carry meaning than this, all others must be there, too: one word of a text proves nothing ("They are data.").
_FEW = 3
#: Words up to this length carry no meaning of their own, in most languages, unless they hold a digit or are written in capitals.
_SHORT = 3
_LONGEST_WEIGHT = 8
_LONGEST_BEGINNING = 40

_NEGATING_SIGNS = re.compile("[不没無无非]")
# Bounded, so that no reply makes the search quadratic.
_ADDRESS = re.compile(
    r"(?:https?|ftp|file|javascript|data|mailto):\S+|www\.\S+|[\w.+-]{1,64}@[\w-]{1,64}\.\w+|!?\[[^\[\]\n]{0,200}\]\([^()\n]{0,200}\)|</?[A-Za-z!][^<>\n]{0,200}>",
    re.IGNORECASE,
)
_DECIMAL_COMMA = re.compile(r"(?<=\d),(?=\d)")
_TOKEN = re.compile(r"\w+(?:[.'’]\w+)*")


@dataclass(frozen=True, slots=True)
class Evidence:
    """A text made ready for comparison. Make it with `evidence`."""

    words: str  # in order, with a space before, between and behind
    units: frozenset[str]
    beginnings: frozenset[str]  # of its words, long enough to know them by
    letters: str  # the text without white space, for addresses
    sentences: tuple[frozenset[str], ...]  # the words of each


def evidence(text: str) -> Evidence:
    """`text` made ready for comparison."""
    words = normal_words(text)
    units = frozenset(_units(words))
    return Evidence(
        words=f" {' '.join(words)} ",
        units=units,
        beginnings=frozenset(beginning for unit in units for beginning in _beginnings(unit)),
        letters=_letters(text),
        sentences=tuple(
            frozenset(normal_words(each)) for each in re.split(r"(?<=[.!?;])\s+|(?<=[。！？；])|\n\s*\n", text)
        ),
    )


def joined(sources: Iterable[Evidence]) -> Evidence:
    """Several texts as one; a quote does not run from one into the next."""
    texts = list(sources)
    return Evidence(
        words=" | ".join(text.words for text in texts),
        units=frozenset().union(*(text.units for text in texts)),
        beginnings=frozenset().union(*(text.beginnings for text in texts)),
        letters="\n".join(text.letters for text in texts),
        sentences=tuple(sentence for text in texts for sentence in text.sentences),
    )


def supports(text: Evidence, sentence: str, *, least: float = SUPPORTED) -> bool:
    """Whether the text holds what the sentence says: as a quote, or at least `least` of its words (from 0 to 1)."""
    words = normal_words(sentence)
    if not words or any(_letters(found) not in text.letters for found in _ADDRESS.findall(sentence)):
        return False
    if is_quoted(text, words):
        return True
    # A question says nothing that could be held to a text, and may be the asker's own, echoed.
    if sentence.rstrip().endswith(("?", "？")) or not all(_holds(text, unit) for unit in _strict_units(sentence)):
        return False
    if len(content_units(sentence)) < _FEW and not all(_holds(text, unit) for unit in _units(words)):
        return False
    return coverage(text, sentence) >= least and not _is_turned_round(text, words)


def coverage(text: Evidence, sentence: str) -> float:
    """How much of what carries meaning in the sentence the text holds, from 0 to 1, longer words counting more; 0 when nothing does."""
    units = content_units(sentence)
    total = sum(_weight(unit) for unit in units)
    return sum(_weight(unit) for unit in units if _holds(text, unit)) / total if total else 0.0


def is_quoted(text: Evidence, words: Sequence[str]) -> bool:
    """Whether these words stand in the text as they are, in a row, and not behind a "not" that was cut off."""
    if len(words) < _LEAST_QUOTE and not any(len(word) > _SHORT for word in words):
        return False
    before, found, _ = text.words.partition(f" {' '.join(words)} ")
    return bool(found) and not _negates(before.split()[-1:])


def normal_words(text: str) -> list[str]:
    """The words of a text as they are compared: without case, accents and invisible characters, decimals with a point."""
    visible = "".join(char for char in text if unicodedata.category(char) != "Cf")
    return search_words(_DECIMAL_COMMA.sub(".", visible)).split()


def content_units(text: str) -> frozenset[str]:
    """What carries meaning in a text: its longer words but for those that only join others, and pairs of characters where words have no spaces."""
    capitals = {unit for token in _TOKEN.findall(text) if _is_acronym(token) for unit in normal_words(token)}
    return frozenset(
        unit
        for unit in _units(normal_words(text))
        if unit in capitals
        or _has_digit(unit)
        or _is_unspaced(unit)
        or (len(unit) > _SHORT and unit not in FUNCTION_WORDS and unit not in NEGATIONS)
    )


def _strict_units(sentence: str) -> set[str]:
    """Numbers, and names: what is written with a capital behind the first word, or in capitals."""
    strict: set[str] = set()
    for place, token in enumerate(_TOKEN.findall(_DECIMAL_COMMA.sub(".", sentence))):
        words = normal_words(token)
        is_name = token[0].isupper() and (place > 0 or _is_acronym(token)) and len(token) > 1
        if is_name or _has_digit(token) or "." in token:
            strict.update(unit for unit in _units(words) if unit not in FUNCTION_WORDS)
    return strict


def _is_turned_round(text: Evidence, words: Sequence[str]) -> bool:
    """Whether the sentence denies what the text affirms, or the other way round; as told by the source's sentence that is most like it."""
    denies = _negates(words)
    if denies and not _negates(text.words.split()):
        return True
    content = {word for word in words if len(word) > _SHORT}
    nearest = max(text.sentences, key=lambda each: len(content & each), default=frozenset())
    return bool(content) and len(content & nearest) >= 0.8 * len(content) and denies != _negates(nearest)


def _negates(words: Iterable[str]) -> bool:
    return any(word in NEGATIONS or (_is_unspaced(word) and _NEGATING_SIGNS.search(word)) for word in words)


def _holds(text: Evidence, unit: str) -> bool:
    if unit in text.units:
        return True
    return not _has_digit(unit) and any(beginning in text.beginnings for beginning in _beginnings(unit))


def _beginnings(unit: str) -> list[str]:
    """The beginnings of a word that are long enough to know its other inflections by."""
    if _has_digit(unit) or _is_unspaced(unit):
        return []
    known = unit[:_LONGEST_BEGINNING]
    return [known[:end] for end in range(max(4, ceil(0.7 * len(known))), len(known) + 1)]


def _units(words: Iterable[str]) -> Iterable[str]:
    for word in words:
        if _is_unspaced(word) and len(word) > 1:
            yield from (word[place : place + 2] for place in range(len(word) - 1))
        else:
            yield word


def _weight(unit: str) -> int:
    return min(len(unit), _LONGEST_WEIGHT)


def _letters(text: str) -> str:
    return "".join(text.casefold().split())


def _has_digit(text: str) -> bool:
    return any(char.isdigit() for char in text)


def _is_acronym(token: str) -> bool:
    return len(token) > 1 and token.isupper()


def _is_unspaced(word: str) -> bool:
    """Whether it is of a script without spaces between words: Chinese, Japanese, Thai, Lao, Khmer, Burmese."""
    return any(
        "\u0e00" <= char <= "\u0eff"
        or "\u1000" <= char <= "\u109f"
        or "\u1780" <= char <= "\u17ff"
        or "\u3040" <= char <= "\u9fff"
        or char >= "\U00020000"
        for char in word
    )
