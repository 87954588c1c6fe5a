"""Users' tokens: who is let in, as whom and with which rights, and everything that is refused."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from materials.v1 import errors_pb2

from servicekit.errors import ServiceError
from servicekit.identity import Caller
from tests.unit.tokens import (
    EXPIRED,
    INVALID,
    USER_SECRET,
    claims,
    handmade,
    raw,
    refused,
    segment,
    user_token,
    verifier,
)


async def test_good_user_token_is_its_subject_and_courses() -> None:
    token = user_token(courses={"algebra": "reader", "*": "editor"})
    caller = await verifier().verify(token)
    assert caller == Caller("ada", {"algebra": "reader", "*": "editor"}, is_service=False, token=token)
    assert token not in repr(caller)


async def test_token_without_courses_is_a_caller_of_no_course() -> None:
    assert (await verifier().verify(user_token(courses=None))).courses == {}


@pytest.mark.parametrize(
    ("changes", "operator"), [({"operator": True}, True), ({"operator": False}, False), ({}, False)]
)
async def test_operator_is_whom_the_token_calls_one(changes: dict[str, Any], operator: bool) -> None:
    assert (await verifier().verify(user_token(**changes))).is_operator is operator


def test_call_for_operators_is_refused_to_everybody_else() -> None:
    Caller("ada", is_operator=True).require_operator()
    for other in (Caller("ada", {"*": "editor"}), Caller("service:x", is_service=True)):
        with pytest.raises(ServiceError) as error:
            other.require_operator()
        assert error.value.reason == errors_pb2.ERROR_REASON_OPERATOR_REQUIRED


@pytest.mark.parametrize(
    "token",
    [
        "",
        "x",
        "a.b",
        "a.b.c",
        "a.b.c.d",
        "...",
        "e30.e30.",
        "ключ.ключ.ключ",
        "\0.\0.\0",
        "\ud800.a.b",
        "A" * 8_000,
        raw(b"[]", b"{}"),
        raw(b"null", b"null"),
        raw(b"{", b"{}"),
        raw(b'{"alg":"HS256"}', b"[1]"),
        raw(b'{"alg":"HS256"}', b'{"a":' + b"[" * 3_000 + b"]" * 3_000 + b"}"),
        raw(b"[" * 3_000 + b"]" * 3_000, b"{}"),
        raw(b'{"alg":"HS256"}', b'{"exp":' + b"9" * 5_000 + b"}"),
        raw(b'{"alg":["HS256"]}', b"{}"),
        raw(b'{"alg":"HS256"}', b"\xff\xfe"),
    ],
)
async def test_malformed_token_is_invalid(token: str) -> None:
    assert await refused(token) == INVALID


@given(
    token=st.one_of(
        st.text(), st.lists(st.binary(max_size=60), min_size=3, max_size=3).map(lambda p: ".".join(map(segment, p)))
    )
)
def test_no_junk_is_ever_let_in_or_fails_in_another_way(token: str) -> None:
    assert asyncio.run(refused(token)) == INVALID


@given(data=st.data())
def test_altered_token_is_never_let_in(data: st.DataObject) -> None:
    token = user_token()
    index = data.draw(st.integers(0, token.rindex(".") - 1))
    letter = data.draw(st.sampled_from("ABCabc019-_."))
    altered = token[:index] + letter + token[index + 1 :]
    if altered != token:
        assert asyncio.run(refused(altered)) in (INVALID, EXPIRED)


@pytest.mark.parametrize(("claim", "seconds_from_now"), [("exp", -60), ("nbf", 600), ("iat", 600)])
async def test_token_out_of_its_time_is_refused(claim: str, seconds_from_now: int) -> None:
    payload = json.dumps(claims(**{claim: int(time.time()) + seconds_from_now})).encode()
    assert await refused(handmade({"alg": "HS256", "typ": "JWT"}, payload, USER_SECRET.encode())) == EXPIRED


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"exp": 1}, EXPIRED),
        ({"exp": None}, INVALID),
        ({"exp": "soon"}, INVALID),
        ({"exp": [1]}, INVALID),
        ({"sub": None}, INVALID),
        ({"sub": ""}, INVALID),
        ({"sub": 7}, INVALID),
        ({"sub": "x" * 256}, INVALID),
        ({"sub": "ada\0"}, INVALID),
        ({"sub": "ada\r\nset: x"}, INVALID),
        ({"sub": "\u202eada"}, INVALID),
        ({"aud": None}, INVALID),
        ({"aud": "payments"}, INVALID),
        ({"aud": ["payments"]}, INVALID),
        ({"aud": 1}, INVALID),
        ({"aud": {"materials": 1}}, INVALID),
        ({"courses": ["algebra"]}, INVALID),
        ({"courses": "algebra"}, INVALID),
        ({"courses": 1}, INVALID),
        ({"courses": {"algebra": "owner"}}, INVALID),
        ({"courses": {"algebra": ["editor"]}}, INVALID),
        ({"courses": {"algebra": None}}, INVALID),
        ({"courses": {"algebra": "editor", "geometry": 1}}, INVALID),
        ({"operator": "true"}, INVALID),
        ({"operator": "false"}, INVALID),
        ({"operator": 1}, INVALID),
        ({"operator": 0}, INVALID),
        ({"operator": ["true"]}, INVALID),
    ],
)
async def test_token_with_a_wrong_claim_is_refused(changes: dict[str, Any], reason: int) -> None:
    payload = json.dumps(claims(**changes)).encode()
    assert await refused(handmade({"alg": "HS256", "typ": "JWT"}, payload, USER_SECRET.encode())) == reason


@pytest.mark.parametrize("expiry", [b"1e999", b"-1e999", b"NaN", b"null", b"true", b'""', b"{}"])
async def test_expiry_that_is_no_time_is_refused(expiry: bytes) -> None:
    payload = b'{"sub":"ada","aud":"materials","exp":' + expiry + b"}"
    assert await refused(handmade({"alg": "HS256"}, payload, USER_SECRET.encode())) in (INVALID, EXPIRED)


async def test_small_clock_differences_are_forgiven() -> None:
    now = int(time.time())
    assert (await verifier().verify(user_token(exp=now - 1, nbf=now + 2, iat=now + 2))).subject == "ada"


async def test_issuer_is_held_where_one_is_set() -> None:
    strict = verifier(issuer="https://login.example")
    assert (await strict.verify(user_token(iss="https://login.example"))).subject == "ada"
    for issuer in (None, "https://other.example", "https://login.example/", ["https://login.example"]):
        payload = json.dumps(claims(iss=issuer)).encode()
        assert await refused(handmade({"alg": "HS256"}, payload, USER_SECRET.encode()), strict) == INVALID


async def test_unknown_critical_header_is_refused() -> None:
    token = handmade({"alg": "HS256", "crit": ["exp2"], "exp2": 1}, json.dumps(claims()).encode(), USER_SECRET.encode())
    assert await refused(token) == INVALID


@pytest.mark.parametrize(
    ("caller", "read", "write"),
    [
        (Caller("ada"), True, True),
        (Caller("bob"), False, False),
        (Caller("bob", {"algebra": "reader"}), True, False),
        (Caller("bob", {"algebra": "editor"}), True, True),
        (Caller("bob", {"*": "reader"}), True, False),
        (Caller("bob", {"*": "editor"}), True, True),
        (Caller("bob", {"algebra": "reader", "*": "editor"}), True, True),
        (Caller("bob", {"geometry": "editor"}), False, False),
        (Caller("bob", {"": "editor"}), False, False),
        (Caller("service:x", is_service=True), True, True),
    ],
)
def test_who_may_see_and_change_a_material_of_ada_in_algebra(caller: Caller, read: bool, write: bool) -> None:
    assert caller.may_read(owner_id="ada", course_id="algebra") is read
    assert caller.may_write(owner_id="ada", course_id="algebra") is write


def test_owning_a_material_gives_no_right_to_the_course() -> None:
    ada = Caller("ada")
    assert not ada.may_read_course("algebra")
    assert not ada.may_write_course("algebra")
