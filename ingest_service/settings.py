"""Every environment variable of the Ingest service."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from servicekit.settings import GrpcServiceSettings, peer_endpoint


class IngestSettings(GrpcServiceSettings):
    """Bytes in and out."""

    listen_address: str = Field("0.0.0.0:50051", description="host:port that the gRPC server listens on")
    status_endpoint: Annotated[str, AfterValidator(peer_endpoint)] = Field(
        "127.0.0.1:50052", description="Status service: host:port, several IP addresses with commas, or a gRPC target"
    )
    object_store_url: str = Field(
        "file:///var/lib/course-materials/objects",
        description="where the bytes are kept: any obstore URL (file://, s3://, gs://, az://); credentials as obstore reads them",
    )
    object_store_reserve_bytes: int = Field(
        256 * 1024 * 1024,
        ge=0,
        description="room that uploads leave free in a local object store, in bytes; with less, they get OBJECT_STORE_FULL",
    )
    memory_limit_bytes: int = Field(
        0,
        ge=0,
        description="resident memory of this process, in bytes, of which 85 % stop new uploads with MEMORY_SHORT; 0: the limit of its cgroup (v2), if any",
    )
    event_stream_replicas: int = Field(
        1, ge=1, le=5, description="copies of the event stream that is made where it is missing; 3 in a NATS cluster"
    )
    max_upload_bytes: int = Field(100 * 1024 * 1024, gt=0, description="largest file that is taken, in bytes")
    max_concurrent_uploads: int = Field(
        64, gt=0, description="uploads taken at once by this replica; more get TOO_MANY_UPLOADS"
    )
    max_uploads_per_owner: int = Field(
        20,
        gt=0,
        description="uploads of one owner taken at once by this replica, but for operators; more get OWNER_UPLOAD_LIMIT",
    )
    upload_idle_seconds: float = Field(
        30.0, gt=0, description="longest wait for the next bytes of an upload, in seconds"
    )
    orphan_after_seconds: float = Field(
        24 * 3600.0,
        gt=60,
        description="age at which an object without a record is swept away, in seconds; more than the longest upload takes",
    )
