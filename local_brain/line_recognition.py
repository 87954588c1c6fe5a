"""From the picture of a line to its text, with the spaces that the recogniser saw but was not sure of.

The model reads a line from left to right in steps some eight pixels wide, and gives each step a probability for every
character and for none. The usual decoding takes the likeliest at each step and so loses a narrow space, behind a comma above
all, since the steps it falls into also see the letters beside it: "none" wins with 0.6 or 0.8 over the space. Between two
letters of a word, however, the space has less than 0.02. So a space is taken from `_SPACE_PROBABILITY` upwards, but for one
before a mark that ends a word.

The recogniser's own reduced picture of a line is used as it is (48 pixels high), so lines may have any size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from local_brain.documents import PagePicture

_SPACE_PROBABILITY = 0.1
_NO_SPACE_BEFORE = frozenset(".,;:!?)]}")
_NO_CHARACTER = 0


@dataclass(frozen=True)
class RecognisedLine:
    """A line's text, and the mean probability of its characters (0 for no text)."""

    text: str
    score: float


class LineRecogniser:
    """RapidOCR's recognition model behind a decoding of our own."""

    def __init__(self, recogniser: Any) -> None:
        self._recogniser = recogniser
        self._characters: Sequence[str] = recogniser.postprocess_op.character

    def read(self, line: PagePicture) -> RecognisedLine:
        """The text on the picture of a line."""
        height, width = line.shape[:2]
        # One line a call: a batch takes no less time, and pads the shorter ones, which costs accuracy.
        _, model_height, model_width = self._recogniser.rec_image_shape
        picture = self._recogniser.resize_norm_img(line, max(width / height, model_width / model_height))
        return decoded(self._recogniser.session(picture[None])[0], self._characters)


def decoded(steps: npt.NDArray[np.float32], characters: Sequence[str]) -> RecognisedLine:
    """The text that probabilities of shape (steps, characters) tell: index 0 stands for no character, the last one for a space."""
    likeliest = steps.argmax(axis=1)
    space = len(characters) - 1
    seen_space = (likeliest == _NO_CHARACTER) & (steps[:, space] >= _SPACE_PROBABILITY)
    likeliest[seen_space] = space
    starts = likeliest != _NO_CHARACTER
    starts[1:] &= likeliest[1:] != likeliest[:-1]
    at = np.flatnonzero(starts)
    found = [characters[index] for index in likeliest[at]]
    following = [*found, ""][1:]
    text = "".join(
        character
        for step, character, after in zip(at, found, following, strict=True)
        if not (seen_space[step] and after in _NO_SPACE_BEFORE)
    )
    sure = starts & ~seen_space
    score = float(steps.max(axis=1)[sure].mean()) if sure.any() else 0.0
    return RecognisedLine(" ".join(text.split()), score)
