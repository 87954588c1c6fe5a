"""The settings classes of the services, by the names that the manifests give them."""

from __future__ import annotations

from gateway.settings import GatewaySettings
from ingest_service.settings import IngestSettings
from processor_service.settings import ProcessorSettings
from servicekit.settings import ServiceSettings
from status_service.settings import StatusSettings

SETTINGS: dict[str, type[ServiceSettings]] = {
    "ingest": IngestSettings,
    "status": StatusSettings,
    "processor": ProcessorSettings,
    "gateway": GatewaySettings,
}


def own_port(service: str) -> int:
    """Where it listens when nothing else is said."""
    return int(SETTINGS[service].model_fields["listen_address"].default.rpartition(":")[2])
