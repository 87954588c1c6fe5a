"""What the page's scripts decide without a page: offsets, marks, waits, words."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from playwright.async_api import Browser, Page


@pytest.fixture(scope="module")
async def scripts(browser: Browser, gateway_url: str) -> AsyncIterator[Page]:
    page = await browser.new_page()
    await page.goto(gateway_url)
    yield page
    await page.close()


async def value(scripts: Page, module: str, function: str, *arguments: Any) -> Any:
    call = "async ([module, name, args]) => (await import(`/static/${module}.js`))[name](...args)"
    return await scripts.evaluate(call, [module, function, list(arguments)])


async def marked(scripts: Page, function: str, *arguments: Any) -> list[str]:
    parts = await value(scripts, "highlight", function, *arguments)
    assert "".join(part["text"] for part in parts) == arguments[0]
    return [part["text"] for part in parts if part["isMarked"]]


@pytest.mark.parametrize(
    ("text", "query", "expected"),
    [
        ("Cells divide; a cell is small.", "cell", ["Cells", "cell"]),
        ("Die Zelle und das Café", "cafe", ["Café"]),
        ("The light reactions", "what is the light?", ["light"]),
        ("to be or not to be", "to be", ["to", "be", "to", "be"]),
        ("A <b>cell</b>", "<b>", []),
        ("nothing of it", "mitosis", []),
    ],
)
async def test_a_querys_words_are_marked_with_their_endings_and_without_the_common_ones(
    scripts: Page, text: str, query: str, expected: list[str]
) -> None:
    assert await marked(scripts, "markWords", text, query) == expected


@pytest.mark.parametrize(
    ("text", "start", "end", "expected"),
    [
        ("🧬🧬 cells", 3, 8, ["cells"]),
        ("cells", 0, 5, ["cells"]),
        ("cells", 4, 99, ["s"]),
        ("cells", 9, 12, []),
    ],
)
async def test_a_range_counts_code_points_and_never_leaves_the_text(
    scripts: Page, text: str, start: int, end: int, expected: list[str]
) -> None:
    assert await marked(scripts, "markRange", text, start, end) == expected


async def test_a_long_passage_is_cut_around_the_first_word_that_was_asked_for(scripts: Page) -> None:
    passage = "begin " * 200 + "mitosis " + "end " * 200
    excerpt = await value(scripts, "highlight", "cut", passage, "mitosis")
    assert "mitosis" in excerpt
    assert excerpt.startswith("… ")
    assert excerpt.endswith(" …")
    assert len(excerpt) < 400


async def test_lines_broken_by_the_paper_flow_and_every_character_keeps_its_place(scripts: Page) -> None:
    full = "This line runs to the end of the paper and goes on"
    text = f"Heading\n{full}\nin the next.\n\nA paragraph.\n{full}\n* an item\n* another"
    flowed = await value(scripts, "text-flow", "flowed", text)
    assert flowed == f"Heading\n{full} in the next.\n\nA paragraph.\n{full}\n* an item\n* another"
    assert len(flowed) == len(text)


async def test_waits_grow_to_a_limit_and_a_wish_of_the_server_is_kept(scripts: Page) -> None:
    least = [
        await scripts.evaluate("async (n) => (await import('/static/backoff.js')).delay(n, null, () => 0)", n)
        for n in range(1, 12)
    ]
    most = [
        await scripts.evaluate("async (n) => (await import('/static/backoff.js')).delay(n, null, () => 1)", n)
        for n in range(1, 12)
    ]
    assert least == sorted(least)
    assert most[-1] == most[-2] == 15_000
    assert all(2 * one == other for one, other in zip(least, most, strict=True))
    assert await value(scripts, "backoff", "delay", 1, 7) >= 7000


@pytest.mark.parametrize(
    ("size", "words"),
    [(1, "1 byte"), (1023, "1023 bytes"), (1536, "1.5 KB"), (1024 * 1024 - 1, "1.0 MB"), (50 * 1024 * 1024, "50 MB")],
)
async def test_sizes_read_as_people_say_them(scripts: Page, size: int, words: str) -> None:
    assert await value(scripts, "words", "size", size) == words
