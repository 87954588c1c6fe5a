"""Whom Postgres runs as.

Postgres refuses to run as root, as it should. An ordinary user's stack simply runs it as that user. A stack of root's (a
container, mostly) runs it as `nobody`, through setpriv, which then is replaced by Postgres itself, so that signals reach it.
`nobody` may not pass through directories such as /root, where the binaries or the data directory may lie; the capability
to do so is kept, as far as root has it here: containers often have only one of the two.
"""

from __future__ import annotations

import os
import pwd
import shutil
from dataclasses import dataclass
from pathlib import Path

from single_node.errors import StartFailed

# Bit numbers of linux/capability.h, under the names that setpriv uses.
TRAVERSING_CAPABILITIES = {"dac_override": 1, "dac_read_search": 2}


@dataclass(frozen=True)
class PostgresAccount:
    """`uid` and `gid` own the cluster's files; `prefix` goes before a command line to run it as them."""

    uid: int
    gid: int
    prefix: tuple[str, ...] = ()


def account_beside_root(*, setpriv: str | None, uid: int, gid: int, held_capabilities: int) -> PostgresAccount:
    """The account for a stack of root's; `held_capabilities` is a bit mask. Raises StartFailed when setpriv is missing."""
    if setpriv is None:
        raise StartFailed(
            "Postgres does not run as root, and `setpriv`, which would start it as nobody, is missing; "
            "run as an ordinary user, or install util-linux"
        )
    kept = [f"+{name}" for name, bit in TRAVERSING_CAPABILITIES.items() if held_capabilities >> bit & 1]
    capabilities = [f"--inh-caps={','.join(kept)}", f"--ambient-caps={','.join(kept)}"] if kept else []
    return PostgresAccount(uid, gid, (setpriv, f"--reuid={uid}", f"--regid={gid}", "--clear-groups", *capabilities))


def current_account() -> PostgresAccount:
    """The account for a stack of whoever runs this process. Raises StartFailed when that is root and setpriv is missing."""
    if os.geteuid() != 0:
        return PostgresAccount(os.geteuid(), os.getegid())
    try:
        nobody = pwd.getpwnam("nobody")
        uid, gid = nobody.pw_uid, nobody.pw_gid
    except KeyError:
        uid, gid = 65_534, 65_534
    return account_beside_root(
        setpriv=shutil.which("setpriv"),
        uid=uid,
        gid=gid,
        held_capabilities=_held_capabilities(Path("/proc/self/status")),
    )


def _held_capabilities(status: Path) -> int:
    try:
        lines = dict(line.split(":", 1) for line in status.read_text("ascii").splitlines() if ":" in line)
        return int(lines["CapPrm"], 16) & int(lines["CapBnd"], 16)
    except (OSError, KeyError, ValueError):
        return 0
