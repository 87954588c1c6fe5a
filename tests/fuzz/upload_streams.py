"""Streams of upload messages, whole and broken, and what the contract says of each."""

from __future__ import annotations

import hashlib
import itertools
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from hypothesis import strategies as st
from materials.v1 import ingest_service_pb2 as pb

from tests.fuzz.limits import MAX_CHUNK_BYTES, MAX_UPLOAD_BYTES

KIB, MIB = 1024, 1024 * 1024
#: Stands for the course of the example, which is chosen when it runs.
OWN_COURSE = "own-course"
HEAD_BYTES = 1024
BINARY_HEADS = [
    b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"II*\0", b"MM\0*", b"RIFF\x10\0\0\0WEBPVP8 ",
    b"%PDF-1.7\n", b"junk before it \0 %PDF-2.0\n",
]  # fmt: skip
FILLS = [
    b"The cell is the unit of life. ", "Zelle: é € 😀 ".encode(), b"<p>a page</p>", b"<!DOCTYPE html><script>", b"#!/bin/sh\n",
    b"bell\x07 ", b"\xff\xfe\xfd", b"\0", b"", *BINARY_HEADS,
]  # fmt: skip
SIZES = [0, 1, 2, 3, 7, 100, 1023, 1024, 1025, 64 * KIB]
LARGE_SIZES = [MAX_CHUNK_BYTES - 1, MAX_CHUNK_BYTES, MAX_CHUNK_BYTES + 1]
NAMES = ["notes.txt", "Notizen – 第1章.md", "../../etc/passwd", "a" * 255, "'; DROP TABLE materials; --", "😀" * 255]
BAD_NAMES = ["", " ", "a" * 256, "nul\0", "line\nbreak", "\u202etxt.fdp", "\u200b", "\U0010ffff"]
BAD_COURSES = ["", "two words", "a/b", "a\\b", "c" * 129, "nul\0", "\u2067x", "\u2028"]
BAD_REQUEST_IDS = ["r" * 65, "with space", "ümlaut", "nul\0"]
BAD_SHA256 = ["abc", "g" * 64, "0" * 65, "٠" * 64]


class End(Enum):
    """What becomes of the stream after its last message."""

    HALF_CLOSE = "ended as it should be"
    CANCEL = "cancelled"
    CANCEL_AT_ONCE = "ended, and cancelled at once"
    DEADLINE = "given up at a deadline"
    CUT = "the connection reset"


@dataclass(frozen=True)
class Stream:
    """Messages, and how many of them are sent before the end."""

    messages: tuple[pb.UploadMaterialRequest, ...]
    end: End
    sent: int

    @property
    def content(self) -> bytes:
        """All bytes of all chunks."""
        return b"".join(message.chunk for message in self.messages)

    def in_course(self, course: str) -> list[pb.UploadMaterialRequest]:
        """The messages with the example's own course."""
        placed = []
        for message in self.messages:
            copy = pb.UploadMaterialRequest.FromString(message.SerializeToString())
            if copy.metadata.course_id == OWN_COURSE:
                copy.metadata.course_id = course
            placed.append(copy)
        return placed

    def __repr__(self) -> str:
        shown = [
            f"chunk of {len(message.chunk)}: {message.chunk[:20]!r}"
            if message.HasField("chunk")
            else str(message).strip()
            for message in self.messages
        ]
        return f"Stream({shown}, {self.end.value} after {self.sent})"


def faults(messages: Sequence[pb.UploadMaterialRequest]) -> set[str]:
    """Every reason for which the contract lets Ingest refuse these messages; none when they are a whole upload."""
    if not messages or not messages[0].HasField("metadata"):
        return {"UPLOAD_METADATA_MISSING"}
    found = metadata_faults(messages[0].metadata)
    chunks = [message.chunk for message in messages]
    content = b"".join(chunks)
    if any(message.HasField("metadata") for message in messages[1:]):
        found.add("UPLOAD_METADATA_REPEATED")
    if any(len(chunk) > MAX_CHUNK_BYTES for chunk in chunks):
        found.add("CHUNK_TOO_LARGE")
    if len(content) > MAX_UPLOAD_BYTES:
        found.add("FILE_TOO_LARGE")
    if not content:
        found.add("FILE_EMPTY")
    elif not _is_material(content):
        found.add("UNSUPPORTED_FILE_TYPE")
    metadata = messages[0].metadata
    if metadata.file_size not in (0, len(content)):
        found.add("FILE_SIZE_MISMATCH")
    if metadata.sha256 and metadata.sha256.lower() != hashlib.sha256(content).hexdigest():
        found.add("FILE_SHA256_MISMATCH")
    return found


def metadata_faults(metadata: pb.UploadMetadata) -> set[str]:
    """What is wrong with the metadata alone."""
    found = set()
    bad = (
        metadata.course_id in BAD_COURSES
        or metadata.name in BAD_NAMES
        or metadata.request_id in BAD_REQUEST_IDS
        or metadata.sha256 in BAD_SHA256
        or metadata.file_size < 0
    )
    if bad:
        found.add("FIELD_INVALID")
    if metadata.file_size > MAX_UPLOAD_BYTES:
        found.add("FILE_TOO_LARGE")
    if metadata.course_id != OWN_COURSE:
        found.add("COURSE_WRITE_DENIED")
    return found


def _is_material(content: bytes) -> bool:
    head = content[:HEAD_BYTES]
    if any(head.startswith(start) for start in (*BINARY_HEADS[:4], b"\xff\xd8\xff", b"II+\0", b"MM\0+")):
        return True
    if (head[:4], head[8:12]) == (b"RIFF", b"WEBP") or b"%PDF-1." in head or b"%PDF-2." in head:
        return True
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return False
    if any(unicodedata.category(c) == "Cc" and ord(c) < 128 and c not in "\t\n\r\f" for c in set(text)):
        return False
    start = text.removeprefix("\ufeff").encode()[:HEAD_BYTES].lstrip().lower()
    return not start.startswith((b"<!doctype", b"<script", b"#!"))


def filled(start: bytes, fill: bytes, size: int) -> bytes:
    """`size` bytes that begin with `start` and go on with `fill`."""
    return (start + (fill or b".") * (size // len(fill or b".") + 1))[:size]


sizes = st.one_of(st.sampled_from(SIZES), st.sampled_from(SIZES), st.integers(0, 5000), st.sampled_from(LARGE_SIZES))
contents = st.builds(filled, st.sampled_from(FILLS), st.sampled_from(FILLS), sizes) | st.binary(max_size=64)
good_contents = st.builds(
    filled,
    st.sampled_from([b"", *BINARY_HEADS]),
    st.sampled_from(FILLS[:2]),
    st.integers(1, 3000) | st.just(3 * MIB + 1),
)
good_metadata = st.builds(
    pb.UploadMetadata,
    course_id=st.just(OWN_COURSE),
    name=st.sampled_from(NAMES),
    request_id=st.sampled_from(["", "once", "~" * 64]),
)
any_metadata = st.builds(
    pb.UploadMetadata,
    course_id=st.sampled_from([OWN_COURSE, OWN_COURSE, "somebody-elses", *BAD_COURSES]),
    name=st.sampled_from([*NAMES, *NAMES, *BAD_NAMES]),
    request_id=st.sampled_from(["", "once", *BAD_REQUEST_IDS]),
    file_size=st.sampled_from([0, 0, 0, 1, 100, MAX_UPLOAD_BYTES, MAX_UPLOAD_BYTES + 1, -1, 2**63 - 1, -(2**63)]),
    sha256=st.sampled_from(["", "", "", "0" * 64, *BAD_SHA256]),
)


def _chunk(content: bytes) -> pb.UploadMaterialRequest:
    return pb.UploadMaterialRequest(chunk=content)


def _with_unknown_field(message: pb.UploadMaterialRequest) -> pb.UploadMaterialRequest:
    known = message.SerializeToString()
    return pb.UploadMaterialRequest.FromString(known + b"\xfa\x3e\x05later")  # field 1007, a string


nothing = st.sampled_from([pb.UploadMaterialRequest(), _with_unknown_field(pb.UploadMaterialRequest()), _chunk(b"")])
any_message = st.one_of(
    st.builds(lambda m: pb.UploadMaterialRequest(metadata=m), any_metadata), st.builds(_chunk, contents), nothing
)
any_messages = st.lists(any_message, max_size=6)


@st.composite
def whole_messages(draw: st.DrawFn) -> list[pb.UploadMaterialRequest]:
    """One good file, cut anywhere, with messages that carry nothing in between; mostly what the contract wants, at times with one fault."""
    content = draw(good_contents)
    metadata = draw(good_metadata if draw(st.integers(0, 3)) else any_metadata)
    if metadata.file_size == 0 and draw(st.booleans()):
        metadata.file_size = len(content)
        digest = hashlib.sha256(content).hexdigest()
        metadata.sha256 = draw(st.sampled_from([digest, digest.upper()]))
    cuts = sorted(
        {
            0,
            len(content),
            *range(0, len(content), MAX_CHUNK_BYTES),
            *draw(st.lists(st.integers(0, len(content)), max_size=4)),
        }
    )
    messages = [pb.UploadMaterialRequest(metadata=metadata)]
    for start, end in itertools.pairwise(cuts):
        messages += draw(st.lists(nothing, max_size=1))
        messages.append(_chunk(content[start:end]))
    if draw(st.booleans()):
        messages = [_with_unknown_field(message) for message in messages]
    return messages


@st.composite
def streams(draw: st.DrawFn) -> Stream:
    """Any stream, and any end of it."""
    messages = draw(whole_messages() | any_messages)
    end = draw(st.sampled_from([End.HALF_CLOSE, End.HALF_CLOSE, *End]))
    whole = end in (End.HALF_CLOSE, End.CANCEL_AT_ONCE)
    return Stream(tuple(messages), end, len(messages) if whole else draw(st.integers(0, len(messages))))
