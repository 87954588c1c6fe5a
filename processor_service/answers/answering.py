"""Answers to questions, from the passages of a course that the asker may see, each part with its sources.

Search finds the passages; what is not near the question is left away, and with nothing left the Brain is not asked. The Brain writes an answer to a prompt that
holds the passages as quoted data (`answer_prompt`), and only what the passages support of it is passed on (`citations`). Before that the record is asked once
more what the asker may see: the Brain takes its time, and a material may have been deleted meanwhile.

The Brain may be slow, away or flooded with questions. So each answer has a deadline, which counts from when it begins to wait for its turn; few are
written at once, a few more wait, and what comes beyond them, or beyond an owner's share, is refused at once.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from materials.v1 import errors_pb2
from materials.v1 import processor_service_pb2 as pb

from processor_service.answers.answer_prompt import QuotedPassage, answer_prompt, passages_that_fit
from processor_service.answers.citations import check_reply
from processor_service.answers.support import coverage, evidence
from processor_service.brain.client import GeneratedText
from processor_service.brain.errors import BrainError
from processor_service.search.searching import Found, Searching, checked_query, to_result
from servicekit import validation
from servicekit.channels import Peer
from servicekit.errors import Unavailable
from servicekit.identity import Caller
from servicekit.owner_limits import OwnerPlaces
from servicekit.visibility import visible_materials

#: Of a question's words that carry meaning, how much a passage must hold to be relevant however unlike its vector is.
WORD_MATCH = 0.6
#: How long an answer may still take when this replica stops, in seconds.
LAST_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class AnswerLimits:
    """What an answer may take. `timeout` is in seconds, `least_similarity` a cosine; `waiting` is beyond those written `at_once`."""

    sources: int
    context_chars: int
    least_similarity: float
    timeout: float
    at_once: int
    waiting: int
    per_owner: int


class Answering:
    """Answers questions; one of it for each replica, since it counts those under way."""

    def __init__(
        self,
        searching: Searching,
        write: Callable[[str], Awaitable[GeneratedText]],
        status: Peer,
        limits: AnswerLimits,
    ) -> None:
        """`write` has the Brain answer a prompt, and raises BrainError."""
        self._searching, self._write, self._status, self._limits = searching, write, status, limits
        self._turns = asyncio.Semaphore(limits.at_once)
        self._under_way = 0
        self._deadlines: set[asyncio.Timeout] = set()
        self._draining = False
        self._of_owners = OwnerPlaces(
            limits.per_owner,
            errors_pb2.ERROR_REASON_OWNER_REQUEST_LIMIT,
            "you have as many answers under way as one owner may; wait for one of them",
        )

    def drain(self) -> None:
        """Ends, with SHUTTING_DOWN, the answers that are not written within LAST_SECONDS: they can be had elsewhere."""
        self._draining = True
        latest = asyncio.get_running_loop().time() + LAST_SECONDS
        for deadline in self._deadlines:
            if not deadline.expired():
                deadline.reschedule(min(latest, deadline.when() or latest))

    async def answer(
        self, caller: Caller, request: pb.AnswerQuestionRequest
    ) -> AsyncGenerator[pb.AnswerQuestionResponse]:
        """The sources, the parts, the end. Raises FieldInvalid, Unavailable."""
        course_id = validation.course_id(request.course_id)
        question = checked_query("question", request.question)
        with self._of_owners.place(caller):
            sources = await self._sources(caller, course_id, question)
            yield pb.AnswerQuestionResponse(sources=pb.AnswerSources(sources=[to_result(source) for source in sources]))
            if not sources:
                end = pb.AnswerEnd(outcome=pb.ANSWER_OUTCOME_NOTHING_FOUND)
                yield pb.AnswerQuestionResponse(end=end)
                return
            written = await self._written(question, sources)
            for response in await self._checked(caller, written, sources):
                yield response

    async def _sources(self, caller: Caller, course_id: str, question: str) -> list[Found]:
        """What the answer may be taken from, best first."""
        found = await self._searching.find(caller, course_id, question, limit=self._limits.sources)
        relevant = [
            each
            for each in found
            if each.similarity >= self._limits.least_similarity
            or coverage(evidence(_text(each)), question) >= WORD_MATCH
        ]
        return relevant[: passages_that_fit([_quoted(each) for each in relevant], self._limits.context_chars)]

    async def _written(self, question: str, sources: list[Found]) -> GeneratedText:
        prompt = answer_prompt(question, [_quoted(source) for source in sources])
        seconds = min(self._limits.timeout, LAST_SECONDS) if self._draining else self._limits.timeout
        try:
            async with asyncio.timeout(seconds) as deadline:
                self._deadlines.add(deadline)
                try:
                    async with self._turn():
                        return await self._write(prompt)
                finally:
                    self._deadlines.discard(deadline)
        except TimeoutError as error:
            if self._draining:
                raise Unavailable(
                    errors_pb2.ERROR_REASON_SHUTTING_DOWN, "this replica is stopping; ask again", retry_after=0.1
                ) from error
            raise _brain_unavailable("the AI Brain has not answered in time; try again shortly") from error
        except BrainError as error:
            raise _brain_unavailable(
                "the AI Brain cannot answer at the moment; try again shortly", error.retry_after
            ) from error

    @property
    def under_way(self) -> int:
        """How many are being written, or wait for it."""
        return self._under_way

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """The block is one of the answers written at once. Raises Unavailable when too many wait for that already."""
        if self._under_way >= self._limits.at_once + self._limits.waiting:
            raise _brain_unavailable("the AI Brain is answering as many questions as it can; try again shortly")
        self._under_way += 1
        try:
            async with self._turns:
                yield
        finally:
            self._under_way -= 1

    async def _checked(
        self, caller: Caller, written: GeneratedText, sources: list[Found]
    ) -> list[pb.AnswerQuestionResponse]:
        """The parts that the sources support, and the end."""
        still_there = await visible_materials(self._status, caller, {str(source.hit.material_id) for source in sources})
        # A source that is gone keeps its number and supports nothing.
        texts = [_text(source) if str(source.hit.material_id) in still_there else "" for source in sources]
        reply = await asyncio.to_thread(check_reply, written.text, texts)
        outcome = pb.ANSWER_OUTCOME_UNSUPPORTED
        if reply.sentences:
            outcome = pb.ANSWER_OUTCOME_ANSWERED
        elif reply.declined:
            outcome = pb.ANSWER_OUTCOME_NOTHING_FOUND
        end = pb.AnswerEnd(outcome=outcome, model=written.model, sentences_left_out=reply.left_out)
        parts = [
            pb.AnswerPart(text=sentence.text + sentence.space, citations=sentence.numbers)
            for sentence in reply.sentences
        ]
        return [
            *(pb.AnswerQuestionResponse(part=part) for part in parts),
            pb.AnswerQuestionResponse(end=end),
        ]


def _text(found: Found) -> str:
    """What a passage says: its text, and the heading that it stands under."""
    return f"{found.hit.heading}\n\n{found.hit.text}"


def _quoted(found: Found) -> QuotedPassage:
    return QuotedPassage(found.material_name, found.hit.page_number, found.hit.heading, found.hit.text)


def _brain_unavailable(message: str, retry_after: float | None = None) -> Unavailable:
    delay = random.uniform(2.0, 5.0) if retry_after is None else retry_after
    return Unavailable(errors_pb2.ERROR_REASON_BRAIN_UNAVAILABLE, message, retry_after=delay)
