"""Writes the tables of docs/api.md that the contracts hold: error reasons and failure reasons.

`python docs/generate_tables.py` rewrites them between their markers; `--check` only says whether they are current (exit 1 when not).
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from google.rpc import code_pb2
from materials.v1 import errors_pb2

PROJECT = Path(__file__).resolve().parents[1]
API = PROJECT / "docs" / "api.md"
_VALUE = re.compile(r"((?:^ *//.*\n)+) *([A-Z0-9_]+) = (\d+)", re.MULTILINE)


def values_of(proto: str, enum: str) -> list[tuple[str, str, int]]:
    """Name, comment and number of each value of an enum but the first, from the .proto's own text."""
    text = (PROJECT / "protos" / "materials" / "v1" / proto).read_text(encoding="utf-8")
    body = text.partition(f"enum {enum} {{")[2].partition("\n}")[0]
    rows = []
    for comment, name, number in _VALUE.findall(body):
        if int(number):
            words = " ".join(line.strip().removeprefix("//").strip() for line in comment.strip().splitlines())
            rows.append((name, words, int(number)))
    return rows


def error_table() -> str:
    """Every ErrorReason with its gRPC code and HTTP status."""
    lines = ["| reason | gRPC code | HTTP | what it means, and what to do |", "| --- | --- | --- | --- |"]
    for name, words, number in values_of("errors.proto", "ErrorReason"):
        answer = errors_pb2.ErrorReason.DESCRIPTOR.values_by_number[number].GetOptions().Extensions[errors_pb2.answer]
        code = code_pb2.Code.Name(answer.grpc_code)
        lines.append(f"| `{name.removeprefix('ERROR_REASON_')}` | {code} | {answer.http_status} | {words} |")
    return "\n".join(lines)


def failure_table() -> str:
    """Every FailureReason."""
    lines = ["| reason | what it means |", "| --- | --- |"]
    for name, words, _ in values_of("material.proto", "FailureReason"):
        lines.append(f"| `{name.removeprefix('FAILURE_REASON_')}` | {words} |")
    return "\n".join(lines)


def rendered(text: str) -> str:
    """docs/api.md with both tables as they should be."""
    for marker, table in (("errors", error_table()), ("failures", failure_table())):
        pattern = re.compile(rf"(<!-- {marker}: generated -->\n).*?(\n<!-- /{marker} -->)", re.DOTALL)
        text = pattern.sub(lambda match, table=table: f"{match[1]}{table}{match[2]}", text)
    return text


def main(arguments: list[str]) -> int:
    """See the module's text."""
    before = API.read_text(encoding="utf-8")
    after = rendered(before)
    if "--check" in arguments:
        return int(before != after)
    API.write_text(after, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
