"""Which port each part listens on: as asked for, else the one it had the last time, else the one it prefers, else a free one.

Free ports are taken from below the range that the kernel gives to outgoing connections. A port inside it can be lost to some
client's connection while its server restarts, and a client that retries a dead server on it may even connect to itself.
"""

from __future__ import annotations

import errno
import json
import random
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from single_node.errors import BadOption, StartFailed
from single_node.private_files import write_private

HOST = "127.0.0.1"
LOWEST_CHOSEN = 15_000
CHOICES = 200


def assign_ports(
    names: Sequence[str],
    *,
    asked: Mapping[str, int],
    remembered: Mapping[str, int],
    preferred: Mapping[str, int],
    candidates: Iterator[int],
    why_unusable: Callable[[int], str | None],
) -> dict[str, int]:
    """A port for each name, all different.

    Raises BadOption when an asked port belongs to no part, is asked twice or is not usable, StartFailed when no candidate is left.
    """
    if unknown := sorted(set(asked) - set(names)):
        raise BadOption(f"--port {unknown[0]}=…: no such part; the parts are {', '.join(names)}")
    assigned: dict[str, int] = {}
    for name, port in asked.items():
        if port in assigned.values():
            raise BadOption(f"--port {name}={port}: two parts cannot share a port")
        if why := why_unusable(port):
            raise BadOption(f"--port {name}={port}: {why}; choose another, or leave it out to get a free one")
        assigned[name] = port
    for name in names:
        if name in assigned:
            continue
        known = remembered.get(name, preferred.get(name))
        if known is not None and known not in assigned.values() and why_unusable(known) is None:
            assigned[name] = known
            continue
        free = (port for port in candidates if port not in assigned.values() and port not in remembered.values())
        chosen = next((port for port in free if why_unusable(port) is None), None)
        if chosen is None:
            raise StartFailed(f"found no free port for {name}; give one with --port {name}=N")
        assigned[name] = chosen
    return assigned


def why_unusable(port: int) -> str | None:
    """Why nothing can listen on loopback's `port` now, or None when it can."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do: connections of the last owner that linger in TIME_WAIT are no hindrance, a listener is.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
            probe.listen(1)
        except OSError as error:
            return (
                "the port is in use"
                if error.errno == errno.EADDRINUSE
                else f"the port is not usable ({error.strerror})"
            )
    return None


def candidate_ports(chance: random.Random) -> Iterator[int]:
    """At most 400 ports to try: random ones below the range of outgoing connections, then whatever the kernel gives."""
    lowest_outgoing = _lowest_outgoing_port()
    if lowest_outgoing > LOWEST_CHOSEN + CHOICES:
        for _ in range(CHOICES):
            yield chance.randrange(LOWEST_CHOSEN, lowest_outgoing)
    for _ in range(CHOICES):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.bind((HOST, 0))
            port: int = probe.getsockname()[1]
        yield port


def _lowest_outgoing_port() -> int:
    try:
        return int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text("ascii").split()[0])
    except (OSError, ValueError, IndexError):
        return 0


def load_ports(path: Path) -> dict[str, int]:
    """The ports of the last start; none when there was no start or the file is damaged, for they are only a preference."""
    try:
        kept = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(kept, dict):
        return {}
    return {name: port for name, port in kept.items() if isinstance(port, int) and 0 < port < 65_536}


def save_ports(path: Path, ports: Mapping[str, int]) -> None:
    """Keeps them for the next start."""
    write_private(path, json.dumps(ports, indent=2) + "\n")
