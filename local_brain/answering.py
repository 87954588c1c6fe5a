"""Answers a prompt with sentences of its own context: extraction, not generation.

The question is what follows `Question:` (up to a following label), or else the prompt's last line. The context is what
follows `Context:`, or else all before the question. Its sentences that lie nearest to the question in
meaning are the answer, in the order they stand in. A sentence below a marker such as `[2]` at the start of a line keeps
that marker, so that the answer cites its passages. Text of the context is only ever quoted: it cannot instruct.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

NOTHING_FOUND = "The context does not answer this question."
# Sentences looked at, and quoted; the least cosine similarity of a quoted one and, relative to the best, of the others.
_MAX_SENTENCES = 200
_MAX_QUOTED = 3
_MIN_SIMILARITY = 0.35
_NEAR_BEST = 0.8

_LABEL = re.compile(r"^[ \t#*]*(context|question|answer)[ \t*]*:[ \t*]*", re.IGNORECASE | re.MULTILINE)
_MARKER = re.compile(r"^\s*(\[\d+\])\s*(?:\([^)\n]*\))?\s*:?\s*")
_SENTENCE_END = re.compile(r"(?<=[.!?。！？])\s+")


@dataclass(frozen=True)
class Sentence:
    """A sentence of the context, and the marker of the passage it stands in (`[2]`, or empty)."""

    text: str
    marker: str


@dataclass(frozen=True)
class ParsedPrompt:
    """What a prompt asks, and the sentences it gives to answer from."""

    question: str
    sentences: tuple[Sentence, ...]


def parse_prompt(prompt: str) -> ParsedPrompt:
    """Splits a prompt into its question and the sentences of its context (the first 200)."""
    labels = list(_LABEL.finditer(prompt))
    questions = [label for label in labels if label[1].lower() == "question"]
    given = next((label for label in labels if label[1].lower() == "context"), None)
    if not questions:
        before, _, question = prompt.rstrip().rpartition("\n")
        return ParsedPrompt(question.strip(), _sentences(before[given.end() :] if given else before))
    # A line of the material may look like a label: only the first one before the context, or the last one, is the prompt's.
    first = given is not None and questions[0].start() < given.start()
    asked = questions[0] if first else questions[-1]
    end = next((label.start() for label in labels if label.start() > asked.start()), len(prompt))
    context = prompt[given.end() if given else 0 : None if first else asked.start()]
    return ParsedPrompt(prompt[asked.end() : end].strip(), _sentences(context))


def answer(prompt: str, unit_vector: Callable[[str], npt.NDArray[np.float32]]) -> str:
    """The best sentences of the prompt's context, or a sentence that says that there are none.

    `unit_vector` maps a text to a vector of length 1.
    """
    parsed = parse_prompt(prompt)
    if not parsed.question or not parsed.sentences:
        return NOTHING_FOUND
    asked = unit_vector(parsed.question)
    scores = [float(asked @ unit_vector(sentence.text)) for sentence in parsed.sentences]
    least = max(_MIN_SIMILARITY, _NEAR_BEST * max(scores))
    ranked = sorted(range(len(scores)), key=lambda index: -scores[index])[:_MAX_QUOTED]
    quoted = [parsed.sentences[index] for index in sorted(ranked) if scores[index] >= least]
    return " ".join(f"{sentence.text} {sentence.marker}".rstrip() for sentence in quoted) or NOTHING_FOUND


def _sentences(context: str) -> tuple[Sentence, ...]:
    sentences: list[Sentence] = []
    marker = ""
    for paragraph in _paragraphs(context):
        found = _MARKER.match(paragraph)
        marker = found[1] if found else marker
        body = paragraph[found.end() :] if found else paragraph
        texts = (" ".join(text.split()) for text in _SENTENCE_END.split(body))
        sentences.extend(Sentence(text, marker) for text in texts if text)
    return tuple(sentences[:_MAX_SENTENCES])


def _paragraphs(context: str) -> list[str]:
    """Runs of lines without an empty one between; a marker always starts a new run."""
    return [part for part in re.split(r"\n\s*\n|\n(?=\s*\[\d+\])", context) if part.strip()]
