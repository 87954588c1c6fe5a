"""Questions over HTTP: the answer as events and as JSON, every refusal, and clients that go away."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tests.contract.answer_script import ID, MODEL, WHOLE, AnswerScript, brain_away, end, part, sources
from tests.contract.event_client import Event, EventStream, StreamEnded, opened, request
from tests.contract.gateway_process import GatewayProcess, started_gateway
from tests.contract.refusals import eventually
from tests.contract.rest import Document, Rest, assert_problem, found
from tests.contract.scripted_services import scripted_services
from tests.local_stack import LocalStack

QUESTION = {"question": "how do cells make energy?"}
PATH = "/courses/biology-101/ask"
EVENTS = {"Accept": "text/event-stream"}
JSON = {"Accept": "application/json"}
#: As many clients as go away at once.
CROWD = 40


@pytest.fixture(scope="module")
async def running() -> AsyncIterator[AnswerScript]:
    script = AnswerScript()
    async with scripted_services(script):
        yield script


@pytest.fixture
def script(running: AnswerScript) -> AnswerScript:
    """With a whole answer, until the test says something else."""
    running.steps, running.cancelled = WHOLE, 0
    running.requests.clear()
    return running


@pytest.fixture(scope="module")
async def gateway(running: AnswerScript, stack: LocalStack) -> AsyncIterator[GatewayProcess]:
    """In front of the scripted Processor. Its event streams are never quiet for long."""
    endpoints = {"processor": running.address}
    async with started_gateway(stack, endpoints, EVENT_KEEPALIVE_SECONDS="0.2") as started:
        yield started


@pytest.fixture
async def asker(gateway: GatewayProcess, stack: LocalStack) -> AsyncIterator[Rest]:
    async with Rest(gateway.address, stack.facts["token"]) as caller:
        yield caller


@pytest.fixture
def token(stack: LocalStack) -> str:
    return stack.user_token("asker", {"biology-101": "reader"})


def asking(gateway: GatewayProcess, token: str, *headers: str) -> Any:
    """An answer whose head was read."""
    return opened(gateway.address, PATH, *headers, token=token, body=QUESTION)


SOURCE: Document = {
    "number": 1, "material_id": ID, "material_name": "cells.pdf", "page_number": 1, "excerpt": "passage 1", "score": 0.9,
    "start_offset": 3, "end_offset": 12, "heading": "Energy", "similarity": 0.7, "repeats": 1,
}  # fmt: skip
PARTS = [{"text": "Mitochondria make ATP. ", "citations": [1]}, {"text": "Cells use it.", "citations": [1, 2]}]


class TestEvents:
    async def test_sources_come_first_then_the_parts_then_the_end(
        self, script: AnswerScript, gateway: GatewayProcess, token: str
    ) -> None:
        async with asking(gateway, token) as stream:
            events = await stream.rest()
        assert stream.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert stream.headers["x-accel-buffering"] == "no"
        assert "no-transform" in stream.headers["cache-control"]
        assert [each.name for each in events] == ["sources", "part", "part", "end"]
        told: Any = events[0].data
        assert told[0] == SOURCE
        assert [(each["number"], each["material_name"]) for each in told] == [(1, "cells.pdf"), (2, "energy.pdf")]
        assert [each.data for each in events[1:3]] == PARTS
        assert events[3].data == {"outcome": "answered", "model": MODEL, "sentences_left_out": 0}
        assert [(each.course_id, each.question) for each in script.requests] == [("biology-101", QUESTION["question"])]

    async def test_each_event_comes_as_soon_as_it_is_told_and_the_wait_is_filled(
        self, script: AnswerScript, gateway: GatewayProcess, token: str
    ) -> None:
        more = asyncio.Event()
        script.steps = (sources("cells.pdf"), more, part("Late.", 1), end())
        async with asking(gateway, token) as stream:
            assert (await stream.next()).name == "sources"
            assert await stream.comment() == "keep-alive"
            assert await stream.comment() == "keep-alive"
            more.set()
            assert [each.name for each in await stream.rest()] == ["part", "end"]

    @pytest.mark.parametrize(("outcome", "told"), [("NOTHING_FOUND", "nothing_found"), ("UNSUPPORTED", "unsupported")])
    async def test_an_answer_that_is_none_says_why(
        self, script: AnswerScript, gateway: GatewayProcess, token: str, outcome: str, told: str
    ) -> None:
        script.steps = (sources(), end(outcome, model="", left_out=2))
        async with asking(gateway, token) as stream:
            events = await stream.rest()
        assert events == [
            Event("sources", []),  # type: ignore[arg-type]
            Event("end", {"outcome": told, "model": "", "sentences_left_out": 2}),
        ]

    async def test_what_goes_wrong_after_the_sources_is_the_last_event(
        self, script: AnswerScript, gateway: GatewayProcess, token: str
    ) -> None:
        script.steps = (sources("cells.pdf"), part("Half", 1), brain_away())
        async with asking(gateway, token) as stream:
            *_, last = await stream.rest()
        assert (last.name, last.data["reason"], last.data["status"]) == ("error", "BRAIN_UNAVAILABLE", 503)
        assert last.data["retry_after"] == 7.0

    async def test_an_answer_that_stops_without_its_end_is_an_error(
        self, script: AnswerScript, gateway: GatewayProcess, token: str
    ) -> None:
        script.steps = (sources("cells.pdf"), part("Half", 1))
        async with asking(gateway, token) as stream:
            *_, last = await stream.rest()
        assert (last.name, last.data["status"], last.data["type"]) == ("error", 503, "about:blank")


class TestJson:
    async def test_the_whole_answer_is_one_document(self, script: AnswerScript, asker: Rest) -> None:
        answer = found(await asker.http.post(PATH, json=QUESTION, headers=JSON))
        assert answer["sources"][0] == SOURCE
        assert {name: value for name, value in answer.items() if name != "sources"} == {
            "outcome": "answered", "answer": "Mitochondria make ATP. Cells use it.", "parts": PARTS, "model": MODEL,
            "sentences_left_out": 0,
        }  # fmt: skip
        await script.left()

    @pytest.mark.parametrize(
        ("accept", "is_json"),
        [
            ("application/json", True), ("Application/JSON;charset=utf-8, text/plain", True),
            ("*/*", False), ("text/event-stream", False), ("application/json, text/event-stream", False),
            ("text/html", False), ("application/json;q=0, */*", False),
        ],
    )  # fmt: skip
    async def test_the_accept_header_decides(
        self, script: AnswerScript, asker: Rest, accept: str, is_json: bool
    ) -> None:
        response = await asker.http.post(PATH, json=QUESTION, headers={"Accept": accept})
        assert response.headers["content-type"].startswith("application/json" if is_json else "text/event-stream")

    async def test_what_goes_wrong_in_the_middle_is_a_problem(self, script: AnswerScript, asker: Rest) -> None:
        script.steps = (sources("cells.pdf"), part("Half", 1), brain_away())
        assert_problem(await asker.http.post(PATH, json=QUESTION, headers=JSON), "BRAIN_UNAVAILABLE")


class TestRefusals:
    @pytest.mark.parametrize("headers", [EVENTS, JSON], ids=["events", "JSON"])
    async def test_a_brain_that_is_away_is_a_problem_with_the_time_to_come_again(
        self, script: AnswerScript, asker: Rest, headers: dict[str, str]
    ) -> None:
        script.steps = (brain_away(),)
        response = await asker.http.post(PATH, json=QUESTION, headers=headers)
        assert_problem(response, "BRAIN_UNAVAILABLE")
        assert response.headers["retry-after"] == "7"

    @pytest.mark.parametrize(
        ("body", "field"), [({}, "question"), ({"question": 3}, "question"), ({"question": "x", "query": "x"}, "query")]
    )
    async def test_a_body_that_is_no_question_never_reaches_the_service(
        self, script: AnswerScript, asker: Rest, body: Document, field: str
    ) -> None:
        assert_problem(await asker.http.post(PATH, json=body), "FIELD_INVALID", field)
        assert script.requests == []

    async def test_nobody_asks_without_a_token(self, script: AnswerScript, gateway: GatewayProcess) -> None:
        async with Rest(gateway.address) as nobody:
            assert_problem(await nobody.http.post(PATH, json=QUESTION), "TOKEN_MISSING")
        assert script.requests == []


class TestGone:
    """What a client asked for is cancelled at the Processor once it has gone."""

    @pytest.mark.parametrize("go", [EventStream.reset, EventStream.close], ids=["RST", "FIN"])
    @pytest.mark.parametrize("accept", ["text/event-stream", "application/json"])
    @pytest.mark.parametrize("said", [(), (sources("cells.pdf"),)], ids=["before the sources", "after the sources"])
    async def test_a_crowd_that_goes_leaves_nothing(
        self, script: AnswerScript, gateway: GatewayProcess, token: str, go: Any, accept: str, said: Any
    ) -> None:
        script.steps = (*said, asyncio.Event())
        files = gateway.files
        for _ in range(CROWD):
            async with request(gateway.address, PATH, f"Accept: {accept}", token=token, body=QUESTION) as stream:
                await script.asked(1)
                if said and accept == "text/event-stream":
                    await stream.head()
                    assert (await stream.next()).name == "sources"
                go(stream)
            await script.left()
        assert script.cancelled == CROWD
        await gateway.until_files(files)

    async def test_clients_gone_before_they_are_heard_leave_nothing(
        self, script: AnswerScript, gateway: GatewayProcess, token: str
    ) -> None:
        script.steps = (asyncio.Event(),)
        files = gateway.files
        for _ in range(CROWD):
            async with request(gateway.address, PATH, token=token, body=QUESTION) as stream:
                go = stream.reset
            go()
        script.steps = WHOLE
        async with asking(gateway, token) as stream:
            await stream.rest()
        await script.left()
        await gateway.until_files(files)


async def is_stopping(visitor: Rest) -> bool:
    try:
        return (await visitor.http.get("/healthz", headers={"Connection": "close"})).status_code == 503
    except httpx.TransportError:
        return True


async def test_an_answer_under_way_is_finished_while_the_replica_stops(
    script: AnswerScript, stack: LocalStack, token: str
) -> None:
    more = asyncio.Event()
    script.steps = (sources("cells.pdf"), more, part("After all.", 1), end())
    endpoints = {"processor": script.address}
    async with (
        started_gateway(stack, endpoints, EVENT_KEEPALIVE_SECONDS="0.2") as stopping,
        asking(stopping, token) as stream,
        Rest(stopping.address) as visitor,
    ):
        assert (await stream.next()).name == "sources"
        stopping.process.send_signal(signal.SIGTERM)
        await eventually(lambda: is_stopping(visitor), "the replica stops")
        more.set()
        assert [each.name for each in [await stream.next(), await stream.next()]] == ["part", "end"]
        with pytest.raises(StreamEnded):
            await stream.next()
        assert await asyncio.to_thread(stopping.process.wait, 30) == 0
