"""Pictures of text put upright: lines that run downwards are turned to run across, a small skew is turned away.

Lines of text, seen along their direction, are bands of ink with white between: their profile rises and falls sharply, and most sharply at the very angle at which
they run. So the ink of a reduced picture is summed along many directions (Postl, 1986), and the direction of the sharpest profile is that of the lines.
Nothing is turned unless that direction stands out from all others: a photo, a drawing or noise has no such direction, and stays as it is. Whether the lines
stand on their heads is not seen here: the Brain tells that by itself.

What can go wrong: a photo of many parallel lines (a fence, blinds) is turned by its slope, and vertical writing (Chinese, Japanese) as if it were lines on their side.

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
#: Ink covers this share of a picture, or of most of it; less is nothing to go by, more is a photo.
_INK = (0.004, 0.35)
#: How much sharper the profile must be than at a typical angle (text has ten times and more, noise twice), and than in the other direction.
_CLEAR = 3.0
_CLEAR_TURN = 2.0
_SAMPLES = 60_000
#: Fewer lines, or a smaller picture, may be anything: the edge of a shape is as sharp as a line.
_LINES = 3
_LINES_TO_TURN = 5
_LEAST_SIDE = 100


@dataclass(frozen=True)
class Lie:
    """How the lines of a picture lie. `quarter`: they run downwards. `skew`: degrees by which they rise to the right (after a quarter turn, if any)."""

    quarter: bool
    skew: float


def upright(image: Image.Image, max_pixels: int) -> Image.Image:
    """`image` (L or RGB), turned when its lines clearly lie askew; no more than `max_pixels`. The new corners take the colour of the paper."""
    from PIL import Image  # noqa: PLC0415

    lie = lie_of(image)
    if lie.quarter:
        image = image.transpose(Image.Transpose.ROTATE_90)
    if not lie.skew:
        return image
    turned = image.rotate(-lie.skew, Image.Resampling.BICUBIC, expand=True, fillcolor=_paper(image))
    if turned.width * turned.height > max_pixels:
        scale = math.sqrt(max_pixels / (turned.width * turned.height))
        turned = turned.resize((int(turned.width * scale), int(turned.height * scale)), reducing_gap=2.0)
    return turned


def lie_of(image: Image.Image) -> Lie:
    """How the lines lie; `Lie(False, 0.0)` where there is no doubt that they are upright, or too much."""
    ink = _ink(image) if min(image.size) >= _LEAST_SIDE else None
    if ink is None:
        return Lie(quarter=False, skew=0.0)
    rows, columns = ink
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
    clear = best.sharpness > _CLEAR * best.usual and best.lines >= _LINES
    return Lie(quarter, best.angle if clear and LEAST_SKEW <= abs(best.angle) <= MOST_SKEW else 0.0)


@dataclass(frozen=True)
class _Direction:
    """The angle at which the profile is sharpest, how sharp it is there and at a typical angle, and how many lines it has there."""

    angle: float
    sharpness: float
    usual: float
    lines: int


def _ink(image: Image.Image) -> tuple[numpy.ndarray, numpy.ndarray] | None:
    """Rows and columns of the pixels with ink; None where there is too little or too much for text."""
    import numpy as np  # noqa: PLC0415
    from PIL import ImageFilter  # noqa: PLC0415

    gray = image.convert("L")
    gray.thumbnail((_SIDE, _SIDE), reducing_gap=2.0)
    around = gray.filter(ImageFilter.BoxBlur(max(4, _SIDE // 50)))
    here, there = np.asarray(gray, dtype=np.int16), np.asarray(around, dtype=np.int16)
    dark, light = there - here > _CONTRAST, here - there > _CONTRAST
    # Light letters on dark paper are ink as well.
    ink = light if int(here.mean()) < 100 and light.sum() > dark.sum() else dark
    share = float(ink.mean())
    if not _INK[0] < share < _INK[1]:
        return None
    rows, columns = np.nonzero(ink)
    if len(rows) > _SAMPLES:
        chosen = np.random.default_rng(0).choice(len(rows), _SAMPLES, replace=False)
        rows, columns = rows[chosen], columns[chosen]
    return rows.astype(np.float64), columns.astype(np.float64)


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
    profile = _profile(rows, columns, angle)
    inked = profile > profile.mean()
    lines = int(np.count_nonzero(inked[1:] & ~inked[:-1])) + int(inked[0])
    return _Direction(angle, finer[place], float(np.median(sharpness)), lines)


def _profile(rows: numpy.ndarray, columns: numpy.ndarray, angle: float) -> numpy.ndarray:
    """Ink by line, along lines that rise by `angle`."""
    import numpy as np  # noqa: PLC0415

    heights = rows + columns * math.tan(math.radians(angle))
    return np.bincount((heights - heights.min()).astype(np.int64)).astype(np.float64)


def _sharpness(rows: numpy.ndarray, columns: numpy.ndarray, angle: float) -> float:
    """How much the ink changes from one line to the next."""
    import numpy as np  # noqa: PLC0415

    profile = _profile(rows, columns, angle)
    return float((np.diff(profile) ** 2).sum() / max(1.0, profile.sum()))


def _paper(image: Image.Image) -> int | tuple[int, ...]:
    """The usual colour along the picture's edge."""
    import numpy as np  # noqa: PLC0415

    small = image.copy()
    small.thumbnail((200, 200), reducing_gap=2.0)
    pixels = np.asarray(small)
    edge = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    middle = np.median(edge, axis=0)
    return int(middle) if middle.ndim == 0 else tuple(int(value) for value in middle)
