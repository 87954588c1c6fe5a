"""What a ready stack tells: one JSON document for programs, a screen for people."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from rich.console import Console
from rich.text import Text

from single_node.leftovers import RunningProcess
from single_node.sign_in import PageLink
from single_node.stack import Stack

#: Where the `materials` command looks when nothing names a stack.
FOUND_BY_ITSELF = Path(".local/run/stack.json")


@dataclass(frozen=True)
class Announcement:
    """A running stack as its clients need to know it."""

    stack: Stack
    token: str = field(repr=False)
    service_token: str = field(repr=False)
    pids: Mapping[str, int]


def announce(stack: Stack, *, token: str, service_token: str, running: Iterable[RunningProcess]) -> Announcement:
    """The announcement while `running` run."""
    return Announcement(stack, token, service_token, {process.name: process.pid for process in running})


def as_json(announcement: Announcement) -> str:
    """One line: each service's first endpoint under its name, all its replicas' under `endpoints`, the URL of each process's metrics."""
    stack = announcement.stack
    return json.dumps(
        {
            **{name: addresses[0] for name, addresses in stack.endpoints.items()},
            "endpoints": {name: list(addresses) for name, addresses in stack.endpoints.items()},
            "metrics": {name: f"http://{address}/metrics" for name, address in stack.metrics.items()},
            "brain": stack.brain_url,
            "nats": stack.nats_url,
            "postgres": stack.postgres_url,
            "token": announcement.token,
            "service_token": announcement.service_token,
            "pids": dict(announcement.pids),
        }
    )


def show(
    announcement: Announcement, console: Console, *, page: PageLink | None, stack_file: Path, logs: Path, seconds: float
) -> None:
    """For people: the page first, then where everything is and three commands to try."""
    stack = announcement.stack
    materials = shlex.quote(materials_command())
    if stack_file.resolve() != FOUND_BY_ITSELF.resolve():
        materials = f"MATERIALS_STACK={shlex.quote(str(stack_file))} {materials}"
    console.print(f"[bold green]Ready[/] after {seconds:.1f} s. Ctrl-C stops everything.\n")
    if page is not None:
        console.print(Text.assemble(("Open in your browser:", "bold"), " ", (page.url, "bold cyan")), soft_wrap=True)
        hint = "works once, for 10 minutes; `{} open` gives another" if page.signs_in else "`{} open` signs you in"
        console.print(f"  ({hint.format(materials)})\n", soft_wrap=True, markup=False, highlight=False)
    places = {
        **{name: ", ".join(addresses) for name, addresses in stack.endpoints.items()},
        "brain": stack.brain_url,
        "nats": without_password(stack.nats_url),
        "postgres": without_password(stack.postgres_url),
        "metrics": ", ".join(f"http://{address}/metrics" for address in stack.metrics.values()),
        "logs": str(logs),
        "passwords": str(stack_file),
    }
    # Addresses, tokens and commands are there to be copied: nothing may break their lines.
    for name, place in places.items():
        console.print(f"  {name:<10}{place}", soft_wrap=True, markup=False, highlight=False)
    console.print("\n[bold]Token[/] of demo-user, editor of every course:")
    console.print(f"  {announcement.token}\n", soft_wrap=True, markup=False, highlight=False)
    console.print("[bold]Try[/] in another terminal:", soft_wrap=True)
    for command in (
        f"{materials} upload FILE --course demo --watch",
        f'{materials} search "your question" --course demo',
        f"{materials} list --course demo",
    ):
        console.print(f"  {command}", soft_wrap=True, markup=False, highlight=False)


def materials_command() -> str:
    """How to call `materials` from this folder: by its name where the shell finds it, else by its path."""
    if shutil.which("materials"):
        return "materials"
    path = Path(sys.executable).parent / "materials"
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def without_password(urls: str) -> str:
    """The URL, or several with commas, as it may be shown on a screen: without user and password."""
    parts = [urlsplit(url) for url in urls.split(",")]
    return ",".join(each._replace(netloc=each.netloc.rpartition("@")[2]).geturl() for each in parts)
