"""python -m processor_service.migrate: brings the database of the index up to date and exits. Settings are the service's own."""

from __future__ import annotations

from processor_service.database import open_database
from processor_service.settings import ProcessorSettings
from servicekit.migrating import migrate_and_exit

if __name__ == "__main__":
    migrate_and_exit("processor_service", ProcessorSettings, open_database)
