"""python -m gateway: REST, live status and the web page over HTTP."""

from __future__ import annotations

import sys

from gateway.service import build
from gateway.settings import GatewaySettings
from servicekit.bootstrap import configure_process
from servicekit.manager import run_service
from servicekit.memory import keep_freed_memory
from servicekit.settings import load_settings


async def main(settings: GatewaySettings) -> None:
    """One replica, from start to SIGTERM."""
    configure_process("gateway", settings)
    keep_freed_memory()
    await build(settings).run()


if __name__ == "__main__":
    loaded = load_settings(
        GatewaySettings, sys.argv[1:], "Gateway: REST, live status and the web page, in front of the three services."
    )
    run_service(lambda: main(loaded))
