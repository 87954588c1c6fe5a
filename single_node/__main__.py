"""`python -m single_node`: the whole system on this machine."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Annotated

import typer

from single_node.composition import run
from single_node.errors import BadOption, SingleNodeError
from single_node.options import Options, parse_ports, parse_replicas, parse_via
from single_node.stack import SERVICES

HELP = """Start the whole system on this machine and keep it up until Ctrl-C or SIGTERM.

Postgres with pgvector, a NATS server, the local AI Brain, the services and
the gateway with its page start as processes of their own, on loopback only;
no root, Docker or network is needed. A process that dies is started again.
Everything is kept in the data directory: start again on it and your
materials are still there; delete it to start from nothing.

\b
Examples:
  python -m single_node
  python -m single_node --data-dir /tmp/trial --replicas processor=2,status=2
  python -m single_node --port gateway=8000 --port status=50052
  AI_BRAIN_ENDPOINT=http://gpu.example:8001 python -m single_node

\b
Every setting of the services is passed on to them, among them
  AI_BRAIN_ENDPOINT   an AI Brain elsewhere; none is started here then
  OBJECT_STORE_URL    where files go (default: the data directory)
  NATS_URL            NATS with JetStream elsewhere, several servers with
                      commas; none is started here then
  LOG_LEVEL, AI_BRAIN_TIMEOUT, MAX_UPLOAD_BYTES, PROCESSOR_SLOTS, ...
Other addresses, database URLs and keys are set here and cannot be overridden; on
loopback nothing speaks TLS.

\b
In the data directory:
  stack.json      endpoints and token of the running stack, as --json prints
                  them; the `materials` command reads it
  logs/NAME.log   what each process has to say
"""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command(help=HELP)
def start(
    data_dir: Annotated[
        Path, typer.Option(help="Where everything is kept. Two stacks run side by side in two data directories.")
    ] = Path(".local/run"),
    json: Annotated[
        bool, typer.Option("--json", help="Print one line of JSON when ready, instead of a screen for people.")
    ] = False,
    replicas: Annotated[
        str, typer.Option(metavar="NAME=N,…", help="How many of a service to run; one of each otherwise.")
    ] = "",
    port: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=N",
            help="The port of a part (ingest, status, processor-2, nats, …); else the one it had before, or a free one: 8080 for the gateway, if it can be.",
        ),
    ] = None,
    via: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SERVICE:PART=N",
            help="Let a service connect to a part by this port, where a proxy of yours listens.",
        ),
    ] = None,
) -> None:
    """Parses the options and runs; exits with 2 for options that make no sense and 1 when the stack cannot start."""
    try:
        options = Options(
            data_dir,
            json,
            parse_replicas(replicas, SERVICES),
            parse_ports(port or []),
            parse_via(via or [], SERVICES),
        )
        asyncio.run(run(options))
    except SingleNodeError as error:
        print(f"single_node: {error}", file=sys.stderr)
        raise typer.Exit(2 if isinstance(error, BadOption) else 1) from None


if __name__ == "__main__":
    app()
