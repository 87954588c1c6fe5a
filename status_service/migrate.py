"""python -m status_service.migrate: brings the database of the record up to date and exits. Settings are the service's own."""

from __future__ import annotations

from servicekit.migrating import migrate_and_exit
from status_service.database import open_database
from status_service.settings import StatusSettings

if __name__ == "__main__":
    migrate_and_exit("status_service", StatusSettings, open_database)
