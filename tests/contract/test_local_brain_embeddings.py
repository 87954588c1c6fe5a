"""The local Brain's embeddings put like beside like, and its answers come from the passages given."""

from __future__ import annotations

import math
import re

import httpx
import numpy as np

from single_node.samples import Sample
from tests.contract.started_brain import embedding


def cosine(one: list[float], other: list[float]) -> float:
    return float(np.dot(one, other) / (np.linalg.norm(one) * np.linalg.norm(other)))


def test_embeddings_are_unit_vectors_padded_with_zeros(brain: httpx.Client) -> None:
    numbers = embedding(brain, "Photosynthesis stores light as sugar.")
    assert len(numbers) == 1024
    assert math.isclose(math.fsum(number * number for number in numbers), 1.0, rel_tol=1e-4)
    assert any(numbers[:384])
    assert not any(numbers[384:])


def test_paraphrases_lie_nearer_than_other_subjects(brain: httpx.Client) -> None:
    one = embedding(brain, "Plants turn sunlight into chemical energy by photosynthesis.")
    same = embedding(brain, "In photosynthesis, the energy of light is stored by green leaves.")
    other = embedding(brain, "The parliament passed a law on the taxation of companies.")
    assert cosine(one, same) > 0.5
    assert cosine(one, other) < 0.2
    assert cosine(one, embedding(brain, "Plants turn sunlight into chemical energy by photosynthesis.")) > 0.9999


def test_a_text_longer_than_the_model_reads_is_embedded(brain: httpx.Client) -> None:
    assert len(embedding(brain, "light and sugar " * 1000)) == 1024
    assert len(embedding(brain, "光合作用" * 400)) == 1024


def test_the_demos_questions_find_their_pages(
    brain: httpx.Client, demo_samples: list[Sample], readings: list[str]
) -> None:
    passages = [
        (sample.path, number, passage)
        for sample, reading in zip(demo_samples, readings, strict=True)
        for number, page in enumerate(
            re.split(r"--- Page \d+ ---\n", reading.removeprefix("--- Page 1 ---\n")), start=1
        )
        for passage in page.split("\n\n")
        if passage.strip()
    ]
    vectors = [embedding(brain, passage) for _, _, passage in passages]
    for sample in demo_samples:
        asked = embedding(brain, sample.question)
        path, page, text = max(zip(passages, vectors, strict=True), key=lambda pair: cosine(asked, pair[1]))[0]
        assert (path, page) == (sample.path, sample.expected_page)
        assert any(word in text.lower() for word in sample.expected_words)
        assert not any(word in sample.question.lower() for word in sample.expected_words)


def test_a_prompt_alone_is_answered_from_its_context_and_says_how(brain: httpx.Client) -> None:
    prompt = (
        "Answer from the context only.\n\nContext:\n[1] The Calvin cycle takes place in the stroma.\n"
        "[2] Yeast turns pyruvate into ethanol.\n\nQuestion: Where does the Calvin cycle happen?"
    )
    body = brain.post("/router", data={"prompt": prompt}).json()
    assert body["response"] == "The Calvin cycle takes place in the stroma. [1]"
    assert body["model"].startswith("extractive/")
