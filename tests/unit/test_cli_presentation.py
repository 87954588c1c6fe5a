"""Promises of what the command line shows, writes and calls files."""

import json
import time
import unicodedata
from pathlib import Path

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st
from materials.v1 import material_pb2 as pb
from materials.v1 import processor_service_pb2, record_service_pb2, status_service_pb2

from materials_cli.documents import to_json
from materials_cli.downloading import safe_file_name
from materials_cli.errors import CommandError, ExitCode, NotFound, Unreachable, WrongUsage, exit_code_of
from materials_cli.presentation import (
    excerpt_text,
    plain,
    print_history,
    searchable_text,
    size_text,
    state_text,
    time_text,
    without_heading,
)
from materials_cli.retrying import LONGEST_ASKED_SECONDS, Backoff
from materials_cli.uploading import expand_files
from servicekit.documents import document, short_name


@given(st.text(st.characters()))
def test_no_character_that_moves_a_terminal_is_shown(text: str) -> None:
    shown = plain(text)
    assert all(unicodedata.category(each)[0] not in "C" and each not in "\u2028\u2029" for each in shown)
    assert plain(shown) == shown


def test_escaped_characters_stay_readable() -> None:
    assert plain("a\x1b[31m\n\u202eb[red]ü") == r"a\x1b[31m\n\u202eb[red]ü"
    assert plain("a\tb\x07\n", keep="\n\t") == "a\tb\\x07\n"


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1_400_000, "1.3 MiB"), (5 * 2**40, "5.0 TiB")]
)
def test_sizes_are_for_people(count: int, text: str) -> None:
    assert size_text(count) == text


def test_a_state_says_stage_pages_and_what_it_waits_for() -> None:
    reading = pb.Material(
        processing_status=pb.PROCESSING_STATUS_PROCESSING,
        stage=pb.PROCESSING_STAGE_READING,
        pages_done=3,
        pages_total=9,
    )
    assert state_text(reading) == "processing: reading, 3/9 pages"
    waiting = pb.Material(processing_status=pb.PROCESSING_STATUS_PENDING, status_message="waiting for the AI Brain\x1b")
    assert state_text(waiting) == r"pending: waiting for the AI Brain\x1b"


def test_a_failure_says_why_and_whether_it_can_be_retried() -> None:
    failed = pb.Material(
        processing_status=pb.PROCESSING_STATUS_FAILED,
        failure_reason=pb.FAILURE_REASON_BRAIN_FAILED,
        error_message="the AI Brain failed three times.",
        retryable=True,
    )
    assert state_text(failed) == "failed: brain_failed, the AI Brain failed three times, can be retried"


def test_a_cancellation_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    cancelled = pb.Material(
        processing_status=pb.PROCESSING_STATUS_FAILED,
        failure_reason=pb.FAILURE_REASON_CANCELLED,
        error_message="cancelled by ann",
        pages_done=1,
        pages_total=16,
        retryable=True,
    )
    assert state_text(cancelled) == "failed: cancelled by ann, 1/16 pages, can be retried"
    change = {"from_status": pb.PROCESSING_STATUS_PENDING, "to_status": pb.PROCESSING_STATUS_FAILED}
    print_history(
        [
            pb.MaterialTransition(
                event="cancelled",
                actor="ann",
                message="cancelled by ann",
                failure_reason=pb.FAILURE_REASON_CANCELLED,
                **change,  # type: ignore[arg-type]
            ),
            pb.MaterialTransition(
                event="attempt_failed",
                actor="worker",
                message="the AI Brain failed",
                attempt=2,
                failure_reason=pb.FAILURE_REASON_BRAIN_FAILED,
                **change,  # type: ignore[arg-type]
            ),
        ]
    )
    first, second = capsys.readouterr().out.splitlines()
    assert first.endswith("cancelled      pending -> failed        -          by ann")
    assert second.endswith("attempt 2  by worker: brain_failed: the AI Brain failed")


@pytest.mark.parametrize(
    ("status", "fields", "text"),
    [
        ("COMPLETED", {"has_embedding": True, "pages_done": 2, "pages_total": 2}, "yes"),
        ("COMPLETED", {"pages_done": 2, "pages_total": 2}, "no"),
        ("PROCESSING", {"pages_done": 1, "pages_total": 16}, "the pages read so far (1 of 16)"),
        ("FAILED", {"pages_done": 1, "pages_total": 16}, "the pages read so far (1 of 16)"),
        ("PENDING", {}, "not yet"),
        ("PROCESSING", {"pages_total": 16}, "not yet"),
        ("FAILED", {"pages_total": 16}, "no"),
    ],
)
def test_what_search_can_find_already_is_told(status: str, fields: dict[str, int], text: str) -> None:
    number = pb.ProcessingStatus.Value(f"PROCESSING_STATUS_{status}")
    assert searchable_text(pb.Material(processing_status=number, **fields)) == text  # type: ignore[arg-type]


def test_a_time_names_its_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    for zone, text in (("UTC0", "1970-01-01 00:00:00 UTC"), ("CET-1", "1970-01-01 01:00:00 CET")):
        with monkeypatch.context() as changed:
            changed.setenv("TZ", zone)
            time.tzset()
            assert time_text(Timestamp(seconds=0)) == text
    time.tzset()


@pytest.mark.parametrize(
    ("excerpt", "rest"),
    [
        ("## Comets ##\ntail", "tail"),
        ("\nComets\n\ntail", "\ntail"),
        ("Comets have tails", "Comets have tails"),
        ("tail of # Comets", "tail of # Comets"),
        ("Comets", ""),
    ],
)
def test_a_heading_is_taken_off_the_passage_it_begins(excerpt: str, rest: str) -> None:
    assert without_heading(excerpt, "Comets") == rest
    assert without_heading(excerpt, "") == excerpt


def test_a_value_of_a_later_contract_is_shown_as_unknown() -> None:
    assert state_text(pb.Material(processing_status=77)) == "unknown"  # type: ignore[arg-type]
    assert document(pb.Material(failure_reason=999))["failure_reason"] is None  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "enum",
    [
        pb.ProcessingStatus.DESCRIPTOR,
        pb.ProcessingStage.DESCRIPTOR,
        pb.FailureReason.DESCRIPTOR,
        processor_service_pb2.TextSource.DESCRIPTOR,
        record_service_pb2.PurgedPart.DESCRIPTOR,
        status_service_pb2.BreakerState.DESCRIPTOR,
    ],
    ids=lambda enum: enum.name,
)
def test_enums_are_short_lower_case_names(enum: object) -> None:
    names = {value.number: short_name(enum, value.number) for value in enum.values}  # type: ignore[attr-defined]
    assert names.pop(0) is None
    assert all(name and name.islower() and not name.startswith(enum.name.lower()) for name in names.values())  # type: ignore[attr-defined]


def test_a_document_has_every_field_as_scripts_want_it() -> None:
    material = pb.Material(id="x", name="a\x1b[red]", file_size=2**40, processing_status=pb.PROCESSING_STATUS_COMPLETED)
    material.created_at.CopyFrom(Timestamp(seconds=0))
    content = json.loads(to_json(document(material)))
    assert content["file_size"] == 2**40
    assert content["processing_status"] == "completed"
    assert content["created_at"] == "1970-01-01T00:00:00Z"
    assert content["processed_at"] is None
    assert content["has_embedding"] is False
    assert set(content) == {field.name for field in pb.Material.DESCRIPTOR.fields}
    assert "\x1b" not in to_json(content)


def test_an_excerpt_is_one_short_line() -> None:
    assert excerpt_text("a\n  b\tc") == "a b c"
    assert len(excerpt_text("word " * 200)) <= 300


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("notes.pdf", "notes.pdf"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\me\\a.pdf", "a.pdf"),
        ("/", "fallback"),
        ("..", "fallback"),
        (".bashrc", "bashrc"),
        ("-rf", "_rf"),
        ("a\x1b[31m:b?.pdf", "a[31m_b_.pdf"),
        ("ü" * 250 + ".pdf", "ü" * 98 + ".pdf"),
    ],
)
def test_a_stored_name_is_never_used_as_a_path(name: str, safe: str) -> None:
    assert safe_file_name(name, "fallback") == safe


@given(st.text(st.characters(), max_size=300))
def test_any_stored_name_gives_a_plain_file_name(name: str) -> None:
    safe = safe_file_name(name, "fallback")
    assert Path(safe).name == safe
    assert safe not in ("", ".", "..")
    assert safe[0] not in ".-~"
    assert len(safe.encode()) <= 200


def test_patterns_that_no_shell_expanded_are_expanded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("b.pdf", "a.pdf", "c.txt", "d[1].pdf"):
        Path(name).write_text("x")
    Path("folder.pdf").mkdir()
    assert expand_files(["*.pdf", "a.pdf", "c.txt"]) == [Path("a.pdf"), Path("b.pdf"), Path("d[1].pdf"), Path("c.txt")]
    assert expand_files(["d[1].pdf"]) == [Path("d[1].pdf")]


@pytest.mark.parametrize(
    ("argument", "said"), [("folder", "is a folder"), ("*.doc", "no file matches"), ("gone", "no file gone")]
)
def test_what_cannot_be_uploaded_is_refused_before_anything_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, argument: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    Path("a.pdf").write_text("x")
    with pytest.raises(WrongUsage, match=said):
        expand_files(["a.pdf", argument])


@given(failures=st.integers(1, 20), asked=st.none() | st.floats(0, 60), jitter=st.floats(0, 1, exclude_max=True))
def test_waits_grow_with_jitter_to_a_limit_and_honour_what_the_service_asks(
    failures: int, asked: float | None, jitter: float
) -> None:
    delay = Backoff(10).delay(failures, asked, jitter)
    if failures > 10:
        assert delay is None
        return
    assert delay is not None
    assert delay >= (asked or 0)
    doubled = min(5.0, 0.25 * 2 ** (failures - 1))
    assert doubled / 2 <= delay <= max(doubled, (asked or 0) * 1.25)


def test_a_service_that_asks_for_too_long_a_wait_is_not_waited_for() -> None:
    assert Backoff(10).delay(1, LONGEST_ASKED_SECONDS + 1, 0.5) is None


def test_several_failures_share_their_code_or_are_a_plain_failure() -> None:
    assert exit_code_of([]) == ExitCode.OK
    assert exit_code_of([NotFound("a"), NotFound("b")]) == ExitCode.NOT_FOUND
    assert exit_code_of([NotFound("a"), Unreachable("b")]) == ExitCode.FAILED
    assert exit_code_of([CommandError("a")]) == ExitCode.FAILED
