"""Text for people. What users named or wrote is shown with its control characters escaped and never read as markup.

On a terminal tables and wrapped text; elsewhere plain lines, one a thing, fields separated by tabs, nothing cut off.
"""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Iterable, Sequence
from datetime import UTC

from google.protobuf.timestamp_pb2 import Timestamp
from materials.v1 import material_pb2 as pb
from materials.v1 import processor_service_pb2
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from servicekit.documents import short_name

#: Control and format characters (bidirectional overrides among them), surrogates, private use, unassigned, line and paragraph separators.
_UNSAFE = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"))
_UNITS = ("KiB", "MiB", "GiB", "TiB")
EXCERPT_CHARACTERS = 300
STATUS_STYLES = {"pending": "yellow", "processing": "cyan", "completed": "green", "failed": "red"}


def console() -> Console:
    """Standard output, without any reading of markup, emoji codes or numbers."""
    return Console(markup=False, emoji=False, highlight=False)


def plain(text: str, *, keep: str = "") -> str:
    r"""`text` as it may be shown: an ESC becomes `\x1b`, a line feed `\n`; characters in `keep` stay."""
    return "".join(
        character
        if character in keep or unicodedata.category(character) not in _UNSAFE
        else character.encode("unicode_escape").decode("ascii")
        for character in text
    )


def print_error(message: str) -> None:
    """One line on standard error."""
    print(f"error: {plain(message)}", file=sys.stderr, flush=True)


def print_notice(message: str) -> None:
    """One line on standard error that is no error."""
    print(plain(message), file=sys.stderr, flush=True)


def print_plain(*fields: object) -> None:
    """One line of fields separated by tabs."""
    print("\t".join(plain(str(field)) for field in fields), flush=True)


def size_text(count: int) -> str:
    """Bytes for people: `512 B`, `1.3 MiB`."""
    value, unit = float(count), "B"
    for larger in _UNITS:
        if value < 1024:
            break
        value, unit = value / 1024, larger
    return f"{count} B" if unit == "B" else f"{value:.1f} {unit}"


def time_text(moment: Timestamp) -> str:
    """A moment in the reader's time zone, which is named, to the second."""
    return moment.ToDatetime(UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")


def status_name(status: int) -> str:
    """`completed`; `unknown` for a value of a later contract."""
    return short_name(pb.ProcessingStatus.DESCRIPTOR, status) or "unknown"


def pages_text(material: pb.Material) -> str:
    """`3/9`, or "" while the number of pages is not known."""
    return f"{material.pages_done}/{material.pages_total}" if material.pages_total else ""


def state_text(material: pb.Material) -> str:
    """Where a material stands, in a line: `processing: reading, 3/9 pages`."""
    stage = short_name(pb.ProcessingStage.DESCRIPTOR, material.stage) or ""
    reason = short_name(pb.FailureReason.DESCRIPTOR, material.failure_reason) or ""
    pages = f"{pages_text(material)} pages" if material.pages_total else ""
    ended = material.processing_status == pb.PROCESSING_STATUS_COMPLETED
    blank = "no text found" if ended and not material.has_embedding else ""
    again = "can be retried" if material.retryable else ""
    error = material.error_message.rstrip(".")
    if reason and error.startswith(reason):  # "cancelled by …" says both.
        reason, error = error, ""
    words = [reason, stage, pages, blank, material.status_message, error, again]
    text = ", ".join(plain(word) for word in words if word)
    return status_name(material.processing_status) + (f": {text}" if text else "")


def print_materials(materials: Sequence[pb.Material], *, one_course: bool) -> None:
    """A table, without the course when it is the same for all; elsewhere lines of id, status, pages, bytes, course, time of creation, name."""
    screen = console()
    if not screen.is_terminal:
        for each in materials:
            print_plain(
                each.id,
                status_name(each.processing_status),
                pages_text(each),
                each.file_size,
                each.course_id,
                each.created_at.ToJsonString(),
                each.name,
            )
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("ID", "STATUS"):
        table.add_column(heading, no_wrap=True)
    table.add_column("PAGES", justify="right", no_wrap=True)
    table.add_column("SIZE", justify="right", no_wrap=True)
    if not one_course:
        table.add_column("COURSE", overflow="fold")
    table.add_column("NAME", overflow="fold", ratio=1)
    for each in materials:
        status = status_name(each.processing_status)
        table.add_row(
            Text(each.id, no_wrap=True),
            Text(status, style=STATUS_STYLES.get(status, "")),
            Text(pages_text(each)),
            Text(size_text(each.file_size)),
            *([] if one_course else [Text(plain(each.course_id))]),
            Text(plain(each.name)),
        )
    screen.print(table)


def searchable_text(material: pb.Material) -> str:
    """What of a material search can find: pages can be found from the moment they are read."""
    if material.has_embedding:
        return "yes"
    if material.processing_status == pb.PROCESSING_STATUS_COMPLETED:
        return "no"
    if material.pages_done:
        return f"the pages read so far ({material.pages_done} of {material.pages_total})"
    return "no" if material.processing_status == pb.PROCESSING_STATUS_FAILED else "not yet"


def print_material(material: pb.Material, *, waiting_for: str) -> None:
    """Everything worth knowing of one material, a line each. `waiting_for` is beyond its record; may be empty."""
    reason = short_name(pb.FailureReason.DESCRIPTOR, material.failure_reason)
    lines = {
        "id": material.id,
        "name": material.name,
        "course": material.course_id,
        "owner": material.owner_id,
        "status": state_text(material),
        **({"waiting for": waiting_for} if waiting_for else {}),
        "searchable": searchable_text(material),
        "type": material.media_type,
        "size": f"{material.file_size} bytes ({size_text(material.file_size)})",
        "sha256": material.sha256,
        "attempts": str(material.attempt),
        "revision": str(material.revision),
        "created": time_text(material.created_at),
        "updated": time_text(material.updated_at),
    }
    if material.HasField("processed_at"):
        lines["processed"] = time_text(material.processed_at)
    if material.HasField("next_attempt_at"):
        lines["next attempt"] = time_text(material.next_attempt_at)
    if reason is not None:
        lines["retry"] = f"materials retry {material.id}" if material.retryable else "no use: upload a mended file"
    for label, value in lines.items():
        print(f"{label:<13} {plain(value)}", flush=True)


def print_history(transitions: Iterable[pb.MaterialTransition]) -> None:
    """What changed when, by whom and why, oldest first; elsewhere a line for each."""
    screen = console()
    table = Table.grid(padding=(0, 2, 0, 0))
    for _ in range(2):
        table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for each in transitions:
        before = short_name(pb.ProcessingStatus.DESCRIPTOR, each.from_status) or "-"
        after = status_name(each.to_status)
        attempt = f"attempt {each.attempt}" if each.attempt else "-"
        details = plain(_details_of(each))
        if screen.is_terminal:
            what = plain(f"{each.event}{f', {attempt},' if each.attempt else ''} by {each.actor}")
            change = Text.assemble(f"{before} -> ", (after, STATUS_STYLES.get(after, "")))
            table.add_row(time_text(each.created_at), change, "\n".join(filter(None, (what, details))))
        else:
            line = f"{time_text(each.created_at)}  {each.event:<14} {f'{before} -> {after}':<24} {attempt:<10} by {each.actor}"
            print(plain(line) + (f": {details}" if details else ""), flush=True)
    if screen.is_terminal:
        screen.print(table)


def _details_of(transition: pb.MaterialTransition) -> str:
    """Why, as far as event and actor do not say it already."""
    reason = short_name(pb.FailureReason.DESCRIPTOR, transition.failure_reason) or ""
    message = "" if transition.message == f"{transition.event} by {transition.actor}" else transition.message
    said = reason == transition.event or message.startswith(reason)
    return ": ".join(word for word in ("" if said else reason, message) if word)


def without_heading(excerpt: str, heading: str) -> str:
    """A passage without the heading it begins with: as a Markdown line or a line of its own."""
    first, _, rest = excerpt.lstrip().partition("\n")
    return rest if heading and first.strip("#").split() == heading.strip("#").split() else excerpt


def excerpt_text(text: str) -> str:
    """A passage on one line, cut to EXCERPT_CHARACTERS."""
    line = plain(" ".join(text.split()))
    return line if len(line) <= EXCERPT_CHARACTERS else line[: EXCERPT_CHARACTERS - 1].rstrip() + "…"


def print_results(results: Sequence[processor_service_pb2.SearchResult], *, first_rank: int = 1) -> None:
    """Best first; elsewhere lines of rank, score, material id, page, name, excerpt."""
    screen = console()
    for rank, each in enumerate(results, start=first_rank):
        if not screen.is_terminal:
            excerpt = excerpt_text(each.excerpt)
            print_plain(rank, f"{each.score:.3f}", each.material_id, each.page_number, each.material_name, excerpt)
            continue
        screen.print(
            Text.assemble(
                (f"{rank}. ", "bold"),
                (plain(each.material_name), "bold"),
                f", page {each.page_number}",
                (f"  score {each.score:.3f}  {each.material_id}", "dim"),
            )
        )
        texts = [Text(excerpt_text(each.heading), style="italic")] if each.heading else []
        texts.append(Text(excerpt_text(without_heading(each.excerpt, each.heading))))
        if each.repeats:
            texts.append(Text(f"and {each.repeats} more like this", style="dim"))
        for text in filter(None, texts):
            screen.print(Padding(text, (0, 0, 0, 3)))
        screen.print()
