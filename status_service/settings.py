"""Every environment variable of the Status service."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr

from servicekit.settings import GrpcServiceSettings, postgres_url


class StatusSettings(GrpcServiceSettings):
    """The record of materials."""

    listen_address: str = Field("0.0.0.0:50052", description="host:port that the gRPC server listens on")
    status_database_url: Annotated[SecretStr, AfterValidator(postgres_url)] = Field(
        description="Postgres of the record: postgresql://user:password@host:port/database"
    )
    status_database_schema: str = Field(
        "status", description="schema that holds the record; created beforehand, owned by the user"
    )
    status_database_connections: int = Field(8, gt=0, description="most connections this replica opens to Postgres")
    status_statement_cache: int = Field(
        256, ge=0, description="prepared statements kept per connection; 0 behind pgbouncer in transaction mode"
    )
    lease_seconds: float = Field(
        20.0,
        gt=1,
        description="how long a processor may be silent before its material is given to another one, in seconds",
    )
    max_attempts: int = Field(
        5, gt=0, description="consecutive failed attempts without a new page before a material is FAILED"
    )
    max_crashes: int = Field(
        3, gt=0, description="consecutive deaths of the processor without a new page before a material is FAILED"
    )
    retry_backoff_seconds: float = Field(
        2.0, gt=0, description="wait before the second attempt, in seconds; doubles with each, with jitter"
    )
    retry_backoff_cap_seconds: float = Field(120.0, gt=0, description="longest wait between two attempts, in seconds")
    turn_seconds: float = Field(
        30.0,
        ge=0,
        description="how long an owner's only material is worked on, in seconds, before its place is given to an owner with none, while every slot is taken; "
        "it goes on in its turn",
    )
    max_unfinished_per_owner: int = Field(
        1_000, gt=0, description="materials one owner may have waiting or being read before further uploads are refused"
    )
    max_watches: int = Field(10_000, gt=0, description="watches this replica serves at once")
    max_watches_per_owner: int = Field(
        100,
        gt=0,
        description="watches of one owner this replica serves at once, but for operators; more get OWNER_WATCH_LIMIT",
    )
