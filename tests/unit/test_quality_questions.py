"""The form of the questions that measure search, and that each one's quote stands where the file says.

A slip in the file (a wrong page, a quote typed from memory) would count against search what is no fault of search. Pages of the plain text are those that an
upload of it is cut into.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import pypdfium2
import pytest

from processor_service.documents.document_pages import split_text

QUESTIONS = Path(__file__).resolve().parents[1] / "quality" / "questions.json"
PLAIN_TEXT = "sample_text.md"
KINDS = {"paraphrase", "fact", "exact", "cross"}
FIELDS = {"file", "page", "language", "kind", "question", "quote"}
# The language of each document; a question has it too, but for those across languages.
LANGUAGES = {
    "probability-refresher-en.pdf": "en",
    "probability-refresher-es.pdf": "es",
    "machine-learning-cheatsheet-en.pdf": "en",
    PLAIN_TEXT: "en",
}
QUOTE_WORDS = range(5, 26)
SHARE_FOUND = 0.8

Pair = dict[str, Any]


@pytest.fixture(scope="module")
def pairs() -> list[Pair]:
    loaded: list[Pair] = json.loads(QUESTIONS.read_text(encoding="utf-8"))
    return loaded


def test_there_are_enough_pairs_of_each_kind_and_document(pairs: list[Pair]) -> None:
    assert len(pairs) >= 150
    kinds = Counter(pair["kind"] for pair in pairs)
    assert set(kinds) == KINDS
    assert kinds["cross"] >= 5
    assert min(kinds["paraphrase"], kinds["fact"], kinds["exact"]) >= 0.2 * len(pairs)
    assert {pair["file"] for pair in pairs} == set(LANGUAGES)


def test_fields_and_values(pairs: list[Pair]) -> None:
    for pair in pairs:
        assert set(pair) in (FIELDS, FIELDS | {"also"}), pair
        assert pair["kind"] in KINDS, pair
        same_language = pair["language"] == LANGUAGES[pair["file"]]
        assert same_language is (pair["kind"] != "cross"), pair
        assert pair["question"] == pair["question"].strip() != "", pair
        assert "also" not in pair or pair["also"], pair
        for also in pair.get("also", []):
            assert set(also) == {"file", "page", "quote"}, pair
        for place in places(pair):
            assert place["file"] in LANGUAGES, pair
            assert isinstance(place["page"], int), pair
            assert place["page"] >= 1, pair
            assert place["quote"] == " ".join(place["quote"].split()), pair
            assert len(words(place["quote"])) in QUOTE_WORDS, place["quote"]


def test_no_question_and_no_place_twice(pairs: list[Pair]) -> None:
    questions = Counter(" ".join(words(pair["question"])) for pair in pairs)
    assert [question for question, count in questions.items() if count > 1] == []
    for pair in pairs:
        named = [(place["file"], place["page"], place["quote"]) for place in places(pair)]
        assert len(named) == len(set(named)), pair


def test_quotes_of_the_plain_text_stand_on_their_pages(pairs: list[Pair]) -> None:
    pages = [words(page) for page in split_text((files("single_node") / PLAIN_TEXT).read_text(encoding="utf-8"))]
    assert missing(pairs, PLAIN_TEXT, pages) == []


@pytest.mark.parametrize("name", [name for name in LANGUAGES if name.endswith(".pdf")])
def test_quotes_of_a_document_stand_on_its_pages_and_no_page_is_left_out(
    samples: Path, pairs: list[Pair], name: str
) -> None:
    with pypdfium2.PdfDocument(samples / name) as document:
        pages = [words(page.get_textpage().get_text_range()) for page in document]
    assert missing(pairs, name, pages) == []
    asked = {place["page"] for pair in pairs for place in places(pair) if place["file"] == name}
    assert asked == set(range(1, len(pages) + 1))


@pytest.mark.parametrize(
    ("quote", "found"),
    [
        ("the stomata the pores of the leaf close", True),
        ("The STOMATA, (the pores of a leaf), close!", True),
        ("the stomata the pores close leaf of the", False),
        ("the pores of the skin open to save", False),
        ("energy of sugar in the cells of plants", False),
    ],
)
def test_what_counts_as_found(quote: str, found: bool) -> None:
    page = words(
        "On hot and dry days the stomata, the pores\nof the leaf, close to save water; photorespiration is waste."
    )
    assert (share_in_sequence(words(quote), page) >= SHARE_FOUND) is found


def missing(pairs: list[Pair], name: str, pages: list[tuple[str, ...]]) -> list[tuple[int, str]]:
    """Page and quote of every place of the document `name` whose quote is not there."""
    return [
        (place["page"], place["quote"])
        for pair in pairs
        for place in places(pair)
        if place["file"] == name
        and not (
            place["page"] <= len(pages)
            and share_in_sequence(words(place["quote"]), pages[place["page"] - 1]) >= SHARE_FOUND
        )
    ]


def places(pair: Pair) -> Iterator[dict[str, Any]]:
    """The places that answer a question, the best one first."""
    yield {name: pair[name] for name in ("file", "page", "quote")}
    yield from pair.get("also", [])


@cache
def words(text: str) -> tuple[str, ...]:
    return tuple(re.findall(r"[^\W_]+", unicodedata.normalize("NFKC", text).casefold()))


def share_in_sequence(quote: Sequence[str], page: Sequence[str]) -> float:
    """The largest share of the quote's words found in their order within twice the quote's length, anywhere on the page."""
    best = 0
    for start in range(len(page)):
        best = max(best, common_length(quote, page[start : start + 2 * len(quote)]))
        if best == len(quote):
            break
    return best / len(quote)


def common_length(one: Sequence[str], other: Sequence[str]) -> int:
    """Length of the longest common subsequence, in words."""
    row = [0] * (len(other) + 1)
    for word in one:
        before = 0
        for column, candidate in enumerate(other, 1):
            above = row[column]
            row[column] = before + 1 if word == candidate else max(above, row[column - 1])
            before = above
    return row[-1]
