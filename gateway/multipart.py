"""multipart/form-data as it comes: fields and one file, never more of it in memory than was received last.

Starlette's own form parser keeps whole files on disk before anybody sees them; this one (python-multipart's) tells of each piece at once.
"""

from __future__ import annotations

from dataclasses import dataclass

from materials.v1 import errors_pb2
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from servicekit.errors import FieldInvalid, ServiceError

MAX_PREAMBLE_BYTES = 4 * 1024
MAX_FIELD_BYTES = 4 * 1024
MAX_PARTS = 20
MAX_PART_HEADERS = 16
MAX_PART_HEADER_BYTES = 4 * 1024


@dataclass(frozen=True)
class FieldRead:
    """A field that is not a file, whole."""

    name: str
    value: str


@dataclass(frozen=True)
class FileBegins:
    """The file part begins; its field's name, and the file name as the client gave it."""

    field: str
    filename: str


@dataclass(frozen=True)
class FileBytes:
    """The next bytes of the file."""

    content: bytes


@dataclass(frozen=True)
class FormEnds:
    """The closing boundary has come: all of the form is there."""


FormEvent = FieldRead | FileBegins | FileBytes | FormEnds


class MultipartForm:
    """An incremental reader of one form. Raises ServiceError UPLOAD_MALFORMED, and FieldInvalid for a field that is too long or no UTF-8."""

    def __init__(self, content_type: str | None) -> None:
        media_type, parameters = parse_options_header(content_type)
        boundary = parameters.get(b"boundary")
        if media_type != b"multipart/form-data" or not boundary:
            raise malformed("send the file as multipart/form-data, in a part named `file`")
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._part_begins,
                    "on_header_field": self._header_field,
                    "on_header_value": self._header_value,
                    "on_header_end": self._header_ends,
                    "on_headers_finished": self._headers_end,
                    "on_part_data": self._part_data,
                    "on_part_end": self._part_ends,
                    "on_end": self._form_ends,
                },
                max_header_count=MAX_PART_HEADERS,
                max_header_size=MAX_PART_HEADER_BYTES,
            )
        except FormParserError as error:
            raise malformed("the boundary is not one that multipart/form-data has") from error
        #: What stands before the first boundary means nothing (RFC 2046, section 5.1.1), and the parser does not take it; None after it.
        self._preamble: bytearray | None = bytearray(b"\r\n")
        self._first_boundary = b"\r\n--" + boundary
        self._events: list[FormEvent] = []
        self._parts = 0
        self._header: tuple[bytearray, bytearray] = (bytearray(), bytearray())
        self._disposition = b""
        self._field = ""
        self._is_file = False
        self._value = bytearray()

    def feed(self, data: bytes) -> list[FormEvent]:
        """What these bytes bring."""
        if self._preamble is not None:
            self._preamble += data
            begin = self._preamble.find(self._first_boundary)
            if begin < 0:
                if len(self._preamble) > MAX_PREAMBLE_BYTES:
                    raise malformed("the body does not begin with the boundary of its Content-Type")
                return []
            data, self._preamble = bytes(self._preamble[begin + 2 :]), None
        try:
            self._parser.write(data)
        except FormParserError as error:
            raise malformed("the body is not well-formed multipart/form-data") from error
        events, self._events = self._events, []
        return events

    def _part_begins(self) -> None:
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise malformed(f"the form has more than {MAX_PARTS} parts")
        self._disposition, self._value = b"", bytearray()

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._header[0].extend(data[start:end])

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._header[1].extend(data[start:end])

    def _header_ends(self) -> None:
        name, value = self._header
        if name.lower() == b"content-disposition":
            self._disposition = bytes(value)
        self._header = (bytearray(), bytearray())

    def _headers_end(self) -> None:
        kind, parameters = parse_options_header(self._disposition)
        if kind != b"form-data" or b"name" not in parameters:
            raise malformed("each part needs a Content-Disposition of form-data with a name")
        self._field = _text("form", parameters[b"name"])
        self._is_file = b"filename" in parameters
        if self._is_file:
            # Browsers write a quotation mark so; the line breaks that they write likewise no name may have.
            filename = parameters[b"filename"].replace(b"%22", b'"')
            self._events.append(FileBegins(self._field, _text(self._field, filename)))

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        if self._is_file:
            self._events.append(FileBytes(data[start:end]))
            return
        self._value += data[start:end]
        if len(self._value) > MAX_FIELD_BYTES:
            raise FieldInvalid(self._field[:64], f"must have at most {MAX_FIELD_BYTES} bytes")

    def _part_ends(self) -> None:
        if not self._is_file:
            self._events.append(FieldRead(self._field, _text(self._field, bytes(self._value))))

    def _form_ends(self) -> None:
        self._events.append(FormEnds())


def malformed(why: str) -> ServiceError:
    """UPLOAD_MALFORMED with the reason."""
    return ServiceError(errors_pb2.ERROR_REASON_UPLOAD_MALFORMED, why)


def _text(field: str, value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise FieldInvalid(field[:64], "must be UTF-8") from None
