"""Answers a prompt with sentences of its own context: extraction, not generation.

The question is what follows the last `Question:`, or the only one that stands before the context, or else the prompt's last line. The context is what follows
`Context:`, or else all before the question. It is cut into sentences (`passage_sentences`); those that lie nearest to the question, in meaning and in
words, are the answer, one on each line, in the order they stand in, each with the marker of its passage (`[2]`). When none is near enough the answer is that
the context does not answer the question. Text of the context is only ever quoted: it cannot instruct.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from local_brain.passage_sentences import Sentence, sentences_of

NOTHING_FOUND = "The context does not answer this question."
# Sentences looked at, and quoted.
_MAX_SENTENCES = 200
_MAX_QUOTED = 3
# The least nearness of the best sentence, and of others relative to it: cosine similarity, plus what its passage and shared words add to it, less what is
# taken off when the question names somebody or something that is nowhere in the context.
_LEAST = 0.55
_NEAR_BEST = 0.85
_FOR_PASSAGE = 0.3
_FOR_WORDS = 0.35
_FOR_UNKNOWN_NAME = 0.2
# Words of a question up to this length, and these, are those of any question.
_SHORT = 3
_ASKING_WORDS = (
    "what which when where whose whom does have with that this from about called used mean means many much there their they would should could "
    "explain describe define give tell como cual cuales cuando donde quien para sobre esta este dice llama welche welcher welches wann warum "
    "wird werden eine einem quel quelle quels quelles comment pourquoi dans"
)
_ASKING = frozenset(_ASKING_WORDS.split())

_LABEL = re.compile(r"^[ \t#*]*(context|question|answer)[ \t*]*:[ \t*]*", re.IGNORECASE | re.MULTILINE)
_WORD = re.compile(r"\w+")


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
    scores = nearness(parsed, unit_vector)
    candidates = [index for index in _distinct(parsed.sentences) if not _asks(parsed.sentences[index])]
    for index, sentence in enumerate(parsed.sentences):
        if _asks(sentence) and _goes_on_in_passage(parsed.sentences, index):
            scores[index + 1] = max(scores[index + 1], scores[index])
    best = max((scores[index] for index in candidates), default=0.0)
    if best < _LEAST:
        return NOTHING_FOUND
    ranked = sorted(candidates, key=lambda index: -scores[index])[:_MAX_QUOTED]
    chosen = {index for index in ranked if scores[index] >= _NEAR_BEST * best}
    # What a colon announces belongs to it.
    chosen |= {index + 1 for index in chosen if _announces(parsed.sentences, index)}
    return "\n".join(_with_markers(parsed.sentences, index) for index in sorted(chosen))


def _distinct(sentences: Sequence[Sentence]) -> list[int]:
    """The places where a sentence stands for the first time: passages overlap."""
    return list({sentence.text: place for place, sentence in reversed(list(enumerate(sentences)))}.values())


def _with_markers(sentences: Sequence[Sentence], index: int) -> str:
    text = sentences[index].text
    markers = dict.fromkeys(sentence.marker for sentence in sentences if sentence.text == text)
    return f"{text} {''.join(markers)}".rstrip()


def nearness(parsed: ParsedPrompt, unit_vector: Callable[[str], npt.NDArray[np.float32]]) -> list[float]:
    """How near each sentence is to the question, as the constants above say."""
    asked = unit_vector(parsed.question)
    words = _content_words(parsed.question)
    passages: dict[str, str] = {}
    for sentence in parsed.sentences:
        passages[sentence.marker] = f"{passages.get(sentence.marker, '')} {_under_heading(sentence)}"
    likeness = {marker: float(asked @ unit_vector(text)) for marker, text in passages.items()}
    unknown = _FOR_UNKNOWN_NAME * _names_unknown(parsed.question, _words(" ".join(passages.values())))
    return [
        max(float(asked @ unit_vector(text)) for text in {sentence.text, _under_heading(sentence)})
        + _FOR_PASSAGE * likeness[sentence.marker]
        + _FOR_WORDS * _share(words, _under_heading(sentence))
        - unknown
        for sentence in parsed.sentences
    ]


def _under_heading(sentence: Sentence) -> str:
    return f"{sentence.heading}. {sentence.text}" if sentence.heading else sentence.text


def _names_unknown(question: str, words: frozenset[str]) -> bool:
    """Whether the question names somebody or something that is not among the words. Names are told by their capitals, but where most words have them."""
    tokens = _WORD.findall(question)
    names = [token for token in tokens[1:] if len(token) > _SHORT and token[0].isupper()]
    if 2 * len(names) > len(_content_words(question)):
        return False
    return any(not any(_same(name, word) for word in words) for token in names for name in _words(token))


def _announces(sentences: Sequence[Sentence], index: int) -> bool:
    return sentences[index].text.endswith((":", "：")) and _goes_on_in_passage(sentences, index)


def _asks(sentence: Sentence) -> bool:
    """Whether it is a question itself: it answers none, but what follows it may."""
    return sentence.text.rstrip("\"'”’»)] ").endswith(("?", "？", "؟"))


def _goes_on_in_passage(sentences: Sequence[Sentence], index: int) -> bool:
    return any(each.marker == sentences[index].marker for each in sentences[index + 1 : index + 2])


def _sentences(context: str) -> tuple[Sentence, ...]:
    return tuple(sentences_of(context)[:_MAX_SENTENCES])


def _share(words: frozenset[str], text: str) -> float:
    """How many of the words the text holds, in some inflection, from 0 to 1."""
    if not words:
        return 0.0
    held = _words(text)
    return sum(any(_same(word, other) for other in held) for word in words) / len(words)


def _same(word: str, other: str) -> bool:
    beginning = max(4, round(0.7 * max(len(word), len(other))))
    return word == other or (len(word) >= beginning and word[:beginning] == other[:beginning])


def _content_words(question: str) -> frozenset[str]:
    words = _words(question)
    return frozenset(word for word in words if len(word) > _SHORT and word not in _ASKING) or words


def _words(text: str) -> frozenset[str]:
    folded = unicodedata.normalize("NFKD", text.casefold())
    return frozenset(_WORD.findall("".join(char for char in folded if not unicodedata.combining(char))))
