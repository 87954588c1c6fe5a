"""What every command shares: its common options, and one event loop that ends cleanly on Ctrl-C and SIGTERM."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from materials_cli.bars import BarsView
from materials_cli.connection import Connection, find_settings
from materials_cli.errors import ExitCode, exit_code_of
from materials_cli.presentation import console, print_notice
from materials_cli.views import JsonView, LinesView, View

Json = Annotated[
    bool, typer.Option("--json", help="Write one JSON document a line, and nothing else, to standard output.")
]
MaterialId = Annotated[str, typer.Argument(metavar="ID", help="The material's id, as `materials list` shows it.")]
MaterialIds = Annotated[
    list[str], typer.Argument(metavar="ID", help="Ids of materials, as `materials list` shows them.")
]
Course = Annotated[str, typer.Option("--course", "-c", metavar="COURSE", help="The course's id.")]
Retries = Annotated[
    int, typer.Option("--retries", min=0, max=100, metavar="N", help="Tries again after as many failures in a row.")
]
DEFAULT_RETRIES = 8


def make_view(*, json: bool) -> View:
    """Documents if asked for, bars on a terminal that can move its cursor, plain lines elsewhere."""
    if json:
        return JsonView()
    screen = console()
    return BarsView() if screen.is_terminal and not screen.is_dumb_terminal else LinesView()


def run(work: Callable[[Connection], Coroutine[Any, Any, None]], interrupted: Callable[[], None] | None = None) -> None:
    """Runs `work` with a connection. Raises CommandError, and typer.Exit when it was interrupted."""
    settings = find_settings(os.environ, Path.cwd())

    async def connected() -> None:
        # SIGTERM as SIGINT: cancels the work, which puts everything away. Where loops know no signals it ends the process at once.
        if (task := asyncio.current_task()) is not None and os.name == "posix":
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        async with Connection(settings) as connection:
            await work(connection)

    tell = interrupted or (lambda: print_notice("interrupted"))
    try:
        asyncio.run(connected())
    except KeyboardInterrupt:
        tell()
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    except asyncio.CancelledError:
        tell()
        raise typer.Exit(ExitCode.TERMINATED) from None


def run_with_view(view: View, work: Callable[[Connection], Coroutine[Any, Any, None]]) -> NoReturn:
    """As `run`, with a view that is put away before anything else is said; its errors decide the exit code."""

    async def shown(connection: Connection) -> None:
        with view:
            await work(connection)

    run(shown, view.interrupted)
    raise typer.Exit(exit_code_of(view.errors))
