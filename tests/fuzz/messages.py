"""Arbitrary messages by their descriptors, and bytes that are no message."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from google.protobuf import descriptor, message_factory
from google.protobuf.message import DecodeError, Message
from hypothesis import strategies as st

INT32, INT64 = 2**31, 2**63
#: What is larger is refused by gRPC itself.
MAX_MESSAGE_BYTES = 4 * 1024 * 1024
NASTY = [
    "\0", "a\0b", "\u202egnp.exe", "\u2066\u2069", "\u200b", "\ufeff", "\ufffd", "\U0010ffff", "e\u0301" * 50, "😀" * 200, "x" * 10_240,
    "𝔘𝔫𝔦𝔠𝔬𝔡𝔢", "' OR 1=1; --", "%s%n{0}${x}", "../../../etc/passwd", "\r\nSet-Cookie: a=b", "*", " ", "\t\n", "NaN", "-1",
    str(uuid.UUID(int=0)), str(uuid.UUID(int=2**128 - 1)).upper(), "{" + str(uuid.UUID(int=1)) + "}", "AAAA", "e30=", "=" * 64,
]  # fmt: skip
#: Values worth trying in a field of this name, such as ids that exist.
Known = Mapping[str, Sequence[Any]]

_NUMBERS = {
    descriptor.FieldDescriptor.CPPTYPE_INT32: (-INT32, INT32 - 1),
    descriptor.FieldDescriptor.CPPTYPE_INT64: (-INT64, INT64 - 1),
    descriptor.FieldDescriptor.CPPTYPE_UINT32: (0, 2 * INT32 - 1),
    descriptor.FieldDescriptor.CPPTYPE_UINT64: (0, 2 * INT64 - 1),
    descriptor.FieldDescriptor.CPPTYPE_ENUM: (-INT32, INT32 - 1),
}


def messages(of: descriptor.Descriptor, known: Known) -> st.SearchStrategy[Message]:
    """Any message of this type; each field unset, known, or anything it can hold."""
    fields = {field.name: _field(field, known) for field in of.fields}

    @st.composite
    def build(draw: st.DrawFn) -> Message:
        message = message_factory.GetMessageClass(of)()
        for field in of.fields:
            # Mostly set: a request that is empty is tried soon enough.
            if draw(st.integers(0, 3)):
                value = draw(fields[field.name])
                if field.is_repeated:
                    getattr(message, field.name).extend(value)
                elif isinstance(value, Message):
                    getattr(message, field.name).CopyFrom(value)
                else:
                    setattr(message, field.name, value)
        return message

    return build()


def _field(field: descriptor.FieldDescriptor, known: Known) -> st.SearchStrategy[Any]:
    one = _value(field, known)
    if field.name in known:
        one = st.sampled_from(known[field.name]) | one
    if not field.is_repeated:
        return one
    few = st.lists(one, max_size=3)
    if field.message_type is not None:
        return few
    return few | st.builds(lambda value, count: [value] * count, one, st.sampled_from([1_000, 1_001, 20_000]))


def _value(field: descriptor.FieldDescriptor, known: Known) -> st.SearchStrategy[Any]:
    kind = field.cpp_type
    if kind == field.CPPTYPE_MESSAGE:
        return messages(field.message_type, known)
    if kind == field.CPPTYPE_BOOL:
        return st.booleans()
    if kind in (field.CPPTYPE_DOUBLE, field.CPPTYPE_FLOAT):
        return st.floats(width=32)
    if kind == field.CPPTYPE_STRING:
        if field.type == field.TYPE_BYTES:
            return st.binary(max_size=2000)
        return st.one_of(
            st.sampled_from(NASTY), st.text(max_size=40), st.builds("{0}{0}".format, st.sampled_from(NASTY))
        )
    least, greatest = _NUMBERS[kind]
    limits = [least, least + 1, -1, 0, 1, 2, 10, 11, 1000, 1001, 2**15, 2**31 - 1, greatest]
    return st.sampled_from([n for n in limits if least <= n <= greatest]) | st.integers(least, greatest)


#: Of a later version of the contract, or of none: field 1007 as a string, a number and a group of bytes.
UNKNOWN_FIELDS = [b"", b"\xfa\x3e\x05later", b"\xf8\x3e\x96\x01", b"\xf9\x3e12345678"]


def serialized(of: descriptor.Descriptor, known: Known) -> st.SearchStrategy[bytes]:
    """Any message of this type as bytes, at times with fields that nobody knows."""
    whole = st.builds(
        lambda m, more: m.SerializeToString() + more, messages(of, known), st.sampled_from(UNKNOWN_FIELDS)
    )
    return whole.filter(lambda data: len(data) < MAX_MESSAGE_BYTES)


def garbage(of: descriptor.Descriptor, known: Known) -> st.SearchStrategy[bytes]:
    """Bytes that come in place of a message of this type: anything, a message cut short, text that is not UTF-8, lengths that lie."""
    cut = st.builds(lambda data, keep: data[: int(len(data) * keep)], serialized(of, known), st.floats(0, 1))
    return st.one_of(
        st.binary(max_size=100),
        cut,
        st.sampled_from([b"\x0a\x02\xff\xfe", b"\x0a\xff\xff\xff\xff\x0f", b"\x0b" * 200, b"\xff" * 20]),
    )


def decodable(of: descriptor.Descriptor, data: bytes) -> bool:
    """Whether the bytes are a message of this type after all."""
    try:
        message_factory.GetMessageClass(of).FromString(data)
    except DecodeError:
        return False
    return True
