"""`python -m single_node.demo [FILE…]`: the whole system at work, once, and a check that it did what it should.

Starts a stack of its own, then does what a user would, with the same commands: upload and watch, read the text, search, ask. Every command is shown before it
runs. Ends with 0 only when every material was read, the search found the right page, and the answer cites it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from single_node.samples import write_samples

DATA_DIR = Path(".local/demo")
START_SECONDS = 180.0
STOP_SECONDS = 20.0
SHOWN_LINES = 8
MAX_QUERY_CHARS = 200


@dataclass(frozen=True)
class Question:
    """A query, and what a right first hit is: the page, and words of which the excerpt holds one ((): any)."""

    query: str
    page: int
    words: tuple[str, ...] = ()


class DemoFailed(Exception):
    """Something did not come out as it should; the message says what to do."""


class Demo:
    """The commands of one demo, run against one stack and one course."""

    def __init__(self, console: Console, course: str) -> None:
        self._console, self._course = console, course

    def upload(self, files: Sequence[Path]) -> None:
        """Uploads and watches until all have ended. Raises DemoFailed."""
        code = self._show("upload", *map(str, files), "--course", self._course, "--watch")
        if code != 0:
            raise DemoFailed(f"not every material was read; see above, and the logs in {DATA_DIR / 'logs'}")

    def materials(self) -> dict[str, dict[str, Any]]:
        """The course's materials by name."""
        listed = {item["name"]: item for item in self._ask("list", "--course", self._course)}
        for material in listed.values():
            if material["processing_status"] != "completed":
                raise DemoFailed(f"{material['name']} is {material['processing_status']}: {material['error_message']}")
        return listed

    def text(self, material: dict[str, Any]) -> list[dict[str, Any]]:
        """Shows the beginning of a material's text; returns its pages."""
        self._command("text", str(material["id"]))
        pages = self._ask("text", str(material["id"]))
        lines = [line for page in pages for line in str(page["text"]).splitlines() if line.strip()]
        for line in lines[:SHOWN_LINES]:
            self._console.print(f"    {escape(line[:100])}", highlight=False, soft_wrap=True)
        if len(lines) > SHOWN_LINES:
            self._console.print(f"    [dim]… {len(lines) - SHOWN_LINES} lines more on {len(pages)} page(s)[/]")
        return pages

    def search(self, material: dict[str, Any], question: Question) -> None:
        """Shows a search and checks that the right page of the material comes first. Raises DemoFailed."""
        self._show("search", question.query, "--course", self._course)
        hits = self._ask("search", question.query, "--course", self._course)
        if not hits:
            raise DemoFailed("the search found nothing")
        first = hits[0]
        right = first["material_id"] == material["id"] and first["page_number"] == question.page
        if not right or (question.words and not any(word in first["excerpt"].lower() for word in question.words)):
            raise DemoFailed(
                f"the best hit is page {first['page_number']} of {first['material_name']!r},"
                f" expected was page {question.page} of {material['name']!r}"
            )
        self._console.print(
            f"[green]✓[/] found on page {first['page_number']} of {escape(material['name'])}, score {first['score']:.2f}\n"
        )

    def ask(self, material: dict[str, Any], question: str, page: int) -> None:
        """Shows an answer and checks that it is one, and cites the right page of the material. Raises DemoFailed."""
        self._show("ask", question, "--course", self._course)
        first, *parts, end = self._ask("ask", question, "--course", self._course)
        if end["outcome"] != "answered":
            raise DemoFailed(f"the question was not answered: {end['outcome']}")
        cited = [first["sources"][number - 1] for part in parts for number in part["citations"]]
        if not any(each["material_id"] == material["id"] and each["page_number"] == page for each in cited):
            pages = ", ".join(f"page {each['page_number']} of {each['material_name']!r}" for each in cited)
            raise DemoFailed(f"the answer cites {pages or 'nothing'}, expected was page {page} of {material['name']!r}")
        self._console.print(f"[green]✓[/] answered from page {page} of {escape(material['name'])}\n")

    def _command(self, *arguments: str) -> None:
        shown = " ".join(
            argument if argument.isprintable() and " " not in argument else f'"{argument}"' for argument in arguments
        )
        self._console.print(f"[bold cyan]$ materials {escape(shown)}[/]", highlight=False, soft_wrap=True)

    def _show(self, *arguments: str) -> int:
        self._command(*arguments)
        return subprocess.run(self._materials(*arguments), check=False).returncode

    def _ask(self, *arguments: str) -> list[dict[str, Any]]:
        result = subprocess.run(
            self._materials(*arguments, "--json"), check=False, capture_output=True, text=True, timeout=60
        )
        if result.returncode != 0:
            raise DemoFailed(result.stderr.strip() or f"`materials {arguments[0]}` ended with {result.returncode}")
        return [json.loads(line) for line in result.stdout.splitlines()]

    def _materials(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "materials_cli", *arguments]


def quote_from(pages: list[dict[str, Any]]) -> Question | None:
    """A question for a document nobody knows: some words of its own, from the fullest page. None for a blank document."""
    fullest = max(pages, key=lambda page: len(page["text"]), default=None)
    words = str(fullest["text"]).split() if fullest else []
    if fullest is None or not words:
        return None
    middle = len(words) // 2
    query = " ".join(words[max(0, middle - 8) : middle + 8])
    return Question(query[:MAX_QUERY_CHARS], int(fullest["page_number"]))


@contextmanager
def running_stack(console: Console) -> Iterator[None]:
    """A stack in DATA_DIR, from ready to stopped."""
    began = time.monotonic()
    command = [sys.executable, "-m", "single_node", "--data-dir", str(DATA_DIR), "--json"]
    with console.status("Starting Postgres, NATS, the local AI Brain and the services …"):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
        assert process.stdout is not None
        try:
            ready = process.stdout.readline()
        except KeyboardInterrupt:
            process.send_signal(signal.SIGTERM)
            process.wait(STOP_SECONDS)
            raise
    if not ready:
        raise DemoFailed(f"the system did not start; the reason is above, more is in {DATA_DIR / 'logs'}")
    console.print(f"[green]✓[/] everything is up after {time.monotonic() - began:.1f} s\n")
    try:
        yield
    finally:
        with console.status("Stopping …"):
            process.send_signal(signal.SIGTERM)
            process.wait(STOP_SECONDS)
        console.print("[green]✓[/] everything has stopped")


def run(files: Sequence[Path], console: Console) -> None:
    """The whole demo. Raises DemoFailed."""
    for file in files:
        if not file.is_file():
            what = "is a folder" if file.is_dir() else "is not there"
            raise DemoFailed(f"{str(file)!r} {what}; give the path of a PDF, image or text: make demo FILE=my.pdf")
    samples = [] if files else write_samples(DATA_DIR / "samples")
    with running_stack(console):
        # A course of its own, so that earlier runs on the same data do not answer this one's questions.
        demo = Demo(console, f"demo-{time.strftime('%Y%m%d-%H%M%S')}")
        demo.upload([*files, *(sample.path for sample in samples)])
        console.print()
        materials = demo.materials()
        for sample in samples:
            material = materials[sample.path.name]
            question = Question(sample.question, sample.expected_page, sample.expected_words)
            demo.text(material)
            demo.search(material, question)
            demo.ask(material, sample.asked, sample.expected_page)
        for file in files:
            material = materials[file.name]
            quote = quote_from(demo.text(material))
            if quote is None:
                console.print("[yellow]The document is blank: there is nothing to search for.[/]")
            else:
                demo.search(material, quote)


def main(arguments: Sequence[str]) -> int:
    """0 when all went as it should, 1 when not, 130 on Ctrl-C."""
    if any(argument in ("-h", "--help") for argument in arguments):
        print("make demo [FILE=my.pdf]\npython -m single_node.demo [FILE…]\n\n" + (__doc__ or ""))
        return 0
    os.environ["MATERIALS_STACK"] = str((DATA_DIR / "stack.json").resolve())
    console = Console()
    DATA_DIR.mkdir(parents=True, exist_ok=True)
    try:
        run([Path(argument) for argument in arguments], console)
    except DemoFailed as error:
        console.print(f"[bold red]The demo failed:[/] {escape(str(error))}", soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        console.print("interrupted")
        return 130
    console.print(
        "\nNow try [bold]make run[/]: the same, and it stays up for you, with a page to open in your browser."
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
