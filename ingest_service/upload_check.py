"""What an upload must be, decided chunk by chunk without keeping it.

Pure: bytes in, the bytes that may go to the store out, or a ServiceError with the reason. The first HEAD_BYTES are held back until the type
is known, so nothing of an unsupported file is ever written.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from materials.v1 import errors_pb2

from ingest_service.file_types import HEAD_BYTES, MARKDOWN, TEXT, FileType, TextCheck, detect
from servicekit import validation
from servicekit.errors import FieldInvalid, ServiceError

MAX_CHUNK_BYTES = 2 * 1024 * 1024
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_REQUEST_ID = re.compile(r"[!-~]{1,64}\Z")


@dataclass(frozen=True, slots=True)
class Declared:
    """What the client says beforehand; 0 and "" where it says nothing."""

    course_id: str
    name: str
    request_id: str = ""
    file_size: int = 0
    sha256: str = ""

    def validated(self, max_bytes: int) -> Declared:
        """Itself, with the digest in lower case. Raises FieldInvalid and FILE_TOO_LARGE."""
        validation.course_id(self.course_id)
        validation.visible_text("name", self.name, max_length=255)
        if self.request_id and not _REQUEST_ID.match(self.request_id):
            raise FieldInvalid("request_id", "must have 1-64 visible ASCII characters")
        if self.file_size < 0:
            raise FieldInvalid("file_size", "must not be negative")
        if self.file_size > max_bytes:
            raise too_large(max_bytes)
        if self.sha256 and not _SHA256.match(self.sha256.lower()):
            raise FieldInvalid("sha256", "must be 64 hexadecimal digits")
        return Declared(self.course_id, self.name, self.request_id, self.file_size, self.sha256.lower())


@dataclass(frozen=True, slots=True)
class Checked:
    """What the bytes turned out to be."""

    file_type: FileType
    file_size: int
    sha256: str


class UploadCheck:
    """The state of one upload's check."""

    def __init__(self, declared: Declared, max_bytes: int) -> None:
        self._declared, self._max_bytes = declared, max_bytes
        self._hash = hashlib.sha256()
        self._size = 0
        self._head: bytes | None = b""  # None once the type is known
        self._type: FileType | None = None
        self._text: TextCheck | None = None

    def feed(self, chunk: bytes | memoryview) -> bytes | memoryview:
        """Takes the next bytes; returns those that may be stored now (b"" while the type is not known). Raises ServiceError."""
        if len(chunk) > MAX_CHUNK_BYTES:
            raise ServiceError(
                errors_pb2.ERROR_REASON_CHUNK_TOO_LARGE,
                f"a chunk may have {MAX_CHUNK_BYTES} bytes at most, this one has {len(chunk)}",
            )
        self._size += len(chunk)
        if self._size > self._max_bytes:
            raise too_large(self._max_bytes)
        if self._declared.file_size and self._size > self._declared.file_size:
            raise self._size_mismatch()
        self._hash.update(chunk)
        if self._head is None:
            self._check_text(chunk)
            return chunk
        self._head += chunk
        return self._open() if len(self._head) >= HEAD_BYTES else b""

    def finish(self) -> tuple[bytes, Checked]:
        """After the last chunk: bytes still to be stored, and what the file is. Raises ServiceError."""
        if self._size == 0:
            raise ServiceError(errors_pb2.ERROR_REASON_FILE_EMPTY, "the file is empty")
        if self._declared.file_size and self._size != self._declared.file_size:
            raise self._size_mismatch()
        rest = self._open() if self._head is not None else b""
        self._check_text(b"", last=True)
        digest = self._hash.hexdigest()
        if self._declared.sha256 and digest != self._declared.sha256:
            raise ServiceError(
                errors_pb2.ERROR_REASON_FILE_SHA256_MISMATCH,
                "the bytes received do not have the declared sha256; upload again",
            )
        assert self._type is not None
        return rest, Checked(self._type, self._size, digest)

    def _open(self) -> bytes:
        head, self._head = self._head or b"", None
        # Of the head alone, so that the verdict does not hang on how the file was cut into chunks.
        self._type = detect(head[:HEAD_BYTES], self._declared.name)
        if self._type is None:
            raise unsupported()
        if self._type in (TEXT, MARKDOWN):
            self._text = TextCheck()
        self._check_text(head)
        return head

    def _check_text(self, chunk: bytes | memoryview, *, last: bool = False) -> None:
        if self._text is not None and not self._text.feed(bytes(chunk), last=last):
            raise unsupported()

    def _size_mismatch(self) -> ServiceError:
        return ServiceError(
            errors_pb2.ERROR_REASON_FILE_SIZE_MISMATCH,
            f"{self._declared.file_size} bytes were declared, {self._size} came; upload again",
        )


def too_large(max_bytes: int) -> ServiceError:
    """FILE_TOO_LARGE with the limit."""
    return ServiceError(
        errors_pb2.ERROR_REASON_FILE_TOO_LARGE,
        f"the file is larger than {max_bytes} bytes; upload a smaller one, or split it",
    )


def unsupported() -> ServiceError:
    """UNSUPPORTED_FILE_TYPE with what is taken."""
    return ServiceError(
        errors_pb2.ERROR_REASON_UNSUPPORTED_FILE_TYPE,
        "the content is not a PDF, PNG, JPEG, TIFF, WebP, plain text (UTF-8) or Markdown file; convert it to one of these",
    )
