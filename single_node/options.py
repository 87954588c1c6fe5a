"""What the command line asks for, checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from single_node.errors import BadOption
from single_node.stack import Edge, ServiceDefinition

MOST_REPLICAS = 8


@dataclass(frozen=True)
class Options:
    """`replicas` by service and `ports` by part; what is not named has one replica, and a port that is free. `via`: ports of proxies, by edge."""

    data_dir: Path
    as_json: bool = False
    replicas: dict[str, int] = field(default_factory=dict)
    ports: dict[str, int] = field(default_factory=dict)
    via: dict[Edge, int] = field(default_factory=dict)


def parse_replicas(text: str, definitions: Sequence[ServiceDefinition]) -> dict[str, int]:
    """`processor=2,status=2`. Raises BadOption for an unknown service or a number that is not 1 to 8."""
    names = [definition.name for definition in definitions]
    replicas: dict[str, int] = {}
    for item in filter(None, text.replace(" ", "").split(",")):
        name, count = _assignment("--replicas", item)
        if name not in names:
            raise BadOption(f"--replicas {item}: no such service; the services are {', '.join(names)}")
        if not 1 <= count <= MOST_REPLICAS:
            raise BadOption(f"--replicas {item}: between 1 and {MOST_REPLICAS} are possible on one machine")
        replicas[name] = count
    return replicas


def parse_ports(items: Sequence[str]) -> dict[str, int]:
    """`ingest=50051` each. Raises BadOption for what is not a port number; unknown parts are found when ports are assigned."""
    return {name: _port("--port", item, port) for item in items for name, port in [_assignment("--port", item)]}


def parse_via(items: Sequence[str], definitions: Sequence[ServiceDefinition]) -> dict[Edge, int]:
    """`processor:status=40001` each. Raises BadOption for what is no edge from a service, or no port number."""
    names = [definition.name for definition in definitions]
    via: dict[Edge, int] = {}
    for item in items:
        edge, port = _assignment("--via", item)
        client, _, part = edge.partition(":")
        if client not in names or not part:
            raise BadOption(f"--via {item}: write it as SERVICE:PART=PORT; the services are {', '.join(names)}")
        via[client, part] = _port("--via", item, port)
    return via


def _port(option: str, item: str, port: int) -> int:
    if not 1 <= port <= 65_535:
        raise BadOption(f"{option} {item}: a port is a number from 1 to 65535")
    return port


def _assignment(option: str, item: str) -> tuple[str, int]:
    name, _, number = item.partition("=")
    if not name or not (number.isascii() and number.isdigit()):
        raise BadOption(f"{option} {item}: write it as NAME=NUMBER")
    return name, int(number)
