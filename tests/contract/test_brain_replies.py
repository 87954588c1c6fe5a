"""What the Brain client makes of replies: broken, endless, late, and those that say why."""

import asyncio
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processor_service.brain.client import retry_after_seconds, storable_text
from processor_service.brain.errors import (
    BrainBusy,
    BrainError,
    BrainFailed,
    BrainInterrupted,
    BrainMisconfigured,
    BrainRefused,
    BrainTimedOut,
    BrainUnavailable,
    one_line,
)
from tests.contract.scripted_brain import (
    MAX_REPLY,
    PNG,
    Behaviour,
    client_of,
    close_mid_body,
    close_without_reply,
    embeds,
    endless_reply,
    huge_headers,
    never_answer,
    one_byte_at_a_time,
    reply,
    reset_mid_body,
    says,
    scripted,
)

NOW = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("behaviour", "error"),
    [
        (reply(200, '{"response": "half'), BrainFailed),
        (reply(200, "<html>Bad gateway</html>"), BrainFailed),
        (reply(200, ""), BrainFailed),
        (reply(200, b"\xff\xfe\x00"), BrainFailed),
        (reply(200, "[" * 60_000), BrainFailed),
        (reply(200, '"text"'), BrainFailed),
        (reply(200, "{}"), BrainFailed),
        (says(None), BrainFailed),
        (says(["text"]), BrainFailed),
        (says(7), BrainFailed),
        (reply(200, "x" * (MAX_REPLY + 1)), BrainFailed),
        (endless_reply, BrainFailed),
        (reply(200, b"\x1f\x8b" + bytes(100), Content_Encoding="gzip"), BrainFailed),
        (reply(204, ""), BrainFailed),
        (reply(500, '{"detail": "model fell over"}'), BrainFailed),
        (reply(500, "<html>"), BrainFailed),
        (reply(501, ""), BrainFailed),
        (reply(502, "<html>Bad gateway</html>"), BrainUnavailable),
        (reply(503, ""), BrainUnavailable),
        (reply(504, ""), BrainTimedOut),
        (reset_mid_body, BrainInterrupted),
        (close_mid_body, BrainInterrupted),
        (close_without_reply, BrainInterrupted),
        (huge_headers, BrainInterrupted),
        (reply(429, ""), BrainBusy),
        (reply(413, "<html>too large</html>"), BrainRefused),
        (reply(422, '{"detail": [{"loc": ["body", "prompt"], "msg": "Field required"}]}'), BrainRefused),
        (reply(400, ""), BrainRefused),
        (reply(401, ""), BrainMisconfigured),
        (reply(403, ""), BrainMisconfigured),
        (reply(404, '{"detail": "Not Found"}'), BrainMisconfigured),
    ],
)
async def test_a_broken_reply_to_a_page_is_never_text_and_gives_its_error(
    behaviour: Behaviour, error: type[BrainError]
) -> None:
    async with scripted(behaviour) as brain, client_of(brain.endpoint) as client:
        with pytest.raises(BrainError) as raised:
            await client.read_page(PNG)
    assert type(raised.value) is error
    assert raised.value.message == one_line(raised.value.message)
    assert "127.0.0.1" not in raised.value.message


async def test_an_endless_reply_is_cut_and_its_connection_closed() -> None:
    async with scripted(endless_reply) as brain, client_of(brain.endpoint) as client:
        with pytest.raises(BrainFailed, match="larger than 65536 bytes"):
            await client.read_page(PNG)
        await asyncio.wait_for(brain.connections_ended.wait(), timeout=10)


@pytest.mark.parametrize("behaviour", [never_answer, one_byte_at_a_time])
async def test_one_deadline_holds_for_the_whole_reply(behaviour: Behaviour) -> None:
    async with scripted(behaviour) as brain, client_of(brain.endpoint, seconds=0.3) as client:
        with pytest.raises(BrainTimedOut, match=r"within 0\.3 s"):
            await client.read_page(PNG)
        await asyncio.wait_for(brain.connections_ended.wait(), timeout=10)


# --- reasons -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        ("Error processing file: cannot identify image", "cannot identify image"),
        ("  Error processing file:\nline\r\n\x1b[31m two \u202e", "line [31m two"),
        ("Error processing file", "no reason given"),
        ("Error processing file: ", "no reason given"),
    ],
)
async def test_an_unreadable_file_is_a_refusal_with_its_reason_in_one_line(response: str, reason: str) -> None:
    async with scripted(says(response)) as brain, client_of(brain.endpoint) as client:
        with pytest.raises(BrainRefused) as raised:
            await client.read_page(PNG)
    assert raised.value.reason == reason


async def test_a_long_reason_is_cut() -> None:
    async with scripted(says("Error processing file: " + "why " * 500)) as brain, client_of(brain.endpoint) as client:
        with pytest.raises(BrainRefused) as raised:
            await client.read_page(PNG)
    assert len(raised.value.reason) <= 300


@pytest.mark.parametrize(
    "text", ["Error processing files is a chapter of this book.", "How to: Error processing file: an example"]
)
async def test_a_page_about_errors_is_text(text: str) -> None:
    async with scripted(says(text)) as brain, client_of(brain.endpoint) as client:
        assert await client.read_page(PNG) == text


async def test_the_reason_of_a_failed_call_is_the_brain_s_own_detail() -> None:
    async with scripted(reply(500, '{"detail": "CUDA out of\\nmemory"}')) as brain, client_of(brain.endpoint) as client:
        with pytest.raises(BrainFailed, match="500: CUDA out of memory"):
            await client.read_page(PNG)


@given(text=st.text(st.characters(codec=None)))
def test_storable_text_is_valid_utf_8_without_nul(text: str) -> None:
    assert b"\x00" not in storable_text(text).encode()


@given(text=st.text(st.characters(codec=None), max_size=2000))
def test_one_line_is_printable_and_short(text: str) -> None:
    line = one_line(text)
    assert len(line) <= 300
    assert line.isprintable()


# --- embeddings --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("numbers", "error"),
    [
        ("[NaN, 1, 1, 1]", BrainFailed),
        ("[1, Infinity, 1, 1]", BrainFailed),
        ("[1, 1, -1e400, 1]", BrainFailed),
        ("[1, 1, 1e39, 1]", BrainFailed),  # finite, but not as a 32-bit number
        ("[1, 1, " + "9" * 400 + ", 1]", BrainFailed),
        ("[0, 0.0, -0.0, 0]", BrainFailed),
        ("null", BrainFailed),
        ('"0.1"', BrainFailed),
        ('["1", 1, 1, 1]', BrainFailed),
        ("[true, 1, 1, 1]", BrainFailed),
        ("[[1], [1], [1], [1]]", BrainFailed),
        ("[null, 1, 1, 1]", BrainFailed),
        ("[]", BrainMisconfigured),
        ("[1, 1, 1]", BrainMisconfigured),
        ("[1, 1, 1, 1, 1]", BrainMisconfigured),
    ],
)
async def test_a_broken_embedding_is_never_returned(numbers: str, error: type[BrainError]) -> None:
    async with scripted(embeds(numbers)) as brain, client_of(brain.endpoint) as client:
        with pytest.raises(BrainError) as raised:
            await client.embed("text")
    assert type(raised.value) is error


async def test_a_wrong_embedding_length_names_both_numbers() -> None:
    async with scripted(embeds("[1, 1, 1]")) as brain, client_of(brain.endpoint) as client:
        with pytest.raises(BrainMisconfigured, match=r"of 3 numbers, but EMBEDDING_DIMENSIONS is 4"):
            await client.embed("text")


# --- Retry-After -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "header", "seconds"),
    [(429, "7", 7.0), (503, "7", 7.0), (429, None, None), (429, "soon", None), (429, "999999", 3600.0)],
)
async def test_the_pause_that_a_server_asks_for_is_kept(status: int, header: str | None, seconds: float | None) -> None:
    behaviour = reply(status, "", **({"Retry-After": header} if header else {}))
    async with scripted(behaviour) as brain, client_of(brain.endpoint) as client:
        with pytest.raises(BrainError) as raised:
            await client.read_page(PNG)
    assert raised.value.retry_after == seconds


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (format_datetime(NOW + timedelta(seconds=90), usegmt=True), 90.0),
        (format_datetime(NOW - timedelta(hours=1), usegmt=True), 0.0),
        (format_datetime(NOW + timedelta(days=9), usegmt=True), 3600.0),
        ("Tue, 01 Jan 2030 00:00:30 -0000", 30.0),
        ("0", 0.0),
        (" 12 ", 12.0),
        ("-5", None),
        ("1.5", None),
        ("", None),
        ("٣", None),
        ("9" * 5000, None),
        (None, None),
    ],
)
def test_retry_after_is_seconds_or_a_date_and_nothing_else(header: str | None, seconds: float | None) -> None:
    assert retry_after_seconds(header, NOW) == seconds
