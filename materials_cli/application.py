"""`materials`: the commands under one roof, their help, and how errors leave."""

from __future__ import annotations

import io
import os
import sys

import typer
from typer.exceptions import TyperException

from materials_cli.commands import asking, changing, looking, opening, operating, reading, reindexing, transfer, watch
from materials_cli.errors import CommandError, ExitCode
from materials_cli.presentation import print_error

HELP = """Upload study material, watch it being read, search what was read, and ask questions about it.

Services and identity come from MATERIALS_INGEST, MATERIALS_STATUS and MATERIALS_PROCESSOR (host:port each), MATERIALS_GATEWAY (URL) and MATERIALS_TOKEN,
or else from the local stack that runs (`make run`): the file named by MATERIALS_STACK, or .local/run/stack.json in this folder or one above.
Services that speak TLS: MATERIALS_CA_FILE names the authority that signed their certificates (PEM), MATERIALS_CERT_FILE and MATERIALS_KEY_FILE
a certificate to show them where they want one, MATERIALS_SERVER_NAME the name in theirs where it is not the host they are called by.

\b
Exit codes:
    0  done
    1  the operation failed: a service refused it, or a watched material failed;
       also when several items failed in different ways
    2  wrong usage
    3  a service cannot be reached, or nothing says where it is
    4  not found
  130  interrupted (Ctrl-C), 143 terminated

With --json each command writes one JSON document a line to standard output; errors are lines on standard error.
"""

EXAMPLES = {
    "upload": "materials upload notes.pdf '*.png' --course algebra --watch",
    "list": "materials list --course algebra --status failed",
    "show": "materials show 6f9c2a1e-58b7-4a57-9c0d-2f8e4f1a7b3c --history",
    "watch": "materials watch --course algebra",
    "text": "materials text 6f9c2a1e-58b7-4a57-9c0d-2f8e4f1a7b3c --follow",
    "search": "materials search 'when is a matrix invertible?' --course algebra --limit 5",
    "ask": "materials ask 'why do siblings differ?' --course biology-101",
    "download": "materials download 6f9c2a1e-58b7-4a57-9c0d-2f8e4f1a7b3c -o notes.pdf",
    "retry": "materials retry --failed --reason brain_failed --course algebra",
    "cancel": "materials cancel 6f9c2a1e-58b7-4a57-9c0d-2f8e4f1a7b3c",
    "delete": "materials delete 6f9c2a1e-58b7-4a57-9c0d-2f8e4f1a7b3c --yes",
    "open": "materials open",
    "queue": "materials queue --watch",
    "pause": "materials pause --reason 'the AI Brain gets a new model'",
    "resume": "materials resume",
    "reindex": "materials reindex --status",
}

app = typer.Typer(
    name="materials",
    help=HELP,
    epilog="Example: materials upload notes.pdf --course algebra --watch",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
for _name, _command in (
    ("upload", transfer.upload),
    ("list", looking.list_materials),
    ("show", looking.show),
    ("watch", watch.watch),
    ("text", reading.text),
    ("search", reading.search),
    ("ask", asking.ask),
    ("download", transfer.download),
    ("retry", changing.retry),
    ("cancel", changing.cancel),
    ("delete", changing.delete),
    ("open", opening.open_page),
    ("queue", operating.queue),
    ("pause", operating.pause),
    ("resume", operating.resume),
    ("reindex", reindexing.reindex),
):
    app.command(_name, epilog=f"Example: {EXAMPLES[_name]}")(_command)


def main() -> None:
    """Runs a command and exits with its code: never with a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # A name that the terminal's encoding lacks is no reason to fail.
            stream.reconfigure(errors="backslashreplace")
    try:
        sys.exit(app(args=sys.argv[1:] or ["--help"], prog_name="materials", standalone_mode=False))
    except KeyboardInterrupt:
        sys.exit(ExitCode.INTERRUPTED)
    except typer.Abort:
        print(file=sys.stderr)  # Ends the line of the question that was not answered.
        sys.exit(ExitCode.INTERRUPTED)
    except Exception as error:
        sys.exit(_told(error))


def _told(error: Exception) -> ExitCode:
    """Says what went wrong, in one line; the exit code."""
    match error:
        case ExceptionGroup():  # Of tasks; each ends the others, so the first is the cause.
            return _told(error.exceptions[0])
        case CommandError():
            print_error(error.message)
            return error.exit_code
        case TyperException():
            print_error(_usage(error))
            return ExitCode.WRONG_USAGE
        case UnicodeEncodeError():
            print_error("an argument is not valid UTF-8; write it in the terminal's encoding")
            return ExitCode.WRONG_USAGE
        case BrokenPipeError():  # The reader of our output has left; nor may the interpreter write to it at its end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return ExitCode.FAILED
    print_error(f"something unforeseen went wrong ({type(error).__name__}: {error}); please report it")
    return ExitCode.FAILED


def _usage(error: TyperException) -> str:
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "materials"
    message = error.format_message()
    return f"{message}{'' if message.endswith(('.', '?')) else '.'} See: {path} --help"
