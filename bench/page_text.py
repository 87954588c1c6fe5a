"""The words and tables of the page: the template filled in."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import cast

from bench.rows import Row

_LINE = re.compile(r"<!-- line: ([a-z0-9-]+) -->")
_OTHERS = "<!-- other lines -->"
_SECTION = re.compile(r"(?m)^(?=## )")


def page_text(
    template: str, data: Mapping[str, object], rows: Sequence[Row], plots: Mapping[str, Sequence[str]]
) -> str:
    """The page. `data` is what `python -m bench` writes but the rows; `plots` holds the Markdown of each line's plots.

    A section whose lines have no row is left out; lines that no section names come at the marker of the others.
    """
    lines = list(dict.fromkeys(row.line for row in rows))
    named = set(_LINE.findall(template))
    sections = []
    for section in _SECTION.split(template):
        told = _LINE.findall(section)
        if told and not set(told) & set(lines):
            continue
        sections.append(_LINE.sub(lambda match: _line_text(match[1], rows, plots), section))
    others = [_other(line, rows, plots) for line in lines if line not in named]
    filled = {"run": _run(data), "verdict": _verdict(data, rows), "targets": targets_table(rows)}
    text = re.sub(
        r"\{(run|verdict|targets)\}",
        lambda match: filled[match[1]],
        "".join(sections).replace(_OTHERS, "\n".join(others)),
    )
    return re.sub(r"\n{3,}", "\n\n", text).rstrip() + "\n"


def targets_table(rows: Sequence[Row]) -> str:
    """A line for each row that has a target: those with one only; empty where none has."""
    table = [
        f"| {_cell(row.name)} | {_whole(row.target)} | {_whole(_figure(row))} | {_whole(_spread(row))} | {_cell(row.shown)} | {_cell(row.floor)} "
        f"| {_peers(row)} | {'met' if row.met else '**not met**'} |"
        for row in rows
        if row.met is not None
    ]
    if not table:
        return ""
    return "\n".join(
        [
            "| what | target | figure | spread | ours | floor | peers | |",
            "| --- | --- | ---: | --- | --- | --- | --- | --- |",
            *table,
        ]
    )


def _line_text(line: str, rows: Sequence[Row], plots: Mapping[str, Sequence[str]]) -> str:
    """What was seen in a line: its figures, its notes, its plots."""
    mine = [row for row in rows if row.line == line]
    figures = [f"- {row.name}: {_seen(row)}" for row in mine]
    notes = list(dict.fromkeys(str(row.details["note"]) for row in mine if row.details.get("note")))
    return "\n\n".join(["\n".join(figures), *notes, *plots.get(line, [])])


def _other(line: str, rows: Sequence[Row], plots: Mapping[str, Sequence[str]]) -> str:
    return f"## {(line or 'other figures').replace('-', ' ').capitalize()}\n\n{_line_text(line, rows, plots)}\n"


def _seen(row: Row) -> str:
    """`**1.2 ×** (1.1-1.3), met; 508/s`, in Markdown."""
    verdict = "" if row.met is None else f", target {row.target} " + ("met" if row.met else "**not met**")
    beside = f"; ours {row.shown}" if row.shown else ""
    return f"**{_figure(row)}**{f' ({_spread(row)})' if row.spread else ''}{verdict}{beside}"


def _figure(row: Row) -> str:
    return with_unit(row.figure, row.unit)


def _spread(row: Row) -> str:
    return "" if row.spread is None else f"{number(row.spread.low)}-{number(row.spread.high)}"


def _peers(row: Row) -> str:
    return "<br>".join(f"{_cell(name)}: {_cell(figure)}" for name, figure in row.peers.items())


def _whole(text: str) -> str:
    """A cell that is not broken into lines."""
    return _cell(text).replace(" ", "&nbsp;").replace("-", "&#8209;")


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", "<br>")


def number(value: float) -> str:
    """Three digits, thousands apart: 0.214, 53.1, 1,670."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def with_unit(value: float, unit: str) -> str:
    """`508/s`, `1.2 ×`."""
    return number(value) + ("" if unit.startswith("/") else " ") + unit


def _verdict(data: Mapping[str, object], rows: Sequence[Row]) -> str:
    judged = [row for row in rows if row.met is not None]
    missed = [row.name for row in judged if not row.met]
    said = f"**{len(judged) - len(missed)} of {len(judged)} targets are met.**"
    if missed:
        said += f" Not met: {'; '.join(missed)}."
    if failed := cast("Sequence[str]", data.get("not_measured", ())):
        said += f" Not measured, for an error: {', '.join(failed)}."
    if data.get("quick"):
        said += " This was a quick run: fewer rounds and smaller loads, a first impression."
    return said


def _run(data: Mapping[str, object]) -> str:
    """When, where and with what."""
    machine = cast("Mapping[str, object]", data.get("machine", {}))
    packages = cast("Mapping[str, str]", machine.get("packages", {}))
    load = cast("Sequence[float]", machine.get("load_before", ()))
    facts = {
        "measured": data.get("measured_at", ""),
        "rounds": data.get("rounds", ""),
        "processor": f"{machine.get('cpu', '')}, {machine.get('cores', '')} cores",
        "memory": f"{machine.get('memory_gib', '')} GiB",
        "system": machine.get("system", ""),
        "Python": machine.get("python", ""),
        "load before the run": ", ".join(str(each) for each in load),
        "packages": ", ".join(f"{name} {version}" for name, version in packages.items()),
    }
    return "\n".join(["| | |", "| --- | --- |", *(f"| {name} | {_cell(str(fact))} |" for name, fact in facts.items())])
