"""The messages of an upload as they come off the wire.

protobuf copies a chunk twice: into the message, and out of it when it is looked at. Of a large upload these copies were a tenth of what Ingest computes, so
the bytes of a large chunk are left where gRPC has put them.
"""

from __future__ import annotations

from typing import Final, TypeAlias

from materials.v1 import ingest_service_pb2 as pb

#: A memoryview is a large chunk: what a message with nothing but these bytes as its `chunk` says.
UploadMessage: TypeAlias = pb.UploadMaterialRequest | memoryview

METHOD: Final = "/materials.v1.IngestService/UploadMaterial"
#: Smaller ones are copied in no time.
_LEAST_BYTES = 128 * 1024
#: Of the field `chunk`: its number, and that its length comes before it.
_CHUNK_TAG = pb.UploadMaterialRequest.CHUNK_FIELD_NUMBER << 3 | 2
#: Enough for the length of any message that gRPC takes.
_MOST_LENGTH_BYTES = 4


def decoded(data: bytes) -> UploadMessage:
    """What the message says, whichever way it is written. Raises DecodeError."""
    if len(data) >= _LEAST_BYTES and data[0] == _CHUNK_TAG:
        length = 0
        for place in range(_MOST_LENGTH_BYTES):
            byte = data[1 + place]
            length |= (byte & 0x7F) << 7 * place
            if byte < 0x80:
                begin = 2 + place
                if begin + length == len(data):  # Else there is more in it, or less: protobuf knows what that means.
                    return memoryview(data)[begin:]
                break
    return pb.UploadMaterialRequest.FromString(data)


def chunk_of(message: UploadMessage) -> bytes | memoryview | None:
    """The chunk, perhaps without bytes; None of a message that carries metadata."""
    if isinstance(message, memoryview):
        return message
    # Looked at once: each time it is another copy.
    return None if message.WhichOneof("payload") == "metadata" else message.chunk
