"""Every environment variable of the Processor service."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr, ValidationInfo, field_validator

from servicekit.settings import GrpcServiceSettings, http_url, peer_endpoint, postgres_url


class ProcessorSettings(GrpcServiceSettings):
    """Pages, text, passages, search."""

    listen_address: str = Field("0.0.0.0:50053", description="host:port that the gRPC server listens on")
    status_endpoint: Annotated[str, AfterValidator(peer_endpoint)] = Field(
        "127.0.0.1:50052", description="Status service: host:port, several IP addresses with commas, or a gRPC target"
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
    ai_brain_concurrency: int = Field(
        4,
        gt=0,
        description="most pages sent to the Brain at once by this replica; it begins with 2, and goes by what the Brain takes",
    )
    ai_brain_embedding_concurrency: int = Field(
        4, gt=0, description="most embedding calls to the Brain at once by this replica; goes by what the Brain takes"
    )
    embedding_dimensions: int = Field(
        1024, gt=0, le=4000, description="numbers in an embedding; must be the Brain's model's"
    )
    embedding_model: str = Field(
        "default",
        min_length=1,
        max_length=100,
        description="a name for the model that AI_BRAIN_ENDPOINT embeds with; the index remembers it, so it changes only when the model does",
    )
    next_embedding_model: str = Field(
        "",
        max_length=100,
        description="to change the model: a name for the new one, which NEXT_AI_BRAIN_ENDPOINT embeds with; then `materials reindex`, and when its index is in "
        "use this name and address take the place of EMBEDDING_MODEL and AI_BRAIN_ENDPOINT",
    )
    next_ai_brain_endpoint: str = Field("", description="address of the AI Brain that has NEXT_EMBEDDING_MODEL")
    next_ai_brain_token: SecretStr = Field(SecretStr(""), description="bearer token for that Brain's proxy")
    next_embedding_dimensions: int = Field(
        1024, gt=0, le=4000, description="numbers in an embedding of NEXT_EMBEDDING_MODEL"
    )
    reuse_across_owners: bool = Field(
        False,
        description="whether what was read of a file is also given to other owners who upload the same bytes; saves reading, but how fast an upload is done "
        "then tells one owner that somebody else has the file",
    )
    material_processing_timeout: float = Field(
        7200.0,
        gt=0,
        description="longest time for one attempt at a material, in seconds; pages finished by then are kept for the next attempt",
    )
    processor_slots: int = Field(4, gt=0, description="materials worked on at once by this replica")
    search_result_limit: int = Field(3, ge=1, le=10, description="search results when the caller names no number")
    search_exact_passages: int = Field(
        20_000,
        gt=0,
        description="passages of a course up to which a search compares with every one; above, an index of vectors is made, where the course is at least a "
        "tenth of all passages",
    )
    search_timeout: float = Field(20.0, gt=0, description="longest wait for the embedding of a query, in seconds")
    answer_timeout: float = Field(
        60.0, gt=0, description="longest wait for the Brain's answer to a question, its turn included, in seconds"
    )
    answer_sources: int = Field(6, ge=1, le=10, description="most passages that a question is answered from")
    answer_context_chars: int = Field(
        12_000, ge=2_000, le=500_000, description="most characters of passages that the Brain is given with a question"
    )
    answer_least_similarity: float = Field(
        0.25,
        ge=-1,
        le=1,
        description="least cosine similarity of a passage to a question that it may answer, unless it has the question's words; set it by the embedding model",
    )
    answer_concurrency: int = Field(2, gt=0, description="answers the Brain writes at once for this replica")
    answer_queue: int = Field(8, ge=0, description="answers that wait for their turn; more get BRAIN_UNAVAILABLE")
    answers_per_owner: int = Field(
        2,
        gt=0,
        description="answers under way for one owner at this replica, but for operators; more get OWNER_REQUEST_LIMIT",
    )
    max_followed_texts: int = Field(
        1_000, gt=0, description="texts of materials being read that this replica sends at once as they are read"
    )
    max_followed_texts_per_owner: int = Field(
        100,
        gt=0,
        description="those of one owner, but for operators; more get OWNER_WATCH_LIMIT",
    )
    max_pages: int = Field(2000, gt=0, description="most pages a material may have")
    read_text_layers: Literal["auto", "never"] = Field(
        "auto",
        description="auto: a page of a PDF that has its own good text gives that, and the Brain is not asked; never: the Brain reads every page of every PDF",
    )
    rendering_cpu_seconds: int = Field(
        1800, gt=0, description="most computing time for drawing all pages of a material in one attempt, in seconds"
    )
    work_directory: Path = Field(Path(tempfile.gettempdir()), description="where files are kept while they are read")

    @field_validator("next_embedding_model")
    @classmethod
    def _is_another_model(cls, name: str, info: ValidationInfo) -> str:
        if name and name == info.data.get("embedding_model"):
            raise ValueError("must not be EMBEDDING_MODEL: it names another model")
        return name

    @field_validator("next_ai_brain_endpoint")
    @classmethod
    def _goes_with_the_next_model(cls, url: str, info: ValidationInfo) -> str:
        if "next_embedding_model" in info.data and bool(url) != bool(info.data["next_embedding_model"]):
            raise ValueError("set both NEXT_EMBEDDING_MODEL and NEXT_AI_BRAIN_ENDPOINT, or neither")
        return http_url(url) if url else url
