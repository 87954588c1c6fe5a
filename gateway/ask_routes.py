"""Questions to a course: the answer as server-sent events while it comes, or as one JSON document."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

import structlog
from fastapi import APIRouter, Request
from materials.v1 import processor_service_pb2 as pb
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from gateway import representations
from gateway.answers import BODY, problem_answers
from gateway.asking import Answer, ended_when_gone
from gateway.callers import CallerFirst, CurrentCaller
from gateway.event_streams import EventStreams
from gateway.paths import CourseId
from gateway.problems import of_refusal
from gateway.representations import AnswerPart, AnswerSource, Question
from gateway.server_sent_events import MEDIA_TYPE, event
from gateway.services import ANSWER_SECONDS, Refused, identity, services_of
from servicekit.documents import document

log = structlog.get_logger()

router = APIRouter(tags=["search"], route_class=CallerFirst)

#: One event. Each is data of JSON under its name.
_EVENT: dict[str, Any] = {
    "type": "object",
    "description": "one event of the stream",
    "properties": {
        "event": {
            "enum": ["sources", "part", "end", "error"],
            "description": "once, first; none, one or more; once, last; or problem details in the place of the end",
        },
        "data": {
            "type": "string",
            "description": "JSON: of `Answer` its `sources`; one of its `parts`; the rest of it",
        },
    },
    "required": ["event", "data"],
    "examples": [
        {"event": "part", "data": '{"text": "Mitochondria make ATP. ", "citations": [1]}'},
        {"event": "end", "data": '{"outcome": "answered", "model": "llama3.1:8b", "sentences_left_out": 0}'},
    ],
}
_ANSWER: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "server-sent events, or JSON for `Accept: application/json`",
        "content": {MEDIA_TYPE: {"schema": _EVENT}},
    }
}


@router.post(
    "/courses/{course_id}/ask",
    operation_id="askCourse",
    response_model=representations.Answer,
    responses=_ANSWER | problem_answers(*BODY, 400, 401),
)
async def ask(request: Request, course_id: CourseId, caller: CurrentCaller, body: Question) -> Response:
    """An answer from the passages of the course that the caller may see, with citations: `sources`, then `part` by `part`, then `end`. What goes wrong after
    the sources comes as `error` with problem details, and is the last."""
    message = pb.AnswerQuestionRequest(course_id=course_id, question=body.question)
    call = services_of(request).processor.AnswerQuestion(message, metadata=identity(caller), timeout=ANSWER_SECONDS)
    answer = Answer(call)
    async with ended_when_gone(answer, request.receive):
        await answer.begin()  # a refusal comes in its place
        if wants_json(request.headers.getlist("accept")):
            whole = await _whole(answer)
            answer.end()
            return Response(whole.model_dump_json(), media_type="application/json")
    streams: EventStreams = request.app.state.event_streams
    return streams.finishing(answer, _events(answer))


def wants_json(accept: Sequence[str]) -> bool:
    """Whether the Accept headers name JSON and no event stream. A client that takes anything gets events."""
    ranges = [each.strip().lower().replace(" ", "") for header in accept for each in header.split(",")]
    wanted = {each.partition(";")[0] for each in ranges if not each.endswith((";q=0", ";q=0.0"))}
    return "application/json" in wanted and MEDIA_TYPE not in wanted


async def _events(answer: Answer) -> AsyncIterator[bytes]:
    yield event("sources", json.dumps([source.model_dump(mode="json") for source in _sources(answer)]))
    try:
        async for message in answer.rest():
            match message.WhichOneof("event"):
                case "part":
                    yield event("part", json.dumps(document(message.part)))
                case "end":
                    yield event("end", json.dumps(document(message.end)))
    except Refused as error:
        log.warning("answer broke", reason=error.refusal.reason, message=error.refusal.message)
        yield event("error", json.dumps(of_refusal(error.refusal)))
    except ClientDisconnect:
        log.info("the client has gone before the answer was whole")


async def _whole(answer: Answer) -> representations.Answer:
    parts, end = [], pb.AnswerEnd()
    async for message in answer.rest():
        if message.HasField("part"):
            parts.append(AnswerPart.model_validate(document(message.part)))
        elif message.HasField("end"):
            end = message.end
    return representations.Answer.model_validate(
        {**document(end), "answer": "".join(part.text for part in parts), "parts": parts, "sources": _sources(answer)}
    )


def _sources(answer: Answer) -> list[AnswerSource]:
    return [
        AnswerSource.model_validate({"number": number, **document(source)})
        for number, source in enumerate(answer.sources.sources, start=1)
    ]
