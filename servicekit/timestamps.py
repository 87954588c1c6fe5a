"""Moments as protobuf has them."""

from __future__ import annotations

from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp


def timestamp(moment: datetime) -> Timestamp:
    """A timezone-aware moment as protobuf's Timestamp."""
    result = Timestamp()
    result.FromDatetime(moment)
    return result
