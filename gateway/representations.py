"""The JSON of the REST interface: each model with its meaning and an example that works, as OpenAPI shows them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, Self

from google.protobuf.message import Message
from materials.v1 import material_pb2
from pydantic import BaseModel, ConfigDict, Field, model_validator

from servicekit.documents import document, numbers_by_name

ProcessingStatus = Literal["pending", "processing", "completed", "failed"]
MATERIAL_ID = "0b8f6a52-0a3f-4b0e-9d0b-3f6f1c2d4e5a"
WHEN = "2026-01-31T09:30:00Z"
#: What the services allow, as the document shows it. They decide, and say it in their own words: these are not checked here.
LIMIT_SHOWN: dict[str, Any] = {"minimum": 0, "maximum": 10}
QUERY_SHOWN: dict[str, Any] = {"minLength": 1, "maxLength": 500}
NEXT_PAGE_MEANING = "`next_page_token` of the results before, with the same query and limit; empty: the first"
FailureReason = Annotated[
    str, Field(json_schema_extra={"enum": [*numbers_by_name(material_pb2.FailureReason.DESCRIPTOR)]})
]
Status = Annotated[str, Field(json_schema_extra={"enum": [*numbers_by_name(material_pb2.ProcessingStatus.DESCRIPTOR)]})]


class FromContract(BaseModel):
    """A message of the contract, by its own field names; enums are short and in lower case, what is unset is null."""

    @classmethod
    def of(cls, message: Message) -> Self:
        """Validated from a message."""
        return cls.model_validate(document(message))


class FromClient(BaseModel):
    """A JSON body: only the fields described, and text alone that all can write down."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _is_text(cls, content: Any) -> Any:
        # JSON's "\ud800" is half of a character: UTF-8, and so the contract, has none.
        texts = [*content, *content.values()] if isinstance(content, dict) else []
        if any("\ud800" <= character <= "\udfff" for each in texts if isinstance(each, str) for character in each):
            raise ValueError("must not contain half of a surrogate pair")
        return content


class Material(FromContract):
    """A file that somebody uploaded to a course, and what has become of it."""

    id: str = Field(description="a UUID", examples=[MATERIAL_ID])
    course_id: str = Field(examples=["biology-101"])
    name: str = Field(description="the name that people see", examples=["cells.pdf"])
    file_path: str = Field(
        description="key of the bytes in the object store, made of ids", examples=[f"objects/0b/{MATERIAL_ID}"]
    )
    file_type: str = Field(description="by content: pdf, png, jpeg, tiff, webp, text or markdown", examples=["pdf"])
    file_size: int = Field(description="bytes", examples=[48213])
    processing_status: ProcessingStatus = Field(examples=["completed"])
    processed_at: datetime | None = Field(description="when it completed or failed; null before", examples=[WHEN])
    error_message: str | None = Field(description="for people: what went wrong; null unless failed", examples=[None])
    has_embedding: bool = Field(description="whether all of it can be searched", examples=[True])
    created_at: datetime = Field(examples=[WHEN])
    updated_at: datetime = Field(examples=[WHEN])
    owner_id: str = Field(description="who uploaded it: the token's `sub`", examples=["maria"])
    sha256: str = Field(
        description="of the bytes, hexadecimal",
        examples=["9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"],
    )
    revision: int = Field(description="grows by one with every change", examples=[7])
    attempt: int = Field(description="processing attempts so far", examples=[1])
    pages_done: int = Field(description="pages read", examples=[12])
    pages_total: int = Field(description="pages in the file; 0 until it was opened", examples=[12])
    failure_reason: str | None = Field(description="why it failed, such as file_encrypted", examples=[None])
    retryable: bool = Field(description="whether :retry makes sense", examples=[False])
    stage: Literal["opening", "reading", "indexing"] | None = Field(description="while processing", examples=[None])
    status_message: str = Field(description="for people: what it waits for; may be empty", examples=[""])
    media_type: str = Field(description="by content", examples=["application/pdf"])
    next_attempt_at: datetime | None = Field(description="when a failed attempt is tried again", examples=[None])

    @classmethod
    def of(cls, message: Message) -> Self:
        """Validated from a `materials.v1.Material`."""
        content = document(message)
        return cls.model_validate(content | {"error_message": content["error_message"] or None})


class Transition(FromContract):
    """One change of a material's state, as recorded."""

    material_id: str = Field(examples=[MATERIAL_ID])
    revision: int = Field(examples=[1])
    from_status: ProcessingStatus | None = Field(description="null for the creation", examples=[None])
    to_status: ProcessingStatus | None = Field(examples=["pending"])
    event: str = Field(description="what happened", examples=["created"])
    actor: str = Field(description="who: a token's `sub`, a worker, or status_service", examples=["maria"])
    failure_reason: str | None = Field(examples=[None])
    message: str = Field(description="for people; may be empty", examples=[""])
    attempt: int = Field(examples=[0])
    created_at: datetime = Field(examples=[WHEN])


class Page(BaseModel):
    """The text of one page."""

    page_number: int = Field(description="from 1", examples=[1])
    text: str = Field(examples=["The cell is the basic unit of life."])
    source: Literal["brain", "file"] | None = Field(
        description="read from an image by the AI Brain, or held by the file itself", examples=["brain"]
    )


class MaterialText(BaseModel):
    """The pages read so far."""

    material_id: str = Field(examples=[MATERIAL_ID])
    pages: list[Page]


class SearchRequest(FromClient):
    """What to look for."""

    query: str = Field(
        description="1-500 characters", examples=["how do cells make energy?"], json_schema_extra=QUERY_SHOWN
    )
    limit: Annotated[int, Field(ge=-(2**31), le=2**31 - 1)] = Field(
        0,
        description="at most so many results, 10 at most; 0: the service's default (3)",
        examples=[3],
        json_schema_extra=LIMIT_SHOWN,
    )
    page_token: str = Field("", description=NEXT_PAGE_MEANING, examples=[""])


class SearchResult(FromContract):
    """One passage found."""

    material_id: str = Field(examples=[MATERIAL_ID])
    material_name: str = Field(examples=["cells.pdf"])
    page_number: int = Field(description="from 1", examples=[4])
    excerpt: str = Field(examples=["Mitochondria turn sugar into ATP."])
    score: float = Field(
        description="how well it answers, by meaning and words together, above 0, at most 1; compares results of one query only",
        examples=[0.97],
    )
    start_offset: int = Field(description="where the passage begins in the page's text, in characters", examples=[120])
    end_offset: int = Field(description="where it ends, exclusive", examples=[153])
    heading: str = Field(description="the heading it stands under; may be empty", examples=["Energy"])
    similarity: float = Field(
        description="likeness in meaning alone: cosine similarity, -1 to 1; greater is nearer", examples=[0.71]
    )
    repeats: int = Field(description="passages left out since they say nearly the same", examples=[0])


class SearchResults(BaseModel):
    """Best first; empty when the course holds nothing that can be searched."""

    query: str = Field(examples=["how do cells make energy?"])
    results: list[SearchResult]
    next_page_token: str = Field(
        description="for the results after these; empty when there are no more, or when 100 have been shown",
        examples=[""],
    )


class Question(FromClient):
    """What to answer."""

    question: str = Field(
        description="1-500 characters", examples=["how do cells make energy?"], json_schema_extra=QUERY_SHOWN
    )


class AnswerSource(SearchResult):
    """A passage that the AI Brain was given."""

    number: int = Field(description="from 1; what `citations` name", examples=[1])


class AnswerPart(BaseModel):
    """A sentence or so of the answer."""

    text: str = Field(
        description="plain text; ends with the white space before the next", examples=["Mitochondria make ATP."]
    )
    citations: list[int] = Field(description="numbers of the sources that support it", examples=[[1]])


class Answer(BaseModel):
    """An answer in full."""

    outcome: Literal["answered", "nothing_found", "unsupported"] | None = Field(
        description="from the sources; the course holds nothing on it; or withheld, since the sources do not support it",
        examples=["answered"],
    )
    answer: str = Field(description="all parts; empty unless answered", examples=["Mitochondria make ATP."])
    parts: list[AnswerPart]
    sources: list[AnswerSource] = Field(description="what it may cite; empty when nothing relevant was found")
    model: str = Field(
        description="as the AI Brain names it; `extractive/…` when the sentences are quotes; may be empty",
        examples=["llama3.1:8b"],
    )
    sentences_left_out: int = Field(description="sentences that no source supports", examples=[0])


class RetryFailedRequest(FromClient):
    """Which failed materials of the course to retry."""

    failure_reason: FailureReason | None = Field(
        None, description="only those failed for this reason; null: any but cancelled", examples=["brain_failed"]
    )
    max_count: Annotated[int, Field(ge=0, le=2**31 - 1)] = Field(
        0, description="at most so many, 1,000 at most; 0: 1,000", examples=[1000]
    )


class RetryFailedResult(FromContract):
    """What became of them."""

    retried: int = Field(examples=[3])
    remaining: int = Field(description="call again when not 0", examples=[0])
    not_retryable: int = Field(description="another attempt cannot mend these", examples=[1])


class SignIn(FromClient):
    """One of the two, unless the Authorization header has the token."""

    token: str | None = Field(None, description="a bearer token", examples=["eyJhbGciOiJIUzI1NiJ9…"])
    ticket: str | None = Field(None, description="a sign-in ticket", examples=[None])


class Session(BaseModel):
    """Who is signed in."""

    subject: str = Field(description="the token's `sub`", examples=["maria"])
    courses: dict[str, Literal["reader", "editor"]] = Field(
        description="what the token grants; `*` is every course", examples=[{"biology-101": "editor"}]
    )
    operator: bool = Field(description="whether they look after the system", examples=[False])
    expires_at: datetime = Field(description="when the token ends", examples=[WHEN])
    features: list[str] = Field(
        description="what this installation can do beside the basics", examples=[["search", "ask"]]
    )


class TicketRequest(FromClient):
    """What the ticket is for: `events` of a material or a course, `content` of a material, or `sign-in`."""

    purpose: Literal["events", "content", "sign-in"] = Field(examples=["events"])
    material_id: str | None = Field(None, examples=[None])
    course_id: str | None = Field(None, examples=["biology-101"])


class IssuedTicket(BaseModel):
    """Good once, until it expires, for this URL alone."""

    ticket: str = Field(examples=["dGhpcyBpcyBub3QgYSB0aWNrZXQ"])
    url: str = Field(examples=["/courses/biology-101/events?ticket=dGhpcyBpcyBub3QgYSB0aWNrZXQ"])
    expires_at: datetime = Field(examples=[WHEN])


class FieldError(BaseModel):
    """One field at fault."""

    field: str = Field(examples=["course_id"])
    description: str = Field(examples=["must not be empty"])


class ProblemDetails(BaseModel):
    """An error (RFC 9457)."""

    type: str = Field(
        description="urn:materials:error:REASON, or about:blank", examples=["urn:materials:error:MATERIAL_NOT_FOUND"]
    )
    title: str = Field(examples=["Not Found"])
    status: int = Field(examples=[404])
    detail: str = Field(description="for people: what is wrong and what to do", examples=["there is no such material"])
    reason: str | None = Field(None, description="the contract's ErrorReason", examples=["MATERIAL_NOT_FOUND"])
    errors: list[FieldError] | None = Field(None, description="fields at fault", examples=[None])
    retry_after: float | None = Field(None, description="seconds until another try makes sense", examples=[None])
    error_id: str | None = Field(None, description="where the service's log has more", examples=[None])


class Health(BaseModel):
    """Whether this replica serves."""

    status: Literal["ok", "stopping"] = Field(examples=["ok"])
