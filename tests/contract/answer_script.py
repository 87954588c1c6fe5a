"""A Processor that answers as a test says, step by step, and knows whose calls are under way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from materials.v1 import errors_pb2
from materials.v1 import processor_service_pb2 as pb

from servicekit.errors import ServiceError, Unavailable
from tests.contract.refusals import eventually
from tests.contract.scripted_services import ScriptedServices, refuse

ID = "6f9c2a1e-58b7-4a57-9c0d-2f8e4f1a7b3c"
MODEL = "llama3.1:8b"
Step = pb.AnswerQuestionResponse | ServiceError | asyncio.Event


def sources(*names: str) -> pb.AnswerQuestionResponse:
    """One source in each of the materials."""
    results = [
        pb.SearchResult(
            material_id=ID, material_name=name, page_number=number, excerpt=f"passage {number}", score=0.9,
            start_offset=3, end_offset=12, heading="Energy", similarity=0.7, repeats=number,
        )
        for number, name in enumerate(names, start=1)
    ]  # fmt: skip
    return pb.AnswerQuestionResponse(sources=pb.AnswerSources(sources=results))


def part(text: str, *citations: int) -> pb.AnswerQuestionResponse:
    return pb.AnswerQuestionResponse(part=pb.AnswerPart(text=text, citations=citations))


def end(outcome: str = "ANSWERED", model: str = MODEL, left_out: int = 0) -> pb.AnswerQuestionResponse:
    value = pb.AnswerOutcome.Value(f"ANSWER_OUTCOME_{outcome}")
    return pb.AnswerQuestionResponse(end=pb.AnswerEnd(outcome=value, model=model, sentences_left_out=left_out))


WHOLE = (sources("cells.pdf", "energy.pdf"), part("Mitochondria make ATP. ", 1), part("Cells use it.", 1, 2), end())


def brain_away() -> Unavailable:
    return Unavailable(
        errors_pb2.ERROR_REASON_BRAIN_UNAVAILABLE, "the AI Brain does not answer; try again", retry_after=7.0
    )


class AnswerScript(ScriptedServices):
    """`steps` are sent in order; an error among them ends the call, an event is waited for. Any token is good."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: tuple[Step, ...] = WHOLE
        self.under_way, self.cancelled = 0, 0
        self.on("AnswerQuestion", self._answer)

    async def _identify(self, context: Any) -> None:
        """The gateway has seen to it."""

    async def _answer(self, request: Any, context: Any) -> AsyncIterator[Any]:
        self.under_way += 1
        try:
            for step in self.steps:
                if isinstance(step, asyncio.Event):
                    await step.wait()
                elif isinstance(step, ServiceError):
                    await refuse(context, step)
                else:
                    yield step
        except (asyncio.CancelledError, GeneratorExit):
            self.cancelled += 1
            raise
        finally:
            self.under_way -= 1

    async def asked(self, count: int) -> None:
        """Returns when so many calls are under way."""

        async def are_there() -> bool:
            return self.under_way >= count

        await eventually(are_there, f"{count} calls are under way")

    async def left(self) -> None:
        """Returns when no call is under way any more."""

        async def none_is() -> bool:
            return self.under_way == 0

        await eventually(none_is, "no call is under way")
