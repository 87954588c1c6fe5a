"""Questions on the page: every state of an answer, the way from a sentence to its passage, and pages of results."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import pytest
from materials.v1 import processor_service_pb2 as pb
from playwright.async_api import Route, expect

from tests.contract.answer_script import AnswerScript, brain_away, end, part, sources
from tests.local_stack import LocalStack
from tests.web.answering import MEIOSIS, QUESTION, Answering, ask, passage, script_material, three_sources
from tests.web.conftest import DESKTOP, OpenPage
from tests.web.course_page import CoursePage
from tests.web.test_web_accessibility import PHONE, serious_findings, tab_to


@pytest.fixture
def script(answering: Answering) -> AnswerScript:
    return answering.begin()


@pytest.fixture
async def asking(open_page: OpenPage, answering: Answering, script: AnswerScript, course: str) -> CoursePage:
    """A tab with a course."""
    tab = await open_page(url=answering.url)
    await script_material(tab.page)
    await tab.open(course)
    return tab


async def test_the_brain_of_this_machine_answers_with_the_passage_that_says_so(
    tab: CoursePage, read_course: str
) -> None:
    await tab.open(read_course)
    await ask(tab.page)
    await expect(tab.page.locator("#answer-text")).to_contain_text("crossing over is why siblings differ")
    await expect(tab.page.locator("#answer-note")).to_contain_text("quotes from the materials")
    await tab.page.locator(".citation").first.click()
    await expect(tab.page.locator("#page-place")).to_have_text("Page 2 of 3")
    await expect(tab.page.locator("#sheet-text mark")).to_contain_text("siblings differ")


async def test_an_answer_appears_as_it_comes_and_each_sentence_leads_to_its_passage(
    asking: CoursePage, script: AnswerScript
) -> None:
    page, first, more = asking.page, asyncio.Event(), asyncio.Event()
    script.steps = (
        first, three_sources(), more, part("Crossing over makes siblings differ. ", 1), part("Mitosis does not.", 2, 1), end(),
    )  # fmt: skip
    await ask(page)
    await expect(page.locator("#answer-title")).to_have_text("Looking through the course…")
    first.set()
    await expect(page.locator("#answer-title")).to_have_text("Reading 3 passages…")
    await expect(page.locator("#materials")).to_be_hidden()
    more.set()
    await expect(page.locator("#answer-title")).to_have_text("Answer")
    text = page.locator("#answer-text")
    await expect(text).to_have_text("Crossing over makes siblings differ.1 Mitosis does not.21")
    await expect(page.locator("#answer-note")).to_contain_text("Written by the AI Brain")
    await expect(page.locator(".source-name")).to_have_text(["Lecture 6 – Meiosis.pdf", "Lecture 5 – Mitosis.pdf"])

    chip = text.get_by_role("button", name="Source 1: Lecture 6 – Meiosis.pdf, page 4").first
    await chip.click()
    await expect(page.locator("#sheet-text mark")).to_have_text(MEIOSIS)
    await expect(page.locator("#sheet-source")).to_have_text("Read by the AI Brain")
    await page.keyboard.press("Escape")
    await expect(chip).to_be_focused()
    await page.locator(".source").nth(1).click()
    await expect(page.locator("#reader-title")).to_have_text("Lecture 6 – Meiosis.pdf")
    await expect(page.locator("#sheet-text")).to_contain_text("Mitosis")
    await page.keyboard.press("Escape")

    await page.get_by_role("button", name="Show 1 other passage that was read").click()
    await expect(page.locator(".source-open").nth(2)).to_be_focused()
    await page.click("#answer-close")
    await expect(page.locator("#answer")).to_be_hidden()
    await expect(page.locator("#materials")).to_be_visible()
    await expect(page).not_to_have_url(re.compile("q=|mode="))


async def test_quotes_are_called_so_and_what_was_left_out_is_told(asking: CoursePage, script: AnswerScript) -> None:
    script.steps = (
        three_sources(),
        part("It halves the number of chromosomes.", 1),
        end(model="extractive/m", left_out=2),
    )
    await ask(asking.page)
    await expect(asking.page.locator("#answer-note")).to_have_text(
        "The sentences are quotes from the materials. 2 sentences were left out: no passage supports them."
    )


async def test_no_answer_says_why(asking: CoursePage, script: AnswerScript) -> None:
    page = asking.page
    script.steps = (sources(), end("NOTHING_FOUND"))
    await ask(page)
    await expect(page.locator("#answer-title")).to_have_text("Nothing found")
    await expect(page.locator("#answer-note")).to_contain_text("hold nothing on this question")
    await expect(page.locator("#sources-title")).to_be_hidden()
    script.steps = (three_sources(), end("UNSUPPORTED", left_out=3))
    await page.press("#query", "Enter")
    await expect(page.locator("#answer-note")).to_contain_text("not supported by the materials")
    await expect(page.locator(".source")).to_have_count(3)
    await expect(page.locator("#answer-text")).to_be_empty()


async def test_a_brain_that_is_away_is_told_and_can_be_asked_again(asking: CoursePage, script: AnswerScript) -> None:
    page = asking.page
    script.steps = (brain_away(),)
    await ask(page)
    await expect(page.locator("#answer-title")).to_have_text("The AI Brain is away")
    script.steps = (three_sources(), part("Half of it. ", 1), brain_away())
    await page.click("#answer-again")
    await expect(page.locator("#answer-title")).to_have_text("The answer broke off")
    await expect(page.locator("#answer-text")).to_contain_text("Half of it.")
    script.steps = (three_sources(), part("All of it.", 1), end())
    await page.click("#answer-again")
    await expect(page.locator("#answer-title")).to_be_focused()
    await expect(page.locator("#answer-text")).to_have_text("All of it.1")
    await expect(page.locator("#answer-again")).to_be_hidden()


async def test_a_session_that_ended_is_renewed_and_the_question_goes_on(
    asking: CoursePage, script: AnswerScript
) -> None:
    page = asking.page
    script.steps = (three_sources(), part("An answer.", 1), end())
    await page.context.clear_cookies()
    await ask(page)
    await page.fill("#token", asking.token)
    await page.click("#sign-in-button")
    await expect(page.locator("#answer-text")).to_have_text("An answer.1")


async def test_what_an_answer_says_is_text_and_never_markup(asking: CoursePage, script: AnswerScript) -> None:
    hostile = "<img src=x onerror=alert(1)> <b>bold</b>"
    source = pb.AnswerSources(sources=[passage(hostile, 1, hostile)])
    script.steps = (pb.AnswerQuestionResponse(sources=source), part(hostile, 1), end(model=hostile))
    await ask(asking.page, hostile)
    await expect(asking.page.locator("#answer-text")).to_contain_text(hostile)
    await expect(asking.page.locator(".source-excerpt")).to_have_text(hostile)
    assert await asking.page.locator("#answer img, #answer b").count() == 0


async def test_nobody_is_asked_while_somebody_types_and_who_leaves_ends_the_answer(
    asking: CoursePage, script: AnswerScript
) -> None:
    page = asking.page
    script.steps = (three_sources(), part("The beginning. ", 1), asyncio.Event())
    await ask(page)
    await expect(page.locator("#answer-text")).to_contain_text("The beginning.")
    asked = len(script.requests)
    await page.locator("#query").press_sequentially(" and cousins")
    await expect(page.locator("#answer-text")).to_contain_text("The beginning.")
    await page.click("#mode-search")
    await expect(page.locator("#results-title")).to_have_text("Nothing found")
    await expect(page.locator("#answer")).to_be_hidden()
    await script.left()
    kinds = [type(each).__name__ for each in script.requests[asked:]]
    assert kinds == ["SearchMaterialsRequest"]


async def test_the_address_of_an_answer_asks_again(asking: CoursePage, script: AnswerScript) -> None:
    script.steps = (three_sources(), part("An answer.", 1), end())
    await ask(asking.page)
    await expect(asking.page.locator("#answer-text")).to_have_text("An answer.1")
    await asking.page.reload()
    await expect(asking.page.locator("#query")).to_have_value(QUESTION)
    await expect(asking.page.locator("#mode-ask")).to_have_attribute("aria-pressed", "true")
    await expect(asking.page.locator("#answer-text")).to_have_text("An answer.1")


async def test_where_nothing_answers_nothing_is_offered(asking: CoursePage, stack: LocalStack) -> None:
    session = {"subject": "demo-user", "courses": {}, "operator": False, "expires_at": "2099-01-01T00:00:00Z"}

    async def old(route: Route) -> None:
        await route.fulfill(
            status=200, content_type="application/json", body=json.dumps(session | {"features": ["search"]})
        )

    await asking.page.route("**/session", old)
    await asking.page.reload()
    await expect(asking.page.locator("#query")).to_be_visible()
    await expect(asking.page.locator("#modes")).to_be_hidden()


async def test_a_keyboard_alone_asks_and_reads_the_passage(asking: CoursePage, script: AnswerScript) -> None:
    page = asking.page
    script.steps = (three_sources(), part("An answer.", 1), end())
    await page.keyboard.press("/")
    await page.keyboard.insert_text(QUESTION)
    await tab_to(asking, "mode-ask")
    await page.keyboard.press("Enter")
    await expect(page.locator("#answer-text")).to_have_text("An answer.1")
    await tab_to(asking, "", ".citation")
    await page.keyboard.press("Enter")
    await expect(page.locator("#sheet-text mark")).to_have_text(MEIOSIS)


@pytest.mark.parametrize(
    ("screen", "scheme"), [(DESKTOP, "light"), (PHONE, "dark")], ids=["light desktop", "dark phone"]
)
async def test_axe_finds_nothing_serious_in_any_state_of_an_answer(
    open_page: OpenPage, answering: Answering, script: AnswerScript, course: str, screen: dict[str, int], scheme: str
) -> None:
    tab = await open_page(url=answering.url, viewport=screen, color_scheme=scheme)
    page, more = tab.page, asyncio.Event()
    await tab.open(course)
    script.steps = (three_sources(), part("Crossing over makes siblings differ. ", 1), more, end(left_out=1))
    await ask(page)
    await expect(page.locator(".citation")).to_have_count(1)
    findings = await serious_findings(tab, "streaming")
    more.set()
    await expect(page.locator("#answer-note")).not_to_be_empty()
    await page.click("#sources-more")
    findings += await serious_findings(tab, "answered")
    script.steps = (brain_away(),)
    await page.press("#query", "Enter")
    await expect(page.locator("#answer-again")).to_be_visible()
    findings += await serious_findings(tab, "away")
    assert findings == []


# --- pages of results


def pages_of_results(script: AnswerScript, pages: int) -> None:
    async def search(request: Any, context: Any) -> Any:
        number = int(request.page_token or 0)
        found = [passage(f"page {number}.pdf", each, MEIOSIS, repeats=each - 1) for each in range(1, 11)]
        return pb.SearchMaterialsResponse(results=found, next_page_token=str(number + 1) if number + 1 < pages else "")

    script.on("SearchMaterials", search)


async def test_more_results_follow_until_there_are_no_more(asking: CoursePage, script: AnswerScript) -> None:
    page = asking.page
    pages_of_results(script, 2)
    results = await asking.search("siblings")
    await expect(results).to_have_count(10)
    await expect(page.locator(".result-repeats").nth(0)).to_be_empty()
    await expect(page.locator(".result-repeats").nth(2)).to_have_text("and 2 more like this")
    await expect(page.locator(".likeness-word").first).to_have_text("62% alike")
    await page.get_by_role("button", name="Show more").click()
    await expect(results).to_have_count(20)
    await expect(page.locator(".result-open").nth(10)).to_be_focused()
    await expect(page.locator("#results-more")).to_be_hidden()
    await expect(page.locator("#results-title")).to_have_text("20 passages")
