"""The migrations of a service, ahead of it.

A service applies them at its start, within the minute that a start may take. Ahead of a rollout there is no such limit: an index on a large table takes as
long as it takes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import structlog

from servicekit.logs import configure_logs
from servicekit.manager import run_service
from servicekit.postgres import Postgres
from servicekit.settings import SettingsT, load_settings

log = structlog.get_logger()


def migrate_and_exit(service: str, kind: type[SettingsT], open_database: Callable[[SettingsT], Postgres]) -> None:
    """The program of `python -m SERVICE.migrate`: applies what is missing. Exits with 1 when it cannot, after 45 s when Postgres cannot be reached."""
    settings = load_settings(kind, sys.argv[1:], f"{service}: applies the migrations of its database, and exits.")
    configure_logs(service=service, format=settings.log_format, level=settings.log_level)

    async def migrate() -> None:
        await open_database(settings).migrate()
        log.info("database is up to date")

    run_service(migrate)
