"""Messages of an upload that are not read by protobuf say what protobuf would have read."""

from __future__ import annotations

import os

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st
from materials.v1 import ingest_service_pb2 as pb

from ingest_service.upload_messages import METHOD, UploadMessage, chunk_of, decoded

KIB = 1024
BYTES = os.urandom(2 * KIB * KIB)
METADATA = pb.UploadMaterialRequest(metadata=pb.UploadMetadata(course_id="course", name="x" * 300 * KIB))


def chunk(content: bytes) -> bytes:
    return pb.UploadMaterialRequest(chunk=content).SerializeToString()


def said(message: UploadMessage) -> bytes | None:
    content = chunk_of(message)
    return None if content is None else bytes(content)


@given(size=st.integers(0, len(BYTES)))
def test_chunk_of_any_size(size: int) -> None:
    assert said(decoded(chunk(BYTES[:size]))) == BYTES[:size]


@pytest.mark.parametrize("size", [128 * KIB, 256 * KIB, 2 * KIB * KIB])
def test_bytes_of_a_large_chunk_stay_where_they_are(size: int) -> None:
    message = chunk(BYTES[:size])
    assert isinstance(content := decoded(message), memoryview)
    assert content.obj is message


def test_metadata_however_large() -> None:
    assert chunk_of(decoded(METADATA.SerializeToString())) is None


LARGE = chunk(BYTES[: 200 * KIB])
LENGTH = LARGE[1:4]


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(LARGE + chunk(b"the last counts"), id="two chunks"),
        pytest.param(LARGE + LARGE, id="two large chunks"),
        pytest.param(LARGE + METADATA.SerializeToString(), id="chunk, then metadata"),
        pytest.param(METADATA.SerializeToString() + LARGE, id="metadata, then chunk"),
        pytest.param(LARGE + b"\x98\x06\x01", id="a field that nobody knows"),
        pytest.param(b"\x98\x06\x01" + LARGE, id="a field that nobody knows, first"),
        # One bit more in each byte but the last says the same.
        pytest.param(b"\x12" + LENGTH[:2] + bytes([LENGTH[2] | 0x80]) + b"\0" + LARGE[4:], id="a length of four bytes"),
        pytest.param(b"\x12" + LENGTH[:2] + bytes([LENGTH[2] | 0x80]) + b"\x80\0" + LARGE[4:], id="and of five"),
    ],
)
def test_whatever_protobuf_takes_says_the_same(message: bytes) -> None:
    read = pb.UploadMaterialRequest.FromString(message)
    assert said(decoded(message)) == (read.chunk if read.WhichOneof("payload") == "chunk" else None)


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(LARGE[:-1], id="cut off"),
        pytest.param(LARGE + b"\x12\x05", id="a second chunk that is cut off"),
        pytest.param(b"\x12" + b"\xff" * 200 * KIB, id="a length without an end"),
        pytest.param(b"\0" + LARGE, id="no field at all"),
    ],
)
def test_what_protobuf_cannot_read_is_refused(message: bytes) -> None:
    with pytest.raises(DecodeError):
        decoded(message)


def test_method_is_that_of_the_contract() -> None:
    service = pb.DESCRIPTOR.services_by_name["IngestService"]
    assert f"/{service.full_name}/{service.methods_by_name['UploadMaterial'].name}" == METHOD
