"""The sentences of a prompt's context, as they may be quoted: whole, each with its passage's marker and the heading above it.

A passage begins with a marker at the start of a line, such as `[2] ("notes.pdf", page 3)`; its lines may be quoted (`> `). Lines of running text are joined;
a heading, an item of a list, and an empty line begin something new. Headings are no sentences: alone they say nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

# A run of lines without the end of a sentence is quoted in pieces of about this size.
_LONG = 320
_SHORT_LINE = 60

_MARKER = re.compile(r"^\s*(\[\d+\])[ \t]*(?:\(\".*\)(?=[ \t]*:?[ \t]*$)|\([^)\n]*\))?[ \t]*:?[ \t]*", re.MULTILINE)
_QUOTED = re.compile(r"^[ \t]*>[ \t]?", re.MULTILINE)
_BULLET = re.compile(r"^\s*(?:[❒❑□▪■●•◦‣➢➤✓–*+-]|\(?\d{1,2}[.)]|\(?[a-z]\))\s+")
_MARKDOWN_HEADING = re.compile(r"^\s*#{1,6}\s+(.*\S)")
_END = re.compile(r"(?<![.!?…])[.!?…]+[\"'”’»)]*(?=\s)|[。！？]+[”’」』）]*(?=\S|\s)")
_ABBREVIATION = re.compile(
    r"(?:^|[\s(])(?:[^\W\d_]|[a-z](?:\.\s?[a-z])+|etc|vs|cf|figs?|eqs?|no|nr|dr|prof|mrs?|ms|st|resp|bzw|vgl|abb|sec|vol|pp|al|ej)$",
    re.IGNORECASE,
)
_FACTORIAL = re.compile(r"(?:^|[\s(=+*/·−-])\w$|[\d)]$")


@dataclass(frozen=True)
class Sentence:
    """A sentence of the context, the marker of the passage it stands in (`[2]`, or empty), and the heading above it (or empty)."""

    text: str
    marker: str
    heading: str = ""


def sentences_of(context: str) -> list[Sentence]:
    """All sentences of a context, in order."""
    sentences: list[Sentence] = []
    marker = ""
    for passage in re.split(r"\n(?=[ \t]*\[\d+\])", context):
        found = _MARKER.match(passage.lstrip("\n"))
        marker = found[1] if found else marker
        body = passage.lstrip("\n")[found.end() :] if found else passage
        sentences += _of_passage(_QUOTED.sub("", body), marker)
    return sentences


def _of_passage(text: str, marker: str) -> list[Sentence]:
    sentences: list[Sentence] = []
    heading = ""
    for block in _blocks(text):
        title = _title(block)
        if title:
            heading = title
            continue
        sentences += [Sentence(each, marker, heading) for each in _split(block)]
    return sentences


def _blocks(text: str) -> list[list[str]]:
    """Runs of lines that belong together."""
    blocks: list[list[str]] = [[]]
    for raw in text.split("\n"):
        line = raw.strip()
        starts = _BULLET.match(line) or _MARKDOWN_HEADING.match(line)
        after_heading = len(blocks[-1]) == 1 and _MARKDOWN_HEADING.match(blocks[-1][0])
        if not line or starts or after_heading:
            blocks.append([])
        if line:
            blocks[-1].append(line)
    return [block for block in blocks if block]


def _title(block: list[str]) -> str:
    """The heading that a block is, or ""."""
    if len(block) != 1:
        return ""
    markdown = _MARKDOWN_HEADING.match(block[0])
    if markdown:
        return markdown[1].rstrip("# ")
    line = block[0]
    is_title = (
        len(line) <= _SHORT_LINE
        and len(line.split()) <= 8
        and not _BULLET.match(line)
        and (line[0].isupper() or line[0].isdigit())
        and line[-1].isalnum()
        and not re.search(r"[=<>≤≥+/∑∫]", line)
    )
    return line if is_title else ""


def _split(block: list[str]) -> list[str]:
    text = " ".join(" ".join(block).split())
    text = _BULLET.sub("", text)
    pieces: list[str] = []
    start = 0
    for end in _END.finditer(text):
        if _goes_on(text, end):
            continue
        pieces.append(text[start : end.end()].strip())
        start = end.end()
    rest = text[start:].strip()
    if len(rest) > _LONG and len(block) > 1:
        pieces += _of_lines(rest)
    elif rest:
        pieces.append(rest)
    return [piece for piece in pieces if any(char.isalnum() for char in piece)]


def _goes_on(text: str, end: re.Match[str]) -> bool:
    """Whether a full stop is that of an abbreviation or a number, or an exclamation mark that of a factorial."""
    before = text[max(0, end.start() - 12) : end.start()]
    if end[0][0] == "!":
        return bool(_FACTORIAL.search(before))
    after = text[end.end() :].lstrip()[:1]
    return end[0][0] == "." and (after.islower() or bool(_ABBREVIATION.search(before)))


def _of_lines(text: str) -> list[str]:
    """A long run of words in pieces, cut between words."""
    pieces = [""]
    for word in text.split(" "):
        if len(pieces[-1]) + len(word) > _LONG:
            pieces.append("")
        pieces[-1] = f"{pieces[-1]} {word}".strip()
    return pieces
