"""What a stack consists of, as plain data."""

from __future__ import annotations

import json
import signal
from dataclasses import fields
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from single_node.announcement import announce, as_json, show
from single_node.credentials import Credentials
from single_node.data_directory import DataDirectory
from single_node.errors import BadOption
from single_node.leftovers import RunningProcess
from single_node.postgres_account import PostgresAccount
from single_node.readiness import GrpcServing, HttpServing
from single_node.sign_in import PageLink
from single_node.stack import SERVICES, ProcessSpec, Programs, Stack, part_names, plan_stack
from single_node.supervisor import GROUP_GONE_SECONDS

CREDENTIALS = Credentials(**{each.name: f"the-{each.name}" for each in fields(Credentials)})
DIRECTORY = DataDirectory(Path("/data dir"))


def planned(
    environ: dict[str, str] | None = None,
    replicas: dict[str, int] | None = None,
    via: dict[tuple[str, str], int] | None = None,
) -> Stack:
    environ, replicas = environ or {}, replicas or {}
    names = part_names(SERVICES, replicas, environ)
    return plan_stack(
        DIRECTORY,
        programs=Programs("/python", Path("/pg"), PostgresAccount(1, 1), Path("/nats-server")),
        definitions=SERVICES,
        replicas=replicas,
        ports={name: 20_001 + number for number, name in enumerate(names)},
        credentials=CREDENTIALS,
        environ=environ,
        via=via or {},
    )


def by_name(stack: Stack) -> dict[str, ProcessSpec]:
    return {spec.name: spec for spec in (*stack.foundation, *stack.services)}


def test_each_service_gets_the_wiring_it_needs_and_no_other_service_s() -> None:
    parts = by_name(
        planned({"STATUS_DATABASE_URL": "postgresql://stray", "PROCESSOR_DATABASE_URL": "postgresql://stray"})
    )
    holders = {
        variable: {name for name, spec in parts.items() if variable in spec.environment}
        for variable in (
            "STATUS_DATABASE_URL",
            "PROCESSOR_DATABASE_URL",
            "OBJECT_STORE_URL",
            "SERVICE_TOKEN_SECRET",
            "INGEST_ENDPOINT",
        )
    }
    assert holders == {
        "STATUS_DATABASE_URL": {"status"},
        "PROCESSOR_DATABASE_URL": {"processor"},
        "OBJECT_STORE_URL": {"ingest", "processor"},
        "SERVICE_TOKEN_SECRET": {"status", "ingest", "processor", "gateway"},
        "INGEST_ENDPOINT": {"gateway"},
    }
    for spec in parts.values():
        assert "the-postgres_password" not in str(dict(spec.environment)), (
            "the superuser's password leaves the supervisor for no one"
        )


def test_tunables_of_the_user_reach_the_services_but_wiring_cannot_be_overridden() -> None:
    given = {
        "LOG_LEVEL": "DEBUG",
        "MAX_UPLOAD_BYTES": "5",
        "OBJECT_STORE_URL": "s3://bucket",
        "AUTH_HS256_SECRET": "weak",
        "AUTH_JWKS_URL": "http://elsewhere",
        "LISTEN_ADDRESS": "0.0.0.0:1",
        "STATUS_ENDPOINT": "elsewhere:1",
        "TLS_CERT_FILE": "/etc/tls/cert.pem",
        "HTTPS_KEY_FILE": "/etc/tls/key.pem",
    }
    ingest = by_name(planned(given))["ingest"].environment
    assert (ingest["LOG_LEVEL"], ingest["MAX_UPLOAD_BYTES"], ingest["OBJECT_STORE_URL"]) == (
        "DEBUG",
        "5",
        "s3://bucket",
    )
    assert ingest["AUTH_HS256_SECRET"] == "the-auth_hs256_secret"
    assert not {"AUTH_JWKS_URL", "TLS_CERT_FILE", "HTTPS_KEY_FILE"} & set(ingest)
    assert ingest["LISTEN_ADDRESS"].startswith("127.0.0.1:")
    assert ingest["STATUS_ENDPOINT"].startswith("127.0.0.1:")
    assert ingest["NATS_URL"].startswith("nats://materials:the-nats_password@127.0.0.1:")


def test_postgres_and_nats_take_nothing_from_the_user_s_environment() -> None:
    parts = by_name(planned({"PGDATA": "/elsewhere", "PGOPTIONS": "-c fsync=off", "PATH": "/bin", "SECRET": "x"}))
    for name in ("postgres", "nats"):
        assert set(parts[name].environment) == {"PATH", "LC_ALL", "SINGLE_NODE_DATA_DIR"}


def test_a_given_brain_is_used_and_none_started() -> None:
    stack = planned({"AI_BRAIN_ENDPOINT": "http://gpu:8001"})
    assert "brain" not in by_name(stack)
    assert by_name(stack)["processor"].environment["AI_BRAIN_ENDPOINT"] == "http://gpu:8001"
    own = planned()
    assert by_name(own)["processor"].environment["AI_BRAIN_ENDPOINT"] == own.brain_url == "http://127.0.0.1:20003"


def test_given_nats_servers_are_used_and_none_started() -> None:
    servers = "nats://a:b@nats-1:4222,nats://a:b@nats-2:4222"
    stack = planned({"NATS_URL": f" {servers} "})
    assert "nats" not in by_name(stack)
    assert stack.nats_url == servers
    for name in ("status", "ingest", "processor"):
        assert by_name(stack)[name].environment["NATS_URL"] == servers
    assert "NATS_URL" not in by_name(stack)["gateway"].environment


def test_every_replica_has_a_port_and_its_peers_know_all_of_them() -> None:
    stack = planned(replicas={"status": 2})
    parts = by_name(stack)
    assert {"status", "status-2"} < set(parts)
    both = stack.endpoints["status"]
    assert len(set(both)) == 2
    assert [parts[name].readiness for name in ("status", "status-2")] == [GrpcServing(each) for each in both]
    assert parts["ingest"].environment["STATUS_ENDPOINT"] == ",".join(both)


def test_the_gateway_speaks_http_and_starts_last() -> None:
    stack = planned(replicas={"processor": 2})
    gateway = stack.services[-1]
    assert (gateway.name, gateway.stops_last) == ("gateway", False)
    assert gateway.readiness == HttpServing(f"http://{stack.endpoints['gateway'][0]}")
    assert gateway.environment["LISTEN_ADDRESS"] == stack.endpoints["gateway"][0]
    assert gateway.environment["PROCESSOR_ENDPOINT"] == ",".join(stack.endpoints["processor"])
    assert "NATS_URL" not in gateway.environment


def test_a_proxy_for_the_outside_world_stays_out_of_loopback() -> None:
    environment = by_name(planned({"http_proxy": "http://proxy:3128", "no_proxy": "intranet"}))["ingest"].environment
    assert environment["http_proxy"] == "http://proxy:3128"
    assert environment["no_proxy"].split(",") == ["intranet", "127.0.0.1", "localhost"]


def test_postgres_is_durable_on_loopback_and_stopped_by_its_fast_shutdown() -> None:
    spec = by_name(planned())["postgres"]
    assert {"listen_addresses=127.0.0.1", "fsync=on", "synchronous_commit=on", "unix_socket_directories="} < set(
        spec.command
    )
    assert spec.stop_signal == signal.SIGINT


def test_each_process_has_a_port_of_its_own_for_its_metrics() -> None:
    stack = planned({"METRICS_ADDRESS": "0.0.0.0:9464"}, replicas={"status": 2})
    addresses = {spec.name: spec.environment["METRICS_ADDRESS"] for spec in stack.services}
    assert addresses == dict(stack.metrics)
    assert len({*addresses.values(), *(address for each in stack.endpoints.values() for address in each)}) == 10


def test_both_groups_are_stopped_within_ten_seconds() -> None:
    stack = planned(replicas={each.name: 3 for each in SERVICES})
    groups = (stack.foundation, stack.services)
    assert sum(max(spec.grace for spec in group) + GROUP_GONE_SECONDS for group in groups) < 10


@pytest.fixture
def running() -> list[RunningProcess]:
    return [RunningProcess("status", 11, 1.0), RunningProcess("status-2", 12, 1.0), RunningProcess("postgres", 13, 1.0)]


def test_the_announcement_is_one_line_of_json_with_every_endpoint_and_process(running: list[RunningProcess]) -> None:
    stack = planned(replicas={"status": 2})
    line = as_json(announce(stack, token="user", service_token="service", running=running))
    assert "\n" not in line
    told = json.loads(line)
    assert set(told) == {
        "ingest", "status", "processor", "gateway", "endpoints", "metrics", "brain", "nats", "postgres", "token", "service_token", "pids",
    }  # fmt: skip
    assert told["endpoints"]["status"] == list(stack.endpoints["status"])
    assert told["status"] == stack.endpoints["status"][0]
    assert told["metrics"]["status-2"] == f"http://{stack.metrics['status-2']}/metrics"
    assert told["pids"] == {"status": 11, "status-2": 12, "postgres": 13}


def test_the_screen_shows_what_to_copy_unbroken_and_no_password(running: list[RunningProcess]) -> None:
    screen = StringIO()
    token = "t" * 400
    show(
        announce(planned(), token=token, service_token="the-service-token", running=running),
        Console(file=screen, width=40),
        page=PageLink("http://127.0.0.1:8080/#sign-in=a-long-ticket[b]", signs_in=True),
        stack_file=DIRECTORY.stack,
        logs=DIRECTORY.logs,
        seconds=1.0,
    )
    text = screen.getvalue()
    assert token in text
    assert "Open in your browser: http://127.0.0.1:8080/#sign-in=a-long-ticket[b]\n" in text
    assert text.index("Open in your browser") < text.index("postgres"), "what most people want comes first"
    assert "MATERIALS_STACK='/data dir/stack.json' " in text
    for secret in ("the-service-token", "the-postgres_password", "the-nats_password"):
        assert secret not in text


def test_a_proxy_stands_only_between_the_two_parts_it_was_named_for() -> None:
    stack = planned(
        replicas={"status": 2},
        via={("processor", "status-2"): 9001, ("ingest", "nats"): 9002, ("processor", "brain"): 9003},
    )
    parts = by_name(stack)
    first, second = stack.endpoints["status"]
    assert parts["processor"].environment["STATUS_ENDPOINT"] == f"{first},127.0.0.1:9001"
    assert parts["ingest"].environment["STATUS_ENDPOINT"] == f"{first},{second}"
    assert parts["ingest"].environment["NATS_URL"].endswith(":9002")
    assert parts["processor"].environment["NATS_URL"] == stack.nats_url
    assert parts["processor"].environment["AI_BRAIN_ENDPOINT"] == "http://127.0.0.1:9003"
    assert parts["status-2"].environment["LISTEN_ADDRESS"] == second


def test_a_proxy_to_nowhere_is_an_error() -> None:
    with pytest.raises(BadOption, match="no such part"):
        planned(via={("processor", "statsu"): 9001})
