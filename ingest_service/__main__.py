"""python -m ingest_service: bytes in and out."""

from __future__ import annotations

import sys

from ingest_service.service import build
from ingest_service.settings import IngestSettings
from servicekit.bootstrap import configure_process
from servicekit.manager import run_service
from servicekit.memory import keep_freed_memory
from servicekit.settings import load_settings


async def main(settings: IngestSettings) -> None:
    """One replica, from start to SIGTERM."""
    configure_process("ingest_service", settings)
    keep_freed_memory()
    await build(settings).run()


if __name__ == "__main__":
    loaded = load_settings(
        IngestSettings, sys.argv[1:], "Ingest service: receives files, keeps them, announces them, hands them out."
    )
    run_service(lambda: main(loaded))
