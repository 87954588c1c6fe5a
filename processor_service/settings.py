"""Every environment variable of the Processor service."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr

from servicekit.settings import GrpcServiceSettings, http_url, peer_endpoint, postgres_url


class ProcessorSettings(GrpcServiceSettings):
    """Pages, text, passages, search."""

    listen_address: str = Field("0.0.0.0:50053", description="host:port that the gRPC server listens on")
    status_endpoint: Annotated[str, AfterValidator(peer_endpoint)] = Field(
        "127.0.0.1:50052", description="Status service: host:port, several with commas, or a gRPC target"
    )
    processor_database_url: Annotated[SecretStr, AfterValidator(postgres_url)] = Field(
        description="Postgres of the index: postgresql://user:password@host:port/database"
    )
    processor_database_schema: str = Field(
        "processor", description="schema that holds the index; created beforehand, owned by the user"
    )
    processor_database_connections: int = Field(8, gt=0, description="most connections this replica opens to Postgres")
    processor_statement_cache: int = Field(
        256, ge=0, description="prepared statements kept per connection; 0 behind pgbouncer in transaction mode"
    )
    object_store_url: str = Field(
        "file:///var/lib/course-materials/objects",
        description="where Ingest keeps the bytes: any obstore URL (file://, s3://, gs://, az://)",
    )
    ai_brain_endpoint: Annotated[str, AfterValidator(http_url)] = Field(
        "http://localhost:8001", description="the AI Brain's address"
    )
    ai_brain_timeout: float = Field(300.0, gt=0, description="longest wait for one reply of the Brain, in seconds")
    ai_brain_token: SecretStr = Field(SecretStr(""), description="bearer token for the Brain's proxy, if it wants one")
    ai_brain_ca_file: Path | None = Field(
        None, description="PEM file of the authority that signed the Brain's certificate, if a private one"
    )
    ai_brain_concurrency: int = Field(2, gt=0, description="pages sent to the Brain at once by this replica")
    ai_brain_embedding_concurrency: int = Field(
        4, gt=0, description="embedding calls to the Brain at once by this replica"
    )
    embedding_dimensions: int = Field(
        1024, gt=0, le=4000, description="numbers in an embedding; must be the Brain's model's"
    )
    material_processing_timeout: float = Field(
        7200.0,
        gt=0,
        description="longest time for one attempt at a material, in seconds; pages finished by then are kept for the next attempt",
    )
    processor_slots: int = Field(2, gt=0, description="materials worked on at once by this replica")
    search_result_limit: int = Field(3, ge=1, le=10, description="search results when the caller names no number")
    search_timeout: float = Field(20.0, gt=0, description="longest wait for the embedding of a query, in seconds")
    max_pages: int = Field(2000, gt=0, description="most pages a material may have")
    work_directory: Path = Field(Path(tempfile.gettempdir()), description="where files are kept while they are read")
