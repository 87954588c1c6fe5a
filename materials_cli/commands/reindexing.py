"""`materials reindex`: the search index built anew, by those who look after the system."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer
from materials.v1 import processor_service_pb2 as pb

from materials_cli.commands.running import DEFAULT_RETRIES, Json, Retries, run, run_with_view
from materials_cli.connection import CALL_SECONDS, Connection
from materials_cli.documents import to_json
from materials_cli.errors import CommandError, WrongUsage
from materials_cli.index_report import IndexDocuments, IndexScreen, IndexView, generation_text, print_index
from materials_cli.presentation import console
from materials_cli.refusals import explained
from materials_cli.retrying import Attempts, Backoff
from servicekit.documents import document

LOOK_SECONDS = 1.0


def reindex(
    model: Annotated[
        str, typer.Option("--model", metavar="NAME", help="The embedding model, as the processors' settings name it.")
    ] = "",
    status: Annotated[bool, typer.Option("--status", help="Only show what is in use and what is being built.")] = False,
    cancel: Annotated[
        bool, typer.Option("--cancel", help="Give up what is being built; what is in use stays.")
    ] = False,
    retries: Retries = DEFAULT_RETRIES,
    json: Json = False,
) -> None:
    """Build the search index anew, and put it in use when it is complete.

    For operators: after a change of the embedding model, or of the software that cuts pages into passages. Nothing is
    read again: only the passages are made anew, behind what uploads need of the AI Brain. Search goes on in the index
    that is in use, and changes to the new one at once.

    It shows how far it is until then. Ctrl-C leaves it running in the background, where it survives restarts; the same
    command shows it again. Another model: set NEXT_EMBEDDING_MODEL and NEXT_AI_BRAIN_ENDPOINT at the processors first.
    """
    if status + cancel + bool(model) > 1:
        raise WrongUsage("use one of --model, --status and --cancel at a time")
    if status or cancel:
        run(lambda connection: (_look if status else _cancel)(connection, json))
        return
    screen = console()
    view: IndexView = IndexView()
    if json:
        view = IndexDocuments()
    elif screen.is_terminal and not screen.is_dumb_terminal:
        view = IndexScreen(screen)
    run_with_view(view, lambda connection: _build(connection, model, view, Backoff(retries)))


async def _look(connection: Connection, json: bool) -> None:
    with explained(connection.service("processor")):
        index = await connection.processor.GetIndex(
            pb.GetIndexRequest(), metadata=connection.identity, timeout=CALL_SECONDS
        )
    if json:
        print(to_json(document(index)), flush=True)
    else:
        print_index(index)


async def _cancel(connection: Connection, json: bool) -> None:
    with explained(connection.service("processor")):
        response = await connection.processor.CancelReindex(
            pb.CancelReindexRequest(), metadata=connection.identity, timeout=CALL_SECONDS
        )
    if json:
        print(to_json(document(response)), flush=True)
    else:
        print(f"nothing is being built; in use is index {generation_text(response.serving)}", flush=True)


async def _build(connection: Connection, model: str, view: IndexView, backoff: Backoff) -> None:
    """Starts, and shows how far it is until it is in use. Raises CommandError, also when somebody gives it up."""
    service = connection.service("processor")
    with explained(service):
        response = await connection.processor.StartReindex(
            pb.StartReindexRequest(embedding_model=model), metadata=connection.identity, timeout=CALL_SECONDS
        )
    started = response.building
    if model and started.embedding_model != model:
        raise CommandError(
            f"index {generation_text(started)} is being built already; wait for it, or give it up with: materials reindex --cancel"
        )
    attempts = Attempts(backoff, service, "reindex", view)
    while True:
        index = await attempts.answered(
            lambda: connection.processor.GetIndex(pb.GetIndexRequest(), metadata=connection.identity)
        )
        if index.serving.generation >= started.generation:
            view.in_use(index)
            return
        if index.building.generation != started.generation:
            raise CommandError(f"index {generation_text(started)} was given up; begin again with: materials reindex")
        view.building(index)
        await asyncio.sleep(LOOK_SECONDS)
