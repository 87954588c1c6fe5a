"""AnswerQuestion as one caller, and an answer as it comes; a stack with a Brain that says what the test says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from materials.v1 import material_pb2
from materials.v1 import processor_service_pb2 as pb

from tests.contract.answering_brain import AnsweringBrain, answering_brain
from tests.local_stack import Client, LocalStack

SECONDS = 60.0
COMPLETED = material_pb2.PROCESSING_STATUS_COMPLETED


@dataclass
class Answer:
    """A whole answer. `ask` checks what every answer must keep to."""

    sources: list[pb.SearchResult] = field(default_factory=list)
    parts: list[pb.AnswerPart] = field(default_factory=list)
    end: pb.AnswerEnd = field(default_factory=pb.AnswerEnd)

    @property
    def text(self) -> str:
        """As it is shown."""
        return "".join(part.text for part in self.parts)


async def ask(client: Client, course: str, question: str) -> Answer:
    """The answer to a question: first its sources, once; then parts, each with citations of these; last its end, once."""
    request = pb.AnswerQuestionRequest(course_id=course, question=question)
    call = client.processor.AnswerQuestion(request, metadata=client.metadata, timeout=SECONDS)
    try:
        responses = [response async for response in call]
    finally:
        call.cancel()
    kinds = [response.WhichOneof("event") for response in responses]
    assert kinds == ["sources", *["part"] * (len(kinds) - 2), "end"]
    answer = Answer(
        list(responses[0].sources.sources), [response.part for response in responses[1:-1]], responses[-1].end
    )
    for part in answer.parts:
        assert part.text.strip()
        assert part.citations
        assert all(1 <= number <= len(answer.sources) for number in part.citations)
    assert bool(answer.parts) == (answer.end.outcome == pb.ANSWER_OUTCOME_ANSWERED)
    return answer


async def read(client: Client, content: str, course: str, name: str = "notes.txt") -> material_pb2.Material:
    """The material when it has been read."""
    material = await client.upload(content.encode(), course=course, name=name)
    ended = (await client.watch_to_end(material.id))[-1]
    assert ended.processing_status == COMPLETED, ended.error_message
    return ended


@asynccontextmanager
async def stack_with_brain(**environment: str) -> AsyncIterator[tuple[LocalStack, AnsweringBrain]]:
    """A stack of its own whose Brain says what the test says."""
    async with answering_brain() as brain:
        settings = {"AI_BRAIN_ENDPOINT": brain.endpoint, **environment}
        stack = await asyncio.to_thread(LocalStack.start, None, environment=settings)
        try:
            yield stack, brain
        finally:
            brain.may_answer.set()
            await asyncio.to_thread(stack.stop)
