"""Which way up a page is, as far as the boxes that were found on it tell, and the boxes' corners in the order of reading.

A detector gives each line as four corners around a rectangle, with no word on which of them comes first. On a page that lies
on its side nearly all boxes are taller than wide; on any page all lines run about the same way, so the long boxes, whose
direction is sure, decide for the short ones, whose is not. Whether a page stands on its head cannot be told from boxes.

Corners have shape (n, 4, 2), in pixels, x to the right and y downwards, each rectangle's around it in either sense.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Corners = npt.NDArray[np.float32]

# A box this many times as long as it is wide is sure to be a line that runs along it.
_SURE_LENGTH = 2.0


def is_sideways(corners: Corners) -> bool:
    """Whether more of the page's length of text runs up or down than across."""
    runs, lengths = _runs(corners)
    return bool(lengths[np.abs(runs[:, 1]) > np.abs(runs[:, 0])].sum() > lengths.sum() / 2)


def quarter_turned(corners: Corners, page_width: int) -> Corners:
    """Where the corners are on the page that `np.rot90` makes: turned counter-clockwise by 90 degrees."""
    return np.stack([corners[:, :, 1], page_width - corners[:, :, 0]], axis=2)


def reading_corners(corners: Corners) -> Corners:
    """Each box's corners as top left, top right, bottom right, bottom left, for a page whose lines run across."""
    if not len(corners):
        return corners
    runs, lengths = _runs(corners)
    across = np.abs(runs[:, 0]) >= np.abs(runs[:, 1])
    runs, lengths = runs[across & (lengths > 0)], lengths[across & (lengths > 0)]
    slope = _weighted_median(runs[:, 1] / runs[:, 0], lengths) if len(runs) else 0.0
    along = corners[:, :, 0] + slope * corners[:, :, 1]
    down = corners[:, :, 1] - slope * corners[:, :, 0]
    # The first corner lies furthest up and to the left; the others follow around the box, clockwise.
    first = np.argmin(along + down, axis=1)
    steps = np.where(_is_clockwise(corners), 1, -1)
    order = (first[:, None] + steps[:, None] * np.arange(4)) % 4
    return np.take_along_axis(corners, order[:, :, None], axis=1)


def _runs(corners: Corners) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Each box's longer side as a vector, and its length; 0 for boxes that may run either way."""
    sides = corners[:, 1:3] - corners[:, 0:2]
    sizes = np.hypot(sides[:, :, 0], sides[:, :, 1])
    longer = np.argmax(sizes, axis=1)
    length, breadth = sizes.max(axis=1), sizes.min(axis=1)
    runs = np.take_along_axis(sides, longer[:, None, None], axis=1)[:, 0]
    return runs, np.where(length >= _SURE_LENGTH * breadth, length, 0.0).astype(np.float32)


def _is_clockwise(corners: Corners) -> npt.NDArray[np.bool_]:
    following = np.roll(corners, -1, axis=1)
    areas = corners[:, :, 0] * following[:, :, 1] - following[:, :, 0] * corners[:, :, 1]
    return np.asarray(areas.sum(axis=1) > 0)


def _weighted_median(values: npt.NDArray[np.float32], weights: npt.NDArray[np.float32]) -> float:
    order = np.argsort(values)
    reached = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(reached, reached[-1] / 2)])
