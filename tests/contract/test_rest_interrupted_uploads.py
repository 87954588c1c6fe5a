"""Uploads over HTTP that are too large, cut off, or left by their client: answered at once where anybody listens, and nothing stays behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.contract.bare_services import MAX_UPLOAD_BYTES, BareServices
from tests.contract.refusals import eventually
from tests.contract.rest import FORM_END, FORM_TYPE, Connection, Rest, assert_problem, connection, form_part
from tests.contract.uploads import MIB

BEGINNING = form_part(b"")[:-2]
LINE = b"Mitosis makes two cells of one.\n"


@asynccontextmanager
async def leaves_nothing(bare: BareServices, rest: Rest, course: str) -> AsyncIterator[set[Path]]:
    """After the block there is soon no file that was not there before, and no record. Yields the files of before."""
    before = set(bare.stored_files())
    yield before

    async def nothing_is_left() -> bool:
        return not set(bare.stored_files()) - before

    await eventually(nothing_is_left, "no file is left behind")
    assert await rest.listed(course) == []


async def being_stored(bare: BareServices, before: set[Path]) -> None:
    """Returns when bytes of the upload have come to the store."""

    async def has_come() -> bool:
        return bool(set(bare.stored_files()) - before)

    await eventually(has_come, "the upload is being stored")


def begin(wire: Connection, course: str, length: int, **headers: str) -> None:
    wire.head("POST", f"/courses/{course}/materials", **FORM_TYPE, Content_Length=str(length), **headers)


async def test_a_file_too_large_is_refused_long_before_its_end_and_the_connection_goes_on(
    bare: BareServices, bare_rest: Rest, course: str
) -> None:
    rest_of_it = LINE * (4 * MIB // len(LINE)) + b"\r\n" + FORM_END
    sent = BEGINNING + LINE * ((MAX_UPLOAD_BYTES + MIB) // len(LINE))
    async with leaves_nothing(bare, bare_rest, course), connection(bare_rest) as wire:
        begin(wire, course, len(sent) + len(rest_of_it))
        await wire.send(sent)
        problem = assert_problem(await wire.answer(), "FILE_TOO_LARGE")
        assert str(MAX_UPLOAD_BYTES) in problem["detail"]
        await wire.send(rest_of_it)
        wire.head("GET", f"/courses/{course}/materials")
        assert (await wire.answer()).json() == []


async def test_a_file_of_another_kind_is_refused_before_its_end(
    bare: BareServices, bare_rest: Rest, course: str
) -> None:
    async with leaves_nothing(bare, bare_rest, course), connection(bare_rest) as wire:
        begin(wire, course, 50 * MIB)
        await wire.send(BEGINNING + b"\x00" * MIB)
        assert_problem(await wire.answer(), "UNSUPPORTED_FILE_TYPE")


async def test_whoever_may_not_upload_is_told_before_the_file_is_sent(bare_gateway: str) -> None:
    async with Rest(bare_gateway, "no token") as stranger, connection(stranger) as wire:
        begin(wire, "a-course", 50 * MIB, Expect="100-continue")
        assert_problem(await wire.answer(), "TOKEN_INVALID")


async def test_whoever_may_is_told_to_go_on(bare: BareServices, bare_rest: Rest, course: str) -> None:
    body = BEGINNING + LINE + b"\r\n" + FORM_END
    async with connection(bare_rest) as wire:
        begin(wire, course, len(body), Expect="100-continue")
        assert await wire.reader.readline() == b"HTTP/1.1 100 Continue\r\n"
        assert await wire.reader.readline() == b"\r\n"
        await wire.send(body)
        assert (await wire.answer()).status_code == 201


@pytest.mark.parametrize("end", [b"", b"\r\n", b"\r\n--B", b"\r\n--B-"])
async def test_a_body_that_ends_before_the_form_does_leaves_nothing(
    bare: BareServices, bare_rest: Rest, course: str, end: bytes
) -> None:
    async with leaves_nothing(bare, bare_rest, course):
        response = await bare_rest.http.post(
            f"/courses/{course}/materials", content=BEGINNING + LINE * 50_000 + end, headers=FORM_TYPE
        )
        assert_problem(response, "UPLOAD_MALFORMED")


async def test_a_client_that_goes_away_in_the_middle_leaves_nothing(
    bare: BareServices, bare_rest: Rest, course: str
) -> None:
    async with leaves_nothing(bare, bare_rest, course) as before, connection(bare_rest) as wire:
        begin(wire, course, 3 * MIB)
        await wire.send(BEGINNING + LINE * 40_000)
        await being_stored(bare, before)


async def test_clients_that_go_away_one_after_the_other_keep_nobody_from_uploading(
    bare: BareServices, bare_rest: Rest, course: str
) -> None:
    async def left() -> None:
        async with connection(bare_rest) as wire:
            begin(wire, "left-course", MIB)
            await wire.send(BEGINNING + LINE)

    for _ in range(3):
        await asyncio.gather(*(left() for _ in range(10)))
    await bare_rest.upload(course)


async def test_a_client_that_falls_silent_is_told_so(bare: BareServices, bare_rest: Rest, course: str) -> None:
    async with leaves_nothing(bare, bare_rest, course), connection(bare_rest) as wire:
        begin(wire, course, MIB)
        await wire.send(BEGINNING + LINE)
        assert_problem(await wire.answer(), "UPLOAD_TOO_SLOW")
