"""python -m processor_service: reads materials, and finds what is in them."""

from __future__ import annotations

import sys

from processor_service.service import build
from processor_service.settings import ProcessorSettings
from servicekit.bootstrap import configure_process
from servicekit.manager import run_service
from servicekit.settings import load_settings


async def main(settings: ProcessorSettings) -> None:
    """One replica, from start to SIGTERM."""
    configure_process("processor_service", settings)
    await build(settings).run()


if __name__ == "__main__":
    loaded = load_settings(
        ProcessorSettings,
        sys.argv[1:],
        "Processor service: reads materials through the AI Brain, indexes and searches them.",
    )
    run_service(lambda: main(loaded))
