"""The command line changes materials one by one, and says what went wrong and what to do."""

from __future__ import annotations

import asyncio
import json
import signal
from typing import Any

import pytest
from materials.v1 import errors_pb2, status_service_pb2
from materials.v1 import material_pb2 as pb

from servicekit.errors import ServiceError
from tests.contract.command_line import DEADLINE, ID, OTHER, Cli, ended, material, not_found
from tests.contract.scripted_services import TOKEN, ScriptedServices, refuse


async def test_changes_go_through_all_ids_and_report_each(services: ScriptedServices, cli: Cli) -> None:
    async def cancel(request: Any, context: Any) -> Any:
        if request.material_id == OTHER:
            await refuse(context, ServiceError(errors_pb2.ERROR_REASON_COURSE_WRITE_DENIED, "only an editor may"))
        state = material(3, "failed", failure_reason=pb.FAILURE_REASON_CANCELLED, retryable=True)
        return status_service_pb2.CancelMaterialResponse(material=state)

    services.on("CancelMaterial", cancel)
    result = await cli.run("cancel", OTHER, ID, "--json")
    assert result.code == 1
    assert result.documents[0]["error"]["reason"] == "course_write_denied"
    assert result.documents[1]["failure_reason"] == "cancelled"


async def test_nothing_is_deleted_without_a_yes(services: ScriptedServices, cli: Cli) -> None:
    async def delete(request: Any, context: Any) -> Any:
        return status_service_pb2.DeleteMaterialResponse()

    services.on("DeleteMaterial", delete)
    refused = await cli.run("delete", ID)
    assert refused.code == 2
    assert "--yes" in refused.err
    assert services.requests == []
    result = await cli.run("delete", ID, "--yes", "--json")
    assert (result.code, result.documents) == (0, [{"id": ID, "deleted": True}])


async def test_changes_that_had_nothing_to_do_say_so(services: ScriptedServices, cli: Cli) -> None:
    states = {ID: material(4, "completed"), OTHER: material(3, "failed", id=OTHER, retryable=True)}

    async def get(request: Any, context: Any) -> Any:
        return status_service_pb2.GetMaterialResponse(material=states[request.material_id])

    async def retry(request: Any, context: Any) -> Any:
        if request.material_id == OTHER:
            states[OTHER] = material(5, "pending", id=OTHER)
        return status_service_pb2.RetryMaterialResponse(material=states[request.material_id])

    async def cancel(request: Any, context: Any) -> Any:
        if request.material_id == OTHER:
            states[OTHER] = material(6, "failed", id=OTHER, failure_reason=pb.FAILURE_REASON_CANCELLED)
        return status_service_pb2.CancelMaterialResponse(material=states[request.material_id])

    services.on("GetMaterial", get)
    services.on("RetryMaterial", retry)
    services.on("CancelMaterial", cancel)
    result = await cli.run("retry", ID, OTHER)
    assert (result.code, result.err) == (0, "")
    assert result.out.splitlines() == [
        f"{ID}\tnot failed: nothing to retry\tnotes.pdf",
        f"{OTHER}\tpending\tnotes.pdf",
    ]
    result = await cli.run("cancel", ID, OTHER)
    assert (result.code, result.err) == (0, "")
    assert result.out.splitlines() == [
        f"{ID}\talready completed: nothing to cancel\tnotes.pdf",
        f"{OTHER}\tfailed: cancelled\tnotes.pdf",
    ]


@pytest.mark.parametrize(("answer", "code", "deleted"), [("y\n", 0, [ID, OTHER]), ("n\n", 1, [])])
async def test_the_question_before_deleting_names_the_materials(
    services: ScriptedServices, cli: Cli, answer: str, code: int, deleted: list[str]
) -> None:
    gone: list[str] = []

    async def batch(request: Any, context: Any) -> Any:
        known = {ID: material(1, "completed"), OTHER: material(1, "completed", id=OTHER, name="b\x1b.png")}
        found = [known[each] for each in request.material_ids if each in known]
        return status_service_pb2.BatchGetMaterialsResponse(materials=found)

    async def delete(request: Any, context: Any) -> Any:
        gone.append(request.material_id)
        return status_service_pb2.DeleteMaterialResponse()

    services.on("BatchGetMaterials", batch)
    services.on("DeleteMaterial", delete)
    async with cli.terminal("delete", ID, OTHER) as terminal:
        await terminal.shows("notes.pdf (course algebra)")
        await terminal.shows(r"b\x1b.png (course algebra)")
        await terminal.shows("delete 2 materials for good?")
        terminal.types(answer)
        assert await terminal.ends() == code
    assert gone == deleted
    async with cli.terminal("delete", ID) as terminal:
        await terminal.shows("delete notes.pdf (course algebra) for good?")
        terminal.types("n\n")
        assert await terminal.ends() == 1
    async with cli.terminal("delete", "unknown") as terminal:
        await terminal.shows("error: unknown: there is no such material")
        assert await terminal.ends() == 4
    assert gone == deleted


async def test_ctrl_c_while_the_program_is_loaded_ends_it_without_a_word(cli: Cli) -> None:
    # Found before the installed one: an import that takes ten minutes.
    cli.file("typer.py", b"import time\nprint('loading', flush=True)\ntime.sleep(600)\n")
    process = await cli.start("list")
    assert process.stdout is not None
    async with asyncio.timeout(DEADLINE):
        assert await process.stdout.readline() == b"loading\n"
    process.send_signal(signal.SIGINT)
    result = await ended(process)
    assert (result.code, result.out, result.err) == (130, "", "")


# --- errors


async def test_what_is_not_there_is_not_found(services: ScriptedServices, cli: Cli) -> None:
    async def get(request: Any, context: Any) -> Any:
        await refuse(context, not_found())

    services.on("GetMaterial", get)
    result = await cli.run("show", ID, "--json")
    assert (result.code, result.out) == (4, "")
    assert result.err == f"error: {ID}: there is no such material; see `materials list`\n"


async def test_a_service_that_is_not_there_is_named_with_what_to_do(cli: Cli) -> None:
    cli.environment["MATERIALS_STATUS"] = "127.0.0.1:1"
    for command in (("list",), ("watch", ID, "--retries", "0")):
        result = await cli.run(*command)
        assert (result.code, result.out) == (3, "")
        assert len(result.err.splitlines()) == 1
        assert "the status service at 127.0.0.1:1 (from MATERIALS_STATUS) cannot be reached" in result.err
        assert "make run" in result.err


async def test_without_any_setting_the_error_says_how_to_begin(cli: Cli) -> None:
    for name in ("MATERIALS_INGEST", "MATERIALS_TOKEN"):
        del cli.environment[name]
    result = await cli.run("upload", cli.file("a.pdf"), "-c", "algebra")
    assert result.code == 3
    assert "make run" in result.err
    assert "MATERIALS_INGEST" in result.err


async def test_the_running_stack_is_found_from_a_folder_below(services: ScriptedServices, cli: Cli) -> None:
    async def page(request: Any, context: Any) -> Any:
        return status_service_pb2.ListMaterialsResponse(materials=[material(1, "completed")])

    services.on("ListMaterials", page)
    for name in ("INGEST", "STATUS", "PROCESSOR", "TOKEN"):
        del cli.environment[f"MATERIALS_{name}"]
    stack = cli.folder / ".local" / "run" / "stack.json"
    stack.parent.mkdir(parents=True)
    stack.write_text(json.dumps({"status": services.address, "token": TOKEN}))
    below = cli.folder / "notes"
    below.mkdir()
    result = await Cli(below, cli.environment).run("list", "--json")
    assert (result.code, len(result.documents)) == (0, 1), result.err


async def test_a_refused_token_says_what_to_do(cli: Cli) -> None:
    cli.environment["MATERIALS_TOKEN"] = "another"
    result = await cli.run("list")
    assert result.code == 1
    assert "MATERIALS_TOKEN" in result.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("lis",),
        ("upload", "--course", "algebra"),
        ("upload", "gone.pdf", "--course", "algebra"),
        ("upload", ".", "--course", "algebra"),
        ("list", "--limit", "0"),
        ("search", "x", "--course", "algebra", "--limit", "11"),
        ("watch",),
        ("watch", ID, "--course", "algebra"),
    ],
)
async def test_wrong_usage_is_one_line(cli: Cli, arguments: tuple[str, ...]) -> None:
    result = await cli.run(*arguments)
    assert (result.code, result.out) == (2, "")
    assert len(result.err.splitlines()) == 1
    assert result.err.startswith("error: ")


async def test_help_tells_exit_codes_and_each_command_has_an_example(cli: Cli) -> None:
    top = await cli.run("--help")
    assert top.code == 0
    assert "Exit codes:" in top.out
    assert all(variable in top.out for variable in ("MATERIALS_INGEST", "MATERIALS_TOKEN", "MATERIALS_STACK"))
    for command in ("upload", "retry"):
        example = (await cli.run(command, "--help")).out.split("Example:")[1]
        assert f"materials {command}" in " ".join(example.split())
