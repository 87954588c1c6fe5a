"""Promises of the form reader: the same events however the bytes are cut, one clear error for whatever is no form, and flat memory."""

from __future__ import annotations

import itertools
import tracemalloc
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from materials.v1 import errors_pb2

from gateway.multipart import (
    MAX_FIELD_BYTES,
    MAX_PART_HEADER_BYTES,
    MAX_PART_HEADERS,
    MAX_PARTS,
    MAX_PREAMBLE_BYTES,
    FieldRead,
    FileBegins,
    FileBytes,
    FormEnds,
    FormEvent,
    MultipartForm,
)
from servicekit.errors import FieldInvalid, ServiceError

BOUNDARY = "-B0undary"
CONTENT_TYPE = f"multipart/form-data; boundary={BOUNDARY}"
FILE = 'form-data; name="file"; filename="notes.txt"'


def part(content: bytes, disposition: str | bytes = FILE, *headers: str) -> bytes:
    given_as = disposition if isinstance(disposition, bytes) else disposition.encode()
    lines = [f"--{BOUNDARY}".encode(), b"Content-Disposition: " + given_as, *(each.encode() for each in headers)]
    return b"\r\n".join([*lines, b"", content, b""])


END = f"--{BOUNDARY}--\r\n".encode()


def read(pieces: Iterable[bytes], content_type: str = CONTENT_TYPE) -> list[FormEvent]:
    """All events; the bytes of a file as one."""
    form, events = MultipartForm(content_type), list[FormEvent]()
    for piece in pieces:
        for event in form.feed(piece):
            if isinstance(event, FileBytes) and events and isinstance(events[-1], FileBytes):
                events[-1] = FileBytes(events[-1].content + event.content)
            else:
                events.append(event)
    return events


def outcome(pieces: Iterable[bytes]) -> list[FormEvent] | str:
    try:
        return read(pieces)
    except ServiceError as error:
        return error.message


def refusal(body: bytes, content_type: str = CONTENT_TYPE) -> ServiceError:
    with pytest.raises(ServiceError) as caught:
        read([body], content_type)
    return caught.value


def assert_malformed(body: bytes, content_type: str = CONTENT_TYPE) -> None:
    assert refusal(body, content_type).reason == errors_pb2.ERROR_REASON_UPLOAD_MALFORMED


# Contents that look like the boundary, but are not.
contents = st.lists(
    st.sampled_from([b"\r\n", b"\r", b"\n", b"--", f"\r\n--{BOUNDARY[:-1]}".encode(), b"text"]) | st.binary(max_size=9)
).map(b"".join).filter(lambda content: f"\r\n--{BOUNDARY}".encode() not in b"\r\n" + content)  # fmt: skip
forms = st.builds(
    lambda preamble, field, content, epilogue: (
        (preamble + b"\r\n" if preamble else b"")
        + part(field, 'form-data; name="name"')
        + part(content)
        + END
        + epilogue,
        field,
        content,
    ),
    st.sampled_from([b"", b"\r\n", b"preamble", b"a\r\n-b-\r\n--c"]),
    st.sampled_from([b"", b"cells", "Zellen 🦠".encode()]),
    contents,
    st.sampled_from([b"", b"epilogue", part(b"late")]),
)


@given(forms, st.lists(st.integers(0, 400)))
def test_the_same_events_come_however_the_bytes_are_cut(form: tuple[bytes, bytes, bytes], cuts: list[int]) -> None:
    body, field, content = form
    edges = sorted({0, len(body), *(cut for cut in cuts if cut < len(body))})
    events = read(body[begin:end] for begin, end in itertools.pairwise(edges))
    assert events == [
        FieldRead("name", field.decode()),
        FileBegins("file", "notes.txt"),
        *([FileBytes(content)] if content else []),
        FormEnds(),
    ]


@given(st.binary(max_size=60) | st.lists(st.sampled_from([part(b"x"), END, b"\r\n", b"--", b":"])).map(b"".join))
def test_what_is_no_form_is_refused_alike_however_it_is_cut(body: bytes) -> None:
    assert outcome([body]) == outcome(body[place : place + 1] for place in range(len(body)))


def test_a_form_that_stops_in_its_middle_has_no_end() -> None:
    body = part(b"content") + END
    for length in range(len(body) - len("-\r\n")):
        assert FormEnds() not in read([body[:length]])


@pytest.mark.parametrize(
    "content_type",
    [
        "", "multipart/form-data", "multipart/form-data; boundary=", "multipart/mixed; boundary=x", "application/json",
        "multipart/form-data; boundary=" + "x" * 257,
    ],
)  # fmt: skip
def test_a_content_type_of_something_else_is_refused(content_type: str) -> None:
    assert_malformed(b"", content_type)


def test_media_type_and_parameters_are_read_in_any_case() -> None:
    assert FormEnds() in read([part(b"x") + END], f'Multipart/Form-Data; BOUNDARY="{BOUNDARY}"; charset=utf-8')


@pytest.mark.parametrize(
    "disposition",
    ["", "form-data", 'form-data; filename="a.txt"', 'attachment; name="file"', "form-data; name*=file"],
)
def test_a_part_without_a_name_is_refused(disposition: str) -> None:
    assert_malformed(part(b"x", disposition) + END)


@pytest.mark.parametrize(
    ("filename", "read_as"),
    [
        (b'filename="notes.txt"', "notes.txt"),
        (b"filename=notes.txt", "notes.txt"),
        (b'FileName = "notes.txt"', "notes.txt"),
        (b'filename="a; b=c.txt"', "a; b=c.txt"),
        (b'filename="say \\"hi\\".txt"', 'say "hi".txt'),
        (b'filename="say %22hi%22.txt"', 'say "hi".txt'),
        (b'filename="100%25.txt"', "100%25.txt"),
        (b'filename="../up.txt"', "../up.txt"),
        (b'filename="C:\\\\Users\\\\ann\\\\notes.txt"', "notes.txt"),
        ('filename="Zellen 🦠.txt"'.encode(), "Zellen 🦠.txt"),
        # RFC 7578, section 4.2: the extended notation is not for forms.
        (b"filename=\"plain.txt\"; filename*=UTF-8''%e2%82%ac.txt", "plain.txt"),
        (b'filename=""', ""),
    ],
)
def test_a_file_name_is_read_as_clients_write_it(filename: bytes, read_as: str) -> None:
    events = read([part(b"x", b'form-data; name="file"; ' + filename) + END])
    assert events[0] == FileBegins("file", read_as)


def test_two_files_are_two_files() -> None:
    events = read([part(b"one") + part(b"two", 'form-data; name="more"; filename="b"') + END])
    assert [event.field for event in events if isinstance(event, FileBegins)] == ["file", "more"]


@pytest.mark.parametrize(
    "body",
    [
        part(b"\xff", 'form-data; name="name"'),
        part(b"x", b'form-data; name="file"; filename="\xff"'),
        part(b"x", b'form-data; name="\xff"'),
    ],
)
def test_text_that_is_no_utf_8_is_refused_with_its_field(body: bytes) -> None:
    error = refusal(body + END)
    assert isinstance(error, FieldInvalid)
    assert error.description == "must be UTF-8"


def test_a_field_has_a_limit_and_a_file_has_none() -> None:
    most = b"x" * MAX_FIELD_BYTES
    assert read([part(most, 'form-data; name="name"') + END])[0] == FieldRead("name", most.decode())
    error = refusal(part(most + b"x", 'form-data; name="name"') + END)
    assert isinstance(error, FieldInvalid)
    assert error.field == "name"
    assert FileBytes(most + b"x") in read([part(most + b"x") + END])


def test_parts_headers_and_preamble_have_limits() -> None:
    field = part(b"", 'form-data; name="other"')
    assert FormEnds() in read([field * MAX_PARTS + END])
    assert_malformed(field * (MAX_PARTS + 1) + END)
    assert_malformed(part(b"", FILE, *(f"X-{number}: y" for number in range(MAX_PART_HEADERS))) + END)
    assert_malformed(part(b"", FILE, "X-Long: " + "y" * MAX_PART_HEADER_BYTES) + END)
    assert_malformed(b"x" * (MAX_PREAMBLE_BYTES + 1))


@pytest.mark.parametrize(
    "begin", [b"", part(b"", 'form-data; name="n"')[:-2], part(b"")[:-2], f"--{BOUNDARY}\r\nX".encode()]
)
def test_memory_stays_flat_whatever_goes_on_without_end(begin: bytes) -> None:
    form, piece = MultipartForm(CONTENT_TYPE), b"x" * 65_536
    tracemalloc.start()
    try:
        form.feed(begin)
        for _ in range(300):
            form.feed(piece)
    except ServiceError:
        pass
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 1024 * 1024
