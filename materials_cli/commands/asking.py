"""`materials ask`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated

import typer
from materials.v1 import processor_service_pb2 as pb

from materials_cli.answer_text import AnswerText
from materials_cli.commands.running import Course, Json, run
from materials_cli.connection import Connection
from materials_cli.documents import to_json
from materials_cli.errors import Unreachable
from materials_cli.presentation import print_notice
from materials_cli.refusals import explained
from servicekit.documents import document

#: How long the next step of an answer may take, in seconds: the AI Brain is slow.
STEP_SECONDS = 300.0


def ask(
    question: Annotated[str, typer.Argument(metavar="QUESTION", help="What you want to know, in your own words.")],
    course: Course,
    json: Json = False,
) -> None:
    """Ask a question about a course's materials.

    The AI Brain answers from the passages that come nearest, and from nothing else. [1] marks the passage that supports a sentence;
    below the answer is each with its material and page. Where the course holds nothing on the question, it says so; that is no failure.
    With --json: one document for each event: `sources`, each `part`, `end`.
    """
    run(lambda connection: _ask(connection, question, course, json))


async def _ask(connection: Connection, question: str, course: str, json: bool) -> None:
    async with aclosing(_answer(connection, question, course)) as events:
        if json:
            async for event in events:
                name = event.WhichOneof("event")
                if name is not None:
                    print(to_json({"event": name, **document(getattr(event, name))}), flush=True)
            return
        end = await _told(events)
    if end.outcome == pb.ANSWER_OUTCOME_NOTHING_FOUND:
        print_notice(
            f"the course holds nothing on this question; ask it in other words, or see what there is: materials list --course {course}"
        )
    elif end.outcome == pb.ANSWER_OUTCOME_UNSUPPORTED:
        print_notice(
            "the AI Brain's answer was not supported by the materials, so it is withheld; the passages that came nearest are above"
        )


async def _told(events: AsyncGenerator[pb.AnswerQuestionResponse, None]) -> pb.AnswerEnd:
    """Writes the answer as it comes."""
    sources, cited, end = pb.AnswerSources(), set[int](), pb.AnswerEnd()
    with AnswerText() as text:
        async for event in events:
            match event.WhichOneof("event"):
                case "sources":
                    sources = event.sources
                    text.sources_came(len(sources.sources))
                case "part":
                    cited.update(event.part.citations)
                    text.part_came(event.part)
                case "end":
                    end = event.end
        text.end_came(sources.sources, frozenset(cited), end)
    return end


async def _answer(
    connection: Connection, question: str, course: str
) -> AsyncGenerator[pb.AnswerQuestionResponse, None]:
    """Each event up to the end. Raises CommandError."""
    request = pb.AnswerQuestionRequest(course_id=course, question=question)
    service = connection.service("processor")
    with explained(service):
        call = connection.processor.AnswerQuestion(request, metadata=connection.identity)
        try:
            while True:
                async with asyncio.timeout(STEP_SECONDS):
                    event = await call.read()
                if not isinstance(event, pb.AnswerQuestionResponse):
                    raise Unreachable(f"{service} ended the answer early; ask again")
                yield event
                if event.HasField("end"):
                    return
        finally:
            call.cancel()
