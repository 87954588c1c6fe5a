"""Identities that are forged, or signed and strange, and metadata that nobody asked for."""

from __future__ import annotations

import base64
import json
import time

import jwt
from google.protobuf import descriptor
from hypothesis import example, given
from hypothesis import strategies as st
from materials.v1 import status_service_pb2

from tests.contract.refusals import Refusal
from tests.fuzz.methods import METHODS, Metadata, name_of
from tests.fuzz.settings import TIMEOUT, fuzzing
from tests.fuzz.world import World

pytestmark = TIMEOUT
LIST_MATERIALS = next(method for method in METHODS if name_of(method) == "StatusService.ListMaterials")
#: The server takes 8 KiB of metadata; what is larger is refused by gRPC itself.
MAX_AUTHORIZATION = 6_000

printable = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=300)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=6,
)
claims = st.dictionaries(
    st.sampled_from(["sub", "courses", "exp", "nbf", "aud", "iss", "iat", "operator", "role", "jti"]), json_values
)
headers = st.sampled_from(
    [
        b'{"alg":"none"}',
        b'{"alg":["HS256"]}',
        b'{"alg":"RS256","kid":"../x"}',
        b'{"alg":"HS256","b64":false}',
        b"[]",
        b"{",
        b'{"alg":"HS256"}',
    ]
)
segments = st.one_of(
    headers,
    st.binary(max_size=60),
    st.sampled_from([1, 50, 1_500]).map(lambda n: b'{"a":' + b"[" * n + b"]" * n + b"}"),
)
forged = st.lists(
    segments.map(lambda part: base64.urlsafe_b64encode(part).rstrip(b"=").decode()), min_size=1, max_size=4
).map(".".join)
authorizations = st.one_of(
    printable,
    forged.map("Bearer {}".format),
    printable.map("Bearer {}".format),
    st.sampled_from(["", "Bearer", "Basic dTpw", "bearer  "]),
).filter(lambda value: len(value) < MAX_AUTHORIZATION)
keys = st.from_regex(r"x-[a-z0-9._-]{1,20}", fullmatch=True).filter(lambda key: not key.endswith("-bin"))
extra_metadata = st.lists(
    st.one_of(
        st.tuples(keys, printable),
        st.tuples(keys.map("{}-bin".format), st.binary(max_size=200)),
        st.tuples(st.sampled_from(["traceparent", "tracestate", "user-agent", "baggage", "cookie"]), printable),
        st.just(("traceparent", "00-" + "f" * 32 + "-" + "0" * 16 + "-ff")),
    ),
    max_size=6,
)
anywhere = st.sampled_from([method for method in METHODS if not method.client_streaming])


@fuzzing(4.0)
@given(method=anywhere, authorization=authorizations, extra=extra_metadata)
@example(METHODS[1], "Bearer " + "." * 2000, [])
def test_forged_identities_are_refused(
    world: World, method: descriptor.MethodDescriptor, authorization: str, extra: Metadata
) -> None:
    found = world.answer(method, [b""], [("authorization", authorization), *extra])
    assert isinstance(found, Refusal)
    assert (found.code.name, found.reason) in [
        ("UNAUTHENTICATED", "TOKEN_MISSING"),
        ("UNAUTHENTICATED", "TOKEN_INVALID"),
    ]


@fuzzing(4.0)
@given(content=claims)
@example({"courses": {"*": "owner"}})
@example({"courses": ["editor"]})
@example({"sub": "nul\0"})
@example({"exp": float("inf")})
@example({"exp": float("nan")})
@example({"nbf": float("inf")})
@example({"iat": 10**400})
@example({"operator": "true"})
def test_a_token_that_is_signed_may_claim_anything(world: World, content: dict[str, object]) -> None:
    """Whoever signs tokens makes mistakes too."""
    plain = {"sub": "somebody", "aud": "materials", "iss": "materials-local", "exp": int(time.time()) + 600}
    signed = json.dumps({**plain, **content}).encode()
    token = jwt.api_jws.encode(signed, world.fuzzed.stack.secrets()["auth_hs256_secret"], "HS256")
    found = world.answer(LIST_MATERIALS, [b""], [("authorization", f"Bearer {token}")])
    if isinstance(found, Refusal):
        assert found.code.name == "UNAUTHENTICATED"


@fuzzing()
@given(extra=extra_metadata)
def test_metadata_that_nobody_asked_for_changes_nothing(world: World, extra: Metadata) -> None:
    found = world.answer(LIST_MATERIALS, [b""], [*extra, *world.owner.metadata])
    assert not isinstance(found, Refusal)
    assert len(status_service_pb2.ListMaterialsResponse.FromString(found[0]).materials) == len(world.ids)
