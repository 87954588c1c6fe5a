"""The command line for operators: `materials reindex`."""

from __future__ import annotations

import asyncio
import signal
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from materials.v1 import errors_pb2
from materials.v1 import processor_service_pb2 as pb

from servicekit.errors import FieldInvalid, ServiceError, Unavailable
from tests.contract.command_line import DEADLINE, Cli, ended
from tests.contract.scripted_services import ScriptedServices, refuse

SERVING = pb.IndexGeneration(
    generation=1,
    embedding_model="old\x1b[31m",
    chunking_rule="1",
    pages_done=40,
    pages_total=40,
    started_at=Timestamp(seconds=60),
    switched_at=Timestamp(seconds=120),
)


def building(done: int, message: str = "") -> pb.IndexGeneration:
    return pb.IndexGeneration(
        generation=2,
        embedding_model="new",
        chunking_rule="2",
        pages_done=done,
        pages_total=40,
        started_at=Timestamp(seconds=180),
        status_message=message,
    )


def in_use() -> pb.IndexGeneration:
    generation = building(40)
    generation.switched_at.seconds = 240
    return generation


def at(*indexes: pb.GetIndexResponse) -> Any:
    """Each once, and the last for ever."""
    left = list(indexes)

    async def get(request: Any, context: Any) -> pb.GetIndexResponse:
        return left.pop(0) if len(left) > 1 else left[0]

    return get


async def start(request: Any, context: Any) -> pb.StartReindexResponse:
    return pb.StartReindexResponse(building=building(0))


async def test_it_is_followed_until_the_index_is_in_use(services: ScriptedServices, cli: Cli) -> None:
    services.on("StartReindex", start)
    services.on(
        "GetIndex",
        at(
            pb.GetIndexResponse(serving=SERVING, building=building(1)),
            pb.GetIndexResponse(serving=SERVING, building=building(2, "waits: the AI Brain is away")),
            pb.GetIndexResponse(serving=in_use()),
        ),
    )
    result = await cli.run("reindex", "--model", "new")
    assert (result.code, result.err) == (0, "")
    assert services.requests[0] == pb.StartReindexRequest(embedding_model="new")
    name = "2 (embedding model new, chunking rule 2)"
    assert result.out.splitlines() == [
        f"building\t{name}\t1 of 40 pages, 2 %",
        f"building\t{name}\t2 of 40 pages, 5 %; waits: the AI Brain is away",
        f"serving\t{name}\t40 of 40 pages, 100 %",
    ]


async def test_documents_are_what_the_service_says(services: ScriptedServices, cli: Cli) -> None:
    services.on("StartReindex", start)
    services.on(
        "GetIndex",
        at(pb.GetIndexResponse(serving=SERVING, building=building(1)), pb.GetIndexResponse(serving=in_use())),
    )
    first, last = (await cli.run("reindex", "--json")).documents
    assert (first["building"]["pages_done"], first["serving"]["generation"]) == (1, 1)
    assert (last["building"], last["serving"]["generation"]) == (None, 2)


async def test_ctrl_c_leaves_it_running_and_says_so(services: ScriptedServices, cli: Cli) -> None:
    services.on("StartReindex", start)
    services.on("GetIndex", at(pb.GetIndexResponse(serving=SERVING, building=building(1))))
    process = await cli.start("reindex")
    assert process.stdout is not None
    async with asyncio.timeout(DEADLINE):
        await process.stdout.readline()
    process.send_signal(signal.SIGINT)
    result = await ended(process)
    assert result.code == 130
    assert "goes on being built" in result.err
    assert "materials reindex --status" in result.err


async def test_a_terminal_shows_it_in_place(services: ScriptedServices, cli: Cli) -> None:
    services.on("StartReindex", start)
    services.on(
        "GetIndex",
        at(pb.GetIndexResponse(serving=SERVING, building=building(10)), pb.GetIndexResponse(serving=in_use())),
    )
    async with cli.terminal("reindex") as terminal:
        await terminal.shows("10 of 40 pages, 25 %")
        await terminal.shows("serving\t2 (embedding model new")
        assert await terminal.ends() == 0


async def test_it_outlives_an_outage(services: ScriptedServices, cli: Cli) -> None:
    async def get(request: Any, context: Any) -> pb.GetIndexResponse:
        if len(services.requests) == 2:
            await refuse(context, Unavailable(errors_pb2.ERROR_REASON_MEMORY_SHORT, "no memory", retry_after=0.01))
        return pb.GetIndexResponse(serving=in_use())

    services.on("StartReindex", start)
    services.on("GetIndex", get)
    result = await cli.run("reindex")
    assert result.code == 0
    assert result.err.splitlines() == ["reindex: no memory; trying again", "reindex: connected again"]


async def test_given_up_by_somebody_is_a_failure(services: ScriptedServices, cli: Cli) -> None:
    services.on("StartReindex", start)
    services.on("GetIndex", at(pb.GetIndexResponse(serving=SERVING)))
    result = await cli.run("reindex")
    assert (result.code, result.out) == (1, "")
    assert "was given up" in result.err


async def test_another_model_than_the_one_being_built_is_a_failure(services: ScriptedServices, cli: Cli) -> None:
    services.on("StartReindex", start)
    result = await cli.run("reindex", "--model", "third")
    assert result.code == 1
    assert "is being built already" in result.err


async def test_status_shows_both_and_changes_nothing(services: ScriptedServices, cli: Cli) -> None:
    services.on("GetIndex", at(pb.GetIndexResponse(serving=SERVING, building=building(4, "waits: x"))))
    result = await cli.run("reindex", "--status")
    assert (result.code, result.err) == (0, "")
    assert [line.split("\t") for line in result.out.splitlines()] == [
        [
            "serving",
            r"1 (embedding model old\x1b[31m, chunking rule 1)",
            "40 of 40 pages, 100 %",
            "since 1970-01-01 00:02:00 UTC",
        ],
        [
            "building",
            "2 (embedding model new, chunking rule 2)",
            "4 of 40 pages, 10 %; waits: x",
            "since 1970-01-01 00:03:00 UTC",
        ],
    ]
    (document,) = (await cli.run("reindex", "--status", "--json")).documents
    assert document["building"]["status_message"] == "waits: x"
    assert {type(request) for request in services.requests} == {pb.GetIndexRequest}


async def test_cancel_gives_it_up(services: ScriptedServices, cli: Cli) -> None:
    async def cancel(request: Any, context: Any) -> pb.CancelReindexResponse:
        return pb.CancelReindexResponse(serving=in_use())

    services.on("CancelReindex", cancel)
    result = await cli.run("reindex", "--cancel")
    assert (result.code, result.err) == (0, "")
    assert "in use is index 2 (embedding model new" in result.out
    (document,) = (await cli.run("reindex", "--cancel", "--json")).documents
    assert document["serving"]["generation"] == 2


async def test_refusals_say_what_to_do(services: ScriptedServices, cli: Cli) -> None:
    async def no_operator(request: Any, context: Any) -> Any:
        message = "this call needs a token with the claim `operator`"
        await refuse(context, ServiceError(errors_pb2.ERROR_REASON_OPERATOR_REQUIRED, message))

    async def unknown(request: Any, context: Any) -> Any:
        await refuse(context, FieldInvalid("embedding_model", "is none that is set"))

    services.on("GetIndex", no_operator)
    result = await cli.run("reindex", "--status")
    assert result.code == 1
    assert "set MATERIALS_TOKEN" in result.err
    services.on("StartReindex", unknown)
    result = await cli.run("reindex", "--model", "third")
    assert result.code == 1
    assert "embedding_model" in result.err
    assert (await cli.run("reindex", "--status", "--cancel")).code == 2
