"""python -m status_service: the record of materials and everybody's view of it."""

from __future__ import annotations

import sys

from servicekit.bootstrap import configure_process
from servicekit.manager import run_service
from servicekit.memory import collect_seldom
from servicekit.settings import load_settings
from status_service.service import build
from status_service.settings import StatusSettings


async def main(settings: StatusSettings) -> None:
    """One replica, from start to SIGTERM."""
    configure_process("status_service", settings)
    service = build(settings)
    collect_seldom()
    await service.run()


if __name__ == "__main__":
    loaded = load_settings(StatusSettings, sys.argv[1:], "Status service: the record of materials, watched live.")
    run_service(lambda: main(loaded))
