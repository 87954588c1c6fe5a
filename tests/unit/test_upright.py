"""Pictures of text are put upright; what has no lines stays as it is."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from processor_service.documents.upright import Lie, for_reading, lie_of

MOST = 40_000_000


def page(*, width: int = 900, height: int = 1200, size: int = 22, ink: int = 0, paper: int = 255) -> Image.Image:
    picture = Image.new("L", (width, height), paper)
    drawing = ImageDraw.Draw(picture)
    font = ImageFont.load_default(size)
    words = [
        "glaciers",
        "form",
        "where",
        "more",
        "snow",
        "falls",
        "than",
        "melts",
        "year",
        "after",
        "year",
        "and",
        "carry",
        "rock",
        "along",
        "with",
        "them",
    ]
    for number, y in enumerate(range(60, height - 80, int(size * 1.6))):
        # No two lines alike: letters that stand below one another would be lines as well.
        line = " ".join(words[(number * 7 + place * (number % 5 + 1)) % len(words)] for place in range(9))
        line = line[: 58 - number * 5 % 17]
        drawing.text((60, y), line, fill=ink, font=font)
    return picture


def turned(picture: Image.Image, degrees: float) -> Image.Image:
    return picture.rotate(degrees, Image.Resampling.BICUBIC, expand=True, fillcolor=picture.getpixel((0, 0)))


@pytest.mark.parametrize("degrees", [-14.0, -6.5, -2.0, -0.6, 0.6, 1.0, 3.3, 9.0, 14.0])
def test_a_skew_is_found_and_turned_away(degrees: float) -> None:
    skewed = turned(page(), degrees)
    lie = lie_of(skewed)
    assert not lie.quarter
    assert lie.skew == pytest.approx(degrees, abs=0.2)
    again = lie_of(for_reading(skewed, MOST))
    assert (again.quarter, again.skew) == (False, 0.0)


@pytest.mark.parametrize("degrees", [90, 270, 87.0, 272.5])
def test_lines_that_run_downwards_are_turned_to_run_across(degrees: float) -> None:
    skewed = turned(page(), degrees)
    assert lie_of(skewed).quarter
    straight = for_reading(skewed, MOST)
    again = lie_of(straight)
    assert (again.quarter, again.skew) == (False, 0.0)
    assert straight.width < straight.height


@pytest.mark.parametrize("degrees", [0, 180, 0.1])
def test_an_upright_page_is_left_as_it_is(degrees: float) -> None:
    picture = page() if not degrees else page().rotate(degrees)
    assert for_reading(picture, MOST).tobytes() == picture.tobytes()


def test_light_letters_on_dark_paper_are_turned_and_the_corners_are_dark() -> None:
    skewed = turned(page(ink=235, paper=20), 4)
    assert lie_of(skewed).skew == pytest.approx(4, abs=0.2)
    assert for_reading(skewed, MOST).getpixel((2, 2)) == 20


def test_a_colour_picture_keeps_its_colour() -> None:
    skewed = turned(page(), 3).convert("RGB")
    straight = for_reading(skewed, MOST)
    assert straight.mode == "RGB"
    assert straight.getpixel((2, 2)) == (255, 255, 255)


def noise(blur: float) -> Image.Image:
    dice = np.random.default_rng(1)
    strewn = Image.fromarray((dice.random((700, 900)) * 255).astype("uint8")).filter(ImageFilter.GaussianBlur(blur))
    pixels = np.asarray(strewn, dtype=float)
    return Image.fromarray(((pixels - pixels.min()) / (pixels.max() - pixels.min()) * 255).astype("uint8"))


def shapes() -> Image.Image:
    picture = Image.new("L", (800, 600), 200)
    drawing = ImageDraw.Draw(picture)
    drawing.ellipse((100, 100, 400, 400), fill=60)
    drawing.polygon([(500, 100), (700, 500), (420, 450)], fill=20)
    drawing.line((50, 550, 750, 430), fill=0, width=9)
    return picture


@pytest.mark.parametrize(
    "picture",
    [
        pytest.param(Image.new("L", (500, 700), 255), id="blank"),
        pytest.param(noise(2), id="fine noise"),
        pytest.param(noise(8), id="coarse noise"),
        pytest.param(noise(30), id="clouds"),
        pytest.param(shapes(), id="shapes"),
        pytest.param(Image.linear_gradient("L").resize((600, 600)), id="gradient"),
        pytest.param(Image.radial_gradient("L").resize((600, 600)), id="light in the middle"),
        pytest.param(page().crop((0, 0, 90, 60)), id="too small"),
        pytest.param(Image.new("RGB", (1, 5_000), "white"), id="a thread"),
    ],
)
def test_what_has_no_lines_is_left_as_it_is(picture: Image.Image) -> None:
    assert lie_of(picture) == Lie()
    assert for_reading(picture, MOST) is picture


def test_small_print_is_enlarged_once_and_only_where_there_is_room() -> None:
    small = page(width=420, height=600, size=8)
    assert for_reading(small, MOST).size == (840, 1200)
    assert for_reading(small, small.width * small.height * 3).size == small.size
    assert for_reading(page(), MOST).size == page().size


def test_turning_gives_no_more_pixels_than_allowed() -> None:
    skewed = turned(page(), 10)
    most = skewed.width * skewed.height
    straight = for_reading(skewed, most)
    assert most * 0.98 < straight.width * straight.height <= most
