"""The index's Postgres."""

from __future__ import annotations

from pathlib import Path

from processor_service.index.index_store import prepare_connection
from processor_service.settings import ProcessorSettings
from servicekit.postgres import Postgres


def open_database(settings: ProcessorSettings) -> Postgres:
    """The part that connects to it, and its migrations."""
    return Postgres(
        settings.processor_database_url.get_secret_value(),
        schema=settings.processor_database_schema,
        migrations=Path(__file__).parent / "migrations",
        max_connections=settings.processor_database_connections,
        statement_cache_size=settings.processor_statement_cache,
        init=prepare_connection,
    )
