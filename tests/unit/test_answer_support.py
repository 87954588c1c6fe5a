"""When a text supports a sentence: what its words, numbers, names and denials must have in common with it."""

from __future__ import annotations

import pytest

from processor_service.answers.support import CLEARLY_SUPPORTED, coverage, evidence, joined, supports

DROPOUT = "Dropout is a technique meant at preventing overfitting the training data by dropping out 50 units in a neural network."
MATRICES = "We note that not all square matrices are invertible. A matrix is invertible if its determinant is not zero."
FRANCE = "In 1789 the people of Paris stormed the Bastille, and king Louis XVI lost his power."


@pytest.mark.parametrize(
    "sentence",
    [
        "Dropout is a technique meant at preventing overfitting.",
        "Dropout prevents overfitting of training data.",  # inflected
        "Overfitting is prevented by DROPOUT!",
        "dropping out 50 units in a neural network",
        "50 units",
        "Dropout",
    ],
)
def test_what_the_text_says_in_its_own_words_is_supported(sentence: str) -> None:
    assert supports(evidence(DROPOUT), sentence)


@pytest.mark.parametrize(
    "sentence",
    [
        "",
        "...",
        "Yes.",
        "It is so.",  # words of any text
        "They are units.",  # and one of this one
        "How does dropout prevent overfitting the training data?",
        "Ridge regression shrinks the coefficients of the model.",
        "Dropout prevents overfitting by dropping out 60 units.",  # another number
        "Dropout by Hinton prevents overfitting of the training data.",  # a name that is not there
        "Dropout is no technique meant at preventing overfitting the training data.",  # denied
        "Dropout prevents overfitting, see https://evil.example/x for the training data.",
        "Dropout prevents overfitting ![the training data](//evil.example/a.png).",
        "Dropout prevents overfitting <img src=x> the training data.",
        "Dropout prevents overfitting, ask evil.example about the training data.",
    ],
)
def test_what_the_text_does_not_say_is_not_supported(sentence: str) -> None:
    assert not supports(evidence(DROPOUT), sentence)


def test_a_not_may_be_neither_lost_nor_added() -> None:
    text = evidence(MATRICES)
    assert supports(text, "Not all square matrices are invertible.")
    assert not supports(text, "All square matrices are invertible.")
    assert not supports(evidence("All square matrices have a trace."), "Not all square matrices have a trace.")


def test_numbers_are_compared_as_numbers_are_written() -> None:
    assert supports(evidence("The ratio is 3,5 to one."), "The ratio is 3.5 to one.")
    assert not supports(evidence("The ratio is 13.5 to one."), "The ratio is 3.5 to one.")
    assert supports(evidence(FRANCE), "The Bastille was stormed in 1789 by the people of Paris.")
    assert not supports(evidence(FRANCE), "The Bastille was stormed in 1788 by the people of Paris.")


@pytest.mark.parametrize(
    ("text", "said", "unsaid"),
    [
        ("Die Zellteilung heißt Mitose und läuft in vier Phasen ab.", "Die Mitose läuft in vier Phasen ab.", "Die Meiose halbiert Chromosomen."),
        ("La varianza mide la dispersión de la función.", "La varianza mide la dispersion.", "La mediana divide los datos."),
        ("光合作用将光能转化为糖,发生在叶绿体中。", "光合作用发生在叶绿体中。", "细胞呼吸产生二氧化碳。"),
        ("Фотосинтез превращает свет в сахар.", "Фотосинтез превращает свет.", "Дыхание освобождает энергию."),
        ("E = mc² is the equivalence of mass and energy.", "E = mc²", "E = mc³ is the equivalence"),
    ],
    ids=["German", "Spanish", "Chinese", "Russian", "formula"],
)  # fmt: skip
def test_it_is_of_no_language(text: str, said: str, unsaid: str) -> None:
    assert supports(evidence(text), said)
    assert not supports(evidence(text), unsaid)


def test_two_texts_support_together_what_neither_does_alone() -> None:
    texts = [
        evidence("Glaciers carve valleys in the shape of a U."),
        evidence("Rivers carve valleys in the shape of a V."),
    ]
    sentence = "Glaciers carve valleys in the shape of a U, rivers in the shape of a V."
    assert not supports(texts[0], sentence, least=CLEARLY_SUPPORTED)
    assert supports(joined(texts), sentence, least=CLEARLY_SUPPORTED)
    # A quote does not run from one text into the next.
    assert supports(evidence("put up to it"), "up to it")
    assert not supports(joined([evidence("put up to"), evidence("it is")]), "up to it")


def test_coverage_is_the_share_of_meaning() -> None:
    text = evidence(DROPOUT)
    assert coverage(text, "What is dropout?") == 1.0
    assert coverage(text, "Who wrote Hamlet?") == 0.0
    assert coverage(text, "what is the") == 0.0
    assert 0.0 < coverage(text, "dropout and chocolate") < 1.0


def test_invisible_characters_hide_no_word() -> None:
    assert supports(evidence("over\u00adfitting the train\u200bing data"), "Overfitting the training data.")
