"""The page in front of a Processor that answers, finds and shows what a test says: every state of an answer, in its own time."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from materials.v1 import processor_service_pb2 as pb
from playwright.async_api import Page, Route

from tests.contract.answer_script import ID, AnswerScript
from tests.web.scripted_feed import material

QUESTION = "why do siblings differ?"
MEIOSIS = (
    "Meiosis makes egg and sperm cells. It halves the number of chromosomes, and crossing over is why siblings differ."
)
BEFORE = "Lecture 6\n\n"
MITOSIS = "Mitosis makes two cells of one, with a complete set of chromosomes each."


def passage(name: str, page: int, text: str, **fields: Any) -> pb.SearchResult:
    """One found in a text that begins with BEFORE."""
    return pb.SearchResult(
        material_id=ID, material_name=name, page_number=page, excerpt=text, score=0.9, similarity=0.62,
        start_offset=len(BEFORE), end_offset=len(BEFORE) + len(text), heading="Meiosis", **fields,
    )  # fmt: skip


def three_sources() -> pb.AnswerQuestionResponse:
    found = [
        passage("Lecture 6 – Meiosis.pdf", 4, MEIOSIS),
        passage("Lecture 5 – Mitosis.pdf", 2, MITOSIS),
        passage(
            "The cell cycle.md", 1, "A cell that divides goes through four phases. In S it copies its chromosomes."
        ),
    ]
    return pb.AnswerQuestionResponse(sources=pb.AnswerSources(sources=found))


@dataclass
class Answering:
    """A gateway in front of a script. `url` is the gateway's."""

    script: AnswerScript
    url: str

    def begin(self) -> AnswerScript:
        """The script as at the start of a test, with the text of the passages and without results."""
        self.script.requests.clear()
        self.script.on("GetMaterialText", _text)
        self.script.on("SearchMaterials", _nothing)
        return self.script


async def _text(request: Any, context: Any) -> AsyncIterator[Any]:
    text = BEFORE + (MEIOSIS if request.first_page == 4 else MITOSIS)
    yield pb.GetMaterialTextResponse(page_number=request.first_page, text=text, source=pb.TEXT_SOURCE_BRAIN)


async def _nothing(request: Any, context: Any) -> pb.SearchMaterialsResponse:
    return pb.SearchMaterialsResponse()


async def script_material(page: Page) -> None:
    """The record knows the material that every passage is from."""

    async def found(route: Route) -> None:
        told = material(1, id=ID, name="Lecture 6 – Meiosis.pdf", pages_total=6, pages_done=6)
        await route.fulfill(status=200, content_type="application/json", body=json.dumps(told))

    await page.route(f"**/materials/{ID}", found)


async def ask(page: Page, question: str = QUESTION) -> None:
    """Chooses to ask, types, and presses Enter."""
    await page.click("#mode-ask")
    await page.fill("#query", question)
    await page.press("#query", "Enter")
