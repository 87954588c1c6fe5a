"""`materials queue`, `pause` and `resume`: for those who look after the system."""

from __future__ import annotations

from typing import Annotated

import typer
from materials.v1 import status_service_pb2

from materials_cli.commands.running import DEFAULT_RETRIES, Json, Retries, run, run_with_view
from materials_cli.connection import CALL_SECONDS, Connection
from materials_cli.documents import to_json
from materials_cli.presentation import console, print_notice
from materials_cli.queue_report import Queue, pause_text, print_queue
from materials_cli.queue_watch import QueueScreen, watch_queue
from materials_cli.refusals import explained
from materials_cli.retrying import Attempts, Backoff
from materials_cli.views import LinesView, View
from servicekit.documents import document


def queue(
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Stay and show it anew every 2 s, until Ctrl-C.")
    ] = False,
    retries: Retries = DEFAULT_RETRIES,
    json: Json = False,
) -> None:
    """Show what waits, what failed, and who works.

    For operators: waiting, working and failed materials, the processors and how they find the AI Brain, and what
    needs a person. Where standard output is no terminal: lines that begin with the thing's name, separated by tabs.
    """
    show = _print_document if json else print_queue

    async def once(connection: Connection) -> None:
        with explained(connection.service("status")):
            request = status_service_pb2.GetQueueRequest()
            show(await connection.status.GetQueue(request, metadata=connection.identity, timeout=CALL_SECONDS))

    if not watch:
        run(once)
        return
    screen = console()
    view: View = LinesView()
    if not json and screen.is_terminal and not screen.is_dumb_terminal:
        view = live = QueueScreen(screen)
        show = live.show

    async def watched(connection: Connection) -> None:
        attempts = Attempts(Backoff(retries), connection.service("status"), "queue", view)
        await watch_queue(connection, attempts, show)

    run_with_view(view, watched)


def pause(
    reason: Annotated[
        str, typer.Option("--reason", "-r", metavar="TEXT", help="Why, for people; shown in the queue.")
    ] = "",
    json: Json = False,
) -> None:
    """Let no processor begin with another material.

    For operators. What is under way is finished; uploads are taken as ever and wait. When it is paused already,
    that pause stands.
    """

    async def work(connection: Connection) -> None:
        request = status_service_pb2.PauseProcessingRequest(reason=reason)
        with explained(connection.service("status")):
            response = await connection.status.PauseProcessing(
                request, metadata=connection.identity, timeout=CALL_SECONDS
            )
        if json:
            print(to_json(document(response)), flush=True)
            return
        print(f"processing is paused {pause_text(response.pause)}", flush=True)
        # Whether it is the pause just asked for cannot be told from the answer: somebody else's may have the same reason.
        print_notice("if it was paused already, that pause stands: see by whom, since when and why")
        print_notice("what is under way is finished, and uploads wait; go on with: materials resume")

    run(work)


def resume(json: Json = False) -> None:
    """End a pause.

    For operators. Processors go on within seconds. When nothing is paused it changes nothing.
    """

    async def work(connection: Connection) -> None:
        request = status_service_pb2.ResumeProcessingRequest()
        with explained(connection.service("status")):
            response = await connection.status.ResumeProcessing(
                request, metadata=connection.identity, timeout=CALL_SECONDS
            )
        if json:
            print(to_json(document(response)), flush=True)
        elif response.HasField("pause"):
            print(f"processing goes on; it was paused {pause_text(response.pause)}", flush=True)
        else:
            print("processing was not paused; it goes on", flush=True)

    run(work)


def _print_document(queue: Queue) -> None:
    print(to_json(document(queue)), flush=True)
