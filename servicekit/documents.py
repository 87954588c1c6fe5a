"""Messages of the contract as JSON documents: the contract's field names, numbers as numbers, enums as short lower-case names, null for unset."""

from __future__ import annotations

from typing import Any

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

Document = dict[str, Any]


def short_name(enum: Any, number: int) -> str | None:
    """A value's name without the prefix of its enum (an EnumDescriptor), in lower case: "completed". None for
    UNSPECIFIED and for a number of a later contract.
    """
    if number == 0 or number not in enum.values_by_number:
        return None
    words = "".join(f"_{letter}" if letter.isupper() else letter for letter in enum.name)
    name: str = enum.values_by_number[number].name
    return name.removeprefix(f"{words.strip('_').upper()}_").lower()


def numbers_by_name(enum: Any) -> dict[str, int]:
    """The values of an enum by their short names, UNSPECIFIED left out."""
    return {name: number for number in enum.values_by_number if (name := short_name(enum, number)) is not None}


def document(message: Message) -> Document:
    """All fields of a message by their names."""
    return {field.name: _value(message, field.name) for field in message.DESCRIPTOR.fields}


def _value(message: Message, name: str) -> Any:
    field, value = message.DESCRIPTOR.fields_by_name[name], getattr(message, name)
    if field.enum_type is not None:
        return short_name(field.enum_type, value)
    if field.message_type is None:
        return list(value) if field.is_repeated else value
    if not isinstance(value, Message):  # Repeated.
        return [document(each) for each in value]
    if not message.HasField(name):
        return None
    return value.ToJsonString() if isinstance(value, Timestamp) else document(value)
