"""From the recogniser's probabilities to a line's text: repeated steps, narrow spaces, marks."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from local_brain.line_recognition import RecognisedLine, decoded

# As the model has them: no character first, the space last.
CHARACTERS = ["blank", *"abcABC.,:%)", " "]


def steps(*seen: dict[str, float]) -> npt.NDArray[np.float32]:
    """One row a step; what is not named goes to no character."""
    table = np.zeros((len(seen), len(CHARACTERS)), np.float32)
    for row, probabilities in zip(table, seen, strict=True):
        for character, probability in probabilities.items():
            row[CHARACTERS.index(character)] = probability
        row[0] = 1 - row[1:].sum()
    return table


def sure(character: str) -> dict[str, float]:
    return {character: 0.9}


def test_a_character_seen_in_several_steps_is_one_and_doubled_ones_are_parted_by_none() -> None:
    assert decoded(steps(sure("a"), sure("a"), sure("b"), {}, sure("b")), CHARACTERS).text == "abb"


def test_no_character_at_all_is_no_text() -> None:
    assert decoded(steps({}, {}), CHARACTERS) == RecognisedLine("", 0.0)


@pytest.mark.parametrize(("probability", "text"), [(0.6, "a: B"), (0.3, "a: B"), (0.11, "a: B"), (0.05, "a:B")])
def test_a_space_counts_although_none_is_likelier(probability: float, text: str) -> None:
    assert decoded(steps(sure("a"), sure(":"), {" ": probability}, sure("B")), CHARACTERS).text == text


def test_a_space_seen_in_two_steps_is_one() -> None:
    assert decoded(steps(sure("a"), {" ": 0.3}, {" ": 0.8}, {" ": 0.2}, sure("b")), CHARACTERS).text == "a b"


@pytest.mark.parametrize("mark", [".", ",", ")"])
def test_a_doubtful_space_before_a_mark_that_ends_a_word_is_none(mark: str) -> None:
    assert decoded(steps(sure("%"), {" ": 0.3}, sure(mark)), CHARACTERS).text == f"%{mark}"
    assert decoded(steps(sure("%"), {" ": 0.8}, sure(mark)), CHARACTERS).text == f"% {mark}"


def test_spaces_at_the_ends_are_left_out() -> None:
    assert decoded(steps({" ": 0.9}, sure("a"), {" ": 0.2}), CHARACTERS).text == "a"


def test_the_score_is_the_mean_of_the_characters_and_not_of_doubtful_spaces() -> None:
    line = decoded(steps({"a": 0.6}, {" ": 0.2}, {"b": 0.8}), CHARACTERS)
    assert line.text == "a b"
    assert line.score == pytest.approx(0.7)


def test_the_given_probabilities_are_left_as_they_were() -> None:
    given = steps(sure("a"), {" ": 0.3}, sure("b"))
    kept = given.copy()
    decoded(given, CHARACTERS)
    assert (given == kept).all()
