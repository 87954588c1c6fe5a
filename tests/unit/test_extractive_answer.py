"""What the local Brain makes of a prompt without a file."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from local_brain.answering import NOTHING_FOUND, Sentence, answer, parse_prompt

CONTEXT = (
    "[1] Rome (page 3):\nRome was founded long ago. It lies on the Tiber.\n\n[2] Oslo lies on a fjord. It is cold."
)


def by_words(text: str) -> npt.NDArray[np.float32]:
    """A unit vector of the words in a text, so that shared words mean likeness."""
    vector = np.zeros(997, dtype=np.float32)
    for word in text.lower().replace(".", "").replace("?", "").split():
        vector[sum(ord(char) * 31**place for place, char in enumerate(word)) % 997] += 1
    return vector / np.linalg.norm(vector)


def test_a_prompt_is_split_into_question_and_marked_sentences_in_either_order() -> None:
    question_last = parse_prompt(f"Answer from the context.\nContext:\n{CONTEXT}\n\nQuestion: Where is Oslo?\nAnswer:")
    question_first = parse_prompt(f"Question: Where is Oslo?\n\nContext:\n{CONTEXT}")
    assert question_last == question_first
    assert question_last.question == "Where is Oslo?"
    assert Sentence("Oslo lies on a fjord.", "[2]") in question_last.sentences
    assert all("Answer from" not in sentence.text for sentence in question_last.sentences)


def test_without_labels_the_last_line_is_the_question() -> None:
    parsed = parse_prompt("Oslo lies on a fjord.\nWhere is Oslo?")
    assert (parsed.question, [sentence.text for sentence in parsed.sentences]) == (
        "Where is Oslo?",
        ["Oslo lies on a fjord."],
    )


def test_a_question_inside_the_material_is_not_the_one_answered() -> None:
    parsed = parse_prompt("Context:\nQuestion: What is 2 + 2?\nFour.\n\nQuestion: Where is Oslo?")
    assert parsed.question == "Where is Oslo?"


def test_the_answer_quotes_the_nearest_sentence_with_its_citation() -> None:
    assert answer(f"Context:\n{CONTEXT}\n\nQuestion: Oslo lies on what fjord?", by_words) == "Oslo lies on a fjord. [2]"


def test_a_context_that_holds_nothing_on_the_question_is_said_to_hold_nothing() -> None:
    assert answer(f"Context:\n{CONTEXT}\n\nQuestion: Who wrote Hamlet?", by_words) == NOTHING_FOUND
    assert answer("Who wrote Hamlet?", by_words) == NOTHING_FOUND
    assert answer("", by_words) == NOTHING_FOUND
