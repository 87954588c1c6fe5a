"""A text's words as they are compared: without case, accents and ligatures, whatever the language. Pure.

`search_words` is the words themselves. `index_words` is what word search finds a passage by, and `query_words` what it looks for: the same words, and the forms
in which others may write them. Words of scripts without spaces are pairs of neighbouring characters; a name in camel case, with a hyphen, a dot or an
apostrophe is found whole and by its parts; a number with its dots ("2.3.1") only whole. Both sides must be made by this module: what they do not share is
not found. There are no stems: measured, they found nothing that meaning did not find, and moved exact words down.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from itertools import pairwise

#: Of a query; more than anybody writes, and few enough for the database.
MAX_QUERY_WORDS = 64
#: Postgres takes words of up to 2,046 bytes; nobody looks for one of this length.
MAX_WORD_CHARACTERS = 100

# Vowel signs and the like, which are no letters to `re`, yet part of words in Indic scripts, Thai and others.
_MARKS = "".join(
    re.escape(char)
    for block in (range(0x0300, 0x2000), range(0xA800, 0xAC00))
    for char in map(chr, block)
    if unicodedata.category(char) in ("Mn", "Mc")
)
#: Han, Kana, Thai, Lao, Burmese, Khmer: written without spaces.
UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_LETTER = rf"[\w{_MARKS}]"
_WORD = re.compile(rf"{_LETTER}+(?:[.'’]{_LETTER}+)*")
_UNSPACED_RUN = re.compile(f"[{UNSPACED}]+")
# These two give nothing back and begin at a word's beginning only: a page of one endless word would else take minutes.
_HYPHENATED = re.compile(rf"(?<!{_LETTER})({_LETTER}++)(?:[-‐‑]\s*+({_LETTER}++))+")
_CAMEL = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_CAMEL_WORD = re.compile(r"\b(?=[A-Za-z]*[a-z][A-Z])[A-Za-z]++\b")
_PART = re.compile(r"[^.'’_]+")
_NUMBER = re.compile(r"[\d.]+")
#: Soft hyphens, zero-width characters, and PDFium's mark of a hyphen at the end of a line.
_INVISIBLE = re.compile("[\u00ad\u200b-\u200d\u2060\ufeff\ufffe]\n?")
_KANA_MARKS = frozenset("\u3099\u309a")


def search_words(text: str) -> str:
    """The normalised words of `text` in their order, with a space between."""
    return " ".join(_WORD.findall(_folded(text)))


def index_words(text: str) -> str:
    """Each word of `text` once, with a space between, and the other forms it may be looked for in. None holds a quote or a backslash."""
    return " ".join(dict.fromkeys(_forms(text)))


def query_words(query: str) -> tuple[str, ...]:
    """What a passage is looked for by, each once: the first MAX_QUERY_WORDS of the query."""
    return tuple(dict.fromkeys(_forms(query)))[:MAX_QUERY_WORDS]


def _folded(text: str) -> str:
    text = _INVISIBLE.sub("", text)
    if text.isascii():
        return text.lower()
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    kept = (char for char in decomposed if char in _KANA_MARKS or not unicodedata.combining(char))
    # Composed again: Korean syllables, and Japanese ones with their marks.
    return unicodedata.normalize("NFC", "".join(kept))


def _forms(text: str) -> Iterator[str]:
    folded = _folded(text)
    for word in _WORD.findall(folded):
        yield from (form[:MAX_WORD_CHARACTERS] for form in _forms_of(word))
    for hyphenated in _HYPHENATED.finditer(folded):
        parts = _WORD.findall(hyphenated.group())
        yield "".join(parts)[:MAX_WORD_CHARACTERS]
        # One of the hyphens may be the end of a line.
        yield from ("".join(pair)[:MAX_WORD_CHARACTERS] for pair in pairwise(parts))
    for name in _CAMEL_WORD.findall(text):
        yield from (part.lower()[:MAX_WORD_CHARACTERS] for part in _CAMEL.findall(name))


def _forms_of(word: str) -> Iterator[str]:
    if not word.isascii() and _UNSPACED_RUN.search(word):
        for run in _UNSPACED_RUN.findall(word):
            yield from (run[at : at + 2] for at in range(max(1, len(run) - 1)))
        for rest in _UNSPACED_RUN.split(word):
            yield from _PART.findall(rest)
        return
    parts = _PART.findall(word)
    if parts:
        yield word.replace("'", "").replace("’", "")
    if len(parts) > 1 and not _NUMBER.fullmatch(word):
        yield from parts
