"""The local Brain reads pages with its real models, and refuses what it cannot read, as the AI Brain's contract says."""

from __future__ import annotations

import re
from collections.abc import Iterator

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.contract.started_brain import PROMPT, encoded, pdf, picture, read


def test_a_born_digital_pdf_is_read_page_by_page_and_joined(readings: list[str]) -> None:
    found = re.fullmatch(r"--- Page 1 ---\n(.+)\n\n--- Page 2 ---\n(.+)", readings[0], re.DOTALL)
    assert found is not None, readings[0]
    first, second = (" ".join(page.split()) for page in found.groups())
    assert "The oxygen that is released comes from the water, not from the carbon dioxide." in first
    assert "yeast turns it into ethanol and carbon dioxide, which is what makes bread rise." in second


def test_a_scanned_page_is_read_with_its_paragraphs(readings: list[str]) -> None:
    paragraphs = [" ".join(part.split()) for part in readings[1].split("\n\n")]
    assert paragraphs[0] == "Bayes' theorem"
    assert (
        "A disease affects one person in a hundred. A test finds 90 percent of those who have it, and gives a false "
        "alarm for 9 percent of those who are healthy. A randomly chosen person tests positive. How likely is it that "
        "this person is ill?"
    ) in paragraphs


def test_a_pdf_is_known_by_its_name_alone_and_by_its_type_alone(brain: httpx.Client) -> None:
    data = pdf("osmosis moves water")
    assert (
        read(brain, data, name="a.PDF", content_type="application/octet-stream")
        == "--- Page 1 ---\nosmosis moves water"
    )
    assert read(brain, data, name="a", content_type="application/pdf") == "--- Page 1 ---\nosmosis moves water"


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "TIFF", "WEBP", "BMP", "GIF"])
def test_pictures_of_every_usual_format_are_read(brain: httpx.Client, file_format: str) -> None:
    data = encoded(picture("mitochondria"), file_format)
    content_type = f"image/{file_format.lower()}"
    assert read(brain, data, name=f"x.{file_format.lower()}", content_type=content_type) == "mitochondria"


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGBA", "CMYK", "I;16"])
def test_pictures_of_every_usual_colour_mode_are_read(brain: httpx.Client, mode: str) -> None:
    if mode == "I;16":
        grey = np.asarray(picture("membrane").convert("L")).astype(np.uint16) * 257
        data = encoded(Image.fromarray(grey), "TIFF")
    else:
        data = encoded(picture("membrane").convert(mode), "TIFF" if mode == "CMYK" else "PNG")
    assert read(brain, data) == "membrane"


def test_black_text_on_a_transparent_ground_is_read(brain: httpx.Client) -> None:
    opaque = picture("stroma").convert("L")
    data = encoded(Image.merge("LA", (Image.new("L", opaque.size, 0), opaque.point(lambda value: 255 - value))), "PNG")
    assert read(brain, data) == "stroma"


def test_a_photo_is_turned_upright_as_its_exif_data_says(brain: httpx.Client) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned 90 degrees clockwise for display
    sideways = picture("thylakoid").transpose(Image.Transpose.ROTATE_90)
    assert read(brain, encoded(sideways, "JPEG", exif=exif.tobytes())) == "thylakoid"


def test_a_page_scanned_upside_down_is_read_in_order(brain: httpx.Client) -> None:
    page = picture("first the light reactions", "then the Calvin cycle", "and last the sugar").rotate(180)
    assert read(brain, encoded(page, "PNG")).split("\n") == [
        "first the light reactions",
        "then the Calvin cycle",
        "and last the sugar",
    ]


@pytest.mark.parametrize("degrees", [90, 180, 270, 94, 264])
def test_a_page_that_lies_on_its_side_is_read_in_order(brain: httpx.Client, degrees: int) -> None:
    lines = ["Meiosis halves the chromosomes,", "mitosis keeps their number,", "and both begin with a copy."]
    page = picture(*lines).rotate(degrees, Image.Resampling.BICUBIC, expand=True, fillcolor="white")
    assert read(brain, encoded(page, "PNG")).split("\n") == lines


@pytest.mark.parametrize("quarters", [1, 3])
def test_a_label_that_runs_up_or_down_is_read_beside_upright_text(brain: httpx.Client, quarters: int) -> None:
    lines = ["Enzymes lower the energy", "that a reaction needs to begin,", "and come out of it unchanged."]
    page = picture(*lines, size=(900, 460))
    label = picture("temperature", size=(320, 120)).rotate(90 * quarters, expand=True)
    page.paste(label, (750, 60))
    text = read(brain, encoded(page, "PNG"))
    assert "temperature" in text
    assert all(line in text for line in lines)


def test_degrees_and_narrow_spaces_are_read_as_they_stand(brain: httpx.Client) -> None:
    assert read(brain, encoded(picture("Water boils at 100 °C: note it."), "PNG")) == "Water boils at 100 °C: note it."


def test_words_parted_at_line_ends_are_whole(brain: httpx.Client) -> None:
    page = picture(
        "Light is absorbed by chloro-", "phyll, and water is the re-", "actant that is split first.", size=(900, 320)
    )
    assert read(brain, encoded(page, "PNG")) == (
        "Light is absorbed by chlorophyll,\nand water is the reactant\nthat is split first."
    )


def test_every_frame_of_a_tiff_is_a_page(brain: httpx.Client) -> None:
    frames = [picture("one page"), picture("another page")]
    data = encoded(frames[0], "TIFF", save_all=True, append_images=frames[1:])
    assert read(brain, data) == "--- Page 1 ---\none page\n\n--- Page 2 ---\nanother page"


def test_a_blank_page_is_a_success_with_empty_text(brain: httpx.Client) -> None:
    assert read(brain, encoded(Image.new("RGB", (1240, 1754), "white"), "PNG")) == ""
    assert read(brain, pdf("lysosomes digest waste", ""), content_type="application/pdf") == (
        "--- Page 1 ---\nlysosomes digest waste\n\n--- Page 2 ---\n"
    )


@pytest.mark.parametrize(
    ("data", "content_type", "why"),
    [
        (b"not a picture", "image/png", "not a picture"),
        (b"", "image/png", "not a picture"),
        (encoded(picture("cut"), "PNG")[:400], "image/png", "damaged"),
        (b"%PDF-1.7\nbroken", "application/pdf", "not a PDF or is damaged"),
        (b"", "application/pdf", "not a PDF or is damaged"),
        (pdf("secret", password="pass"), "application/pdf", "encrypted"),
        (encoded(Image.new("1", (20_000, 8_000)), "PNG"), "image/png", "20000 x 8000 pixels"),
    ],
    ids=["text", "nothing", "cut picture", "broken pdf", "empty pdf", "encrypted pdf", "too many pixels"],
)
def test_a_file_that_cannot_be_read_is_a_200_that_says_why(
    brain: httpx.Client, data: bytes, content_type: str, why: str
) -> None:
    response = read(brain, data, name="file", content_type=content_type)
    assert response.startswith("Error processing file: ")
    assert why in response


def test_a_missing_field_is_a_422_that_names_it(brain: httpx.Client) -> None:
    image = {"image": ("page.png", encoded(picture("x"), "PNG"), "image/png")}
    for reply, field in [
        (brain.post("/router", files=image), "prompt"),
        (brain.post("/router"), "prompt"),
        (brain.post("/router", data={**PROMPT, "image": "no file"}), "image"),
        (brain.post("/utility/embed"), "text"),
        (brain.post("/utility/embed", json={"text": "in the body"}), "text"),
        (brain.post("/utility/embed", params={"text": " "}), "text"),
    ]:
        assert reply.status_code == 422
        assert reply.json()["detail"][0]["loc"][-1] == field


def test_unknown_paths_and_methods_are_refused(brain: httpx.Client) -> None:
    assert brain.get("/nowhere").status_code == 404
    assert brain.get("/router").status_code == 405


def test_a_request_over_the_size_limit_is_a_413_declared_or_not(brain: httpx.Client) -> None:
    megabyte = b"0" * 2**20

    def endless() -> Iterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
        for _ in range(80):
            yield megabyte

    multipart = {"Content-Type": "multipart/form-data; boundary=b"}
    # A server may close before it has read all that is sent; the answer may then be lost, which is as good.
    for content in (megabyte * 65, endless()):
        try:
            assert brain.post("/router", content=content, headers=multipart).status_code == 413
        except (httpx.WriteError, httpx.RemoteProtocolError):
            continue
    assert brain.get("/").status_code == 200
