"""Where the services are and who is calling: from the environment, else from the local stack that runs.

`MATERIALS_INGEST`, `MATERIALS_STATUS`, `MATERIALS_PROCESSOR` (host:port), `MATERIALS_GATEWAY` (URL or host:port) and `MATERIALS_TOKEN` come first, each by
itself. What they leave open comes from the JSON file that a running local stack keeps: the one named by `MATERIALS_STACK`, else `.local/run/stack.json` below
the current folder or the nearest parent that has one. The file goes away when the stack stops.
"""

from __future__ import annotations

import json
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self

import grpc
from grpc_health.v1 import health_pb2_grpc
from materials.channels import bearer, target_of
from materials.v1 import ingest_service_pb2_grpc, processor_service_pb2_grpc, status_service_pb2_grpc

from materials_cli.certificates import tls_files
from materials_cli.errors import Unreachable, WrongUsage
from servicekit.channels import open_channel
from servicekit.tls import TlsFiles

#: A unary call's deadline, in seconds; the channel's own tries at UNAVAILABLE are within it.
CALL_SECONDS = 15.0
#: How long a stream that must move may stand still, in seconds. Watches may be quiet: the channel's keepalive guards those.
STALL_SECONDS = 60.0

STACK_FILE = Path(".local", "run", "stack.json")
SERVICES = ("ingest", "status", "processor")
#: The one that speaks HTTP; its address is a URL.
GATEWAY = "gateway"
_HOST_PORT = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^\s:/\[\]]+):(\d{1,5})\Z")
_URL = re.compile(r"https?://([^\s/?#@]+)/?\Z")


@dataclass(frozen=True)
class Service:
    """One service as this command knows it: `address` is host:port (several with commas), `origin` where that was found; may be empty."""

    name: str
    address: str
    origin: str

    @property
    def variable(self) -> str:
        """The environment variable that says where it is."""
        return f"MATERIALS_{self.name.upper()}"

    @property
    def place(self) -> str:
        """Address and origin, as they follow the service's name."""
        return f" at {self.address}" + (f" (from {self.origin})" if self.origin else "")

    def __str__(self) -> str:
        return f"the {self.name} service{self.place}"


@dataclass(frozen=True)
class Settings:
    """What was found. A command asks only for what it needs."""

    services: Mapping[str, Service]
    token: str
    searched: str
    tls: TlsFiles | None = None

    def service(self, name: str) -> Service:
        """Where a service is. Raises Unreachable."""
        if name not in self.services:
            raise Unreachable(
                f"do not know where the {name} service is: {self.searched}; start the local stack with `make run`, "
                f"or set MATERIALS_{name.upper()} to its host:port"
            )
        return self.services[name]

    def required_token(self) -> str:
        """The bearer token. Raises Unreachable."""
        if not self.token:
            raise Unreachable(
                f"have no token: {self.searched}; start the local stack with `make run`, or set MATERIALS_TOKEN"
            )
        return self.token


def find_settings(environ: Mapping[str, str], directory: Path) -> Settings:
    """The settings as seen from `directory`. Raises WrongUsage for an endpoint or file that makes no sense."""
    tls = tls_files(environ)
    path, searched = _stack_file(environ, directory)
    stack = _read_stack(path) if path is not None else {}
    services = {}
    for name in (*SERVICES, GATEWAY):
        service = Service(name, environ.get(f"MATERIALS_{name.upper()}", "").strip(), f"MATERIALS_{name.upper()}")
        if not service.address and name in stack:
            service = Service(name, stack[name], str(path))
        if service.address:
            services[name] = _checked_gateway(service) if name == GATEWAY else _checked(service, tls)
    token = environ.get("MATERIALS_TOKEN", "").strip() or stack.get("token", "")
    if not all("!" <= character <= "~" for character in token):
        raise WrongUsage("MATERIALS_TOKEN holds characters that no token has; set it to the token alone")
    return Settings(services, token, searched, tls)


def _stack_file(environ: Mapping[str, str], directory: Path) -> tuple[Path | None, str]:
    if named := environ.get("MATERIALS_STACK", "").strip():
        path = Path(named)
        return (path if path.is_file() else None), f"there is no file {named} (from MATERIALS_STACK)"
    for folder in (directory, *directory.parents):
        if (path := folder / STACK_FILE).is_file():
            return path, f"{path} does not say it"
    return None, f"no local stack runs (no {STACK_FILE} in {directory} or above)"


def _read_stack(path: Path) -> dict[str, str]:
    try:
        content = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:  # The stack has just stopped.
        return {}
    except (OSError, ValueError) as error:
        raise WrongUsage(f"cannot read {path}: {error}; stop the stack and start it again (`make run`)") from None
    if not isinstance(content, dict):
        raise WrongUsage(f"{path} is not a JSON object; stop the stack and start it again (`make run`)")
    return {key: value.strip() for key, value in content.items() if isinstance(value, str) and value.strip()}


def _checked(service: Service, tls: TlsFiles | None) -> Service:
    for address in service.address.split(","):
        if not _is_host_port(address.strip()):
            raise WrongUsage(
                f"{service.variable} must be host:port such as localhost:50051, not {address.strip()!r} (from {service.origin})"
            )
    try:
        target_of(service.address)
    except ValueError as error:
        raise WrongUsage(f"{service.variable}: {error}") from None
    if tls is not None and not tls.server_name and "," in service.address:
        raise WrongUsage(
            f"{service.variable} has several addresses: set MATERIALS_SERVER_NAME to the name that all their certificates carry"
        )
    return service


def _checked_gateway(service: Service) -> Service:
    """The same with its base URL, without a slash at the end, for an address."""
    if _is_host_port(service.address):
        return replace(service, address=f"http://{service.address}")
    match = _URL.match(service.address)
    if match is None or not (_is_host_port(match[1]) or _is_host_port(f"{match[1]}:80")):
        raise WrongUsage(
            f"{service.variable} must be a URL such as https://materials.example.org, or host:port, not {service.address!r} "
            f"(from {service.origin})"
        )
    return replace(service, address=service.address.rstrip("/"))


def _is_host_port(address: str) -> bool:
    match = _HOST_PORT.match(address)
    return match is not None and 0 < int(match[2]) < 65536


class Connection:
    """Channels to the services that a command calls, opened when first used. An asynchronous context manager; closes them at its end."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._channels: dict[str, grpc.aio.Channel] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for channel in self._channels.values():
            await channel.close()

    def service(self, name: str) -> Service:
        """Where a service is. Raises Unreachable."""
        return self._settings.service(name)

    @property
    def identity(self) -> list[tuple[str, str]]:
        """The metadata that carries the token. Raises Unreachable."""
        return bearer(self._settings.required_token())

    @property
    def authorities(self) -> ssl.SSLContext:
        """Who may sign the gateway's certificate: the system's authorities, and that of MATERIALS_CA_FILE."""
        context = ssl.create_default_context()
        if self._settings.tls is not None:
            context.load_verify_locations(self._settings.tls.authority)
        return context

    @property
    def ingest(self) -> ingest_service_pb2_grpc.IngestServiceAsyncStub:
        """Bytes in and out."""
        return ingest_service_pb2_grpc.IngestServiceStub(self._channel("ingest"))

    @property
    def status(self) -> status_service_pb2_grpc.StatusServiceAsyncStub:
        """The record."""
        return status_service_pb2_grpc.StatusServiceStub(self._channel("status"))

    @property
    def processor(self) -> processor_service_pb2_grpc.ProcessorServiceAsyncStub:
        """What was read."""
        return processor_service_pb2_grpc.ProcessorServiceStub(self._channel("processor"))

    @property
    def processor_health(self) -> health_pb2_grpc.HealthStub:
        """The processor's health, and that of what it needs. Raises Unreachable."""
        return health_pb2_grpc.HealthStub(self._channel("processor"))

    def _channel(self, name: str) -> grpc.aio.Channel:
        if name not in self._channels:
            self._channels[name] = open_channel(self.service(name).address, self._settings.tls)
        return self._channels[name]
