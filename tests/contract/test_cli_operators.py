"""The command line for operators: the queue, pause and resume."""

from __future__ import annotations

import asyncio
import json
import re
import signal
from typing import Any

import grpc
from google.protobuf.timestamp_pb2 import Timestamp
from materials.v1 import errors_pb2, status_service_pb2
from materials.v1 import material_pb2 as pb

from servicekit.errors import FieldInvalid, ServiceError, Unavailable
from tests.contract.command_line import DEADLINE, ID, Cli, ended
from tests.contract.scripted_services import ScriptedServices, refuse

PAUSE = status_service_pb2.ProcessingPause(paused_by="ann", reason="new \x1b[31mdisk", paused_at=Timestamp(seconds=60))
SINCE = Timestamp(seconds=120)


def the_queue(**fields: Any) -> status_service_pb2.GetQueueResponse:
    known: dict[str, Any] = {
        "waiting": 1204,
        "delayed": 40,
        "unannounced": 3,
        "working": 2,
        "purging": 1,
        "failed": [
            status_service_pb2.FailedCount(failure_reason=pb.FAILURE_REASON_BRAIN_FAILED, count=7, retryable=7),
            status_service_pb2.FailedCount(failure_reason=pb.FAILURE_REASON_FILE_CORRUPT, count=3),
        ],
        "oldest_waiting_material_id": ID,
        "oldest_waiting_since": SINCE,
        "processors": [
            status_service_pb2.ProcessorReplica(
                worker_id="worker-1", slots=4, busy=2, brain=status_service_pb2.BREAKER_STATE_OPEN, brain_since=SINCE
            )
        ],
        "pause": PAUSE,
    }
    return status_service_pb2.GetQueueResponse(**(known | fields))


def queue_of(*queues: status_service_pb2.GetQueueResponse) -> Any:
    """Each once, and the last for ever."""
    left = list(queues)

    async def get(request: Any, context: Any) -> Any:
        return left.pop(0) if len(left) > 1 else left[0]

    return get


async def refuse_operator(request: Any, context: Any) -> Any:
    await refuse(
        context,
        ServiceError(errors_pb2.ERROR_REASON_OPERATOR_REQUIRED, "this call needs a token with the claim `operator`"),
    )


# --- the queue


async def test_the_queue_is_lines_without_escapes_where_there_is_no_terminal(
    services: ScriptedServices, cli: Cli
) -> None:
    services.on("GetQueue", queue_of(the_queue()))
    result = await cli.run("queue")
    assert (result.code, result.err) == (0, "")
    assert "\x1b" not in result.out
    lines = [tuple(line.split("\t")) for line in result.out.splitlines()]
    assert lines[1:-4] == [
        ("pause", "ann", "1970-01-01T00:01:00Z", r"new \x1b[31mdisk"),
        ("waiting", "1204"),
        ("delayed", "40"),
        ("unannounced", "3"),
        ("working", "2"),
        ("purging", "1"),
        ("failed", "brain_failed", "7", "7"),
        ("failed", "file_corrupt", "3", "0"),
        ("oldest", ID, "1970-01-01T00:02:00Z"),
    ]
    processor, *hints = lines[-4:]
    assert processor[:4] == ("processor", "worker-1", "2", "4")
    assert processor[4].startswith("away since ")
    assert [fields[0] for fields in hints] == ["hint"] * 3
    assert "materials resume" in hints[0][1]
    assert "go on by themselves" in hints[1][1]
    assert hints[2][1].endswith(": materials retry --failed")


async def test_the_queue_as_a_document_has_all_the_service_says(services: ScriptedServices, cli: Cli) -> None:
    services.on("GetQueue", queue_of(the_queue(processors=[])))
    (document,) = (await cli.run("queue", "--json")).documents
    assert set(document) == {field.name for field in status_service_pb2.GetQueueResponse.DESCRIPTOR.fields}
    assert document["failed"][0] == {"failure_reason": "brain_failed", "count": 7, "retryable": 7}
    assert document["pause"] == {"paused_by": "ann", "reason": PAUSE.reason, "paused_at": "1970-01-01T00:01:00Z"}
    assert document["processors"] == []


async def test_a_watched_queue_is_a_document_for_each_refresh_and_outlives_an_outage(
    services: ScriptedServices, cli: Cli
) -> None:
    async def get(request: Any, context: Any) -> Any:
        # RESOURCE_EXHAUSTED, which the channel does not try again by itself.
        if len(services.requests) in (2, 3):
            await refuse(context, Unavailable(errors_pb2.ERROR_REASON_MEMORY_SHORT, "no memory", retry_after=0.01))
        return the_queue(waiting=len(services.requests))

    services.on("GetQueue", get)
    process = await cli.start("queue", "--watch", "--json")
    assert process.stdout is not None
    async with asyncio.timeout(DEADLINE):
        told = [json.loads(await process.stdout.readline())["waiting"] for _ in range(2)]
    process.send_signal(signal.SIGINT)
    result = await ended(process)
    assert (result.code, told) == (130, [1, 4])
    assert result.err.splitlines() == ["queue: no memory; trying again", "queue: connected again", "interrupted"]


async def test_a_watched_queue_gives_up_after_its_retries(services: ScriptedServices, cli: Cli) -> None:
    async def get(request: Any, context: Any) -> Any:
        await context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")

    services.on("GetQueue", get)
    result = await cli.run("queue", "--watch", "--retries", "1")
    assert (result.code, result.out) == (3, "")
    assert "cannot be reached" in result.err.splitlines()[-1]


async def test_a_terminal_shows_the_queue_in_place_with_the_pause_in_bold(services: ScriptedServices, cli: Cli) -> None:
    services.on("GetQueue", queue_of(the_queue(), the_queue(waiting=77, processors=[])))
    async with cli.terminal("queue", "--watch") as terminal:
        await terminal.shows("\x1b[1mPAUSED by ann since ")
        await terminal.shows(r"new \x1b[31mdisk")
        await terminal.shows("1,204")
        await terminal.shows("worker-1")
        await terminal.shows("\x1b[2K")  # What was there is taken away.
        await terminal.shows("77")
        await terminal.shows("no processor has told of itself lately")
        terminal.process.send_signal(signal.SIGINT)
        assert await terminal.ends() == 130
    text = terminal.screen.decode()
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l"), "the cursor is shown again"


async def test_a_terminal_keeps_the_last_queue_while_the_service_is_away(services: ScriptedServices, cli: Cli) -> None:
    async def get(request: Any, context: Any) -> Any:
        if len(services.requests) == 2:
            await refuse(context, Unavailable(errors_pb2.ERROR_REASON_MEMORY_SHORT, "no memory", retry_after=0.01))
        return the_queue(pause=None)

    services.on("GetQueue", get)
    async with cli.terminal("queue", "--watch") as terminal:
        await terminal.shows("Ctrl-C ends")
        await terminal.shows("1,204")
        await terminal.shows("no memory; trying again in")
        await terminal.shows("1,204")
        await terminal.shows("Ctrl-C ends")
        terminal.process.send_signal(signal.SIGINT)
        assert await terminal.ends() == 130


async def test_who_is_no_operator_is_told_what_to_ask_for(services: ScriptedServices, cli: Cli) -> None:
    for call, command in (("GetQueue", "queue"), ("PauseProcessing", "pause"), ("ResumeProcessing", "resume")):
        services.on(call, refuse_operator)
        result = await cli.run(command)
        assert (result.code, result.out) == (1, "")
        assert result.err == (
            "error: this call needs a token with the claim `operator`; ask for one and set MATERIALS_TOKEN to it\n"
        )
    assert (await cli.run("queue", "--watch")).code == 1


# --- pause and resume


async def test_a_pause_says_what_stands_also_when_it_is_an_older_one(services: ScriptedServices, cli: Cli) -> None:
    async def pause(request: Any, context: Any) -> Any:
        return status_service_pb2.PauseProcessingResponse(pause=PAUSE)

    services.on("PauseProcessing", pause)
    result = await cli.run("pause", "--reason", PAUSE.reason)
    assert result.code == 0
    assert re.fullmatch(r"processing is paused by ann since 1970-01-01 .+: new \\x1b\[31mdisk\n", result.out)
    assert "materials resume" in result.err
    assert services.requests[0].reason == PAUSE.reason
    # Two may have the same reason, or none: the answer does not tell whose the pause is.
    for other in (result, await cli.run("pause", "--reason", "lunch"), await cli.run("pause")):
        assert "if it was paused already, that pause stands: see by whom, since when and why" in other.err
    (document,) = (await cli.run("pause", "--json")).documents
    assert document["pause"]["paused_by"] == "ann"


async def test_a_reason_that_is_refused_is_told_in_the_words_of_the_service(
    services: ScriptedServices, cli: Cli
) -> None:
    async def pause(request: Any, context: Any) -> Any:
        await refuse(context, FieldInvalid("reason", "must have at most 500 characters"))

    services.on("PauseProcessing", pause)
    result = await cli.run("pause", "--reason", "x" * 501)
    assert (result.code, result.err) == (1, "error: reason: must have at most 500 characters\n")


async def test_a_resume_says_what_it_ended_or_that_nothing_was_paused(services: ScriptedServices, cli: Cli) -> None:
    standing = [PAUSE]

    async def resume(request: Any, context: Any) -> Any:
        return status_service_pb2.ResumeProcessingResponse(pause=standing.pop() if standing else None)

    services.on("ResumeProcessing", resume)
    result = await cli.run("resume")
    assert (result.code, result.err) == (0, "")
    assert result.out.startswith("processing goes on; it was paused by ann since 1970-01-01 ")
    result = await cli.run("resume")
    assert (result.code, result.out) == (0, "processing was not paused; it goes on\n")
    assert (await cli.run("resume", "--json")).documents == [{"pause": None}]
