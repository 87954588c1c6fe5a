"""Keys and tokens of the local stack, its options, and whom its Postgres runs as."""

from __future__ import annotations

import json
import stat
import time
from dataclasses import asdict
from pathlib import Path

import jwt
import pytest

from single_node.credentials import load_or_create
from single_node.errors import BadOption, DataUnusable, StartFailed
from single_node.options import parse_ports, parse_replicas, parse_via
from single_node.postgres_account import account_beside_root
from single_node.stack import SERVICES


def test_secrets_are_made_once_for_their_owner_only_and_all_differ(tmp_path: Path) -> None:
    path = tmp_path / "secrets.json"
    made = load_or_create(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert asdict(load_or_create(path)) == asdict(made)
    secrets = set(asdict(made).values())
    assert len(secrets) == len(asdict(made))
    assert all(len(secret) >= 43 for secret in secrets)
    assert not any(secret in repr(made) for secret in secrets)


def test_a_secret_that_came_with_a_newer_version_is_added_and_the_others_kept(tmp_path: Path) -> None:
    path = tmp_path / "secrets.json"
    made = asdict(load_or_create(path))
    path.write_text(json.dumps({name: value for name, value in made.items() if name != "nats_password"}))
    again = asdict(load_or_create(path))
    assert again.pop("nats_password")
    assert again.items() < made.items()
    assert json.loads(path.read_text()) == asdict(load_or_create(path))


@pytest.mark.parametrize("damage", ["", "[]", "{"])
def test_damaged_secrets_are_not_replaced_silently(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "secrets.json"
    path.write_text(damage)
    with pytest.raises(DataUnusable, match="restore it"):
        load_or_create(path)
    assert path.read_text() == damage


def test_the_user_s_token_and_the_service_s_are_signed_with_keys_of_their_own(tmp_path: Path) -> None:
    credentials, now = load_or_create(tmp_path / "secrets.json"), time.time()
    user = jwt.decode(
        credentials.user_token(now), credentials.auth_hs256_secret, algorithms=["HS256"], audience="materials",
        issuer="materials-local",
    )  # fmt: skip
    assert (user["sub"], user["courses"]) == ("demo-user", {"*": "editor"})
    assert user["exp"] == int(now + 30 * 86_400)
    service = jwt.decode(
        credentials.service_token(now), credentials.service_token_secret, algorithms=["HS256"], audience="materials",
        issuer="materials-services",
    )  # fmt: skip
    assert (service["sub"], service["role"]) == ("service:single-node", "service")
    with pytest.raises(jwt.InvalidSignatureError):
        jwt.decode(
            credentials.user_token(now), credentials.service_token_secret, algorithms=["HS256"], audience="materials"
        )


def test_replicas_and_ports_are_read_from_the_command_line() -> None:
    assert parse_replicas("processor=2, status=3", SERVICES) == {"processor": 2, "status": 3}
    assert parse_replicas("", SERVICES) == {}
    assert parse_ports(["ingest=50051", "status-2=50052"]) == {"ingest": 50_051, "status-2": 50_052}


@pytest.mark.parametrize("text", ["processor", "processor=x", "processor=0", "processor=9", "nats=2", "=2", "status=²"])
def test_replicas_that_make_no_sense_are_refused(text: str) -> None:
    with pytest.raises(BadOption, match="--replicas"):
        parse_replicas(text, SERVICES)


@pytest.mark.parametrize("item", ["50051", "ingest=", "ingest=0", "ingest=65536", "ingest=-1"])
def test_ports_that_make_no_sense_are_refused(item: str) -> None:
    with pytest.raises(BadOption, match="--port"):
        parse_ports([item])


@pytest.mark.parametrize(
    ("held", "kept"),
    [(0b110, "+dac_override,+dac_read_search"), (0b010, "+dac_override"), (0b001, None)],
)
def test_postgres_of_a_root_stack_keeps_only_the_right_to_pass_that_root_has_here(held: int, kept: str | None) -> None:
    account = account_beside_root(setpriv="/usr/bin/setpriv", uid=65_534, gid=65_533, held_capabilities=held)
    expected = () if kept is None else (f"--inh-caps={kept}", f"--ambient-caps={kept}")
    assert account.prefix == ("/usr/bin/setpriv", "--reuid=65534", "--regid=65533", "--clear-groups", *expected)


def test_without_setpriv_root_is_told_what_to_do() -> None:
    with pytest.raises(StartFailed, match="run as an ordinary user, or install util-linux"):
        account_beside_root(setpriv=None, uid=1, gid=1, held_capabilities=0)


@pytest.mark.parametrize("item", ["status=1", "nobody:status=9001", "ingest:=9001", "ingest:nats=0", "ingest:nats=x"])
def test_proxies_that_make_no_sense_are_refused(item: str) -> None:
    with pytest.raises(BadOption, match="--via"):
        parse_via([item], SERVICES)
