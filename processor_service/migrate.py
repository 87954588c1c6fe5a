"""python -m processor_service.migrate: brings the database of the index up to date and exits.

A service does the same at its start, within the minute that a start may take. Ahead of a rollout there is no such limit: an index on a large table takes
as long as it takes. Settings are the service's own.
"""

from __future__ import annotations

import sys
from pathlib import Path

import structlog

from processor_service.settings import ProcessorSettings
from servicekit.logs import configure_logs
from servicekit.manager import run_service
from servicekit.postgres import Postgres
from servicekit.settings import load_settings

log = structlog.get_logger()

MIGRATIONS = Path(__file__).parent / "migrations"


async def main(settings: ProcessorSettings) -> None:
    """Applies what is missing. Raises what Postgres raises, after 45 s when it cannot be reached."""
    configure_logs(service="processor_service", format=settings.log_format, level=settings.log_level)
    postgres = Postgres(
        settings.processor_database_url.get_secret_value(),
        schema=settings.processor_database_schema,
        migrations=MIGRATIONS,
    )
    await postgres.migrate()
    log.info("database is up to date", schema=settings.processor_database_schema)


if __name__ == "__main__":
    loaded = load_settings(
        ProcessorSettings, sys.argv[1:], "Processor service: applies the migrations of its database, and exits."
    )
    run_service(lambda: main(loaded))
