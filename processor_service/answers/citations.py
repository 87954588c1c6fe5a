"""The Brain's reply as parts of an answer: each with the sources that say it, or left out.

The reply is not trusted: the model may invent, cite what is not there, or obey a document. It is split into sentences with their marks (`[1]`, `[1, 2]`,
`[1][2]`, `【1】`); numbers of no source are dropped; and a sentence stays only when the sources it cites support it (`support`). One that cites none stays when
a source says it beyond doubt, and then cites that one. So nothing that no source says is shown, be it invented, planted, or a piece of our own prompt.

Pure, and linear in the length of the reply, which is cut at MAX_REPLY_CHARS.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

from processor_service.answers.answer_prompt import NOT_HELD
from processor_service.answers.support import (
    CLEARLY_SUPPORTED,
    Evidence,
    coverage,
    evidence,
    joined,
    normal_words,
    supports,
)

MAX_REPLY_CHARS = 20_000
#: A source that is cited beside others must say at least so much of the sentence.
_CONTRIBUTES = 0.3

_MARK = re.compile(
    r"[\[【〔⟦]\s*(?:(?:sources?|passages?|quellen?|fuentes?)\s*)?[\^#]?(\d{1,4}(?:\s*(?:,|;|&|-|–|and|und|y|et)\s*\d{1,4})*)"
    r"(?:\s*,\s*(?:page|p\.|seite|s\.)\s*\d+)?\s*[\]】〕⟧]",
    re.IGNORECASE,
)
_RANGE = re.compile(r"(\d+)\s*[-–]\s*(\d+)")
_STOP = re.compile(r"(?<![.!?…])[.!?…]+[\"'”’»)]*(?=\s|$)|[。！？]+[”’」』）]*")
_ABBREVIATION = re.compile(
    r"(?:^|[\s(])(?:\w|\d{1,2}|[a-z](?:\.\s?[a-z])+|etc|vs|cf|fig|figs|eq|eqs|no|nr|dr|prof|mr|mrs|ms|st|approx|resp|bzw|vgl|abb|sec|ch|vol|pp|al|ej|núm)$",
    re.IGNORECASE,
)
_FACTORIAL = re.compile(r"(?:^|[\s(=+*/·−-])\w$|[\d)]$")
_LINE_START = re.compile(r"^(?:>\s*)?(?:answer|antwort|respuesta|réponse)\s*:\s*", re.IGNORECASE)
_BULLET = re.compile(r"^\s*(?:[-*•–]|\d{1,2}[.)])\s+")
_NOT_HELD_WORDS = normal_words(NOT_HELD)


@dataclass(frozen=True, slots=True)
class ReplySentence:
    """A sentence of a reply without its marks, the numbers that these named, and the white space behind it."""

    text: str
    numbers: tuple[int, ...]
    space: str = ""


@dataclass(frozen=True, slots=True)
class CheckedReply:
    """What is left of a reply: its sentences with the numbers of the sources (from 1) that support them, each at least one. `declined`: the model said that
    the sources hold no answer."""

    sentences: tuple[ReplySentence, ...]
    left_out: int
    declined: bool


def check_reply(reply: str, sources: Sequence[str]) -> CheckedReply:
    """Holds each sentence of the reply to the texts of the sources."""
    texts = [evidence(source) for source in sources]
    kept: list[ReplySentence] = []
    left_out, declined = 0, False
    for sentence in split_reply(reply):
        if normal_words(sentence.text) == _NOT_HELD_WORDS:
            declined = True
            continue
        numbers = _supporters(sentence, texts)
        if numbers:
            kept.append(ReplySentence(sentence.text, numbers, sentence.space))
        else:
            left_out += 1
            if kept and sentence.space == "\n":  # The line ends all the same.
                kept[-1] = ReplySentence(kept[-1].text, kept[-1].numbers, "\n")
    if kept:
        kept[-1] = ReplySentence(kept[-1].text, kept[-1].numbers)
    return CheckedReply(tuple(kept), left_out, declined)


def _supporters(sentence: ReplySentence, texts: Sequence[Evidence]) -> tuple[int, ...]:
    """Numbers of the sources that the sentence can stand on; none when it cannot."""
    said = _BULLET.sub("", sentence.text)
    cited = [number for number in dict.fromkeys(sentence.numbers) if 1 <= number <= len(texts)]
    if not cited:
        clear = (n for n, text in enumerate(texts, start=1) if supports(text, said, least=CLEARLY_SUPPORTED))
        return tuple(clear)[:1]
    alone = [number for number in cited if supports(texts[number - 1], said)]
    if alone or len(cited) == 1:
        return tuple(alone)
    if not supports(joined(texts[number - 1] for number in cited), said):
        return ()
    from_them = [number for number in cited if coverage(texts[number - 1], said) >= _CONTRIBUTES]
    return tuple(from_them or cited)


def split_reply(reply: str) -> list[ReplySentence]:
    """The sentences of a reply, in order, with what they cite. Lines without a word, and headings, are none."""
    sentences: list[ReplySentence] = []
    for line in _shown(reply[:MAX_REPLY_CHARS]).split("\n"):
        if line.lstrip().startswith(("#", "```")):
            continue
        found = _line_sentences(_LINE_START.sub("", line.replace("**", "").strip()))
        if found and sentences:
            sentences[-1] = ReplySentence(sentences[-1].text, sentences[-1].numbers, "\n")
        sentences += found
    return sentences


def _line_sentences(line: str) -> list[ReplySentence]:
    text, marks = _without_marks(line)
    starts, ends = _sentence_bounds(text)
    numbers: list[list[int]] = [[] for _ in starts]
    # "[1] This. [2] That.": a line that begins with a mark has each mark before its sentence.
    leading = bool(marks) and not text[: marks[0][0]].strip()
    for place, named in marks:
        if not starts:
            break
        index = max(0, bisect_left(starts, place) - 1)
        if leading and place >= ends[index] and index + 1 < len(starts):
            index += 1
        numbers[index] += named
    return [
        ReplySentence(text[start:end], tuple(named), " ")
        for start, end, named in zip(starts, ends, numbers, strict=True)
        if any(char.isalnum() for char in text[start:end])
    ]


def _without_marks(line: str) -> tuple[str, list[tuple[int, list[int]]]]:
    """The line without marks, and where in it each stood, with the numbers it names."""
    text, marks, last = "", [], 0
    for mark in _MARK.finditer(line):
        text += line[last : mark.start()]
        after = line[mark.end() : mark.end() + 1]
        if after in (".", ",", ";", ":", "!", "?", "。", "！", "？", ""):
            text = text.rstrip()
        elif text[-1:].isspace() and after.isspace():
            text = text[:-1]
        elif text[-1:].isalnum() and after.isalnum():
            text += " "
        marks.append((len(text), _numbers(mark[1])))
        last = mark.end()
    return text + line[last:], marks


def _numbers(named: str) -> list[int]:
    ranges = [(int(low), int(high)) for low, high in _RANGE.findall(named)]
    spread = [number for low, high in ranges for number in range(low, min(high, low + 20) + 1)]
    return [*spread, *(int(number) for number in re.findall(r"\d+", _RANGE.sub("", named)))]


def _sentence_bounds(text: str) -> tuple[list[int], list[int]]:
    """Where each sentence begins and ends, without white space around it."""
    starts: list[int] = []
    ends: list[int] = []
    start = 0
    for end in [*(stop.end() for stop in _STOP.finditer(text) if _is_end(text, stop)), len(text)]:
        body = text[start:end]
        if body.strip():
            starts.append(start + len(body) - len(body.lstrip()))
            ends.append(start + len(body.rstrip()))
        start = end
    return starts, ends


def _is_end(text: str, stop: re.Match[str]) -> bool:
    before = text[max(0, stop.start() - 12) : stop.start()]
    if stop[0][0] == "!":
        return not _FACTORIAL.search(before)
    if stop[0][0] != ".":
        return True
    after = text[stop.end() :].lstrip()[:1]
    return not after.islower() and not (after and _ABBREVIATION.search(before))


def _shown(text: str) -> str:
    """The text without control and format characters, with line ends as newlines."""
    lines = "\n".join(text.splitlines())
    return "".join(
        char if char == "\n" or unicodedata.category(char)[0] != "C" or char in "\u200c\u200d" else " " * (char == "\t")
        for char in lines
    )
