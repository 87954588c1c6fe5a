"""Measures how well search finds what people ask for: by meaning alone, by words alone, and by both, as the service does it.

The real documents beside the project and its own sample text lie in one course, so that English and Spanish compete. Their pages come from the
processor's renderer, passages and words from its rules, embeddings from the local Brain over HTTP, and everything lies in a real Postgres. Each question of
`questions.json` has a quote that answers it; found is it when a passage among the first three holds half of the quote.
`python -m tests.quality.search_quality` prints the rows, and with `--missed` the questions whose answer was not among the first three.
"""

from __future__ import annotations

import argparse
import asyncio
import difflib
import json
import re
import unicodedata
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from processor_service.brain.client import BrainClient, open_http
from processor_service.documents.document_pages import split_text
from processor_service.documents.rendering import DocumentRenderer
from processor_service.index.page_passages import NEIGHBOUR_PAGES, passages_of
from processor_service.index.passage_rows import PageKey, insert_passages
from processor_service.index.passages import embedding_text
from processor_service.index.search_words import query_words
from processor_service.search.search_store import Candidates, Hit, Scope
from processor_service.search.searching import DEPTHS, ranked
from tests.integration.search_index import MODEL, SearchIndex, search_index
from tests.local_stack import LocalStack
from tests.quality.rows import Row

QUESTIONS = Path(__file__).with_name("questions.json")
PLAIN_TEXT = "sample_text.md"
COURSE = "course"
FIRST = 3
#: Brain calls at once.
CALLS = 2
#: Words in a row that count as taken from the quote.
RUN_WORDS = 3

#: Asked with some of the material's words, as most are. Users must be able to rely on these. The others, riddles that share no word with their answer
#: and questions in another language than it, go by the embedding model, a small English one here: their floor is what is reached, less a little.
WORDED_KINDS = ("exact", "fact")
WORDED = "in the material's words"
RECALL_FLOORS = {"exact": 0.95, "fact": 0.95, WORDED: 0.95, "paraphrase": 0.45, "cross": None, "all": 0.83}


@dataclass(frozen=True)
class Question:
    """`quotes`: what answers it, by file; notes that say the same stand in several."""

    text: str
    kind: str
    quotes: tuple[tuple[str, str], ...]

    def answered_by(self, file: str, passage: str) -> bool:
        """Whether the passage holds the answer."""
        return any(file == other and holds(passage, quote) for other, quote in self.quotes)


def questions() -> list[Question]:
    """All of them."""
    return [
        Question(
            item["question"],
            item["kind"],
            tuple((each["file"], each["quote"]) for each in (item, *item.get("also", ()))),
        )
        for item in json.loads(QUESTIONS.read_text(encoding="utf-8"))
    ]


def holds(passage: str, quote: str) -> bool:
    """Whether a passage has at least half of a quote's words, in order, in runs of three or more (of all, in a shorter quote)."""
    wanted, found = _words(quote), _words(passage)
    blocks = difflib.SequenceMatcher(None, wanted, found, autojunk=False).get_matching_blocks()
    return 2 * sum(block.size for block in blocks if block.size >= min(RUN_WORDS, len(wanted))) >= len(wanted)


def _words(text: str) -> list[str]:
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    return re.findall(r"\w+", "".join(char for char in decomposed if not unicodedata.combining(char)))


def search_rows(samples: Path) -> list[Row]:
    """The rows, in about a minute on two cores."""
    return [row for _, rows in _measured_on_a_stack(samples) for row in rows]


@dataclass(frozen=True)
class Way:
    """One way to search: what it shows, best first."""

    name: str
    shown: Callable[[Candidates], list[Hit]]


def _measured_on_a_stack(samples: Path) -> list[tuple[list[Question], list[Row]]]:
    stack = LocalStack.start()
    try:
        return asyncio.run(_measure(samples, stack))
    finally:
        stack.stop()


async def _measure(samples: Path, stack: LocalStack) -> list[tuple[list[Question], list[Row]]]:
    async with search_index(stack) as index, open_http() as http:
        brain = BrainClient(http, endpoint=stack.facts["brain"], timeout_seconds=60.0)
        names = await _fill(index, brain, samples)
        asked = questions()
        found = await _find_all(index, brain, asked)
    ways = (
        Way("meaning alone", lambda each: [candidate.hit for candidate in each.nearest]),
        Way("words alone", lambda each: [candidate.hit for candidate in each.worded]),
        Way("both", lambda each: [result.hit for result in ranked(each)]),
    )
    measured = []
    for way in ways:
        ranks = [_rank(question, way.shown(each), names) for question, each in zip(asked, found, strict=True)]
        missed = [question for question, rank in zip(asked, ranks, strict=True) if rank is None or rank > FIRST]
        measured.append((missed, list(_rows(way.name, asked, ranks))))
    measured[2][1].extend(_gains([rows for _, rows in measured]))
    return measured


def _gains(ways: Sequence[Sequence[Row]]) -> Iterator[Row]:
    """What both together find beyond the better of the two alone: of all questions, and of those in the material's words."""
    for by_meaning, by_words, both in zip(*(rows[:2] for rows in ways), strict=True):
        gain = both.value - max(by_meaning.value, by_words.value)
        yield Row("search", f"{both.name}, above the better one", both.measure, gain, both.count, 0.001, "higher")


async def _fill(index: SearchIndex, brain: BrainClient, samples: Path) -> dict[str, str]:
    """Puts every document into the course; their names by id."""
    texts = {file.name: await _pages(file) for file in sorted(samples.glob("*.pdf"))}
    sample_text = (files("single_node") / PLAIN_TEXT).read_text(encoding="utf-8")
    texts[PLAIN_TEXT] = split_text(sample_text)
    names = {}
    for name, pages in texts.items():
        material_id = uuid.uuid4()
        names[str(material_id)] = name
        for number, text in enumerate(pages, 1):
            passages = passages_of(text, pages[max(0, number - 1 - NEIGHBOUR_PAGES) : number - 1])
            embeddings = await _embedded(brain, map(embedding_text, passages))
            key = PageKey(material_id, number, 1, "owner", COURSE, 1)
            async with index.postgres.connection() as connection:
                await connection.execute(
                    "INSERT INTO documents (material_id, attempt) VALUES ($1, 1) ON CONFLICT DO NOTHING", material_id
                )
                await insert_passages(connection, key, passages, embeddings)
    return names


async def _pages(file: Path) -> list[str]:
    async with DocumentRenderer() as renderer:
        info = await renderer.open(file, "application/pdf")
        rendered = [await renderer.render(page) for page in range(info.pages)]
    assert all(page.text is not None for page in rendered), f"{file.name} has a page without a text layer of its own"
    return [page.text or "" for page in rendered]


async def _find_all(index: SearchIndex, brain: BrainClient, asked: Sequence[Question]) -> list[Candidates]:
    embeddings = await _embedded(brain, (question.text for question in asked))
    return [
        await index.store().candidates(embedding, MODEL, query_words(question.text), Scope(COURSE), DEPTHS[0])
        for question, embedding in zip(asked, embeddings, strict=True)
    ]


async def _embedded(brain: BrainClient, texts: Iterable[str]) -> list[NDArray[np.float32]]:
    slots = asyncio.Semaphore(CALLS)

    async def embed(text: str) -> NDArray[np.float32]:
        async with slots:
            return await brain.embed(text)

    return list(await asyncio.gather(*map(embed, texts)))


def _rank(question: Question, shown: Sequence[Hit], names: dict[str, str]) -> int | None:
    return next(
        (
            rank
            for rank, hit in enumerate(shown, 1)
            if question.answered_by(names[str(hit.material_id)], f"{hit.heading}\n{hit.text}")
        ),
        None,
    )


def _rows(way: str, asked: Sequence[Question], ranks: Sequence[int | None]) -> Iterable[Row]:
    """Recall of all questions, of those in the material's words, and of each kind; before the kinds the mean reciprocal rank of all."""
    floors = RECALL_FLOORS if way == "both" else {}
    yield _recall_row(way, ranks, floors.get("all"))
    worded = [rank for question, rank in zip(asked, ranks, strict=True) if question.kind in WORDED_KINDS]
    yield _recall_row(f"{way}, {WORDED}", worded, floors.get(WORDED))
    reciprocal = fmean(1 / rank if rank is not None else 0.0 for rank in ranks)
    yield Row("search", way, "mean reciprocal rank", reciprocal, len(ranks), better="higher")
    for kind in dict.fromkeys(question.kind for question in asked):
        of_kind = [rank for question, rank in zip(asked, ranks, strict=True) if question.kind == kind]
        yield _recall_row(f"{way}, {kind}", of_kind, floors.get(kind))


def _recall_row(name: str, ranks: Sequence[int | None], floor: float | None) -> Row:
    recall = fmean(rank is not None and rank <= FIRST for rank in ranks)
    return Row("search", name, f"recall@{FIRST}", recall, len(ranks), floor, "higher")


def _main() -> None:
    from tests.conftest import SAMPLES

    parser = argparse.ArgumentParser(
        prog="python -m tests.quality.search_quality", description="How well search finds."
    )
    parser.add_argument("--missed", action="store_true", help="print what was not among the first three")
    arguments = parser.parse_args()
    for missed, rows in _measured_on_a_stack(SAMPLES.resolve()):
        for row in rows:
            floor = "" if row.floor is None else f"  floor {row.floor:.3f}{'' if row.met else '  NOT MET'}"
            print(f"{row.name:32} {row.measure:22} {row.value:.3f}  of {row.count}{floor}")
        if arguments.missed:
            for question in missed:
                print(f"    missed: {question.kind}: {question.text}")


if __name__ == "__main__":
    _main()
