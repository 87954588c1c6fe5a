"""Which way a page lies, from boxes alone, and their corners in the order of reading."""

from __future__ import annotations

import math

import numpy as np
import pytest

from local_brain.orientation import Corners, is_sideways, quarter_turned, reading_corners

WIDTH, HEIGHT = 800.0, 1000.0


def box(left: float, top: float, width: float, height: float) -> list[list[float]]:
    """In the order of reading."""
    return [[left, top], [left + width, top], [left + width, top + height], [left, top + height]]


def lines(*boxes: list[list[float]]) -> Corners:
    return np.array(boxes, dtype=np.float32).reshape(-1, 4, 2)


def skewed(corners: Corners, degrees: float) -> Corners:
    angle = math.radians(degrees)
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    return np.asarray(corners @ turn, dtype=np.float32)


def laid_on_its_side(corners: Corners) -> Corners:
    """Turned clockwise, the opposite of `quarter_turned`."""
    return np.stack([HEIGHT - corners[:, :, 1], corners[:, :, 0]], axis=2)


PAGE = lines(
    box(50, 100, 600, 30), box(50, 150, 580, 30), box(50, 200, 16, 30), box(400, 200, 90, 30), box(700, 300, 25, 240)
)


def shuffled(corners: Corners, seed: int) -> Corners:
    """Every box begun at any corner, and gone around in either sense."""
    random = np.random.default_rng(seed)
    return np.array([np.roll(quad[:: random.choice([1, -1])], random.integers(4), axis=0) for quad in corners])


@pytest.mark.parametrize("degrees", [-7.0, -1.0, 0.0, 3.0, 7.0])
def test_a_page_is_known_to_lie_on_its_side_when_skewed_as_well(degrees: float) -> None:
    page = skewed(PAGE, degrees)
    assert not is_sideways(shuffled(page, 1))
    assert is_sideways(shuffled(laid_on_its_side(page), 1))


def test_boxes_that_may_run_either_way_and_no_boxes_turn_no_page() -> None:
    assert not is_sideways(lines(box(10, 10, 20, 30), box(50, 10, 20, 38)))
    assert not is_sideways(lines())
    assert reading_corners(lines()).shape == (0, 4, 2)


def test_a_turn_is_that_of_the_picture() -> None:
    picture = np.zeros((int(HEIGHT), int(WIDTH)), np.uint8)
    picture[200, 100] = 1
    row, column = np.argwhere(np.rot90(picture))[0]
    x, y = quarter_turned(lines(box(100, 200, 1, 1)), int(WIDTH) - 1)[0, 0]
    assert (x, y) == (column, row)


@pytest.mark.parametrize("degrees", [-7.0, -1.0, 0.0, 3.0, 7.0])
@pytest.mark.parametrize("seed", range(5))
def test_corners_begin_at_the_upper_left_and_go_clockwise(degrees: float, seed: int) -> None:
    page = skewed(PAGE, degrees)
    assert reading_corners(shuffled(page, seed)) == pytest.approx(page)


@pytest.mark.parametrize("seed", range(5))
def test_a_page_that_lay_on_its_side_has_its_corners_in_order_once_turned(seed: int) -> None:
    on_its_side = shuffled(laid_on_its_side(skewed(PAGE, 4.0)), seed)
    assert reading_corners(quarter_turned(on_its_side, int(HEIGHT))) == pytest.approx(skewed(PAGE, 4.0), abs=1e-3)
