"""What the stack consists of: plain data, worked out from the data directory, ports, credentials and environment.

A service is started with the whole environment of whoever starts the stack, so that LOG_LEVEL, AI_BRAIN_TIMEOUT, MAX_UPLOAD_BYTES and any other
setting may be given to all services at once, except for the wiring below: it is set here, and only where a service needs it.
Postgres and NATS get a minimal environment: theirs would otherwise be changed by a PGDATA or PGOPTIONS meant for something else.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from single_node import nats_server, postgres
from single_node.credentials import AUDIENCE, USER_ISSUER, Credentials
from single_node.data_directory import DataDirectory
from single_node.errors import BadOption
from single_node.ports import HOST
from single_node.postgres_account import PostgresAccount
from single_node.readiness import BrainActive, GrpcServing, HttpServing, NatsGreets, PostgresAccepts, Readiness

#: From a service, by its definition's name, to a part that it connects to: `("processor", "status-2")`.
Edge = tuple[str, str]

# Every process of a stack carries its data directory under this name, by which a later start knows what a killed one left.
OWNER_VARIABLE = "SINGLE_NODE_DATA_DIR"

# Together under ten seconds, the time a stop may take: services, then the one they report to, then what all stand on.
SERVICE_GRACE_SECONDS = 4.0
LAST_SERVICE_GRACE_SECONDS = 2.5
FOUNDATION_GRACE_SECONDS = 3.0
# The parts of one machine talk in plain text over loopback, whatever these say in the environment.
_TLS_VARIABLES = (
    *("TLS_CERT_FILE", "TLS_KEY_FILE", "TLS_CA_FILE", "TLS_REQUIRE_CLIENT_CERTIFICATE", "TLS_SERVER_NAME"),
    *("HTTPS_CERT_FILE", "HTTPS_KEY_FILE"),
)
# Running calls end before the process must.
SERVICE_CALL_GRACE_SECONDS = 2.0


@dataclass(frozen=True)
class ProcessSpec:
    """One process to keep running. `grace` is the seconds between `stop_signal` and SIGKILL; `stops_last`: only when those started with it are gone."""

    name: str
    command: tuple[str, ...] = field(repr=False)
    environment: Mapping[str, str] = field(repr=False)
    readiness: Readiness = field(repr=False)
    stop_signal: signal.Signals = signal.SIGTERM
    grace: float = SERVICE_GRACE_SECONDS
    stops_last: bool = False


@dataclass(frozen=True)
class ServiceDefinition:
    """A service started as `python -m MODULE`, any number of times, with the variables of the wiring that it needs.

    `stops_last`: the others hand back their leases to it while they stop. `speaks_http`: else gRPC. `preferred_port`: for its first replica, when nothing
    else is asked for or remembered; 0 for none."""

    name: str
    module: str
    needs: frozenset[str]
    stops_last: bool = False
    speaks_http: bool = False
    preferred_port: int = 0


SERVICES = (
    ServiceDefinition("status", "status_service", frozenset({"STATUS_DATABASE_URL", "NATS_URL"}), stops_last=True),
    ServiceDefinition("ingest", "ingest_service", frozenset({"STATUS_ENDPOINT", "NATS_URL", "OBJECT_STORE_URL"})),
    ServiceDefinition(
        "processor",
        "processor_service",
        frozenset(
            {
                "STATUS_ENDPOINT",
                "NATS_URL",
                "OBJECT_STORE_URL",
                "PROCESSOR_DATABASE_URL",
                "AI_BRAIN_ENDPOINT",
                "WORK_DIRECTORY",
            }
        ),
    ),
    ServiceDefinition(
        "gateway",
        "gateway",
        frozenset({"INGEST_ENDPOINT", "STATUS_ENDPOINT", "PROCESSOR_ENDPOINT"}),
        speaks_http=True,
        preferred_port=8080,
    ),
)


@dataclass(frozen=True)
class Programs:
    """The programs to start, and whom Postgres runs as."""

    python: str
    postgres_folder: Path
    postgres_account: PostgresAccount
    nats_server: Path


@dataclass(frozen=True)
class Stack:
    """Processes in the order of their start: `services` once all of `foundation` is ready. Endpoints are host:port, `metrics` too, of each process."""

    foundation: tuple[ProcessSpec, ...]
    services: tuple[ProcessSpec, ...]
    endpoints: Mapping[str, tuple[str, ...]]
    metrics: Mapping[str, str]
    brain_url: str
    nats_url: str
    postgres_url: str


def replica_names(definition: ServiceDefinition, replicas: Mapping[str, int]) -> tuple[str, ...]:
    """`status`, `status-2`, `status-3`, …"""
    count = replicas.get(definition.name, 1)
    return tuple(definition.name if number == 1 else f"{definition.name}-{number}" for number in range(1, count + 1))


def outside(environ: Mapping[str, str], variable: str) -> str:
    """The address of a part that runs elsewhere, by the variable that its clients find it by; "" where it is started here."""
    return environ.get(variable, "").strip()


def part_names(
    definitions: tuple[ServiceDefinition, ...], replicas: Mapping[str, int], environ: Mapping[str, str]
) -> tuple[str, ...]:
    """Every part that is started here and listens on a port of its own; of services, their metrics as well."""
    elsewhere = {"nats": outside(environ, "NATS_URL"), "brain": outside(environ, "AI_BRAIN_ENDPOINT")}
    services = [name for definition in definitions for name in replica_names(definition, replicas)]
    return (
        "postgres",
        *(name for name, address in elsewhere.items() if not address),
        *services,
        *map(metrics_part, services),
    )


def metrics_part(service: str) -> str:
    """The name that the port of a service's metrics goes by."""
    return f"{service}-metrics"


def minimal_environment(directory: DataDirectory, environ: Mapping[str, str]) -> dict[str, str]:
    """For programs that take nothing from their environment but where to find other programs and libraries."""
    kept = {name: environ[name] for name in ("PATH", "LD_LIBRARY_PATH", "TMPDIR") if name in environ}
    return {**kept, "LC_ALL": "C", OWNER_VARIABLE: str(directory.root)}


def plan_stack(
    directory: DataDirectory,
    *,
    programs: Programs,
    definitions: tuple[ServiceDefinition, ...],
    replicas: Mapping[str, int],
    ports: Mapping[str, int],
    credentials: Credentials,
    environ: Mapping[str, str],
    via: Mapping[Edge, int],
) -> Stack:
    """The whole stack. `ports` holds one for each of `part_names`; AI_BRAIN_ENDPOINT in `environ` means that no Brain is started, NATS_URL that no NATS is;
    `via` holds the ports of proxies between a service and what it connects to. Raises BadOption for one to an unknown part."""
    for client, part in via:
        if part not in {*ports, "brain"}:
            raise BadOption(f"--via {client}:{part}: no such part; the parts are {', '.join(ports)}")
    outside_nats, outside_brain = outside(environ, "NATS_URL"), outside(environ, "AI_BRAIN_ENDPOINT")
    nats_url = outside_nats or nats_server.url(ports["nats"], credentials.nats_password)
    brain_url = outside_brain or f"http://{HOST}:{ports['brain']}"

    def endpoints(port_of: Callable[[str], int]) -> dict[str, tuple[str, ...]]:
        return {
            each.name: tuple(f"{HOST}:{port_of(name)}" for name in replica_names(each, replicas))
            for each in definitions
        }

    def wiring_for(client: str) -> dict[str, str]:
        def port_of(part: str) -> int:
            return via.get((client, part), ports[part])

        return {
            **{f"{name.upper()}_ENDPOINT": ",".join(addresses) for name, addresses in endpoints(port_of).items()},
            **{
                f"{each.name.upper()}_DATABASE_URL": postgres.dsn(each.name, each.password, port_of("postgres"))
                for each in postgres.tenants(credentials)
            },
            "NATS_URL": outside_nats or nats_server.url(port_of("nats"), credentials.nats_password),
            "OBJECT_STORE_URL": outside(environ, "OBJECT_STORE_URL") or directory.objects.as_uri(),
            "AI_BRAIN_ENDPOINT": f"http://{HOST}:{via[client, 'brain']}" if (client, "brain") in via else brain_url,
            "WORK_DIRECTORY": str(directory.work),
        }

    wirings = {each.name: wiring_for(each.name) for each in definitions}
    identity = {
        "AUTH_HS256_SECRET": credentials.auth_hs256_secret,
        "AUTH_ISSUER": USER_ISSUER,
        "AUTH_AUDIENCE": AUDIENCE,
        "SERVICE_TOKEN_SECRET": credentials.service_token_secret,
    }
    set_here = {
        *chain(*wirings.values()),
        *identity,
        "LISTEN_ADDRESS",
        "METRICS_ADDRESS",
        "AUTH_JWKS_URL",
        *_TLS_VARIABLES,
    }
    inherited = {name: value for name, value in environ.items() if name not in set_here}
    inherited |= {
        OWNER_VARIABLE: str(directory.root),
        "PYTHONUNBUFFERED": "1",
        # A proxy for the outside world has no business between the parts.
        "no_proxy": _with_loopback(environ.get("no_proxy") or environ.get("NO_PROXY", "")),
        "NO_PROXY": _with_loopback(environ.get("NO_PROXY") or environ.get("no_proxy", "")),
    }

    metrics = {
        name: f"{HOST}:{ports[metrics_part(name)]}" for each in definitions for name in replica_names(each, replicas)
    }

    def service(definition: ServiceDefinition, name: str) -> ProcessSpec:
        target = f"{HOST}:{ports[name]}"
        return ProcessSpec(
            name=name,
            command=(programs.python, "-m", definition.module),
            environment={
                "SHUTDOWN_GRACE_SECONDS": str(SERVICE_CALL_GRACE_SECONDS),
                **inherited,
                **identity,
                **{variable: wirings[definition.name][variable] for variable in definition.needs},
                "LISTEN_ADDRESS": target,
                "METRICS_ADDRESS": metrics[name],
            },
            readiness=HttpServing(f"http://{target}") if definition.speaks_http else GrpcServing(target),
            grace=LAST_SERVICE_GRACE_SECONDS if definition.stops_last else SERVICE_GRACE_SECONDS,
            stops_last=definition.stops_last,
        )

    minimal = minimal_environment(directory, environ)
    superuser_url = postgres.dsn(postgres.SUPERUSER, credentials.postgres_password, ports["postgres"], "postgres")
    foundation = [
        ProcessSpec(
            name="postgres",
            command=postgres.server_command(
                programs.postgres_folder, programs.postgres_account, directory.postgres, ports["postgres"]
            ),
            environment=minimal,
            readiness=PostgresAccepts(superuser_url),
            # Postgres's "fast shutdown": ends sessions and writes everything out.
            stop_signal=signal.SIGINT,
            grace=FOUNDATION_GRACE_SECONDS,
        ),
    ]
    if not outside_nats:
        foundation.append(
            ProcessSpec(
                name="nats",
                command=(str(programs.nats_server), "--config", str(directory.nats_configuration)),
                environment=minimal,
                readiness=NatsGreets(HOST, ports["nats"]),
                grace=FOUNDATION_GRACE_SECONDS,
            )
        )
    if not outside_brain:
        foundation.append(
            ProcessSpec(
                name="brain",
                command=(programs.python, "-m", "local_brain", "--host", HOST, "--port", str(ports["brain"])),
                environment=inherited,
                readiness=BrainActive(brain_url),
                grace=FOUNDATION_GRACE_SECONDS,
            )
        )
    return Stack(
        foundation=tuple(foundation),
        services=tuple(service(each, name) for each in definitions for name in replica_names(each, replicas)),
        endpoints=endpoints(ports.__getitem__),
        metrics=metrics,
        brain_url=brain_url,
        nats_url=nats_url,
        postgres_url=postgres.dsn(postgres.SUPERUSER, credentials.postgres_password, ports["postgres"]),
    )


def _with_loopback(hosts: str) -> str:
    return ",".join([*filter(None, (host.strip() for host in hosts.split(","))), "127.0.0.1", "localhost"])
