"""An answer as it is written, for people: sentences with the marks of their sources, then the sources.

On a terminal the sentences come wrapped at words, as they are told. Nothing of an answer is read as markup, and its control characters are escaped.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from materials.v1 import processor_service_pb2 as pb
from rich.cells import cell_len
from rich.console import Console
from rich.padding import Padding
from rich.status import Status
from rich.text import Text

from materials_cli.presentation import console, excerpt_text, plain, print_notice, print_plain, without_heading

QUOTES = "extractive/"
MAX_WIDTH = 100


def marked(part: pb.AnswerPart) -> str:
    """A part with its marks before the white space that ends it: `Cells divide. [1][3] `."""
    text = plain(part.text, keep="\n\t")
    words = text.rstrip()
    marks = "".join(f"[{number}]" for number in part.citations)
    return f"{words} {marks}{text[len(words) :]}" if marks else text


class Wrapped:
    """Text that comes piece by piece, broken at words to lines of at most `width` cells. A piece may begin and end in the middle of a word."""

    def __init__(self, width: int) -> None:
        self._width, self._column, self._word = width, 0, ""

    def add(self, text: str) -> str:
        """What can be written now; the word that may go on is kept."""
        written = []
        for character in text:
            if character == "\n":
                written += [self._placed(), "\n"]
                self._column = 0
            elif character.isspace():
                written.append(self._placed())
            else:
                self._word += character
        return "".join(written)

    def end(self) -> str:
        """The rest."""
        return self._placed()

    def _placed(self) -> str:
        word, self._word = self._word, ""
        if not word:
            return ""
        width = cell_len(word)
        between = "" if not self._column else " " if self._column + 1 + width <= self._width else "\n"
        self._column = width if between != " " else self._column + 1 + width
        return between + word


class AnswerText:
    """Writes one answer on standard output. A context manager: what was begun is ended with a line of its own, whatever happens."""

    def __init__(self) -> None:
        self._screen: Console = console()
        self._wrapped = Wrapped(min(self._screen.width, MAX_WIDTH)) if self._screen.is_terminal else None
        self._waiting: Status | None = None
        self._in_line = False

    def __enter__(self) -> AnswerText:
        self._wait("searching the course")
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop_waiting()
        if self._in_line:
            print(flush=True)

    def sources_came(self, count: int) -> None:
        """The wait is for the AI Brain from now on."""
        self._wait(f"reading {count} passage{'s' if count > 1 else ''}" if count else "")

    def part_came(self, part: pb.AnswerPart) -> None:
        """Writes it at once."""
        self._stop_waiting()
        text = marked(part)
        self._write(text if self._wrapped is None else self._wrapped.add(text))

    def end_came(self, sources: Sequence[pb.SearchResult], cited: frozenset[int], end: pb.AnswerEnd) -> None:
        """The end of the text, then the sources: those cited, or all where the answer was withheld. Elsewhere lines of number, id, page, name, excerpt."""
        self._stop_waiting()
        if self._wrapped is not None:
            self._write(self._wrapped.end())
        if self._in_line:
            print(flush=True)
            self._in_line = False
        shown = [
            (number, source)
            for number, source in enumerate(sources, start=1)
            if number in cited or end.outcome == pb.ANSWER_OUTCOME_UNSUPPORTED
        ]
        if shown:
            print(flush=True)
        for number, source in shown:
            self._print_source(number, source)
        for line in notes(end):
            print_notice(line)

    def _print_source(self, number: int, source: pb.SearchResult) -> None:
        excerpt = excerpt_text(without_heading(source.excerpt, source.heading))
        if self._wrapped is None:
            print_plain(f"[{number}]", source.material_id, source.page_number, source.material_name, excerpt)
            return
        self._screen.print(
            Text.assemble(
                (f"[{number}] ", "bold cyan"), (plain(source.material_name), "bold"), f", page {source.page_number}"
            )
        )
        self._screen.print(Padding(Text(excerpt, style="dim"), (0, 0, 1, 4)))

    def _write(self, text: str) -> None:
        if text:
            sys.stdout.write(text)
            sys.stdout.flush()
            self._in_line = not text.endswith("\n")

    def _wait(self, why: str) -> None:
        self._stop_waiting()
        if why and self._screen.is_terminal and not self._screen.is_dumb_terminal:
            self._waiting = self._screen.status(Text(why, style="dim"))
            self._waiting.start()

    def _stop_waiting(self) -> None:
        if self._waiting is not None:
            self._waiting.stop()
            self._waiting = None


def notes(end: pb.AnswerEnd) -> list[str]:
    """What is to be known of an answer beside its words."""
    lines = []
    if end.outcome == pb.ANSWER_OUTCOME_ANSWERED and end.model.startswith(QUOTES):
        lines.append(f"the sentences are quotes from the materials ({end.model})")
    elif end.outcome == pb.ANSWER_OUTCOME_ANSWERED and end.model:
        lines.append(f"written by {end.model} from these passages; check what matters there")
    if end.sentences_left_out:
        number = end.sentences_left_out
        lines.append(
            f"{number} sentence{'s' if number > 1 else ''} left out, since no passage supports {'them' if number > 1 else 'it'}"
        )
    return lines
