"""Measures answers on the whole stack with the local Brain: real questions on real documents, and questions on what these do not hold.

All documents are in one course, so that each question has the others as distractors, those in another language too. A question is answered rightly when one of
the cited passages stands on the page that holds the answer. Faithfulness is judged by a check of its own, plainer than the service's: of the words of a
sentence, how many stand in the passages that it cites.

`python -m tests.quality.answer_quality [--every N] [--show]` prints the rows; with `--show` also each question that went wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from materials.v1 import processor_service_pb2 as pb

from tests.contract.answers import Answer, ask
from tests.local_stack import LocalStack, unique_course
from tests.quality.rows import Row

PROJECT = Path(__file__).resolve().parents[2]
QUESTIONS = Path(__file__).with_name("questions.json")
SAMPLE_TEXT = PROJECT / "single_node" / "sample_text.md"
AT_ONCE = 2
#: Of the words of a sentence, how many must stand in the passages it cites.
FAITHFUL = 0.8
#: Questions that no document here answers, some of them on matters close by.
FOREIGN = (
    "Who wrote Hamlet?",
    "What is the capital of Mongolia?",
    "How do vaccines train the immune system?",
    "When did the Berlin Wall fall?",
    "What causes inflation in an economy?",
    "How does a transistor amplify a signal?",
    "Who painted the Mona Lisa?",
    "How do plate tectonics form mountains?",
    "What is the function of the kidney?",
    "What are the rules of chess?",
    "How is steel made from iron ore?",
    "How many moons does Jupiter have?",
    "What is a monad in functional programming?",
    "What is the Navier-Stokes equation?",
    "How does CRISPR edit genes?",
    "What is the halting problem?",
    "¿Quién escribió Don Quijote?",
    "Wann begann der Zweite Weltkrieg?",
)


@dataclass(frozen=True)
class Question:
    """A question, and the file and page that answer it."""

    file: str
    page: int
    kind: str
    question: str


@dataclass(frozen=True)
class Judged:
    """An answer as it was judged; `faithful` and `cited` count sentences, of `sentences`."""

    question: str
    answered: bool
    right_page: bool
    sentences: int
    faithful: int
    cited: int
    text: str


# What is reached on all 300 questions, less what a sample of 100 may be off by. That no sentence comes without a citation, and none that its passages do
# not hold, is a promise.
FLOORS = {"answered": 0.75, "right page": 0.85, "faithful": 1.0, "cited": 1.0, "refused": 0.9}


def answer_rows(samples: Path, *, every: int = 3) -> list[Row]:
    """The rows of every `every`-th question, in about a minute on two cores. `samples` is the directory of the real documents."""
    judged, foreign = asyncio.run(_measure(samples, load_questions()[::every]))
    return rows(judged, foreign)


def load_questions() -> list[Question]:
    """All questions."""
    items = json.loads(QUESTIONS.read_text(encoding="utf-8"))
    return [Question(item["file"], item["page"], item["kind"], item["question"]) for item in items]


def rows(judged: Sequence[tuple[Question, Judged]], foreign: Sequence[Judged]) -> list[Row]:
    """The table: of all questions, of each kind, and of the foreign ones."""
    found: list[Row] = []
    for kind in ("all", *sorted({question.kind for question, _ in judged})):
        chosen = [each for question, each in judged if kind in ("all", question.kind)]
        answered = [each for each in chosen if each.answered]
        floors = FLOORS if kind == "all" else {}
        found.append(_share(kind, "answered", len(answered), len(chosen), floors))
        found.append(_share(kind, "right page", sum(each.right_page for each in answered), len(answered), floors))
    everything = [*(each for _, each in judged), *foreign]
    sentences = sum(each.sentences for each in everything)
    found.append(_share("all", "faithful", sum(each.faithful for each in everything), sentences, FLOORS))
    found.append(_share("all", "cited", sum(each.cited for each in everything), sentences, FLOORS))
    found.append(_share("foreign", "refused", sum(not each.answered for each in foreign), len(foreign), FLOORS))
    return found


def _share(name: str, measure: str, part: int, count: int, floors: dict[str, float]) -> Row:
    value = part / count if count else 1.0
    return Row("answers", name, measure, value, count, floors.get(measure), "higher")


def judge(question: str, answer: Answer, right: tuple[str, int] | None) -> Judged:
    """Holds an answer to the page that has it (name and number), and each of its sentences to what it cites."""
    cited_pages = {
        (source.material_name, source.page_number)
        for part in answer.parts
        for number in part.citations
        if (source := _source(answer, number)) is not None
    }
    return Judged(
        question=question,
        answered=bool(answer.parts),
        right_page=right in cited_pages,
        sentences=len(answer.parts),
        faithful=sum(overlap(part, answer) >= FAITHFUL for part in answer.parts),
        cited=sum(any(_source(answer, number) is not None for number in part.citations) for part in answer.parts),
        text=answer.text,
    )


def overlap(part: pb.AnswerPart, answer: Answer) -> float:
    """Of the part's words, the share that stands in the passages it cites."""
    sources = [source for number in part.citations if (source := _source(answer, number)) is not None]
    held = {word for source in sources for word in _words(f"{source.heading} {source.excerpt}")}
    said = _words(part.text)
    return sum(word in held for word in said) / len(said) if said else 0.0


def _source(answer: Answer, number: int) -> pb.SearchResult | None:
    return answer.sources[number - 1] if 1 <= number <= len(answer.sources) else None


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


async def _measure(samples: Path, questions: Sequence[Question]) -> tuple[list[tuple[Question, Judged]], list[Judged]]:
    stack = await asyncio.to_thread(LocalStack.start)
    try:
        async with stack.client() as client:
            course = unique_course()
            for name in sorted({question.file for question in questions}):
                path = SAMPLE_TEXT if name == SAMPLE_TEXT.name else samples / name
                material = await client.upload(path.read_bytes(), course=course, name=name)
                await client.watch_to_end(material.id, seconds=600)
            turn = asyncio.Semaphore(AT_ONCE)

            async def judged(question: str, right: tuple[str, int] | None) -> Judged:
                async with turn:
                    return judge(question, await ask(client, course, question), right)

            asked = await asyncio.gather(*(judged(each.question, (each.file, each.page)) for each in questions))
            foreign = await asyncio.gather(*(judged(each, None) for each in FOREIGN))
    finally:
        await asyncio.to_thread(stack.stop)
    return list(zip(questions, asked, strict=True)), list(foreign)


def main() -> None:
    """Prints the rows."""
    from tests.conftest import SAMPLES

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--every", type=int, default=3, help="ask every N-th question")
    parser.add_argument("--show", action="store_true", help="print what went wrong")
    chosen = parser.parse_args()
    judged, foreign = asyncio.run(_measure(SAMPLES, load_questions()[:: chosen.every]))
    if chosen.show:
        for question, each in judged:
            if not (each.answered and each.right_page and each.faithful == each.sentences):
                print(
                    f"{question.kind}: {question.question} ({question.file}, page {question.page})\n    {each.text!r}"
                )
        for each in foreign:
            if each.answered:
                print(f"foreign: {each.question}\n    {each.text!r}")
    for row in rows(judged, foreign):
        print(
            f"{row.name:12} {row.measure:12} {row.value:7.1%}  of {row.count}"
            + ("" if row.met else "  BELOW ITS FLOOR")
        )


if __name__ == "__main__":
    main()
