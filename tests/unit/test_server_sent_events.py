"""The bytes of server-sent events, as a browser takes them apart."""

from __future__ import annotations

import json
import re

from hypothesis import given
from hypothesis import strategies as st

from gateway.server_sent_events import KEEP_ALIVE, event, opening

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(), children, max_size=3),
    max_leaves=5,
)


def lines(stream: bytes) -> list[str]:
    """As the standard has it: a line ends with CRLF, LF or CR."""
    return re.split("\r\n|\n|\r", stream.decode())


@given(value=json_values, ascii_only=st.booleans())
def test_any_json_is_one_line_of_data(value: object, ascii_only: bool) -> None:
    content = json.dumps(value, ensure_ascii=ascii_only)
    assert lines(event("material", content, "7")) == ["id: 7", "event: material", f"data: {content}", "", ""]


def test_event_that_nothing_can_be_resumed_after_has_no_id() -> None:
    """An empty one would make the browser forget the last."""
    assert event("end", "{}") == b"event: end\ndata: {}\n\n"


def test_stream_opens_with_something_to_read_and_the_time_to_come_back() -> None:
    assert lines(opening(1500)) == [": live status", "retry: 1500", "", ""]


def test_keep_alive_is_a_comment() -> None:
    assert KEEP_ALIVE.startswith(b":")
    assert KEEP_ALIVE.endswith(b"\n\n")
