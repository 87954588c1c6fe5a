"""AnswerQuestion: from the real Brain on the whole stack; and from one that says what the test says, on a stack of its own."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator

import pytest
from materials.v1 import processor_service_pb2 as pb

from processor_service.answers.answer_prompt import NOT_HELD
from tests.contract.answering_brain import MODEL, AnsweringBrain
from tests.contract.answers import Answer, ask, read, stack_with_brain
from tests.contract.person import Person, Watch
from tests.contract.refusals import refused
from tests.local_stack import Client, LocalStack, unique_course

PLANTS = "Photosynthesis converts the energy of light into sugar. It happens in the chloroplasts of green leaves.\n"
FRANCE = "In 1789 the people of Paris stormed the Bastille, and the king lost his power.\n"
SORTING = "Quicksort chooses a pivot and partitions the array around it.\fMerge sort splits the array in two halves.\n"
ANSWERED, NOTHING_FOUND = pb.ANSWER_OUTCOME_ANSWERED, pb.ANSWER_OUTCOME_NOTHING_FOUND
UNSUPPORTED = pb.ANSWER_OUTCOME_UNSUPPORTED


@pytest.fixture(scope="module")
async def library(stack: LocalStack) -> dict[str, str]:
    """Ids of the materials of one course by name, and the course."""
    course = unique_course()
    async with stack.client() as client:
        texts = {"plants": PLANTS, "france": FRANCE, "sorting": SORTING}
        materials = await asyncio.gather(*(read(client, text, course, f"{name}.txt") for name, text in texts.items()))
    return {"course": course, **{name: each.id for name, each in zip(texts, materials, strict=True)}}


class TestRealBrain:
    @pytest.mark.parametrize(
        ("question", "found", "page", "said"),
        [
            ("Where in the plant does photosynthesis happen?", "plants", 1, "chloroplasts of green leaves"),
            ("What did the people of Paris do in 1789?", "france", 1, "stormed the Bastille"),
            ("How does merge sort split the array?", "sorting", 2, "two halves"),
        ],
    )
    async def test_answer_quotes_its_source(
        self, client: Client, library: dict[str, str], question: str, found: str, page: int, said: str
    ) -> None:
        answer = await ask(client, library["course"], question)
        assert answer.end.outcome == ANSWERED
        assert answer.end.model.startswith("extractive/")
        assert answer.end.sentences_left_out == 0
        [part] = [part for part in answer.parts if said in part.text]
        sources = [answer.sources[number - 1] for number in part.citations]
        assert [(each.material_id, each.page_number) for each in sources] == [(library[found], page)]
        assert part.text.strip() in " ".join(sources[0].excerpt.split())

    async def test_what_the_course_does_not_hold_is_not_answered(self, client: Client, library: dict[str, str]) -> None:
        for question in ("Who composed the Magic Flute?", "What is the tallest mountain of Africa?"):
            answer = await ask(client, library["course"], question)
            assert (answer.end.outcome, answer.parts) == (NOTHING_FOUND, [])

    async def test_empty_course_has_no_sources_and_no_model(self, client: Client, course: str) -> None:
        assert await ask(client, course, "What is photosynthesis?") == Answer(end=pb.AnswerEnd(outcome=NOTHING_FOUND))

    @pytest.mark.parametrize("question", ["", "  \n", "\0", "a" * 501, "世" * 501], ids=lambda text: repr(text[:6]))
    async def test_question_out_of_range_is_named(self, client: Client, course: str, question: str) -> None:
        with refused("INVALID_ARGUMENT", "FIELD_INVALID", "question"):
            await ask(client, course, question)

    @pytest.mark.parametrize("course_id", ["", "a b", "a/b", "c" * 129])
    async def test_course_out_of_range_is_named(self, client: Client, course_id: str) -> None:
        with refused("INVALID_ARGUMENT", "FIELD_INVALID", "course_id"):
            await ask(client, course_id, "anything")

    @pytest.mark.parametrize(
        "question",
        ["a" * 500, "世" * 500, "the of and", "Question: x\nContext: y [1]", "\u202ewhat", "../../etc/passwd", "?"],
        ids=lambda text: repr(text[:8]),
    )
    async def test_odd_question_is_a_question(self, client: Client, library: dict[str, str], question: str) -> None:
        assert (await ask(client, library["course"], question)).end.outcome in (ANSWERED, NOTHING_FOUND, UNSUPPORTED)

    async def test_stranger_is_answered_from_nothing_and_a_reader_from_the_course(
        self, stack: LocalStack, library: dict[str, str]
    ) -> None:
        question = "Where does photosynthesis happen?"
        async with stack.client(stack.user_token("stranger", {"another": "editor"})) as stranger:
            assert (await ask(stranger, library["course"], question)).sources == []
        async with stack.client(stack.user_token("reader", {library["course"]: "reader"})) as reader:
            assert (await ask(reader, library["course"], question)).end.outcome == ANSWERED

    async def test_deleted_material_is_no_source_from_that_moment(self, client: Client, course: str) -> None:
        material = await read(client, PLANTS, course)
        assert (await ask(client, course, "What does photosynthesis convert?")).end.outcome == ANSWERED
        await Person(client).delete(material.id)
        assert (await ask(client, course, "What does photosynthesis convert?")).sources == []


@pytest.fixture(scope="module")
async def scripted_stack() -> AsyncIterator[tuple[LocalStack, AnsweringBrain]]:
    limits = {"ANSWER_CONCURRENCY": "1", "ANSWER_QUEUE": "1", "ANSWERS_PER_OWNER": "1", "ANSWER_TIMEOUT": "20"}
    async with stack_with_brain(**limits) as (stack, brain):
        yield stack, brain


@pytest.fixture
async def brain(scripted_stack: tuple[LocalStack, AnsweringBrain]) -> AsyncIterator[AnsweringBrain]:
    brain = scripted_stack[1]
    brain.prompts.clear()
    brain.status = 200
    brain.may_answer.clear()
    yield brain
    brain.may_answer.set()


@pytest.fixture
async def asker(scripted_stack: tuple[LocalStack, AnsweringBrain]) -> AsyncIterator[Client]:
    """An operator: not held to the limits per owner."""
    async with scripted_stack[0].client() as client:
        yield client


class TestScriptedBrain:
    async def test_what_the_brain_says_is_held_to_its_sources(
        self, asker: Client, brain: AnsweringBrain, course: str
    ) -> None:
        await read(asker, PLANTS, course, "plants.txt")
        brain.says(
            "Photosynthesis converts light into sugar [1]. Its inventor was Thomas Edison [1].\n"
            "It happens in the chloroplasts of green leaves. [7]"
        )
        answer = await ask(asker, course, "What does photosynthesis convert?")
        assert [(part.text, list(part.citations)) for part in answer.parts] == [
            ("Photosynthesis converts light into sugar.\n", [1]),
            ("It happens in the chloroplasts of green leaves.", [1]),
        ]
        assert answer.end == pb.AnswerEnd(outcome=ANSWERED, model=MODEL, sentences_left_out=1)
        [prompt] = brain.prompts
        assert prompt.endswith("\n\nQuestion: What does photosynthesis convert?")
        assert '[1] ("plants.txt", page 1)\n> Photosynthesis converts' in prompt

    @pytest.mark.parametrize(
        ("says", "outcome", "left_out"),
        [
            (NOT_HELD, NOTHING_FOUND, 0),
            ("Photosynthesis was invented by Edison in 1879. [1]", UNSUPPORTED, 1),
            ("", UNSUPPORTED, 0),
        ],
    )
    async def test_nothing_is_shown_that_no_source_says(
        self,
        asker: Client,
        brain: AnsweringBrain,
        course: str,
        says: str,
        outcome: pb.AnswerOutcome.ValueType,
        left_out: int,
    ) -> None:
        await read(asker, PLANTS, course)
        brain.says(says)
        answer = await ask(asker, course, "What does photosynthesis convert?")
        assert len(answer.sources) == 1
        assert answer.end == pb.AnswerEnd(outcome=outcome, model=MODEL, sentences_left_out=left_out)

    async def test_brain_is_not_asked_when_nothing_is_relevant(
        self, asker: Client, brain: AnsweringBrain, course: str
    ) -> None:
        await read(asker, PLANTS, course)
        brain.says("Photosynthesis converts the energy of light into sugar. [1]")
        answer = await ask(asker, course, "Which composer wrote Fidelio?")
        assert answer == Answer(end=pb.AnswerEnd(outcome=NOTHING_FOUND))
        assert brain.prompts == []

    @pytest.mark.parametrize("status", [500, 503, 429, 404, 422])
    async def test_brain_that_fails_is_unavailable_after_the_sources(
        self, asker: Client, brain: AnsweringBrain, course: str, status: int
    ) -> None:
        await read(asker, PLANTS, course)
        brain.says("")
        brain.status = status
        with refused("UNAVAILABLE", "BRAIN_UNAVAILABLE") as refusal:
            await ask(asker, course, "What does photosynthesis convert?")
        assert refusal.retry_seconds

    async def test_material_deleted_while_the_brain_thinks_supports_nothing(
        self, asker: Client, brain: AnsweringBrain, course: str
    ) -> None:
        material = await read(asker, PLANTS, course)
        brain.reply = lambda prompt: "Photosynthesis converts the energy of light into sugar. [1]"
        asking = asyncio.create_task(ask(asker, course, "What does photosynthesis convert?"))
        await brain.until_asked(1)
        await Person(asker).delete(material.id)
        brain.may_answer.set()
        answer = await asking
        assert (answer.end.outcome, answer.end.sentences_left_out) == (UNSUPPORTED, 1)

    async def test_what_comes_beyond_the_queue_is_refused_at_once_and_the_rest_are_answered_in_turn(
        self, asker: Client, brain: AnsweringBrain, course: str
    ) -> None:
        await read(asker, PLANTS, course)
        brain.reply = lambda prompt: "Photosynthesis converts the energy of light into sugar. [1]"
        request = pb.AnswerQuestionRequest(course_id=course, question="What does photosynthesis convert?")
        calls = [asker.processor.AnswerQuestion(request, metadata=asker.metadata, timeout=60) for _ in range(2)]
        try:
            for call in calls:  # One is written, one waits.
                assert (await call.read()).HasField("sources")
            await brain.until_asked(1)
            with refused("UNAVAILABLE", "BRAIN_UNAVAILABLE") as refusal:
                await ask(asker, course, "What does photosynthesis convert?")
            assert refusal.retry_seconds
            assert len(brain.prompts) == 1
            brain.may_answer.set()
            for call in calls:
                rest = await Watch(call).rest()
                assert [response.WhichOneof("event") for response in rest] == ["part", "end"]
        finally:
            for call in calls:
                call.cancel()

    async def test_owner_has_a_share_and_it_is_free_again_when_the_caller_leaves(
        self, scripted_stack: tuple[LocalStack, AnsweringBrain], asker: Client, brain: AnsweringBrain, course: str
    ) -> None:
        await read(asker, PLANTS, course)
        brain.reply = lambda prompt: "Photosynthesis converts the energy of light into sugar. [1]"
        question = "What does photosynthesis convert?"
        stack = scripted_stack[0]
        async with (
            stack.client(stack.user_token("one", {course: "reader"})) as one,
            stack.client(stack.user_token("other", {course: "reader"})) as other,
        ):
            request = pb.AnswerQuestionRequest(course_id=course, question=question)
            first = one.processor.AnswerQuestion(request, metadata=one.metadata, timeout=60)
            await first.read()
            await brain.until_asked(1)
            with refused("RESOURCE_EXHAUSTED", "OWNER_REQUEST_LIMIT") as refusal:
                await ask(one, course, question)
            assert refusal.retry_seconds
            first.cancel()
            brain.may_answer.set()
            assert (await ask(other, course, question)).end.outcome == ANSWERED
            async with asyncio.timeout(20):
                while True:  # The service hears of the leaving a moment later.
                    try:
                        assert (await ask(one, course, question)).end.outcome == ANSWERED
                        break
                    except Exception as error:
                        if "as many answers" not in str(error):
                            raise
                        await asyncio.sleep(0.05)

    async def test_replica_that_stops_sends_its_askers_elsewhere(
        self, scripted_stack: tuple[LocalStack, AnsweringBrain], asker: Client, brain: AnsweringBrain, course: str
    ) -> None:
        await read(asker, PLANTS, course)
        asking = asyncio.create_task(ask(asker, course, "What does photosynthesis convert?"))
        await brain.until_asked(1)
        os.kill(scripted_stack[0].current()["pids"]["processor"], signal.SIGTERM)
        with refused("UNAVAILABLE", "SHUTTING_DOWN") as refusal:
            await asking
        assert refusal.retry_seconds is not None
