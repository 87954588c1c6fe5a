"""A page of a PDF that has its own good text gives that, in reading order and letter by letter; every other page is drawn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from processor_service.documents.rendering import DocumentRenderer, RenderLimits
from processor_service.index.passages import split_page
from tests.integration.layered_documents import (
    ENGLISH,
    FRENCH,
    GERMAN,
    SPANISH,
    WIDE_FONT,
    chapter,
    columns,
    new_page,
    over_image,
    table,
    turned,
    words,
    written,
)  # fmt: skip
from tests.integration.rendered_documents import PDF, PICTURES, first_page, opened
from tests.security import hostile_pdfs

File = Callable[[bytes], Path]
TITLE = "1 Glaciers and Climate"
wide = pytest.mark.skipif(not WIDE_FONT.exists(), reason=f"no font at {WIDE_FONT}")


async def text_of(path: Path) -> str:
    page = await first_page(path, PDF)
    assert page.png is None, "the page was drawn"
    assert page.text is not None
    return page.text


# --- letter by letter ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("font", ["helvetica", "times", "courier"])
@pytest.mark.parametrize("size", [7, 11, 16])
@pytest.mark.parametrize("align", ["J", "L"])
async def test_a_page_of_prose_is_read_without_an_error(file: File, font: str, size: float, align: str) -> None:
    text = await text_of(file(chapter(ENGLISH, font=font, size=size, align=align)))
    assert words(text) == words(f"{TITLE} {' '.join(ENGLISH)}")
    # Paragraphs are parted as they were, and the title stands by itself.
    assert [words(paragraph) for paragraph in text.split("\n\n")] == [TITLE, *ENGLISH]


@pytest.mark.parametrize("paragraphs", [GERMAN * 3, SPANISH * 3], ids=["German", "Spanish"])
async def test_accents_are_read(file: File, paragraphs: Sequence[str]) -> None:
    text = await text_of(file(chapter(paragraphs, font="times")))
    assert words(text) == words(f"{TITLE} {' '.join(paragraphs)}")


@wide
@pytest.mark.parametrize("paragraphs", [GERMAN * 3, SPANISH * 3, FRENCH * 3], ids=["German", "Spanish", "French"])
async def test_accents_of_an_embedded_font_are_read(file: File, paragraphs: Sequence[str]) -> None:
    text = await text_of(file(chapter(paragraphs, font="wide")))
    assert words(text) == words(f"{TITLE} {' '.join(paragraphs)}")


@pytest.mark.parametrize("gutter", [12, 30])
@pytest.mark.parametrize(("font", "size"), [("times", 10), ("helvetica", 8), ("helvetica", 11)])
async def test_two_columns_are_read_one_after_the_other(file: File, font: str, size: float, gutter: float) -> None:
    title = "Glaciers and Climate: A Very Short Introduction"
    paragraphs = [f"({number}) {text}" for number, text in enumerate(ENGLISH * 4)]
    text = await text_of(file(columns(title, paragraphs, font=font, size=size, gutter=gutter)))
    assert words(text) == words(f"{title} {' '.join(paragraphs)}")
    assert text.startswith(title + "\n\n(0) Glaciers")


async def test_a_table_is_read_row_by_row(file: File) -> None:
    rows = [
        ("Planet", "Mean distance from the Sun", "Moons", "Remark"),
        ("Mercury", "57.9 million km", "0", "no atmosphere worth the name"),
        ("Venus", "108.2 million km", "0", "rotates backwards"),
        ("Earth", "149.6 million km", "1", "our home"),
        ("Mars", "227.9 million km", "2", "red because of iron oxide"),
    ]
    text = await text_of(file(table(ENGLISH[0], rows, ENGLISH[1])))
    assert words(text) == words(" ".join([ENGLISH[0], *(" ".join(row) for row in rows), ENGLISH[1]]))
    lines = text.split("\n")
    assert all(" ".join(row) in lines for row in rows)


async def test_powers_and_indices_stay_on_their_line(file: File) -> None:
    pdf = new_page("times", 12)
    for text, place in (("E = mc", "LINE"), ("2", "SUP"), (" and x", "LINE"), ("i", "SUB"), (" hold here.", "LINE")):
        pdf.char_vpos = place
        pdf.write(16, text)
    assert await text_of(file(bytes(pdf.output()))) == "E = mc2 and xi hold here."


@pytest.mark.parametrize("degrees", [90, 180, 270])
async def test_a_turned_page_is_read_as_it_is(file: File, degrees: int) -> None:
    straight = chapter(ENGLISH)
    assert await text_of(file(turned(straight, degrees))) == await text_of(file(straight))


async def test_text_drawn_turned_is_read_in_the_order_of_its_lines(file: File) -> None:
    lines = [
        "This whole page was drawn turned by a quarter,",
        "line by line, and must be read",
        "in the order of its lines.",
    ]
    pdf = new_page("times", 12)
    with pdf.rotation(90, 300, 400):
        for number, line in enumerate(lines):
            pdf.text(150, 300 + number * 16, line)
    assert await text_of(file(bytes(pdf.output()))) == "\n".join(lines)


async def test_words_cut_at_line_ends_are_whole(file: File) -> None:
    pdf = new_page("times", 12)
    pdf.multi_cell(
        0, 15, text="This is an exam-\nple of a cut word, a well-\nknown one, and of Jean-\nPaul, who is here."
    )
    text = await text_of(file(bytes(pdf.output())))
    assert words(text) == "This is an example of a cut word, a well-known one, and of Jean-Paul, who is here."


@wide
async def test_ligatures_are_letters_and_powers_stay(file: File) -> None:
    pdf = new_page("wide", 12)
    pdf.multi_cell(0, 15, text="The ﬁrst oﬃcer ﬂew oﬀ; x² stays, e\u0301 is composed.")
    assert await text_of(file(bytes(pdf.output()))) == "The first officer flew off; x² stays, é is composed."


@wide
async def test_hebrew_keeps_the_order_of_reading(file: File) -> None:
    text = "הקרחונים נוצרים במקום שבו יורד יותר שלג ממה שנמס"
    pdf = new_page("wide", 12)
    pdf.multi_cell(0, 15, text=text[::-1], align="R")
    assert await text_of(file(bytes(pdf.output()))) == text


async def test_headings_are_found_by_the_passages(file: File) -> None:
    pdf = new_page()
    for number, paragraph in enumerate(ENGLISH, 1):
        written(pdf, f"Movement of Ice, Part {number}", style="B", align="L")
        written(pdf, paragraph)
    text = await text_of(file(bytes(pdf.output())))
    headings = {passage.heading for passage in split_page(text, target_chars=300)}
    assert headings == {f"Movement of Ice, Part {number}" for number in (1, 2, 3)}


# --- real documents ------------------------------------------------------------------------------------------------


async def test_a_real_course_document_is_read_in_its_order(samples: Path) -> None:
    async with DocumentRenderer() as renderer:
        info = await renderer.open(samples / "machine-learning-cheatsheet-en.pdf", PDF)
        pages = [(await renderer.render(number)).text for number in range(info.pages)]
    texts = [page for page in pages if page is not None]
    assert len(texts) == info.pages == 16, "a page was drawn"
    # Both columns of the second page, the end of one and the beginning of the other in order, and a table's row.
    in_order = [
        "CS 229 – Machine Learning Shervine Amidi & Afshine Amidi",
        "\n\n1 Supervised Learning\n\n1.1 Introduction to Supervised Learning\n\n",
        "Goal Directly estimate P(y|x) Estimate P(x|y) to deduce P(y|x)\n",
        "inputs the predicted value z corresponding to the real data value y and outputs how different\nthey are.",
        "❒ Cost function – The cost function J is commonly used to assess the performance of a model,\nand is defined",
        "1.3 Linear models\n\n1.3.1 Linear regression\n\n",
        "Stanford University 2 Fall 2018",
    ]
    places = [texts[1].find(part) for part in in_order]
    assert -1 not in places
    assert places == sorted(places)


# --- drawn all the same --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(over_image(" ".join(ENGLISH), share=1.0, invisible=True), id="a scan with an invisible layer"),
        pytest.param(over_image(" ".join(ENGLISH), share=0.9, below=True), id="text below a picture"),
        pytest.param(over_image("Received 12 May", share=0.5), id="a stamp on a picture"),
        pytest.param(hostile_pdfs.one_page(hostile_pdfs.stream(b"0 0 300 400 re f")), id="no text"),
    ],
)
async def test_a_page_whose_text_is_not_what_it_shows_is_drawn(file: File, content: bytes) -> None:
    assert opened(await first_page(file(content), PDF)).width > 2_000


@pytest.mark.parametrize(
    ("drawn", "read"),
    [
        pytest.param(b"1 g 100 600 Td (nobody sees this) Tj", "What the page says of itself", id="white on white"),
        pytest.param(b"100 90 Td (nobody sees this) Tj", "What the page says of itself", id="outside the crop box"),
        pytest.param(b"1 g 100 505 Td (on a dark ground) Tj", "What the page says of itself on a dark ground", id="white on dark"),
    ],
)  # fmt: skip
async def test_text_that_nobody_sees_is_no_text_of_the_page(file: File, drawn: bytes, read: str) -> None:
    long = b" Tj 0 -14 Td ".join([b"(What the page says of itself)"] * 60)
    for times, text in ((1, None), (60, read)):
        said = b"(What the page says of itself)" if times == 1 else long
        content = b"0.2 g 90 500 300 20 re f BT 0 g /F 12 Tf 100 1700 Td %s Tj ET BT /F 12 Tf %s ET" % (said, drawn)
        font = b"/Font<</F<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>>>"
        made = hostile_pdfs.one_page(
            hostile_pdfs.stream(content), resources=font, box=b"0 0 600 1800", page=b"/CropBox[0 200 600 1800]"
        )
        page = await first_page(file(made), PDF)
        if text is None and b"1 g 100 600" in drawn:
            assert page.text is None, "so much that is not seen is left to the picture"
        else:
            assert page.text is not None
            assert set(words(page.text).replace("itself What", "itself\nWhat").split("\n")) <= {
                read,
                "What the page says of itself",
            }
            assert ("dark ground" in page.text) is ("dark" in read)


async def test_letters_beyond_sixteen_bits_are_whole(file: File) -> None:
    to_unicode = (
        b"/CIDInit /ProcSet findresource begin begincmap 1 begincodespacerange <00> <ff> endcodespacerange "
        b"1 beginbfchar <78> <D835DC65> endbfchar endcmap end"
    )
    font = b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica/ToUnicode 5 0 R>>"
    content = hostile_pdfs.stream(b"BT /F 12 Tf 100 700 Td (Here x is what we look for) Tj ET")
    made = hostile_pdfs.one_page(content, hostile_pdfs.stream(to_unicode), font, resources=b"/Font<</F 6 0 R>>")
    assert await text_of(file(made)) == "Here \U0001d465 is what we look for"


async def test_a_note_typed_onto_the_page_is_not_lost(file: File) -> None:
    pdf = new_page("times", 12)
    pdf.multi_cell(0, 15, text=ENGLISH[0])
    assert words(await text_of(file(bytes(pdf.output())))) == ENGLISH[0]
    objects = (
        b"<</Type/Annot/Subtype/FreeText/Rect[100 100 300 200]/Contents(typed)/DA(/F 12 Tf)/AP<</N 6 0 R>>>>",
        hostile_pdfs.form(b"BT /F 12 Tf 5 5 Td (typed) Tj ET", b""),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    )
    content = hostile_pdfs.stream(b"BT /F 12 Tf 100 700 Td (What the page says of itself) Tj ET")
    noted = hostile_pdfs.one_page(content, *objects, resources=b"/Font<</F 7 0 R>>", page=b"/Annots[5 0 R]")
    assert opened(await first_page(file(noted), PDF)).size == (2500, 3334)
    plain = hostile_pdfs.one_page(content, *objects, resources=b"/Font<</F 7 0 R>>")
    assert await text_of(file(plain)) == "What the page says of itself"


async def test_a_small_figure_does_not_cost_a_page_its_text(file: File) -> None:
    text = await text_of(file(over_image(" ".join(ENGLISH), share=0.15)))
    assert words(text) == " ".join(ENGLISH)


async def test_text_layers_may_be_left_unread(file: File) -> None:
    assert opened(await first_page(file(chapter(ENGLISH)), PDF, PICTURES)).width == 2481


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"(%s) Tj" % (b"a" * 30_000 + b") Tj (") * 20, id="letters without end"),
        pytest.param(b"0 0.0000001 Td 0.00001 0 0 0.00001 0 0 Tm (Hello there) Tj", id="type of no size"),
        pytest.param(b"1e6 0 0 1e6 0 0 Tm (Hello there) Tj", id="type larger than the page"),
        pytest.param(b"1 0 0 1 9000 9000 Tm (Hello there) Tj", id="text beside the page"),
        pytest.param(b"1 0 0 1 100 100 Tm 7 Tr (Hello there) Tj", id="text to clip by"),
    ],
)
async def test_text_without_measure_is_not_believed(file: File, content: bytes) -> None:
    font = b"/Font<</F<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>>>"
    page = hostile_pdfs.one_page(hostile_pdfs.stream(b"BT /F 8 Tf " + content + b" ET"), resources=font)
    limits = RenderLimits(memory_bytes=512 * 1024 * 1024, cpu_seconds=20)
    assert opened(await first_page(file(page), PDF, limits)).size == (2500, 3334)
