"""Names that are paths: a name is what people see, and never where anything is kept."""

from __future__ import annotations

import pytest

from tests.local_stack import Client, LocalStack

TEXT = b"Glaciers carve valleys.\n"


@pytest.mark.parametrize(
    "name",
    [
        "../../etc/passwd",
        "../../../../../../../../etc/cron.d/lecture",
        "/etc/passwd",
        "//server/share/lecture.txt",
        "C:\\Windows\\System32\\drivers\\etc\\hosts",
        "\\\\server\\share\\lecture.txt",
        "..\\..\\lecture.txt",
        "file:///etc/passwd",
        "s3://bucket/key",
        "%2e%2e%2fetc%2fpasswd",
        "..",
        ".",
        "~/.ssh/authorized_keys",
        "lecture.txt/",
        "CON",
        "-rf *",
        "$(touch lecture)",
        "lecture.pdf .exe",
    ],
)
async def test_name_that_is_a_path_is_kept_as_a_name_and_the_bytes_lie_under_an_id(
    stack: LocalStack, client: Client, course: str, name: str
) -> None:
    material = await client.upload(TEXT, course=course, name=name)
    assert material.name == name
    assert material.file_path == f"objects/{material.id[:2]}/{material.id}"
    kept = [path for path in (stack.data_dir / "objects").rglob("*") if path.is_file() and path.name == material.id]
    assert kept == [stack.data_dir / "objects" / material.file_path]
    assert kept[0].read_bytes() == TEXT
    states = await client.watch_to_end(material.id)
    assert {state.name for state in states} == {name}
    assert states[-1].has_embedding, "its name kept it from being read"
