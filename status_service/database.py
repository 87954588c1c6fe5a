"""The record's Postgres."""

from __future__ import annotations

from pathlib import Path

from servicekit.postgres import Postgres
from status_service import record_store
from status_service.settings import StatusSettings


def open_database(settings: StatusSettings) -> Postgres:
    """The part that connects to it, and its migrations."""
    return Postgres(
        settings.status_database_url.get_secret_value(),
        schema=settings.status_database_schema,
        migrations=Path(__file__).parent / "migrations",
        max_connections=settings.status_database_connections,
        statement_cache_size=settings.status_statement_cache,
        init=record_store.prefer_indexes,
    )
