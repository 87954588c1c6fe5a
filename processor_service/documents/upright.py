"""Pictures of text made ready to be read: lines that run downwards are turned to run across, a small skew is turned away, small print is enlarged.

Lines of text, seen along their direction, are bands of ink with white between: their profile rises and falls sharply, and most so at the very angle at which
they run. So the ink of a reduced picture is summed along many directions (Postl, 1986), and the direction of the sharpest profile is that of the lines.
Nothing is turned unless that direction stands out from all others: a photo, a drawing or noise has no such direction, and stays as it is. Whether the lines
stand on their heads is not seen here: the Brain tells that by itself.

Most pictures lie as they should. So the level direction is compared with a few others first, by some of the ink: where it stands out no other is looked for.

The distance of the lines tells how large the print is. Measured with the local Brain, print of 60 to 72 dots an inch (a screenshot, a thumbnail) is read
better at twice its size, and worse at three times; from 100 dots an inch on it gains nothing.

What can go wrong: a photo of many parallel lines (a fence, blinds) is turned by its slope, and vertical writing (Chinese, Japanese) as if it lay on its side.

Needs numpy, which is imported where it is used: the child starts faster.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy
    from PIL import Image

#: Degrees: smaller skews cost nothing to read, larger ones are a picture's own.
LEAST_SKEW = 0.3
MOST_SKEW = 15.0
_COARSE, _FINE = 0.5, 0.1
#: Pixels of the longer side of the reduced picture.
_SIDE = 900
#: Ink is darker than its surroundings by this much of 255.
_CONTRAST = 24
#: A picture that is darker on the whole has light letters on dark paper.
_DARK_PAPER = 100
#: Ink covers this share of a picture, or of most of it; less is nothing to go by, more is a photo.
_INK = (0.004, 0.35)
#: How much sharper the profile must be than at a typical angle (text has twenty times, noise twice, a few shapes four times), and than in the other
#: direction.
_CLEAR = 6.0
_CLEAR_TURN = 2.0
_SAMPLES = 60_000
#: What a first glance goes by: some of the ink, the directions around the level one, and a few that are far from it.
_GLANCE_SAMPLES = 10_000
_GLANCE_NEAR = tuple(step / 10 for step in range(-5, 6))
_GLANCE_FAR = (-16.0, -12.0, -8.0, -4.0, 4.0, 8.0, 12.0, 16.0)
#: Fewer lines, or a smaller picture, may be anything: the edge of a shape is as sharp as a line.
_LINES = 4
_LINES_TO_TURN = 5
_LEAST_SIDE = 100
#: Changes of the profile that a single stroke makes, with its blurred edges.
_STROKE_CHANGES = 6
#: Lines nearer than this, in pixels, are small print.
_SMALL_PITCH = 14.0


@dataclass(frozen=True)
class Lie:
    """How the lines of a picture lie. `quarter`: they run downwards. `skew`: degrees by which they rise to the right (after a quarter turn, if any).

    `pitch`: pixels from line to line; None where there are no clear lines.
    """

    quarter: bool = False
    skew: float = 0.0
    pitch: float | None = None


def for_reading(image: Image.Image, max_pixels: int) -> Image.Image:
    """`image` (L or RGB), turned when its lines clearly lie askew, twice as large when they are clearly small; no more than `max_pixels`.

    The corners that turning adds take the colour of the paper.
    """
    from PIL import Image  # noqa: PLC0415

    lie = lie_of(image)
    if lie.quarter:
        image = image.transpose(Image.Transpose.ROTATE_90)
    if lie.skew:
        image = image.rotate(-lie.skew, Image.Resampling.BICUBIC, expand=True, fillcolor=_paper(image))
    pixels = image.width * image.height
    if lie.pitch is not None and lie.pitch < _SMALL_PITCH and 4 * pixels <= max_pixels:
        return image.resize((2 * image.width, 2 * image.height), Image.Resampling.BICUBIC)
    if pixels > max_pixels:
        scale = math.sqrt(max_pixels / pixels)
        return image.resize((int(image.width * scale), int(image.height * scale)), reducing_gap=2.0)
    return image


def lie_of(image: Image.Image) -> Lie:
    """How the lines lie; `Lie()` where that is not clear."""
    found = _ink(image) if min(image.size) >= _LEAST_SIDE else None
    if found is None:
        return Lie()
    ink, reduced = found
    level = _plainly_level(ink)
    if level is not None:
        return Lie(pitch=level.pitch * reduced)
    rows, columns = _samples(ink)
    across = _best(rows, columns)
    down = _best(-columns, rows)
    best = across
    quarter = (
        down.sharpness > _CLEAR_TURN * across.sharpness
        and down.sharpness > _CLEAR * down.usual
        and down.lines >= _LINES_TO_TURN
    )
    if quarter:
        best = down
    if best.sharpness < _CLEAR * best.usual or best.lines < _LINES:
        return Lie()
    skew = best.angle if LEAST_SKEW <= abs(best.angle) <= MOST_SKEW else 0.0
    return Lie(quarter, skew, best.pitch * reduced)


@dataclass(frozen=True)
class _Direction:
    """The angle at which the profile is sharpest, how sharp it is there and at a typical angle, and its lines: how many, how far apart."""

    angle: float
    sharpness: float
    usual: float
    lines: int
    pitch: float


def _ink(image: Image.Image) -> tuple[numpy.ndarray, float] | None:
    """Which pixels have ink, and how much the picture was reduced for them; None where there is too little or too much for text."""
    import numpy as np  # noqa: PLC0415
    from PIL import ImageChops, ImageFilter  # noqa: PLC0415

    gray = image.convert("L")
    gray.thumbnail((_SIDE, _SIDE), reducing_gap=2.0)
    around = gray.filter(ImageFilter.BoxBlur(max(4, _SIDE // 50)))
    # Light letters on dark paper are ink as well.
    light_letters = float(np.asarray(gray).mean()) < _DARK_PAPER
    contrast = ImageChops.subtract(gray, around) if light_letters else ImageChops.subtract(around, gray)
    ink = np.asarray(contrast) > _CONTRAST
    if not _INK[0] < np.count_nonzero(ink) / ink.size < _INK[1]:
        return None
    return ink, image.width / gray.width


def _samples(ink: numpy.ndarray) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Rows and columns of the pixels with ink, or of enough of them."""
    import numpy as np  # noqa: PLC0415

    rows, columns = np.nonzero(ink)
    if len(rows) > _SAMPLES:
        chosen = np.random.default_rng(0).choice(len(rows), _SAMPLES, replace=False)
        rows, columns = rows[chosen], columns[chosen]
    return rows.astype(np.float64), columns.astype(np.float64)


def _plainly_level(ink: numpy.ndarray) -> _Direction | None:
    """The level direction, where at a glance the lines run along it and along no other; None where that takes a closer look."""
    import numpy as np  # noqa: PLC0415

    step = max(1, int(np.count_nonzero(ink)) // _GLANCE_SAMPLES)
    # Whole columns are left out, so that lines stay as sharp as they are; and whole rows to look downwards.
    rows, columns = np.nonzero(ink[:, ::step])
    rows, columns = rows.astype(np.float32), (columns * step).astype(np.float32)
    near = {angle: _sharpness(rows, columns, angle) for angle in _GLANCE_NEAR}
    angle = max(near, key=lambda each: near[each])
    usual = float(np.median([_sharpness(rows, columns, far) for far in _GLANCE_FAR]))
    if abs(angle) >= LEAST_SKEW or near[angle] < _CLEAR * usual:
        return None
    down, along = np.nonzero(ink[::step])
    down, along = (down * step).astype(np.float32), along.astype(np.float32)
    if any(_sharpness(-along, down, turned) > near[angle] for turned in (-_COARSE, 0.0, _COARSE)):
        return None
    lines, pitch = _lines(_profile(rows, columns, angle))
    return _Direction(angle, near[angle], usual, lines, pitch) if lines >= _LINES else None


def _best(rows: numpy.ndarray, columns: numpy.ndarray) -> _Direction:
    """The direction of the sharpest profile, within `MOST_SKEW` and a little more of the horizontal."""
    import numpy as np  # noqa: PLC0415

    coarse = np.arange(-MOST_SKEW - 1, MOST_SKEW + 1 + _COARSE / 2, _COARSE)
    sharpness = [_sharpness(rows, columns, angle) for angle in coarse]
    about = coarse[int(np.argmax(sharpness))]
    fine = np.arange(about - _COARSE, about + _COARSE + _FINE / 2, _FINE)
    finer = [_sharpness(rows, columns, angle) for angle in fine]
    place = int(np.argmax(finer))
    angle = round(float(fine[place]), 2)
    lines, pitch = _lines(_profile(rows, columns, angle))
    return _Direction(angle, finer[place], float(np.median(sharpness)), lines, pitch)


def _lines(profile: numpy.ndarray) -> tuple[int, float]:
    """How many lines there are, and how far apart, in pixels."""
    import numpy as np  # noqa: PLC0415

    inked = profile > profile.mean()
    starts = np.flatnonzero(inked[1:] & ~inked[:-1])
    return len(starts), float(np.median(np.diff(starts))) if len(starts) > 1 else 0.0


def _profile(rows: numpy.ndarray, columns: numpy.ndarray, angle: float) -> numpy.ndarray:
    """Ink by line, along lines that rise by `angle`."""
    import numpy as np  # noqa: PLC0415

    heights = rows + columns * math.tan(math.radians(angle))
    return np.bincount((heights - heights.min()).astype(np.int64)).astype(np.float64)


def _sharpness(rows: numpy.ndarray, columns: numpy.ndarray, angle: float) -> float:
    """How much the ink changes from one line to the next, but for the few sharpest changes: one stroke is no page of lines."""
    import numpy as np  # noqa: PLC0415

    profile = _profile(rows, columns, angle)
    changes = np.diff(profile) ** 2
    if len(changes) > _STROKE_CHANGES:
        changes = np.partition(changes, -_STROKE_CHANGES)[:-_STROKE_CHANGES]
    return float(changes.sum() / max(1.0, profile.sum()))


def _paper(image: Image.Image) -> int | tuple[int, ...]:
    """The usual colour along the picture's edge."""
    import numpy as np  # noqa: PLC0415

    small = image.copy()
    small.thumbnail((200, 200), reducing_gap=2.0)
    pixels = np.asarray(small)
    edge = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    middle = np.median(edge, axis=0)
    return int(middle) if middle.ndim == 0 else tuple(int(value) for value in middle)
