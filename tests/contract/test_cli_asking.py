"""The command line asks, pages through results, and follows a text that is still being read."""

from __future__ import annotations

import asyncio
import re
import signal
from collections.abc import AsyncIterator
from typing import Any

import pytest
from materials.v1 import processor_service_pb2 as pb

from tests.contract.answer_script import MODEL, WHOLE, Step, brain_away, end, part, sources
from tests.contract.command_line import DEADLINE, ID, Cli, shutting_down
from tests.contract.scripted_services import ScriptedServices, refuse

ASK = ("ask", "how do cells make energy?", "--course", "biology")


def answers(services: ScriptedServices, *steps: Step) -> None:
    """The Processor answers so; an event among the steps is waited for, an error ends the call."""

    async def answer(request: Any, context: Any) -> AsyncIterator[Any]:
        for step in steps:
            if isinstance(step, asyncio.Event):
                await step.wait()
            elif isinstance(step, pb.AnswerQuestionResponse):
                yield step
            else:
                await refuse(context, step)

    services.on("AnswerQuestion", answer)


def plainly(screen: bytes) -> list[str]:
    """The lines on a terminal without colours and the lines of a wait that were wiped away."""
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", screen.decode()).replace("\r\n", "\n")
    return [line.rpartition("\r")[2].rstrip() for line in text.split("\n")]


async def test_an_answer_has_its_marks_and_then_the_sources_that_it_cites(services: ScriptedServices, cli: Cli) -> None:
    answers(services, sources("cells.pdf", "a\x1b.pdf", "uncited.pdf"), *WHOLE[1:])
    result = await cli.run(*ASK)
    assert result.code == 0, result.err
    assert result.out.splitlines() == [
        "Mitochondria make ATP. [1] Cells use it. [1][2]",
        "",
        f"[1]\t{ID}\t1\tcells.pdf\tpassage 1",
        f"[2]\t{ID}\t2\ta\\x1b.pdf\tpassage 2",
    ]
    assert MODEL in result.err
    [request] = services.requests
    assert (request.course_id, request.question) == ("biology", "how do cells make energy?")


async def test_each_event_is_a_document(services: ScriptedServices, cli: Cli) -> None:
    answers(services, *WHOLE)
    result = await cli.run(*ASK, "--json")
    assert result.code == 0, result.err
    assert [each["event"] for each in result.documents] == ["sources", "part", "part", "end"]
    assert [each["material_name"] for each in result.documents[0]["sources"]] == ["cells.pdf", "energy.pdf"]
    assert result.documents[2] == {"event": "part", "text": "Cells use it.", "citations": [1, 2]}
    assert result.documents[3]["outcome"] == "answered"


async def test_a_terminal_shows_the_wait_then_each_sentence_as_it_comes(services: ScriptedServices, cli: Cli) -> None:
    first, more = asyncio.Event(), asyncio.Event()
    long = "Every cell keeps its energy in a small molecule. " * 4
    answers(services, first, sources("cells.pdf"), more, part(long, 1), part("\x1b]0;x\x07[red]Done.", 1), end())
    async with cli.terminal(*ASK) as terminal:
        await terminal.shows("searching the course")
        first.set()
        await terminal.shows("reading 1 passage")
        more.set()
        assert await terminal.ends() == 0
    lines = plainly(bytes(terminal.screen))
    begin = next(
        number
        for number, line in enumerate(lines)
        if line.endswith("molecule. Every cell keeps its energy in a small molecule.")
    )
    text = " ".join(lines[begin:])
    assert "molecule. [1] \\x1b]0;x\\x07[red]Done. [1]" in " ".join(text.split())
    assert all(len(line) <= 100 for line in lines[begin:])
    assert any(line.startswith("[1] cells.pdf, page 1") for line in lines)


async def test_a_quote_and_what_was_left_out_are_told(services: ScriptedServices, cli: Cli) -> None:
    answers(services, sources("cells.pdf"), part("A quote.", 1), end(model="extractive/minilm", left_out=2))
    result = await cli.run(*ASK)
    assert "quotes from the materials" in result.err
    assert "2 sentences left out" in result.err


@pytest.mark.parametrize(
    ("outcome", "words", "shown"),
    [("NOTHING_FOUND", "holds nothing on this question", []), ("UNSUPPORTED", "withheld", ["[1]"])],
)
async def test_no_answer_is_no_failure_and_says_why(
    services: ScriptedServices, cli: Cli, outcome: str, words: str, shown: list[str]
) -> None:
    answers(services, sources("cells.pdf") if shown else sources(), end(outcome))
    result = await cli.run(*ASK)
    assert result.code == 0
    assert words in result.err
    assert [line.split("\t")[0] for line in result.out.splitlines() if line] == shown


async def test_a_brain_that_is_away_is_told_at_the_start_and_in_the_middle(
    services: ScriptedServices, cli: Cli
) -> None:
    answers(services, brain_away())
    result = await cli.run(*ASK)
    assert (result.code, result.out) == (3, "")
    assert result.err == "error: the AI Brain does not answer; try again\n"
    answers(services, sources("cells.pdf"), part("Half ", 1), brain_away())
    result = await cli.run(*ASK)
    assert (result.code, result.out) == (3, "Half [1] \n")
    assert result.err == "error: the AI Brain does not answer; try again\n"
    answers(services, sources("cells.pdf"), part("Half", 1))
    result = await cli.run(*ASK)
    assert result.code == 3
    assert "ended the answer early; ask again" in result.err


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
async def test_an_answer_that_is_interrupted_ends_on_a_line_of_its_own(
    services: ScriptedServices, cli: Cli, number: signal.Signals, code: int
) -> None:
    answers(services, sources("cells.pdf"), part("Half ", 1), asyncio.Event())
    process = await cli.start(*ASK)
    assert process.stdout is not None
    async with asyncio.timeout(DEADLINE):
        said = await process.stdout.readuntil(b"[1]")
        process.send_signal(number)
        out, err = await process.communicate()
    assert (process.returncode, (said + out).decode(), err.decode()) == (code, "Half [1] \n", "interrupted\n")


# --- pages of results


def pages_of_results(services: ScriptedServices, pages: int) -> None:
    async def search(request: Any, context: Any) -> Any:
        number = int(request.page_token.removeprefix("page ") or 0)
        found = [
            pb.SearchResult(material_id=ID, material_name="a.pdf", page_number=10 * number + each, repeats=each)
            for each in range(1, 3)
        ]
        following = f"page {number + 1}" if number + 1 < pages else ""
        return pb.SearchMaterialsResponse(results=found, next_page_token=following)

    services.on("SearchMaterials", search)


async def test_results_say_how_to_see_more_and_a_token_goes_on(services: ScriptedServices, cli: Cli) -> None:
    pages_of_results(services, 2)
    result = await cli.run("search", "cells", "-c", "biology", "--limit", "2")
    assert result.code == 0
    assert "--page-token=page 1" in result.err
    assert "--all" in result.err
    result = await cli.run("search", "cells", "-c", "biology", "--limit", "2", "--page-token=page 1", "--json")
    assert ([each["page_number"] for each in result.documents], result.err) == ([11, 12], "")
    assert services.requests[-1].page_token == "page 1"


async def test_all_results_come_with_their_ranks(services: ScriptedServices, cli: Cli) -> None:
    pages_of_results(services, 3)
    result = await cli.run("search", "cells", "-c", "biology", "--all", "--json")
    assert ([each["rank"] for each in result.documents], result.err) == ([1, 2, 3, 4, 5, 6], "")
    assert [request.limit for request in services.requests] == [10, 10, 10]
    async with cli.terminal("search", "cells", "-c", "biology", "--all") as terminal:
        assert await terminal.ends() == 0
    lines = plainly(bytes(terminal.screen))
    assert any(line.startswith("6. a.pdf, page 22") for line in lines)
    assert "   and 2 more like this" in lines


# --- a text that is followed


async def test_a_followed_text_goes_on_after_the_last_page_where_it_was_cut(
    services: ScriptedServices, cli: Cli
) -> None:
    async def text(request: Any, context: Any) -> AsyncIterator[Any]:
        assert request.follow
        yield pb.GetMaterialTextResponse(page_number=request.first_page, text=f"page {request.first_page}")
        if request.first_page < 3:
            await refuse(context, shutting_down())

    services.on("GetMaterialText", text)
    result = await cli.run("text", ID, "--follow")
    assert (result.code, result.out) == (0, "page 1\n\fpage 2\n\fpage 3\n")
    assert [request.first_page for request in services.requests] == [1, 2, 3]
    assert "trying again" in result.err


async def test_a_followed_text_gives_up_after_its_tries(services: ScriptedServices, cli: Cli) -> None:
    async def text(request: Any, context: Any) -> AsyncIterator[Any]:
        await refuse(context, shutting_down())
        yield

    services.on("GetMaterialText", text)
    result = await cli.run("text", ID, "--follow", "--retries", "1")
    assert (result.code, result.out) == (3, "")
    assert "trying again in" in result.err
    assert "(1 of 1)" in result.err
    assert "error: " in result.err


async def test_one_page_cannot_be_followed(cli: Cli) -> None:
    result = await cli.run("text", ID, "--follow", "--page", "2")
    assert (result.code, result.out) == (2, "")
    assert "--page" in result.err
